//! The WHERE clause: site, window, fence, filters and, where a cursor goes on, the last key.

use std::fmt::Write as _;

use super::filters::push_filters;
use super::statement::Statement;
use crate::request::{ExportRequest, Interval, Since, Window};

/// How long before the fence an insert must have begun for its rows to be certainly visible, in milliseconds.
///
/// `ingested_at` is one value an INSERT, taken when it begins; its rows appear when it ends.
pub(crate) const DEFAULT_SETTLE_MS: i64 = 1_000 * crate::config::DEFAULT_SETTLE_SECONDS as i64;

/// Up to which moment rows are exported, by ClickHouse's clock, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Only rows stamped up to [`Fence::now`] are exported. Those stamped up to [`Fence::settled`] cannot become more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    now: i64,
    settled: i64,
}

impl Fence {
    /// That of an export that begins at a moment.
    pub const fn at(now: i64) -> Self {
        Self::settling(now, DEFAULT_SETTLE_MS)
    }

    /// The same where inserts take so many milliseconds at most.
    pub const fn settling(now: i64, settle_ms: i64) -> Self {
        let settled = now.saturating_sub(settle_ms);
        Self { now, settled }
    }

    /// The same for rows that are stamped up to another moment.
    pub const fn up_to(self, now: i64) -> Self {
        Self { now, ..self }
    }

    /// The last `ingested_at` that is exported.
    pub const fn now(self) -> i64 {
        self.now
    }

    /// The last `ingested_at` whose rows are all visible.
    pub const fn settled(self) -> i64 {
        self.settled
    }

    /// The same for the settled rows alone.
    pub const fn only_settled(self) -> Self {
        self.up_to(self.settled)
    }
}

/// What rows are ordered by, within a website.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: i64,
    /// The order among equal timestamps.
    pub event_id: u64,
}

/// The part of a window that one cursor reads: an interval, and where it goes on behind a row, that row's key; perhaps not
/// all of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From where to where.
    pub interval: Interval,
    /// The last row that was read already.
    pub last: Option<Key>,
    /// Most rows that are read of it. Counts and proofs are of all.
    pub limit: Option<u64>,
}

impl Range {
    /// All of a window.
    pub fn whole(window: &Window) -> Self {
        let intervals = &window.intervals;
        let ends = intervals.first().zip(intervals.last());
        let (from, until) = ends.map_or((0, 0), |(first, last)| (first.from, last.until));
        Self {
            interval: Interval { from, until },
            last: None,
            limit: None,
        }
    }
}

/// Whether a row lies behind the last key. The form reads half the granules of a comparison of tuples.
pub(super) const AFTER_LAST: &str = "timestamp >= fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') \
    AND (timestamp > fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') OR event_id > {last_event_id:UInt64})";

/// Whether a row is the last key's.
pub(super) const AT_LAST: &str = "timestamp = fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') \
    AND event_id = {last_event_id:UInt64}";

/// Whether a row's insert may have likes that are not visible yet.
pub(super) const FRESH: &str = "ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC')";

/// Appends `WHERE …` for the rows of the request up to the fence that lie in an interval.
pub(super) fn push_where(
    statement: &mut Statement,
    request: &ExportRequest,
    fence: Fence,
    range: Interval,
) {
    let since = request.arrived.as_ref().map(|arrived| &arrived.since);
    push_where_behind(
        statement,
        request,
        since.and_then(Since::after),
        fence,
        range,
    );
}

/// The same for rows that arrived behind some moment, whatever the request says of that.
pub(super) fn push_where_behind(
    statement: &mut Statement,
    request: &ExportRequest,
    after: Option<i64>,
    fence: Fence,
    range: Interval,
) {
    push_website(statement, request);

    let intervals = &request.window.intervals;
    if !intervals.is_empty() {
        // Half-open, so that windows that meet share no row; on the bare column, so that the primary key prunes.
        push_interval(statement, "", range.from, range.until);
        if intervals.len() > 1 {
            statement.text.push_str("\n  AND (");
            for (index, interval) in intervals.iter().enumerate() {
                if index > 0 {
                    statement.text.push_str("\n    OR (1");
                } else {
                    statement.text.push_str("(1");
                }
                push_interval(
                    statement,
                    &format!("_{index}"),
                    interval.from,
                    interval.until,
                );
                statement.text.push(')');
            }
            statement.text.push(')');
        }
    } else {
        // None of the window's days existed in this zone.
        statement.text.push_str("\n  AND 0");
    }

    statement
        .text
        .push_str("\n  AND ingested_at <= fromUnixTimestamp64Milli({fence:Int64}, 'UTC')");
    statement.int_parameter("fence", fence.now());
    if let Some(after) = after {
        statement
            .text
            .push_str("\n  AND ingested_at > fromUnixTimestamp64Milli({since:Int64}, 'UTC')");
        statement.int_parameter("since", after);
    }
    if !request.include_bots {
        statement.text.push_str("\n  AND ifNull(is_bot, 0) = 0");
    }
    push_event_type(statement, request);
    push_filters(statement, &request.filters);
}

/// Appends `WHERE …` for the rows of the request's website. A statement may have it several times.
pub(super) fn push_website(statement: &mut Statement, request: &ExportRequest) {
    statement.text.push_str("WHERE website_id = {site:String}");
    statement.text_parameter_once("site", request.website.as_str());
}

/// Appends ` AND …` for the type, if one was asked for. A statement may have it several times.
pub(super) fn push_event_type(statement: &mut Statement, request: &ExportRequest) {
    if let Some(event_type) = request.event_type {
        statement
            .text
            .push_str("\n  AND event_type = {event_type:String}");
        statement.text_parameter_once("event_type", event_type.as_str());
    }
}

fn push_interval(statement: &mut Statement, suffix: &str, from: i64, until: i64) {
    // Writing to a String cannot fail.
    let _ = write!(
        statement.text,
        "\n  AND timestamp >= fromUnixTimestamp64Milli({{from{suffix}:Int64}}, 'UTC')\
         \n  AND timestamp < fromUnixTimestamp64Milli({{until{suffix}:Int64}}, 'UTC')"
    );
    statement.int_parameter(format!("from{suffix}"), from);
    statement.int_parameter(format!("until{suffix}"), until);
}

/// Binds the last key's parameters.
pub(super) fn bind_last(statement: &mut Statement, last: Key) {
    statement.int_parameter("last_timestamp", last.timestamp);
    statement.parameters.push((
        "last_event_id".into(),
        super::Value::Unsigned(last.event_id),
    ));
}
