//! The engine, and the same events in merged and in overlapping parts.

use std::process::Command;
use std::time::Duration;

use rowspout::catalog::Catalog;
use rowspout::config::{ClickHouse, Config, Layer};
use rowspout::demo;
use rowspout::engine::install;
use rowspout::engine::process::{EngineCommand, EngineProcess};
use rowspout::request::WebsiteId;
use rowspout::schema;

use super::measure;

/// How long after a query's end a server has counted its CPU.
const COUNTED_AFTER: Duration = Duration::from_millis(200);

/// A website of one event.
pub(crate) const SITE_OF_ONE: &str = "site_one";

/// How the events lie in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    /// One part a month: nothing to merge while reading in order.
    Merged,
    /// Three parts a month, each with every third event: rows are merged while reading.
    Overlapping,
}

impl Tables {
    pub(crate) const ALL: [Self; 2] = [Self::Merged, Self::Overlapping];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Overlapping => "overlapping",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tables| tables.as_str() == name)
    }

    /// The database that holds them.
    pub(crate) fn database(self) -> String {
        format!("versus_{}", self.as_str())
    }
}

/// When the events came, by their `ingested_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// As what is being collected does: an insert may still add to them, so an export counts them once more at its end.
    JustNow,
    /// As nearly all of what is exported did.
    AnHourAgo,
}

impl Came {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::JustNow => "just now",
            Self::AnHourAgo => "an hour ago",
        }
    }
}

/// A ClickHouse with the events.
pub(crate) struct TestBed {
    pub(crate) clickhouse: ClickHouse,
    engine: Option<(EngineProcess, tempfile::TempDir)>,
}

impl TestBed {
    /// Starts the embedded engine, unless a ClickHouse is named in the environment, and fills the tables.
    pub(crate) async fn prepare(events: u64, tables: &[Tables], came: Came) -> Self {
        let environment = Layer::from_environment().expect("settings");
        let config =
            Config::resolve(Layer::default(), environment, Layer::default()).expect("settings");
        let mut bed = if config.clickhouse_named {
            Self {
                clickhouse: config.clickhouse,
                engine: None,
            }
        } else {
            let folder = tempfile::tempdir().expect("a folder");
            let command = EngineCommand {
                program: programs_executable().into(),
                libchdb: install::ensure(config.libchdb.as_deref()).expect("libchdb"),
                path: folder.path().into(),
                arguments: Vec::new(),
            };
            let engine = command.start().expect("the engine");
            Self {
                clickhouse: engine.clickhouse("default"),
                engine: Some((engine, folder)),
            }
        };
        // The overlapping parts are made from the merged ones.
        for wanted in [Tables::Merged, Tables::Overlapping] {
            if wanted == Tables::Merged || tables.contains(&wanted) {
                bed.fill(wanted, events, came).await;
            }
        }
        bed
    }

    async fn fill(&mut self, tables: Tables, events: u64, came: Came) {
        let mut clickhouse = self.clickhouse.clone();
        let database = tables.database();
        let client = clickhouse.client();
        let run = async |sql: String| client.query_raw(&sql).execute().await.expect("a statement");
        run(format!("DROP DATABASE IF EXISTS {database}")).await;
        clickhouse.database = database.clone();
        schema::apply(&clickhouse).await.expect("tables");
        let site = WebsiteId::parse(demo::SITE).expect("an id");
        Catalog::new(&clickhouse)
            .add_website(&site, "Synthetic traffic", "UTC")
            .await
            .expect("a website");
        let default = match came {
            Came::JustNow => "now64(3)",
            Came::AnHourAgo => "now64(3) - INTERVAL 1 HOUR",
        };
        run(format!(
            "ALTER TABLE {database}.events MODIFY COLUMN ingested_at DEFAULT {default}"
        ))
        .await;
        match tables {
            Tables::Merged => {
                schema::make_demo_events(&clickhouse, &site, events)
                    .await
                    .expect("events");
                run(format!("OPTIMIZE TABLE {database}.events FINAL")).await;
            }
            Tables::Overlapping => {
                run(format!("SYSTEM STOP MERGES {database}.events")).await;
                let merged = Tables::Merged.database();
                for third in 0..3 {
                    run(format!(
                        "INSERT INTO {database}.events SELECT * FROM {merged}.events WHERE event_id % 3 = {third} \
                         ORDER BY timestamp SETTINGS max_insert_threads = 1, min_insert_block_size_rows = 100000000, \
                         min_insert_block_size_bytes = 0, max_block_size = 100000000"
                    ))
                    .await;
                }
            }
        }
        let parts = client
            .query_raw("SELECT count() FROM system.parts WHERE database = {database:String} AND table = 'events' AND active")
            .param("database", database.as_str())
            .fetch_one::<u64>()
            .await
            .expect("a count");
        eprintln!("{events} events in {parts} {} parts", tables.as_str());
    }

    /// Adds [`SITE_OF_ONE`] to the merged tables.
    pub(crate) async fn add_site_of_one(&self) {
        let mut clickhouse = self.clickhouse.clone();
        clickhouse.database = Tables::Merged.database();
        let site = WebsiteId::parse(SITE_OF_ONE).expect("an id");
        Catalog::new(&clickhouse)
            .add_website(&site, "One event", "UTC")
            .await
            .expect("a website");
        clickhouse
            .client()
            .query_raw(&format!(
                "INSERT INTO events SELECT * REPLACE ('{SITE_OF_ONE}' AS website_id) FROM events \
                 WHERE website_id = '{}' LIMIT 1",
                demo::SITE
            ))
            .execute()
            .await
            .expect("an event");
    }

    /// The engine's process, if it is ours.
    pub(crate) fn engine_pid(&self) -> Option<u32> {
        self.engine.as_ref().map(|(engine, _)| engine.id())
    }

    /// Seconds of CPU that the engine took so far: a server counts them itself, for all of its queries, and tells whoever may
    /// read `system.events`.
    pub(crate) fn engine_cpu(&self) -> Option<f64> {
        if let Some(pid) = self.engine_pid() {
            return Some(measure::cpu_seconds(pid));
        }
        // A thread's time is counted when it is done with its query, which is a little later than the client is.
        std::thread::sleep(COUNTED_AFTER);
        let counted = self.clickhouse.client();
        let counted = counted
            .query_raw(
                "SELECT value FROM system.events WHERE event = 'OSCPUVirtualTimeMicroseconds'",
            )
            .fetch_optional::<u64>();
        let runtime = tokio::runtime::Handle::current();
        let counted = tokio::task::block_in_place(|| runtime.block_on(counted));
        Some(counted.ok()?? as f64 / 1e6)
    }

    pub(crate) fn stop(self) {
        if let Some((engine, _folder)) = self.engine {
            let _ = engine.stop();
        }
    }
}

/// The binary under test.
pub(crate) fn programs_executable() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_rowspout"))
}

/// Points a program at the tables.
pub(crate) fn environment(command: &mut Command, clickhouse: &ClickHouse, tables: Tables) {
    command
        .env("ROWSPOUT_CLICKHOUSE_URL", &clickhouse.url)
        .env("ROWSPOUT_CLICKHOUSE_DATABASE", tables.database());
    if let Some(user) = &clickhouse.user {
        command.env("ROWSPOUT_CLICKHOUSE_USER", user);
    }
    if let Some(password) = &clickhouse.password {
        command.env("ROWSPOUT_CLICKHOUSE_PASSWORD", password);
    }
}
