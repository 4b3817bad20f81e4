//! Rows as blocks of the Native format, as ClickHouse writes them.
//!
//! Format: <https://clickhouse.com/docs/interfaces/formats/Native>.

use std::collections::BTreeMap;

use super::{ROW_END, Row, write_length};

/// How a column of texts is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// `String`: a text a row.
    Strings,
    /// `LowCardinality(String)`: distinct texts and a code a row, as narrow as the number of texts lets them be.
    Narrow,
    /// `LowCardinality(String)` with codes of 1, 2, 4 or 8 bytes, given as the power of two.
    Codes(u64),
}

/// How the table has the columns: those with few values as `LowCardinality`.
pub const TABLE: [As; 15] = [
    As::Strings,
    As::Narrow,
    As::Strings,
    As::Strings,
    As::Strings,
    As::Narrow,
    As::Narrow,
    As::Narrow,
    As::Narrow,
    As::Narrow,
    As::Narrow,
    As::Strings,
    As::Narrow,
    As::Narrow,
    As::Narrow,
];

/// Every way, by turns.
pub const MIXED: [As; 15] = [
    As::Strings,
    As::Codes(1),
    As::Codes(2),
    As::Narrow,
    As::Codes(3),
    As::Narrow,
    As::Codes(1),
    As::Strings,
    As::Codes(2),
    As::Codes(3),
    As::Narrow,
    As::Strings,
    As::Codes(1),
    As::Narrow,
    As::Strings,
];

/// Rows of a block as queries have them.
pub const BLOCK_ROWS: usize = 8192;

/// Rows as a stream of blocks of so many rows, the last one smaller.
pub fn native(rows: &[Row], block_rows: usize, ways: &[As; 15]) -> Vec<u8> {
    let mut wire = Vec::new();
    for rows in rows.chunks(block_rows) {
        write_block(rows, ways, &mut wire);
    }
    wire
}

/// Rows as one block.
pub fn block(rows: &[Row], ways: &[As; 15]) -> Vec<u8> {
    let mut wire = Vec::new();
    write_block(rows, ways, &mut wire);
    wire
}

/// Appends rows as one block.
pub fn write_block(rows: &[Row], ways: &[As; 15], wire: &mut Vec<u8>) {
    write_length(4 + ways.len() as u64 + 1, wire);
    write_length(rows.len() as u64, wire);
    write_text(b"marker", wire);
    write_text(b"UInt8", wire);
    wire.extend(rows.iter().map(Row::marker));
    write_text(b"timestamp", wire);
    write_text(b"Int64", wire);
    wire.extend(rows.iter().flat_map(|row| row.timestamp.to_le_bytes()));
    write_text(b"event_id", wire);
    write_text(b"UInt64", wire);
    wire.extend(rows.iter().flat_map(|row| row.event_id.to_le_bytes()));
    write_text(b"offset", wire);
    write_text(b"Int16", wire);
    wire.extend(rows.iter().flat_map(|row| row.offset.to_le_bytes()));
    for (column, way) in ways.iter().enumerate() {
        // Columns are told apart by their places: nobody looks at their names.
        write_text(b"text", wire);
        let texts = rows.iter().map(|row| &row.text[column][..]);
        let power = match way {
            As::Strings => {
                write_text(b"String", wire);
                texts.for_each(|text| write_text(text, wire));
                continue;
            }
            As::Narrow => None,
            As::Codes(power) => Some(*power),
        };
        write_text(b"LowCardinality(String)", wire);
        // Where there are no rows, nothing stands for them.
        if !rows.is_empty() {
            write_codes(texts, rows.len(), power, wire);
        }
    }
    write_text(b"end", wire);
    write_text(b"UInt8", wire);
    wire.resize(wire.len() + rows.len(), ROW_END);
}

fn write_codes<'a>(
    texts: impl Iterator<Item = &'a [u8]>,
    rows: usize,
    power: Option<u64>,
    wire: &mut Vec<u8>,
) {
    // The empty text is always there, and the first one.
    let mut distinct: Vec<&[u8]> = vec![b""];
    let mut known = BTreeMap::from([(&b""[..], 0u64)]);
    let codes: Vec<u64> = texts
        .map(|text| {
            *known.entry(text).or_insert_with(|| {
                distinct.push(text);
                distinct.len() as u64 - 1
            })
        })
        .collect();
    let power = power.unwrap_or(match distinct.len() - 1 {
        0..=0xff => 0,
        0x100..=0xffff => 1,
        _ => 2,
    });
    // The version; then that the distinct texts stand here and are new ones, and how wide a code is.
    wire.extend_from_slice(&1u64.to_le_bytes());
    wire.extend_from_slice(&(1 << 9 | 1 << 10 | power).to_le_bytes());
    wire.extend_from_slice(&(distinct.len() as u64).to_le_bytes());
    distinct.iter().for_each(|text| write_text(text, wire));
    wire.extend_from_slice(&(rows as u64).to_le_bytes());
    for code in codes {
        wire.extend_from_slice(&code.to_le_bytes()[..1 << power]);
    }
}

fn write_text(text: &[u8], wire: &mut Vec<u8>) {
    write_length(text.len() as u64, wire);
    wire.extend_from_slice(text);
}
