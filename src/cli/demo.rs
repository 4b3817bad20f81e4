//! `rowspout demo`: everything on one machine, nothing to install.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::print;
use super::serve::{listen, url};
use crate::config::{Config, Layer};
use crate::demo::{self, Demo};
use crate::error::{Error, Result};
use crate::export::ExportId;
use crate::request::{Asked, Format};
use crate::serve::{self, Service};
use crate::shutdown::{second_signal, shutdown_signal};

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Address and port of the service [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// How many events to make
    #[arg(long, value_name = "N", default_value_t = demo::DEFAULT_EVENTS)]
    events: u64,
    /// Write one complete file of each format into DIR and exit
    #[arg(long, value_name = "DIR")]
    once: Option<PathBuf>,
}

impl DemoArgs {
    /// The flags as settings.
    pub(super) fn settings(&self) -> Layer {
        Layer {
            listen: self.listen.clone(),
            ..Layer::default()
        }
    }
}

pub(super) async fn run(args: DemoArgs, config: Config) -> Result<()> {
    let interrupted = || Error::internal("the demo was interrupted");
    let demo = tokio::select! {
        demo = Demo::prepare(config, args.events) => demo?,
        () = shutdown_signal() => return Err(interrupted()),
    };
    let result = match &args.once {
        Some(folder) => tokio::select! {
            result = once(&demo, folder) => result,
            () = shutdown_signal() => Err(interrupted()),
        },
        None => serve(&demo).await,
    };
    demo.stop().await;
    result
}

/// Writes a file of each format and says what it took.
async fn once(demo: &Demo, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::usage(format!("the folder {} cannot be made", folder.display())).with_source(error)
    })?;
    print(format_args!(
        "{:<8} {:>12} {:>14} {:>9} {:>12}",
        "format", "rows", "bytes", "seconds", "rows/s"
    ))?;
    for format in Format::ALL {
        let request = demo.request(format)?;
        let path = folder.join(request.file_name());
        let begun = Instant::now();
        let asked = Asked::Window(request);
        let (_, export) = super::export::begin(&demo.config, ExportId::random()?, asked).await?;
        let written = super::export::write(export, Some(&path), None).await?;
        let seconds = begun.elapsed().as_secs_f64();
        print(format_args!(
            "{:<8} {:>12} {:>14} {seconds:>9.2} {:>12.0}",
            format.as_str(),
            written.rows,
            written.bytes,
            written.rows as f64 / seconds
        ))?;
    }
    eprintln!("the files are in {}", folder.display());
    Ok(())
}

/// Serves the events and prints how to get them.
async fn serve(demo: &Demo) -> Result<()> {
    let listener = listen(&demo.config).await?;
    let address = listener.local_addr().unwrap_or(demo.config.listen);
    let url = url(&demo.config, address);
    let key = demo.key().await?;
    print(format_args!(
        "Rowspout serves {} events of {} at {url}",
        demo.events,
        demo::SITE
    ))?;
    print(format_args!("key: {key}"))?;
    if demo.config.page {
        print(format_args!("page: {url}/"))?;
    }
    for format in Format::ALL {
        print(format_args!("\n# {format}"))?;
        print(format_args!(
            "curl --fail --remove-on-error -o {} -H 'Authorization: Bearer {key}' \\\n  \
             '{url}/api/websites/{}/export?start_date={}&end_date={}&format={format}'",
            demo.request(format)?.file_name(),
            demo::SITE,
            demo::START,
            demo::END
        ))?;
    }
    print(format_args!("\nCtrl-C ends it."))?;
    serve::run(
        Service::new(demo.config.clone())?,
        listener,
        shutdown_signal(),
        second_signal(),
    )
    .await
}
