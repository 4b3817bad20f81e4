//! `rowspout load`: a file of events into a website.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::site;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::load::{self, LoadRequest};
use crate::request::Format;

/// Flags of `load`.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// CSV, NDJSON, JSON or Parquet with the export's own columns, and is_bot
    file: PathBuf,
    /// Website that the events are of
    #[arg(long, value_name = "ID")]
    site: String,
    /// The file's format, where its name does not end in it: csv, json, ndjson or parquet
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Load a file once more that was loaded before, as new events
    #[arg(long)]
    again: bool,
}

pub(super) async fn run(args: LoadArgs, config: &Config) -> Result<()> {
    let format = args
        .format
        .map(|name| {
            Format::from_name(&name).ok_or_else(|| {
                Error::usage(format!(
                    "--format `{name}` is not known: it is csv, json, ndjson or parquet"
                ))
            })
        })
        .transpose()?;
    let request = LoadRequest {
        file: args.file,
        site: site::website(&args.site)?,
        format,
        again: args.again,
    };
    let begun = Instant::now();
    let loaded = load::load(config, request).await?;
    if loaded.rows == 0 {
        eprintln!("the file has no rows, so nothing was loaded");
        return Ok(());
    }
    let before = match loaded.there_before {
        0 => String::new(),
        rows => format!(" ({rows} of them were there from an earlier attempt)"),
    };
    eprintln!(
        "loaded {} rows into {} in {:.1} s{before}",
        loaded.rows,
        args.site,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
