//! A row as one text in RowBinary, put together by functions that take a column at a time.
//!
//! `formatRow('RowBinary', …)` gives the same rows value by value, each through a virtual call, which takes a server more CPU.
//! Here a number is its bytes, little-endian, and a text its length, LEB128, and its bytes. LEB128 may have groups of zeros at
//! its end: a length that has four groups, whatever it is, is made of the same few operations for every row.

use super::TextTypes;

/// The longest length of four groups. A longer text is written with it, which no reader takes: the limit of a row is
/// [`MAX_ROW_BYTES`](crate::decode::MAX_ROW_BYTES).
const LONGEST: u32 = (1 << 28) - 1;

/// Columns that have few values, whatever visitors send.
const FEW_VALUES: [&str; 4] = ["country", "browser", "os", "device"];

/// The empty text.
pub(super) const EMPTY: &str = "char(0)";

/// A number of whichever width.
pub(super) fn number(sql: &str) -> String {
    format!("reinterpretAsFixedString({sql})")
}

/// A column's text behind its length; of NULL the empty one, also where the column was none that may hold it when it was looked
/// at: a row with a NULL in it would be NULL itself, and not be sent. `dense` says that most rows that are read are wanted.
pub(super) fn text(column: &str, types: &TextTypes, dense: bool) -> String {
    let text = format!("ifNull({column}, '')");
    let few = dense || FEW_VALUES.contains(&column);
    if few && types.low_cardinality.contains(&column) {
        // Called with a LowCardinality column alone, a function is called once for each value of its dictionary, also for
        // those that no row of the block has: dear where blocks have few rows.
        return format!("formatRow('RowBinary', {text})");
    }
    // Names that no table has.
    let (name, length) = (
        format!("packed_{column}"),
        format!("packed_{column}_length"),
    );
    format!(
        "char(bitOr(least(length(CAST({text}, 'String') AS {name}), {LONGEST}) AS {length}, 128), \
         bitOr(bitShiftRight({length}, 7), 128), bitOr(bitShiftRight({length}, 14), 128), bitShiftRight({length}, 21)), {name}"
    )
}
