//! Cursors over a ClickHouse server, read with the official client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clickhouse::query::{BytesCursor, Query};
use tokio::sync::{OnceCell, mpsc};

use super::{ByteSource, failure};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::pushdown::{self, Fence, Key, Statement, TextForm, Value};
use crate::request::ExportRequest;

/// A ClickHouse that exports are read from, with the limits that each query runs under.
#[derive(Clone)]
pub struct Server {
    pub(super) client: clickhouse::Client,
    pub(super) url: Arc<str>,
    pub(super) table: Arc<str>,
    pub(super) database: Arc<str>,
    /// The text columns that may hold NULL, once the table was looked at.
    pub(super) nullable: Arc<OnceCell<Vec<&'static str>>>,
    max_query: Duration,
    max_query_bytes: u64,
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
    /// The server, table and limits of the settings.
    pub fn new(config: &Config) -> Self {
        Self {
            client: config.clickhouse.client(),
            url: config.clickhouse.url.as_str().into(),
            table: config.events_table.as_str().into(),
            database: config.clickhouse.database.as_str().into(),
            nullable: Arc::default(),
            max_query: config.max_query,
            max_query_bytes: config.max_query_bytes,
        }
    }

    /// Longest time that one query may take.
    pub fn max_query(&self) -> Duration {
        self.max_query
    }

    /// Opens a cursor over the request's rows, from behind `last` on where one is given. [`Server::check_table`] comes first:
    /// a table of other types would be read wrongly.
    ///
    /// # Errors
    ///
    /// None that depends on the server: those come with the first chunk.
    pub fn rows(
        &self,
        request: &ExportRequest,
        fence: Fence,
        last: Option<Key>,
        form: TextForm,
        query_id: String,
    ) -> Result<RowCursor> {
        let nullable = self.nullable.get().map_or(&[] as &[_], Vec::as_slice);
        let statement = pushdown::rows(request, &self.table, fence, last, form, nullable);
        let query = self
            .query(statement, &query_id)
            .with_setting("cancel_http_readonly_queries_on_client_close", "1");
        let cursor = query
            .fetch_bytes("RowBinary")
            .map_err(|error| failure::from_clickhouse(error, &self.url))?;
        let (sender, chunks) = mpsc::channel(READ_AHEAD_CHUNKS);
        tokio::spawn(read_ahead(cursor, sender));
        Ok(RowCursor {
            chunks,
            kill: Kill {
                client: self.client.clone(),
                query_id,
                armed: true,
            },
            url: self.url.clone(),
            opened: Instant::now(),
            deadline: Instant::now() + self.max_query + SLACK,
        })
    }

    /// Counts what the export should have delivered.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn proof(
        &self,
        request: &ExportRequest,
        fence: Fence,
        last: Option<Key>,
        query_id: &str,
    ) -> Result<Proof> {
        let statement = pushdown::proof(request, &self.table, fence, last);
        let proof = self.query(statement, query_id).fetch_one::<Proof>();
        tokio::time::timeout(self.max_query + SLACK, proof)
            .await
            .map_err(|_| failure::too_long())?
            .map_err(|error| failure::from_clickhouse(error, &self.url))
    }

    /// A query under the limits that every export runs under.
    fn query(&self, statement: Statement, query_id: &str) -> Query {
        let mut query = self
            .client
            .query_raw(&statement.text)
            .with_setting("readonly", "2")
            .with_setting("query_id", query_id)
            .with_setting("max_execution_time", self.max_query.as_secs().to_string())
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

/// The bytes of one query's rows. Dropped before its end, it kills the query.
pub struct RowCursor {
    /// What a task of its own reads ahead; only that task's word is the end.
    chunks: mpsc::Receiver<Read>,
    kill: Kill,
    url: Arc<str>,
    opened: Instant,
    /// When a server that ends nothing by itself is given up.
    deadline: Instant,
}

/// How much longer than ClickHouse's own limit an answer is waited for.
const SLACK: Duration = Duration::from_secs(30);

/// Chunks that are read ahead while the last one is encoded. The client's chunks are at most 400 KiB.
const READ_AHEAD_CHUNKS: usize = 4;

/// A chunk, `None` at the end, or what ended the stream before it.
type Read = Result<Option<Bytes>, clickhouse::error::Error>;

impl RowCursor {
    /// How long ago the cursor was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

impl ByteSource for RowCursor {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = tokio::time::timeout_at(self.deadline.into(), self.chunks.recv())
            .await
            .map_err(|_| failure::too_long())?;
        match chunk {
            Some(Ok(Some(chunk))) => Ok(Some(chunk)),
            Some(Ok(None)) => {
                self.kill.armed = false;
                Ok(None)
            }
            Some(Err(error)) => Err(failure::from_clickhouse(error, &self.url)),
            None => Err(Error::internal("the reading from ClickHouse stopped")),
        }
    }
}

/// Reads until the end, an error, or until nobody wants more.
async fn read_ahead(mut cursor: BytesCursor, chunks: mpsc::Sender<Read>) {
    loop {
        let chunk = tokio::select! {
            chunk = cursor.next() => chunk,
            () = chunks.closed() => return,
        };
        let last = !matches!(chunk, Ok(Some(_)));
        if chunks.send(chunk).await.is_err() || last {
            return;
        }
    }
}

/// Kills a query when dropped while armed: a closed connection alone does not stop one that still sorts.
struct Kill {
    client: clickhouse::Client,
    query_id: String,
    armed: bool,
}

impl Drop for Kill {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let kill = self
            .client
            .query_raw("KILL QUERY WHERE query_id = {query_id:String} ASYNC")
            .param("query_id", self.query_id.as_str());
        let query_id = std::mem::take(&mut self.query_id);
        runtime.spawn(async move {
            if let Err(error) = kill.execute().await {
                tracing::warn!(query_id, %error, "the query could not be killed");
            }
        });
    }
}
