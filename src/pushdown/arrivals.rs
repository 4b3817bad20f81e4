//! The statement in front of an export by arrival: how many rows there are, when they happened, and whether those of earlier
//! exports are the ones that were counted then.

use std::fmt::Write as _;

use super::predicate::{Fence, Range, push_where_behind};
use super::statement::{PINNED, Statement};
use crate::request::{ArrivalBounds, ExportRequest};

/// One row: when the first and the last of the rows happened, in milliseconds; how many there are; how many of those that
/// were counted before there are now; and how many are to be counted for the next export.
pub fn arrivals(
    request: &ExportRequest,
    table: &str,
    fence: Fence,
    bounds: ArrivalBounds,
) -> Statement {
    let arrived = match bounds.after {
        Some(_) => "ingested_at > fromUnixTimestamp64Milli({after:Int64}, 'UTC')",
        None => "1",
    };
    let mut statement = Statement::new(format!(
        "SELECT\n  toUnixTimestamp64Milli(minIf(timestamp, {arrived})) AS first,\n  \
         toUnixTimestamp64Milli(maxIf(timestamp, {arrived})) AS last,\n  \
         countIf({arrived}) AS rows,\n  countIf(NOT ({arrived})) AS recounted,\n  \
         countIf(ingested_at > fromUnixTimestamp64Milli({{counted_from:Int64}}, 'UTC')) AS counted\nFROM {table}\n"
    ));
    if let Some(after) = bounds.after {
        statement.int_parameter("after", after);
    }
    statement.int_parameter("counted_from", bounds.counted_from);
    push_where_behind(
        &mut statement,
        request,
        bounds.recounted_from,
        fence,
        Range::whole(&request.window).interval,
    );
    // Writing to a String cannot fail.
    let _ = write!(statement.text, "\nSETTINGS {PINNED}");
    statement
}
