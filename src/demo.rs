//! What `rowspout demo` stands on: an engine or the server that was named, tables, traffic and a key.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::engine::install;
use crate::engine::process::{EngineCommand, EngineProcess};
use crate::error::{Error, Result};
use crate::request::{ExportRequest, Format, WebsiteId};
use crate::schema;

/// Events that are made unless told otherwise.
pub const DEFAULT_EVENTS: u64 = 1_000_000;

/// The website of the synthetic traffic.
pub const SITE: &str = "site_demo";

/// The first day of the traffic.
pub const START: &str = "2026-01-01";

/// The last day of the traffic: as many days as one export may have.
pub const END: &str = "2026-03-31";

/// A ClickHouse that holds the demo's traffic.
pub struct Demo {
    /// Settings that point at it.
    pub config: Config,
    /// How many events it holds.
    pub events: u64,
    engine: Option<(EngineProcess, tempfile::TempDir)>,
}

impl Demo {
    /// Starts the embedded engine, unless a ClickHouse was named, and makes tables and traffic.
    ///
    /// # Errors
    ///
    /// The engine cannot be fetched or started, the server cannot be reached, or it holds other traffic already.
    pub async fn prepare(mut config: Config, events: u64) -> Result<Self> {
        let engine = if config.clickhouse_named {
            None
        } else {
            Some(start_engine(&mut config).await?)
        };
        let demo = Self {
            config,
            events,
            engine,
        };
        match demo.fill().await {
            Ok(()) => Ok(demo),
            Err(error) => {
                demo.stop().await;
                Err(error)
            }
        }
    }

    async fn fill(&self) -> Result<()> {
        schema::apply(&self.config.clickhouse).await?;
        let site = site()?;
        let catalog = Catalog::new(&self.config.clickhouse);
        if catalog.website(&site).await?.is_none() {
            catalog
                .add_website(&site, "Synthetic traffic", "UTC")
                .await?;
        }
        let held = schema::count_events(&self.config.clickhouse, &site).await?;
        if held == self.events {
            return Ok(());
        }
        if held > 0 {
            return Err(Error::usage(format!(
                "{SITE} holds {held} events already, not {}: give --events {held}, or name a database without it",
                self.events
            )));
        }
        let begun = std::time::Instant::now();
        schema::make_demo_events(&self.config.clickhouse, &site, self.events).await?;
        eprintln!(
            "made {} events inside ClickHouse in {:.1} s",
            self.events,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// An export of the whole traffic.
    ///
    /// # Errors
    ///
    /// None: the window is a valid one.
    pub fn request(&self, format: Format) -> Result<ExportRequest> {
        let pairs = [
            ("start_date", START),
            ("end_date", END),
            ("format", format.as_str()),
            ("include_bots", "true"),
        ];
        ExportRequest::from_pairs(
            site()?,
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    /// Makes a key that opens the traffic and nothing else.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached.
    pub async fn key(&self) -> Result<String> {
        Catalog::new(&self.config.clickhouse)
            .create_key(&[SITE.to_owned()], "demo")
            .await
    }

    /// Stops the engine and deletes what it held.
    pub async fn stop(self) {
        let Some((engine, folder)) = self.engine else {
            return;
        };
        let stopped = tokio::task::spawn_blocking(move || {
            let stopped = engine.stop();
            // The engine's files go once nobody writes them any more.
            drop(folder);
            stopped
        });
        match stopped.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the engine did not stop by itself"),
            Err(error) => tracing::warn!(%error, "the engine was not stopped"),
        }
    }
}

fn site() -> Result<WebsiteId> {
    WebsiteId::parse(SITE).ok_or_else(|| Error::internal("the demo's website has no valid id"))
}

async fn start_engine(config: &mut Config) -> Result<(EngineProcess, tempfile::TempDir)> {
    let explicit = config.libchdb.clone();
    let (engine, folder) = tokio::task::spawn_blocking(move || {
        let library = install::ensure(explicit.as_deref())?;
        let folder = tempfile::Builder::new()
            .prefix("rowspout-demo-")
            .tempdir()
            .map_err(|error| {
                Error::internal("no temporary folder can be made").with_source(error)
            })?;
        let engine = EngineCommand::this_program(&library, folder.path())?.start()?;
        Ok((engine, folder))
    })
    .await
    .map_err(|error| Error::internal("the engine was not started").with_source(error))??;
    config.clickhouse = engine.clickhouse(&config.clickhouse.database);
    Ok((engine, folder))
}
