//! Websites.

use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{Catalog, check_name};
use crate::cursor::WireCompression;
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::Fence;
use crate::request::WebsiteId;

/// A website as it was added.
#[derive(Clone, Debug, PartialEq, Eq, clickhouse::Row, Serialize, Deserialize)]
pub struct Website {
    /// `site_…`.
    pub id: String,
    /// For people.
    pub name: String,
    /// IANA name of the zone that its people live in.
    pub timezone: String,
}

impl Catalog {
    /// Adds a website.
    ///
    /// # Errors
    ///
    /// It exists already, the zone is not an IANA name, or the name holds control characters.
    pub async fn add_website(&self, id: &WebsiteId, name: &str, timezone: &str) -> Result<()> {
        check_name(name)?;
        if timezone.parse::<Tz>().is_err() {
            return Err(Error::usage(format!(
                "--timezone `{timezone}` is not known: use an IANA name such as Europe/Berlin"
            )));
        }
        if self.website(id).await?.is_some() {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{id} exists already: choose another id, or load into it as it is"),
            ));
        }
        self.ask(|client| {
            client
                .query_raw("INSERT INTO websites (id, name, timezone) SELECT {id:String}, {name:String}, {timezone:String}")
                .param("id", id.as_str())
                .param("name", name)
                .param("timezone", timezone)
                .execute()
        })
        .await
    }

    /// A website, if it exists.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn website(&self, id: &WebsiteId) -> Result<Option<Website>> {
        self.ask(|client| {
            client
                .query_raw("SELECT id, name, timezone FROM websites FINAL WHERE id = {id:String}")
                .param("id", id.as_str())
                .fetch_optional::<Website>()
        })
        .await
    }

    /// All websites by id.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn list_websites(&self) -> Result<Vec<Website>> {
        self.ask(|client| async move {
            client
                .query_raw("SELECT id, name, timezone FROM websites FINAL ORDER BY id")
                .fetch_all::<Website>()
                .await
        })
        .await
    }

    /// At most so many of these websites by id, as far as they exist; none of them means all.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn opened_websites(&self, sites: &[String], most: u64) -> Result<Vec<Website>> {
        self.ask(|client| {
            let query = client
                .query_raw(
                    "SELECT id, name, timezone FROM websites FINAL \
                     WHERE empty({sites:Array(String)}) OR has({sites:Array(String)}, id) ORDER BY id LIMIT {most:UInt64}",
                )
                .param("sites", sites)
                .param("most", most);
            async move { query.fetch_all::<Website>().await }
        })
        .await
    }

    /// The moment that an export of this website begins, by ClickHouse's clock. It decides which rows are exported, so it comes
    /// as they do: behind a checksum where the settings have one. Rows are visible `settle` after their insert began.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] where there is no such website.
    pub async fn fence(
        &self,
        id: &WebsiteId,
        compression: WireCompression,
        settle: Duration,
    ) -> Result<Fence> {
        let answer = self.ask(|client| {
            compression
                .asked_by(client)
                .query_raw(
                    "SELECT toUnixTimestamp64Milli(now64(3)), count() FROM websites WHERE id = {id:String}",
                )
                .param("id", id.as_str())
                // One row; all are asked for so that the answer is read to its checksum.
                .fetch_all::<(i64, u64)>()
        });
        let answer = answer.await?;
        let [(now, known)] = answer[..] else {
            return Err(Error::internal("ClickHouse did not tell the time"));
        };
        if known == 0 {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no website {id}: add it with `rowspout site add {id} --name NAME`"
                ),
            ));
        }
        let settle_ms = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
        Ok(Fence::settling(now, settle_ms))
    }
}
