//! Cursors over the replicas of a ClickHouse, read with the official client.

use std::sync::Arc;
use std::time::Duration;

use clickhouse::query::Query;
use tokio::sync::Semaphore;

use super::WireCompression;
use super::kill::Kill;
use super::patience::Patience;
use super::replicas::{Replica, Replicas};
use super::{RowCursor, failure};
use crate::config::Config;
use crate::decode::Wire;
use crate::error::Result;
use crate::pushdown::{self, Fence, Form, Range, Statement, Value};
use crate::request::ExportRequest;

/// The ClickHouse that exports are read from, with the limits that each query runs under.
#[derive(Clone)]
pub struct Server {
    pub(super) replicas: Arc<Replicas>,
    pub(super) table: Arc<str>,
    pub(super) database: Arc<str>,
    compression: WireCompression,
    /// How rows travel.
    pub(super) wire: Wire,
    /// Whether a cursor may be left before its end: what comes compressed with zstd has its checksum there.
    pub(super) divides: bool,
    /// Most cursors that one export has open at once.
    pub(super) parallel: usize,
    /// Cursors that all exports together may have open beyond the one that each of them reads from.
    pub(super) extra: Arc<Semaphore>,
    /// How long a replica may send nothing.
    pub(super) silence: Duration,
    patience: Patience,
    max_query: Duration,
    max_query_bytes: u64,
}

/// How much longer than ClickHouse's own limit an answer is waited for.
const SLACK: Duration = Duration::from_secs(30);

/// How a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// The form of the rows.
    pub form: Form,
    /// How many bytes, or one chunk, are read ahead at most.
    pub room: usize,
}

/// What the server counts under an export's own predicate, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clickhouse::Row, serde::Deserialize)]
pub struct Proof {
    /// Settled rows up to the last key.
    pub settled: u64,
    /// All rows up to the last key.
    pub up_to: u64,
    /// Rows that have the last key itself.
    pub at: u64,
    /// Rows behind the last key.
    pub behind: u64,
}

impl Server {
    /// The replicas, table and limits of the settings. Sends nothing.
    pub fn new(config: &Config) -> Self {
        Self {
            replicas: Replicas::new(&config.clickhouse, config.replica_pause),
            table: config.events_table.as_str().into(),
            database: config.clickhouse.database.as_str().into(),
            compression: config.wire_compression,
            wire: config.wire,
            divides: config.parallel > 1 || config.wire_compression != WireCompression::Zstd,
            parallel: config.parallel,
            extra: Arc::new(Semaphore::new(config.parallel - 1)),
            silence: config.silence,
            patience: Patience::new(config),
            max_query: config.max_query,
            max_query_bytes: config.max_query_bytes,
        }
    }

    /// Longest time that one query may take.
    pub fn max_query(&self) -> Duration {
        self.max_query
    }

    /// How often and how long an export is taken up again.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// The replicas, for whoever else asks them.
    pub fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    /// How long a query is waited for.
    pub(super) fn longest(&self) -> Duration {
        self.max_query + SLACK
    }

    /// Opens a cursor over a range of the request's rows, read as `how` says. The replica is one that [`Server::choose`] or
    /// [`Server::settled_rows`] has looked at: a table of other types would be read wrongly.
    ///
    /// # Errors
    ///
    /// None that depends on the server: those come with the first chunk.
    pub fn rows(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        range: Range,
        how: How,
        query_id: String,
    ) -> Result<RowCursor> {
        let How { form, room } = how;
        let types = replica.text_types();
        let statement = pushdown::rows(request, &self.table, fence, range, form, types);
        let query = self.query(replica, statement, &query_id);
        let cursor = query
            .fetch_bytes(wire(form).format())
            .map_err(|error| failure::of_events(error, replica.url()))?;
        let kill = Kill::new(replica.clone(), query_id);
        let (silence, longest) = (self.silence, self.longest());
        Ok(RowCursor::open(
            cursor,
            room,
            kill,
            replica.clone(),
            silence,
            longest,
        ))
    }

    /// Counts what should have been delivered of a range.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn proof(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        range: Range,
        query_id: &str,
    ) -> Result<Proof> {
        let statement = pushdown::proof(request, &self.table, fence, range);
        let proof = self.query(replica, statement, query_id);
        let mut kill = Kill::new(replica.clone(), query_id.to_owned());
        // Nothing of an answer comes before it is whole.
        let proof = failure::within(self.silence, proof.fetch_one::<Proof>())
            .await
            .map_err(|error| failure::of_events(error, replica.url()))?;
        kill.disarm();
        Ok(proof)
    }

    /// A query under the limits that every export runs under.
    pub(super) fn query(&self, replica: &Replica, statement: Statement, query_id: &str) -> Query {
        let mut query = self
            .compression
            .asked_by(replica.client.clone())
            .query_raw(&statement.text)
            .with_setting("readonly", "2")
            .with_setting("query_id", query_id)
            // As the id, but known to the shards of a cluster and in the embedded engine too.
            .with_setting("log_comment", query_id)
            .with_setting("max_execution_time", self.max_query.as_secs().to_string())
            .with_setting("cancel_http_readonly_queries_on_client_close", "1")
            .with_setting("max_memory_usage", self.max_query_bytes.to_string());
        for (name, value) in &statement.parameters {
            query = match value {
                Value::Int(value) => query.param(name, value),
                Value::Unsigned(value) => query.param(name, value),
                Value::Text(value) => query.param(name, value.as_str()),
            };
        }
        query
    }
}

/// The wire that rows of a form travel on.
pub(super) fn wire(form: Form) -> Wire {
    match form {
        Form::Packed(_) | Form::Hex => Wire::RowBinary,
        Form::Columns(_) => Wire::Native,
    }
}
