//! Batches into the table, each once.

use std::collections::HashSet;

use bytes::Bytes;

use super::batch::{Batch, Layout};
use super::claim::Claim;
use crate::config::Config;
use crate::cursor::failure;
use crate::error::{Error, Result};

/// Inserts the batches of one load.
pub(super) struct Inserter {
    client: clickhouse::Client,
    url: String,
    table: String,
    site: String,
    claim: Claim,
    /// Rows that are in the table for certain, and those among them that an earlier attempt brought in.
    rows: u64,
    there_before: u64,
}

impl Inserter {
    pub(super) fn new(config: &Config, site: &str, claim: Claim) -> Self {
        Self {
            client: config.clickhouse.client(),
            url: config.clickhouse.url.clone(),
            table: config.events_table.clone(),
            site: site.to_owned(),
            claim,
            rows: 0,
            there_before: 0,
        }
    }

    /// Rows of the file that are in the table for certain.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Those of them that were there before this attempt.
    pub(super) fn there_before(&self) -> u64 {
        self.there_before
    }

    /// Inserts a batch, or what is missing of it. Not cancel-safe: the batch may be in the table or not, which the next
    /// attempt finds out.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub(super) async fn insert(&mut self, batch: Batch, layout: &Layout) -> Result<()> {
        let rows = batch.rows();
        let (first, last) = batch.ids();
        let present = if self.claim.begun_before {
            self.present(&batch).await?
        } else {
            HashSet::new()
        };
        let there_before = present.len() as u64;
        if there_before < rows {
            let bytes = if present.is_empty() {
                batch.into_bytes()
            } else {
                batch.into_bytes_without(&present)
            };
            // The same for the same rows, so that an INSERT whose answer was lost, or that a second process sends at the
            // same time, is dropped by ClickHouse.
            let token = format!(
                "rowspout/load/{}/{}/{first}-{last}",
                self.site, self.claim.number
            );
            self.send(layout, &token, bytes).await?;
        }
        self.rows += rows;
        self.there_before += there_before;
        Ok(())
    }

    async fn send(&self, layout: &Layout, token: &str, bytes: Bytes) -> Result<()> {
        let mut insert = self
            .client
            .insert_formatted_with(layout.insert(&self.table))
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token)
            // A file may span any number of months.
            .with_setting("max_partitions_per_insert_block", "0")
            // On a cluster: every shard has its rows when the INSERT ends.
            .with_setting("distributed_foreground_insert", "1");
        let sent = match insert.send(bytes).await {
            Ok(()) => insert.end().await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| self.failed(error))
    }

    /// The batch's event_ids that are in the table.
    async fn present(&self, batch: &Batch) -> Result<HashSet<u64>> {
        let Some((first_ms, last_ms)) = batch.span() else {
            return Ok(HashSet::new());
        };
        let (first, last) = batch.ids();
        let ids = self
            .rows_of("event_id", first, last, (first_ms, last_ms))
            .fetch_all::<u64>()
            .await
            .map_err(|error| self.failed(error))?;
        Ok(ids.into_iter().collect())
    }

    /// Proves that the table holds each of the claimed event_ids once.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(super) async fn verify(&self, rows: u64, span: (i64, i64)) -> Result<()> {
        let first = self.claim.first_id;
        let select = format!("count(), sum(toUInt64(event_id - {first}))");
        let (count, sum) = self
            .rows_of(&select, first, first + (rows - 1), span)
            .fetch_one::<(u64, u64)>()
            .await
            .map_err(|error| self.failed(error))?;
        // 0 + 1 + … + (rows - 1); ClickHouse's sum wraps around as this does.
        let expected = (u128::from(rows) * u128::from(rows - 1) / 2) as u64;
        if (count, sum) == (rows, expected) {
            return Ok(());
        }
        Err(Error::internal(format!(
            "the table holds {count} rows of this load where the file has {rows}: if rows were deleted meanwhile, delete \
             the rest of them and load the file with --again once this load has finished; otherwise repeat the command"
        )))
    }

    /// A query over the load's rows between two event_ids and two instants in milliseconds. The instants let
    /// ClickHouse use the primary key.
    fn rows_of(
        &self,
        select: &str,
        first: u64,
        last: u64,
        (first_ms, last_ms): (i64, i64),
    ) -> clickhouse::query::Query {
        self.client
            .query_raw(&format!(
                "SELECT {select} FROM {} WHERE website_id = {{site:String}} \
                 AND timestamp >= fromUnixTimestamp64Milli({{first_ms:Int64}}, 'UTC') \
                 AND timestamp <= fromUnixTimestamp64Milli({{last_ms:Int64}}, 'UTC') \
                 AND event_id >= {{first:UInt64}} AND event_id <= {{last:UInt64}}",
                self.table
            ))
            .param("site", self.site.as_str())
            .param("first_ms", first_ms)
            .param("last_ms", last_ms)
            .param("first", first)
            .param("last", last)
    }

    fn failed(&self, error: clickhouse::error::Error) -> Error {
        failure::from_clickhouse(error, &self.url)
    }
}
