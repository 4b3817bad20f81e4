//! `rowspout export`: a file or standard output, straight from ClickHouse.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::catalog::Catalog;
use crate::config::Config;
use crate::cursor::Server;
use crate::error::{Error, Result};
use crate::export::{Export, ExportId};
use crate::request::{ExportRequest, Format, WebsiteId};
use crate::shutdown::shutdown_signal;

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Website, as in site_abc123
    #[arg(long, value_name = "ID")]
    site: String,
    /// First day, as YYYY-MM-DD
    #[arg(long, value_name = "DAY")]
    start: String,
    /// Last day, included
    #[arg(long, value_name = "DAY")]
    end: String,
    /// csv, json, ndjson or parquet [default: the file's extension, else csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// IANA zone of the days and of every timestamp [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Only pageview or event
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Events of bots too
    #[arg(long)]
    include_bots: bool,
    /// File, instead of standard output; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(args: ExportArgs, config: &Config) -> Result<()> {
    let output = args.output.clone();
    let request = request(args)?;
    if output.is_none() && request.format == Format::Parquet && std::io::stdout().is_terminal() {
        return Err(Error::usage(
            "Parquet is not text for a terminal: give a file with -o, or redirect standard output",
        ));
    }
    let export = begin(config, request).await?;
    tokio::select! {
        written = write(export, output.as_deref()) => written.map(drop),
        () = shutdown_signal() => Err(Error::internal("the export was interrupted")),
    }
}

/// Endings of files that Rowspout does not write.
const COMPRESSED: [&str; 6] = ["gz", "zst", "bz2", "xz", "br", "zip"];

/// What a finished file holds.
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Begins an export of a website that exists.
pub(super) async fn begin(config: &Config, request: ExportRequest) -> Result<Export> {
    let catalog = Catalog::new(&config.clickhouse);
    let fence = catalog.fence(&request.website).await?;
    Export::begin(ExportId::random()?, request, Server::new(config), fence).await
}

/// Writes an export into a file that appears when it is complete, or to standard output.
pub(super) async fn write(export: Export, output: Option<&Path>) -> Result<Written> {
    let Some(path) = output else {
        let name = "standard output";
        return copy(export, &mut tokio::io::stdout(), name).await;
    };
    // A link stays one: what it leads to is written.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    let name = path.display().to_string();
    let unwritable = |error: std::io::Error| {
        Error::internal(format!("{} cannot be written", path.display())).with_source(error)
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(Error::usage(format!(
                "{name} is a folder: give a file's name in it"
            )));
        }
        // A pipe or a device takes the bytes as they come; there is no name that could appear late.
        Ok(found) if !found.is_file() => {
            let mut file = tokio::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .await
                .map_err(unwritable)?;
            return copy(export, &mut file, &name).await;
        }
        _ => {}
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".rowspout-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any newly made file, less the user's umask; a temporary one would be its owner's alone.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(unwritable)?;
    let (file, temporary) = file.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let written = copy(export, &mut file, &name).await?;
    // A name must never stand for bytes that a power cut can take back.
    file.sync_all().await.map_err(unwritable)?;
    temporary
        .persist(path)
        .map_err(|error| unwritable(error.error))?;
    Ok(written)
}

async fn copy(
    mut export: Export,
    to: &mut (impl AsyncWrite + Unpin),
    name: &str,
) -> Result<Written> {
    let unwritable = |error: std::io::Error| {
        Error::internal(format!("{name} cannot be written")).with_source(error)
    };
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg} rows, {bytes} ({bytes_per_sec})")
    {
        bar.set_style(style);
    }
    let mut bytes = 0;
    while let Some(chunk) = export.next_chunk().await? {
        to.write_all(&chunk).await.map_err(unwritable)?;
        bytes += chunk.len() as u64;
        bar.set_position(bytes);
        bar.set_message(export.rows().to_string());
    }
    to.flush().await.map_err(unwritable)?;
    bar.finish_and_clear();
    Ok(Written {
        rows: export.rows(),
        bytes,
    })
}

fn request(args: ExportArgs) -> Result<ExportRequest> {
    let website = WebsiteId::parse(&args.site).ok_or_else(|| {
        Error::usage(format!(
            "--site `{}` is not a website: it is site_ and 1 to 64 of A-Za-z0-9_-",
            args.site
        ))
    })?;
    let extension = args
        .output
        .as_deref()
        .and_then(Path::extension)
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    if let Some(extension) = extension.as_deref()
        && COMPRESSED.contains(&extension)
    {
        return Err(Error::usage(format!(
            "-o names a .{extension} file, but exports are not compressed: leave the ending out, and pipe standard output \
             through a compressor"
        )));
    }
    let extension = extension.filter(|extension| Format::from_name(extension).is_some());
    let pairs = [
        ("start_date", Some(args.start.as_str())),
        ("end_date", Some(args.end.as_str())),
        ("format", args.format.as_deref().or(extension.as_deref())),
        ("timezone", args.timezone.as_deref()),
        ("event_type", args.event_type.as_deref()),
        ("include_bots", args.include_bots.then_some("true")),
    ];
    ExportRequest::from_pairs(
        website,
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))),
    )
}
