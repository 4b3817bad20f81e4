//! `load`: files into the table.

mod parquet;
mod refused;
mod repeated;
mod taken;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rowspout::config::Config;
use rowspout::error::Error;
use rowspout::load::{LoadRequest, Loaded};
use rowspout::request::WebsiteId;

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, database};
use crate::support::service;

/// A database with a website `site_a`, and a folder for files.
struct Bench {
    database: TestDatabase,
    config: Config,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let database = database().await;
        insert::website(&database, "site_a").await;
        Self {
            config: service::config(&database.config),
            database,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn request(&self, file: PathBuf) -> LoadRequest {
        LoadRequest {
            file,
            site: WebsiteId::parse("site_a").expect("an id"),
            format: None,
            again: false,
        }
    }

    /// Runs the command, past the library.
    fn command(&self, file: &Path, site: &str) -> Command {
        let mut command = rowspout(&self.database.config);
        command
            .arg("load")
            .arg(file)
            .args(["--site", site])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn load(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Loaded, Error> {
        let request = self.request(self.file(name, content));
        rowspout::load::load(&self.config, request).await
    }

    async fn execute(&self, sql: &str) {
        let query = self.database.client.query_raw(sql);
        query.execute().await.expect(sql);
    }

    async fn number(&self, sql: &str) -> u64 {
        let query = self.database.client.query_raw(sql);
        query.fetch_one::<u64>().await.expect(sql)
    }

    /// Every row of the table but its website and times of insertion, in the order of an export.
    async fn rows(&self) -> Vec<String> {
        self.database
            .client
            .query_raw(
                "SELECT toString(tuple(* EXCEPT (website_id, event_id, ingested_at))) FROM events \
                 ORDER BY website_id, timestamp, event_id",
            )
            .fetch_all::<String>()
            .await
            .expect("rows")
    }
}
