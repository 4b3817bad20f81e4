//! Which file has which event_ids of a website, as the table `loads` holds it.
//!
//! ClickHouse has no transactions. What makes a claim one load's alone is the deduplication token of its row: of
//! two rows for the same website and number, ClickHouse keeps the first and drops the second without a word.
//! So a claim is inserted and then read back, and whoever finds another file there takes the next number.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::cursor::failure;
use crate::error::{Error, ErrorKind, Result};

/// The first event_id that a load gives in a website: above what people number by hand, far below ClickHouse's
/// snowflakes, so that loaded events and collected ones never have the same.
pub(super) const FIRST_ID: u64 = 1 << 40;

/// How often a claim that others were faster with is tried again.
const TRIES: usize = 50;

/// Time between two tries: a replica may hear late of a row that another one took.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A load's row in `loads`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Counts the loads of the website from 1.
    pub(super) number: u32,
    /// `event_id` of the file's first row.
    pub(super) first_id: u64,
    /// Whether an earlier attempt may have brought rows in.
    pub(super) begun_before: bool,
    row: LoadRow,
}

impl Claim {
    fn of(row: LoadRow, begun_before: bool) -> Self {
        Self {
            number: row.number,
            first_id: row.first_id,
            begun_before,
            row,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, clickhouse::Row, Serialize, Deserialize)]
struct LoadRow {
    website_id: String,
    number: u32,
    sha256: String,
    file: String,
    first_id: u64,
    rows: u64,
    /// In UTC, as ClickHouse writes it.
    started_at: String,
    /// The same; [`UNFINISHED`] until all rows are there.
    finished_at: String,
}

/// `finished_at` of a load that is not finished.
const UNFINISHED: &str = "1970-01-01 00:00:00.000";

impl LoadRow {
    fn is_finished(&self) -> bool {
        self.finished_at != UNFINISHED
    }
}

/// The loads of one website.
pub(super) struct Claims {
    client: clickhouse::Client,
    url: String,
    site: String,
}

impl Claims {
    pub(super) fn new(config: &Config, site: &str) -> Self {
        Self {
            client: config.clickhouse.client(),
            url: config.clickhouse.url.clone(),
            site: site.to_owned(),
        }
    }

    /// Claims event_ids for a file, or finds those that an unfinished load of it has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Data`] where the file was loaded before and `again` is not wanted.
    pub(super) async fn claim(
        &self,
        sha256: &str,
        file: &str,
        rows: u64,
        again: bool,
    ) -> Result<Claim> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let loads = self.list().await?;
            let same = |load: &&LoadRow| load.sha256 == sha256;
            if let Some(load) = loads.iter().filter(same).find(|load| !load.is_finished()) {
                if load.rows != rows {
                    // Its event_ids would not fit: the same bytes were read as another format, or by another version.
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!(
                            "an unfinished load of this file found {} rows in it, this one {rows}: give the same --format",
                            load.rows
                        ),
                    ));
                }
                return Ok(Claim::of(load.clone(), true));
            }
            if let Some(load) = loads.iter().rfind(same)
                && !again
            {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "the file was loaded into {} at {}Z as {}: its {} rows would come twice; --again loads them as \
                         new events",
                        self.site, load.finished_at, load.file, load.rows
                    ),
                ));
            }
            if attempt == 0 {
                self.warn_of_unfinished(&loads);
            }
            let number = loads.last().map_or(0, |load| load.number) + 1;
            let first_id = loads
                .iter()
                .map(|load| load.first_id.saturating_add(load.rows))
                .max()
                .unwrap_or(FIRST_ID);
            let token = format!("rowspout/loads/{}/{number}", self.site);
            let row = LoadRow {
                website_id: self.site.clone(),
                number,
                sha256: sha256.to_owned(),
                file: file.to_owned(),
                first_id,
                rows,
                started_at: self.now().await?,
                finished_at: UNFINISHED.to_owned(),
            };
            self.insert(&row, Some(&token)).await?;
            let kept = self.list().await?;
            if kept.contains(&row) {
                return Ok(Claim::of(row, false));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "other loads into {} were always faster: try again",
                self.site
            ),
        ))
    }

    /// Notes that all rows are there.
    pub(super) async fn finish(&self, claim: &Claim) -> Result<()> {
        let mut row = claim.row.clone();
        row.finished_at = self.now().await?;
        self.insert(&row, None).await
    }

    /// All loads of the website by their numbers.
    async fn list(&self) -> Result<Vec<LoadRow>> {
        self.client
            .query_raw(
                "SELECT website_id, number, any(loads.sha256) AS sha256, any(loads.file) AS file, \
                 any(loads.first_id) AS first_id, any(loads.rows) AS rows, \
                 toString(min(loads.started_at)) AS started_at, toString(max(loads.finished_at)) AS finished_at \
                 FROM loads WHERE website_id = {site:String} GROUP BY website_id, number ORDER BY number",
            )
            .param("site", self.site.as_str())
            .fetch_all::<LoadRow>()
            .await
            .map_err(|error| self.failed(error))
    }

    /// Inserts a row, unless one with this token was inserted before.
    async fn insert(&self, row: &LoadRow, token: Option<&str>) -> Result<()> {
        let json = serde_json::to_vec(row)
            .map_err(|error| Error::internal("a load cannot be written down").with_source(error))?;
        let mut insert = self
            .client
            .insert_formatted_with(
                "INSERT INTO loads (website_id, number, sha256, file, first_id, rows, started_at, finished_at) \
                 FORMAT JSONEachRow",
            )
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1");
        if let Some(token) = token {
            insert = insert.with_setting("insert_deduplication_token", token);
        }
        let sent = match insert.send(json.into()).await {
            Ok(()) => insert.end().await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| self.failed(error))
    }

    /// The server's clock.
    async fn now(&self) -> Result<String> {
        self.client
            .query_raw("SELECT toString(now64(3, 'UTC'))")
            .fetch_one::<String>()
            .await
            .map_err(|error| self.failed(error))
    }

    /// Rows of a load that broke off are in the table: whoever loads a corrected file should know.
    fn warn_of_unfinished(&self, loads: &[LoadRow]) {
        for load in loads.iter().filter(|load| !load.is_finished()) {
            tracing::warn!(
                file = load.file,
                started = load.started_at,
                "another load into {} has not finished: if it broke off, some of its rows are in the table; \
                 loading the same file again completes them",
                self.site
            );
        }
    }

    fn failed(&self, error: clickhouse::error::Error) -> Error {
        failure::from_clickhouse(error, &self.url)
    }
}
