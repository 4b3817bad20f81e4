//! Rows into the table, and one export's newest row out of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{Entry, LOST_AFTER_HEARTBEATS};
use crate::config::ClickHouse;
use crate::cursor::Replicas;
use crate::error::{Error, Result};
use crate::receipt::{Moment, Receipt, Status};

/// The columns that are written. `heartbeat_at` is ClickHouse's own clock at the INSERT, so that no two machines'
/// clocks are ever compared.
const COLUMNS: &str = "export_id, key_id, website_id, format, timezone, start_date, end_date, window_from, window_to, since, next_since, late_rows, \
    event_type, include_bots, filters, fields, row_limit, status, reason, rows, bytes, sha256, resumes, started_at, finished_at, version";

const NEWEST: &str = "SELECT export_id, key_id, website_id, format, timezone, toString(start_date) AS first_day, \
    toString(end_date) AS last_day, toUnixTimestamp64Milli(window_from) AS from_ms, \
    toUnixTimestamp64Milli(window_to) AS to_ms, since, next_since, late_rows, event_type, include_bots, filters, fields, row_limit, status, reason, rows, bytes, sha256, resumes, \
    toUnixTimestamp64Milli(started_at) AS started_ms, toUnixTimestamp64Milli(finished_at) AS finished_ms, version, \
    toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(heartbeat_at) AS silent_ms \
    FROM export_log WHERE export_id = {id:String} ORDER BY version DESC LIMIT 1";

/// The table, reached by the user that may write it.
#[derive(Clone)]
pub struct ExportLog {
    replicas: Arc<Replicas>,
    /// How long an export may be silent before it is taken for lost.
    lost_after: Duration,
}

/// An export that is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its figures; those of a lost export are its last ones.
    pub receipt: Receipt,
    /// Whose key asked.
    pub key_id: String,
}

#[derive(clickhouse::Row, Deserialize)]
struct Row {
    export_id: String,
    key_id: String,
    website_id: String,
    format: String,
    timezone: String,
    first_day: String,
    last_day: String,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    since: String,
    next_since: String,
    late_rows: u64,
    event_type: String,
    include_bots: bool,
    filters: Vec<String>,
    fields: Vec<String>,
    row_limit: u64,
    status: String,
    reason: String,
    rows: u64,
    bytes: u64,
    sha256: String,
    resumes: u32,
    started_ms: i64,
    finished_ms: i64,
    #[allow(dead_code)] // what the rows are ordered by
    version: u32,
    silent_ms: i64,
}

impl ExportLog {
    /// The log of a database, whose exports give a sign of life every `heartbeat`. A replica that failed is left alone for
    /// `replica_pause`. Sends nothing.
    pub fn new(clickhouse: &ClickHouse, heartbeat: Duration, replica_pause: Duration) -> Self {
        Self {
            replicas: Replicas::new(clickhouse, replica_pause),
            lost_after: heartbeat * LOST_AFTER_HEARTBEATS,
        }
    }

    /// Inserts the states as one batch. Written twice, they are the same rows.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached, or the user may not write the table, or the table is an older one.
    pub async fn write(&self, entries: &[Entry]) -> Result<()> {
        let mut rows = String::new();
        for entry in entries {
            // Writing to a String cannot fail.
            let _ = writeln!(rows, "{}", to_json(entry));
        }
        let rows = Bytes::from(rows);
        let sql = format!("INSERT INTO export_log ({COLUMNS}) FORMAT JSONEachRow");
        let written = self.replicas.ask(|client| {
            let mut insert = client.insert_formatted_with(sql.clone());
            let rows = rows.clone();
            async move {
                insert.send(rows).await?;
                insert.end().await
            }
        });
        written.await
    }

    /// The newest state of the export with this id, if there is one.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached, or the user may not read the table, or the table is an older one.
    pub async fn find(&self, id: &str) -> Result<Option<Found>> {
        let row = self.replicas.ask(|client| {
            let query = client.query_raw(NEWEST).param("id", id);
            query.fetch_optional::<Row>()
        });
        let row = row.await?;
        row.map(|row| self.found(row)).transpose()
    }

    fn found(&self, row: Row) -> Result<Found> {
        let since = some(row.since);
        let by_day = row.from_ms.is_none() && since.is_none();
        let mut status = Status::from_name(&row.status).ok_or_else(|| {
            Error::internal("export_log holds a status that does not exist")
                .with_detail(row.status.clone())
        })?;
        let mut reason = some(row.reason);
        let lost_after = i64::try_from(self.lost_after.as_millis()).unwrap_or(i64::MAX);
        if status == Status::Running && row.silent_ms > lost_after {
            status = Status::Aborted;
            reason = Some("lost".to_owned());
        }
        Ok(Found {
            receipt: Receipt {
                export_id: row.export_id,
                status,
                reason,
                website: row.website_id,
                format: row.format,
                timezone: row.timezone,
                start_date: by_day.then_some(row.first_day),
                end_date: by_day.then_some(row.last_day),
                from: row.from_ms.map(Moment),
                to: row.to_ms.map(Moment),
                late_rows: since.is_some().then_some(row.late_rows),
                since,
                next_since: some(row.next_since),
                event_type: some(row.event_type),
                include_bots: row.include_bots,
                filters: row.filters,
                fields: Some(row.fields).filter(|fields| !fields.is_empty()),
                limit: (row.row_limit != 0).then_some(row.row_limit),
                rows: row.rows,
                bytes: row.bytes,
                sha256: some(row.sha256),
                resumes: row.resumes,
                started: Moment(row.started_ms),
                finished: (row.finished_ms != 0).then_some(Moment(row.finished_ms)),
            },
            key_id: row.key_id,
        })
    }
}

/// The table's empty string is what is absent.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn to_json(entry: &Entry) -> serde_json::Value {
    let receipt = &entry.receipt;
    json!({
        "export_id": receipt.export_id,
        "key_id": entry.key_id,
        "website_id": receipt.website,
        "format": receipt.format,
        "timezone": receipt.timezone,
        "start_date": receipt.start_date.clone().unwrap_or_else(|| receipt.from.unwrap_or(Moment(0)).date()),
        "end_date": receipt.end_date.clone().unwrap_or_else(|| receipt.to.map_or(Moment(0), Moment::before).date()),
        "window_from": receipt.from.map(Moment::to_sql),
        "window_to": receipt.to.map(Moment::to_sql),
        "since": receipt.since.as_deref().unwrap_or(""),
        "next_since": receipt.next_since.as_deref().unwrap_or(""),
        "late_rows": receipt.late_rows.unwrap_or(0),
        "event_type": receipt.event_type.as_deref().unwrap_or(""),
        "include_bots": receipt.include_bots,
        "filters": receipt.filters,
        "fields": receipt.fields.as_deref().unwrap_or_default(),
        "row_limit": receipt.limit.unwrap_or(0),
        "status": receipt.status.as_str(),
        "reason": receipt.reason.as_deref().unwrap_or(""),
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        "sha256": receipt.sha256.as_deref().unwrap_or(""),
        "resumes": receipt.resumes,
        "started_at": receipt.started.to_sql(),
        "finished_at": receipt.finished.unwrap_or(Moment(0)).to_sql(),
        "version": entry.version,
    })
}
