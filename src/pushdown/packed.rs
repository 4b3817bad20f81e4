//! A row as one text in RowBinary, put together by functions that take a column at a time.
//!
//! `formatRow('RowBinary', …)` gives the same rows value by value, each through a virtual call, and the server needs a quarter
//! more CPU for it. What has a name in RowBinary only there is spelt out here: a number is its bytes, little-endian; a text is
//! its length, LEB128, and its bytes. LEB128 may have groups of zeros at its end, and a length that always has four groups is
//! made without a look at each value.

use super::TextTypes;

/// The longest length of four groups. What is longer says so: nothing that reads it takes so much for a row.
const LONGEST: u32 = (1 << 28) - 1;

/// The empty text.
pub(super) const EMPTY: &str = "char(0)";

/// A number of whichever width.
pub(super) fn number(sql: &str) -> String {
    format!("reinterpretAsFixedString({sql})")
}

/// A column's text behind its length.
pub(super) fn text(column: &str, types: &TextTypes) -> String {
    let text = types.text(column);
    if types.low_cardinality.contains(&column) {
        // Called with such a column alone, a function is called once for each value of a block.
        return format!("formatRow('RowBinary', {text})");
    }
    let length = format!("least(length({text}), {LONGEST})");
    format!(
        "char(bitOr({length}, 128), bitOr(bitShiftRight({length}, 7), 128), bitOr(bitShiftRight({length}, 14), 128), \
         bitShiftRight({length}, 21)), {text}"
    )
}
