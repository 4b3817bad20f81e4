//! Rows by quarter of an hour: what plans and ETags are made of.
//!
//! The projection `quarter_hours` of `schema/tables.sql` holds them beside the rows. ClickHouse takes it by itself for a
//! query that is made of the projection's own expressions, so those here have to be the same. Where it cannot (parts from
//! before, a profile), the same query reads the events, takes longer and gives the same.

use std::fmt::Write as _;

use super::columns::TEXT_COLUMNS;
use super::predicate::{Fence, Range, push_event_type, push_website, push_where};
use super::statement::{PINNED, Statement, TextTypes};
use crate::request::{ExportRequest, Field, Interval, Window};

/// The projection's name.
pub const COUNTS: &str = "quarter_hours";

/// A quarter of an hour, in milliseconds.
pub const QUARTER_MS: i64 = 900_000;

/// Where slot 0 begins, before the first instant that a table can hold, so that dividing always rounds down.
const FIRST_SLOT_MS: i64 = -2_250_000_000_000;

/// Behind every slot, in milliseconds from the first one.
const END_MS: i64 = 1_000_000_000_000_000;

/// Widths of slots, in milliseconds, widest first: with the last one every edge of every day fits.
const WIDTHS_MS: [i64; 3] = [QUARTER_MS, 60_000, 1_000];

/// Where counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The projection; and the events themselves of the two quarters at the window's ends, as far as they are inside.
    /// Whatever `ingested_at` says.
    Kept,
    /// The events of the request up to the fence, in slots of so many milliseconds.
    Scanned {
        /// Milliseconds.
        width: i64,
        /// Whether rows are hashed, too.
        hashed: bool,
    },
}

impl Counting {
    /// The best that serves a window whose parts meet at these instants. `kept` says whether the projection may serve.
    pub fn of(window: &Window, edges: impl Iterator<Item = i64> + Clone, kept: bool) -> Self {
        let fits = |width: i64| edges.clone().all(|edge| edge.rem_euclid(width) == 0);
        let width = WIDTHS_MS.into_iter().find(|&width| fits(width));
        let width = width.unwrap_or(1);
        let kept = kept && width == QUARTER_MS;
        match inner(window) {
            Some(_) if kept => Self::Kept,
            _ => Self::Scanned {
                width,
                hashed: kept,
            },
        }
    }

    /// Whether rows are hashed.
    pub fn is_hashed(self) -> bool {
        match self {
            Self::Kept => true,
            Self::Scanned { hashed, .. } => hashed,
        }
    }

    /// How wide its slots are, in milliseconds.
    fn width(self) -> i64 {
        match self {
            Self::Kept => QUARTER_MS,
            Self::Scanned { width, .. } => width,
        }
    }

    /// The same from the events up to the fence.
    pub fn scanned(self) -> Self {
        Self::Scanned {
            width: self.width(),
            hashed: self.is_hashed(),
        }
    }
}

/// The whole quarters of a window, from its first to its last instant.
fn inner(window: &Window) -> Option<Interval> {
    let Interval { from, until } = Range::whole(window).interval;
    let whole = Interval {
        from: up(from),
        until: down(until),
    };
    (whole.from < whole.until).then_some(whole)
}

/// The last quarter's beginning that is not behind an instant.
fn down(instant: i64) -> i64 {
    instant.div_euclid(QUARTER_MS) * QUARTER_MS
}

/// The first quarter's beginning that is not before an instant.
fn up(instant: i64) -> i64 {
    down(instant + QUARTER_MS - 1)
}

/// For each slot that has rows, in order: where it begins, its rows, the sum of their hashes, when the last of them came, and
/// the bytes of their texts, in the columns that are asked for. Behind them comes one without rows, so that counts which end
/// early are noticed.
pub fn quarters(
    request: &ExportRequest,
    table: &str,
    fence: Fence,
    counting: Counting,
    types: &TextTypes,
) -> Statement {
    let mut statement = Statement::new("");
    let width = counting.width();
    match inner(&request.window) {
        Some(inner) if counting == Counting::Kept => {
            push_kept(&mut statement, request, table, inner, types);
        }
        _ => {
            let hashed = counting.is_hashed();
            push_counts(&mut statement, request, table, width, hashed, types);
            let whole = Range::whole(&request.window).interval;
            push_where(&mut statement, request, fence, whole);
            statement.text.push_str("\nGROUP BY slot\n");
        }
    }
    let counted = std::mem::take(&mut statement.text);
    statement.text = format!(
        "SELECT toInt64(slot) * {width} - {shift} AS begins, rows, hash, newest, bytes\nFROM\n(\n{counted}UNION ALL\n\
         SELECT toInt64({last}), toUInt64(0), toUInt64(0), toInt64(0), toUInt64(0)\n)\nORDER BY slot\n\
         SETTINGS optimize_use_projections = 1, {PINNED}",
        shift = -FIRST_SLOT_MS,
        last = END_MS / width,
    );
    statement
}

