//! Receipts: what an export was, how much of it there was, and the hash by which its file is known again.
//!
//! One form everywhere: what `GET /api/exports/{export_id}` answers, what `rowspout export --receipt` writes, what
//! `rowspout verify` reads and what the table `export_log` holds.

mod digest;
mod moment;
mod verify;

pub use digest::{BodyDigest, SMALL_BODY_BYTES, Sha256Hex};
pub use moment::Moment;
pub use verify::verify;
pub(crate) use verify::{count_rows, hash};

use std::num::NonZeroU64;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::export::ExportId;
use crate::request::{ExportRequest, Filter};

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its bytes are under way; the figures are those of the last look.
    Running,
    /// Its end was proved and its last byte handed to the client's connection, or to the file.
    Complete,
    /// It ended before that; what the client holds is no file.
    Aborted,
}

impl Status {
    /// The name in JSON and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Aborted => "aborted",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Complete, Self::Aborted]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// An export and its figures. Holds no visitor's data and no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The response's `X-Export-Id`.
    pub export_id: String,
    /// How far it has come.
    pub status: Status,
    /// Why it was aborted: an error's code, `cancelled`, `client_left`, `client_stalled`, `shutdown` or `lost`.
    pub reason: Option<String>,
    /// Whose events, `site_…`.
    pub website: String,
    /// `csv`, `json`, `ndjson`, `parquet` or `arrow`.
    pub format: String,
    /// IANA name of the zone of days and timestamps.
    pub timezone: String,
    /// The first day, `YYYY-MM-DD`; absent where instants or arrivals were asked for.
    pub start_date: Option<String>,
    /// The last day, included; likewise.
    pub end_date: Option<String>,
    /// The first instant; absent where days or arrivals were asked for.
    pub from: Option<Moment>,
    /// The first instant outside; likewise.
    pub to: Option<Moment>,
    /// Where an export by arrival began, a watermark or `beginning`; absent where days or instants were asked for.
    #[serde(default)]
    pub since: Option<String>,
    /// The watermark that the next one goes on from.
    #[serde(default)]
    pub next_since: Option<String>,
    /// Rows that earlier exports by arrival have left out, as they became visible too late.
    #[serde(default)]
    pub late_rows: Option<u64>,
    /// `pageview` or `event`; absent means both.
    pub event_type: Option<String>,
    /// Whether events of bots are in it.
    pub include_bots: bool,
    /// The names of its filters, without their values, which may be a visitor's: rows that they left out are not in it.
    #[serde(default)]
    pub filters: Vec<String>,
    /// The columns that were asked for, in their order; absent means all.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// Most rows that were asked for; where there are so many, the file is only the beginning.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Rows of the body.
    pub rows: u64,
    /// Bytes of the body, before any Content-Encoding.
    pub bytes: u64,
    /// SHA-256 of those bytes, 64 lower-case hexadecimal digits; only of a complete export.
    pub sha256: Option<String>,
    /// How often its reading from ClickHouse was taken up again behind the last row.
    pub resumes: u32,
    /// When the request came.
    pub started: Moment,
    /// When it ended; absent while it runs, and where its instance was lost.
    pub finished: Option<Moment>,
}

impl Receipt {
    /// How many rows it was limited to, where there are so many.
    pub fn limited(&self) -> Option<u64> {
        self.limit.filter(|limit| self.rows >= *limit)
    }

    /// The receipt of an export that begins now.
    pub fn begin(id: &ExportId, request: &ExportRequest) -> Self {
        let window = &request.window;
        let arrived = request.arrived.as_ref();
        let by_day = window.instants.is_none() && arrived.is_none();
        let day = |day: NaiveDate| by_day.then(|| day.to_string());
        Self {
            export_id: id.to_string(),
            status: Status::Running,
            reason: None,
            website: request.website.to_string(),
            format: request.format.to_string(),
            timezone: window.zone.name().to_owned(),
            start_date: day(window.start),
            end_date: day(window.end),
            from: window.instants.map(|instants| Moment(instants.from)),
            to: window.instants.map(|instants| Moment(instants.until)),
            since: arrived.map(|arrived| arrived.since.to_string()),
            next_since: arrived.and_then(|arrived| Some(arrived.next.as_ref()?.to_string())),
            late_rows: arrived.map(|arrived| arrived.late_rows),
            event_type: request.event_type.map(|kind| kind.as_str().to_owned()),
            include_bots: request.include_bots,
            filters: request.filters.iter().map(Filter::name).collect(),
            fields: (!request.fields.is_all())
                .then(|| request.fields.names().map(str::to_owned).collect()),
            limit: request.limit.map(NonZeroU64::get),
            rows: 0,
            bytes: 0,
            sha256: None,
            resumes: 0,
            started: Moment::now(),
            finished: None,
        }
    }
}
