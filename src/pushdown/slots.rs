//! The third statement of an export: how many rows lie in each slot of its window.

use std::fmt::Write as _;

use super::predicate::{FRESH, Fence, Range, push_where};
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
    push_where(
        &mut statement,
        request,
        fence,
        Range::whole(&request.window).interval,
    );
    // One thread: it runs beside the rows.
    let _ = write!(
        statement.text,
        "\nGROUP BY slot\nORDER BY slot\nSETTINGS max_threads = 1, {PINNED}"
    );
    statement
}