/// From the projection, and the ends of the window that are no whole quarters from the events.
fn push_kept(
    statement: &mut Statement,
    request: &ExportRequest,
    table: &str,
    inner: Interval,
    types: &TextTypes,
) {
    push_counts(statement, request, table, QUARTER_MS, true, types);
    push_quarters(statement, request, inner);
    statement.text.push_str("\nGROUP BY slot\n");

    let whole = Range::whole(&request.window).interval;
    let ends = [(whole.from, inner.from), (inner.until, whole.until)];
    for (index, (from, until)) in ends.into_iter().enumerate() {
        if from >= until {
            continue;
        }
        statement.text.push_str("UNION ALL\n");
        push_counts(statement, request, table, QUARTER_MS, true, types);
        push_website(statement, request);
        let _ = write!(
            statement.text,
            "\n  AND timestamp >= fromUnixTimestamp64Milli({{end_from_{index}:Int64}}, 'UTC')\
             \n  AND timestamp < fromUnixTimestamp64Milli({{end_until_{index}:Int64}}, 'UTC')"
        );
        statement.int_parameter(format!("end_from_{index}"), from);
        statement.int_parameter(format!("end_until_{index}"), until);
        push_filters(statement, request);
        statement.text.push_str("\nGROUP BY slot\n");
    }
}

/// `WHERE …` for the request's rows in the quarters of an interval, each of which is `slot`.
pub(super) fn push_quarters(statement: &mut Statement, request: &ExportRequest, inner: Interval) {
    push_website(statement, request);
    statement.text.push_str("\n  AND (");
    for (index, interval) in request.window.intervals.iter().enumerate() {
        let from = interval.from.max(inner.from);
        let until = interval.until.min(inner.until);
        // Writing to a String cannot fail.
        let _ = write!(
            statement.text,
            "{or}(slot >= {{slot_from_{index}:Int64}} AND slot < {{slot_until_{index}:Int64}})",
            or = if index > 0 { "\n    OR " } else { "" }
        );
        statement.int_parameter(format!("slot_from_{index}"), quarter(from));
        statement.int_parameter(format!("slot_until_{index}"), quarter(until));
    }
    statement.text.push(')');
    push_filters(statement, request);
}

/// The number that the projection gives to the quarter which begins at an instant.
pub(super) fn quarter(instant: i64) -> i64 {
    (instant - FIRST_SLOT_MS) / QUARTER_MS
}

/// What the projection calls a row's quarter.
pub(super) fn slot(width: i64) -> String {
    format!(
        "intDiv(toUnixTimestamp64Milli(timestamp) + {shift}, {width}) AS slot",
        shift = -FIRST_SLOT_MS
    )
}

/// What the projection calls the latest arrival of some rows.
pub(super) const NEWEST: &str =
    "toUnixTimestamp64Milli(toDateTime64(max(ingested_at), 3, 'UTC')) AS newest";

/// `SELECT … FROM …`, in the projection's own expressions.
fn push_counts(
    statement: &mut Statement,
    request: &ExportRequest,
    table: &str,
    width: i64,
    hashed: bool,
    types: &TextTypes,
) {
    let hash = if hashed {
        format!(
            "sum(cityHash64(timestamp, event_id, event_type, {}))",
            TEXT_COLUMNS.join(", ")
        )
    } else {
        "toUInt64(0)".to_owned()
    };
    let mut bytes = vec!["toUInt64(0)".to_owned()];
    for (place, column) in TEXT_COLUMNS.into_iter().enumerate() {
        if !request.fields.has(Field::Text(place)) {
            continue;
        }
        bytes.push(format!("sum(length({}))", types.text(column)));
    }
    let _ = write!(
        statement.text,
        "SELECT {slot}, count() AS rows,\n  {hash} AS hash,\n  {NEWEST},\n  {bytes} AS bytes\nFROM {table}\n",
        slot = slot(width),
        bytes = bytes.join(" + ")
    );
}

/// The two filters that the projection knows.
fn push_filters(statement: &mut Statement, request: &ExportRequest) {
    if !request.include_bots {
        statement.text.push_str("\n  AND is_bot = 0");
    }
    push_event_type(statement, request);
}
