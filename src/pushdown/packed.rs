//! A row as one text in RowBinary, put together by functions that take a column at a time.
//!
//! `formatRow('RowBinary', …)` gives the same rows value by value, each through a virtual call, which takes a server more CPU.
//! Here a number is its bytes, little-endian, and a text its length, LEB128, and its bytes. LEB128 may have groups of zeros at
//! its end: a length that has four groups, whatever it is, is made of the same few operations for every row.

use super::TextTypes;
use super::columns::ROW_END;

/// The longest length of four groups. A longer text is written with it, which no reader takes: the limit of a row is
/// [`MAX_ROW_BYTES`](crate::decode::MAX_ROW_BYTES).
const LONGEST: u32 = (1 << 28) - 1;

/// Columns that have few values, whatever visitors send.
const FEW_VALUES: [&str; 4] = ["country", "browser", "os", "device"];

/// A number of whichever width.
pub(super) fn number(sql: &str) -> String {
    format!("reinterpretAsFixedString({sql})")
}

/// The empty text.
pub(super) const EMPTY: &str = "char(0)";

/// A column's text behind its length; of NULL the empty one, also where the column was none that may hold it when it was looked
/// at: a row with a NULL in it would be NULL itself, and not be sent. `dense` says that most rows that are read are wanted.
pub(super) fn text(column: &str, types: &TextTypes, dense: bool) -> String {
    if is_by_value(column, types, dense) {
        return by_value(column, "");
    }
    // Names that no table has.
    let (name, length) = (
        format!("packed_{column}"),
        format!("packed_{column}_length"),
    );
    // Each group is seven bits, from the lowest, in a byte of its own; all but the last have the eighth bit.
    format!(
        "reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull({column}, ''), 'String') AS {name}), {LONGEST})) \
         AS {length}, {}), bitShiftLeft(bitAnd({length}, {}), 1)), bitOr(bitOr(bitShiftLeft(bitAnd({length}, {}), 2), \
         bitShiftLeft(bitAnd({length}, {}), 3)), {}))), {name}",
        0x7f,
        0x7f << 7,
        0x7f << 14,
        0x7f << 21,
        0x0080_8080
    )
}

/// The last column's text, and the end of the row.
pub(super) fn last_text(column: &str, types: &TextTypes, dense: bool) -> String {
    if is_by_value(column, types, dense) {
        return by_value(column, &format!(", toUInt8({ROW_END})"));
    }
    ended(&text(column, types, dense))
}

/// A text behind which a row ends.
pub(super) fn ended(text: &str) -> String {
    format!("{text}, char({ROW_END})")
}

/// Whether a column's texts are packed once for each value.
fn is_by_value(column: &str, types: &TextTypes, dense: bool) -> bool {
    let few = dense || FEW_VALUES.contains(&column);
    few && types.low_cardinality.contains(&column)
}

/// Called with a LowCardinality column alone, but for constants, a function is called once for each value of its dictionary, also
/// for those that no row of the block has: dear where blocks have few rows.
fn by_value(column: &str, constants: &str) -> String {
    format!("formatRow('RowBinary', ifNull({column}, ''){constants})")
}
