//! The third statement of an export: how many rows lie in each slot of its window. Whole quarters of an hour whose rows are
//! all settled are counted by the [projection](super::quarters), others among the events.

use std::fmt::Write as _;

use super::predicate::{FRESH, Fence, Range, push_where};
use super::quarters::{NEWEST, QUARTER_MS, push_quarters, quarter, slot};
use super::statement::{PINNED, Statement};
use crate::request::{ExportRequest, Window};

/// Slots that a window is cut into, about.
const SLOTS: i64 = 8_192;

/// Equal stretches of time that make up a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Where slot 0 begins, in milliseconds since 1970-01-01T00:00:00Z.
    pub from: i64,
    /// How long each one is, in milliseconds.
    pub width: i64,
}

impl Slots {
    /// The slots of a window.
    pub fn of(window: &Window) -> Self {
        let whole = Range::whole(window).interval;
        Self {
            from: whole.from,
            width: (whole.until - whole.from) / SLOTS + 1,
        }
    }

    /// Those of whole quarters of an hour that come next to them, if the window is made of such: up to twice as many.
    fn of_quarters(window: &Window) -> Option<Self> {
        let mut edges = window.intervals.iter().flat_map(|it| [it.from, it.until]);
        let whole = edges.all(|edge| edge.rem_euclid(QUARTER_MS) == 0);
        let Self { from, width } = Self::of(window);
        (whole && !window.intervals.is_empty()).then_some(Self {
            from,
            width: width.max(QUARTER_MS) / QUARTER_MS * QUARTER_MS,
        })
    }
}

/// For each slot that has rows its number, its rows, how many of them are settled, and whether they lie in several parts,
/// in order. The last is never so where the table has no parts that can be told apart.
pub fn slots(
    request: &ExportRequest,
    table: &str,
    fence: Fence,
    slots: Slots,
    has_parts: bool,
) -> Statement {
    let overlaps = if has_parts {
        "min(_part_index) != max(_part_index)"
    } else {
        "toUInt8(0)"
    };
    let mut statement = Statement::new(format!(
        "SELECT\n  intDiv(toUnixTimestamp64Milli(timestamp) - {{slots_from:Int64}}, {{slot_width:Int64}}) AS slot,\n  \
         count() AS rows,\n  countIf(NOT ({FRESH})) AS settled,\n  {overlaps} AS overlaps\nFROM {table}\n"
    ));
    statement.int_parameter("slots_from", slots.from);
    statement.int_parameter("slot_width", slots.width);
    statement.int_parameter("settled", fence.settled());
    let whole = Range::whole(&request.window).interval;
    push_where(&mut statement, request, fence, whole);
    // One thread: it runs beside the rows.
    let _ = write!(
        statement.text,
        "\nGROUP BY slot\nORDER BY slot\nSETTINGS max_threads = 1, {PINNED}"
    );
    statement
}

/// The same from the projection where that serves: it has rows from behind the fence as well, and a slot's
/// rows are settled as far as those are that lie with them in one part and quarter of an hour. So only slots whose rows are all
/// settled are as [`slots`] has them. `None` where the request needs other slots than the projection has; `request` has no
/// filters but the two that it knows.
pub fn kept_slots(
    request: &ExportRequest,
    table: &str,
    fence: Fence,
    has_parts: bool,
) -> Option<(Slots, Statement)> {
    let slots = Slots::of_quarters(&request.window).filter(|_| request.arrived.is_none())?;
    let part = if has_parts { "_part" } else { "''" };
    let mut statement = Statement::new(format!(
        "SELECT\n  intDiv(quarter - {{first_quarter:Int64}}, {{quarters:Int64}}) AS slot,\n  sum(kept) AS rows,\n  \
         sumIf(kept, newest <= {{settled:Int64}}) AS settled,\n  min(part) != max(part) AS overlaps\nFROM\n(\n\
         SELECT {slot}, slot AS quarter, {part} AS part, count() AS kept,\n  {NEWEST}\nFROM {table}\n",
        slot = slot(QUARTER_MS)
    ));
    statement.int_parameter("first_quarter", quarter(slots.from));
    statement.int_parameter("quarters", slots.width / QUARTER_MS);
    statement.int_parameter("settled", fence.settled());
    let whole = Range::whole(&request.window).interval;
    push_quarters(&mut statement, request, whole);
    let _ = write!(
        statement.text,
        "\nGROUP BY quarter, part\n)\nGROUP BY slot\nORDER BY slot\nSETTINGS max_threads = 1, \
         optimize_use_projections = 1, {PINNED}"
    );
    Some((slots, statement))
}
