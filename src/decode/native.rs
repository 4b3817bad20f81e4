//! Native to batches: ClickHouse's column format, block after block.
//!
//! A block is its number of columns and of rows (LEB128), then for each column its name, its type and its values:
//! numbers little-endian, texts with their length in front, `LowCardinality(String)` as its distinct texts and one
//! code a row. The columns are those of the row on the other wire: marker, timestamp, event_id, offset, the texts and the end.
//!
//! A block begins with the number of its columns, 20, which no text that ClickHouse appends behind an error begins with, and ends
//! with bytes that no UTF-8 has: where a block was cut, the text does not make it a whole one.
//!
//! Format: <https://clickhouse.com/docs/interfaces/formats/Native>.

use bytes::Bytes;

use super::row::{is_marker, read_length};
use super::{
    Batch, EventType, LETTERS_OF_EXCEPTION, MAX_BATCH_ROWS, Span, TextColumn, cut_row_kind,
    holds_exception, no_row_kind,
};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::pushdown::columns::{ROW_END, TEXT_COLUMNS};

/// Columns of a block.
const COLUMNS: usize = FIXED.len() + TEXT_COLUMNS.len();

/// The types of the columns in front of the texts and of the one behind them, and the bytes of one value.
const FIXED: [(&[u8], usize); 5] = [
    (b"UInt8", 1),
    (b"Int64", 8),
    (b"UInt64", 8),
    (b"Int16", 2),
    (b"UInt8", 1),
];

/// How many of them stand in front of the texts.
const IN_FRONT: usize = 4;

const STRING: &[u8] = b"String";
const LOW_CARDINALITY: &[u8] = b"LowCardinality(String)";

/// Most rows of a block that are believed.
const MAX_BLOCK_ROWS: usize = 1 << 20;

/// Largest block that is taken, in bytes: what may be held while it is incomplete, and what the texts of its rows may come to.
pub const MAX_BLOCK_BYTES: usize = 32 << 20;

/// Room that is kept from one block to the next, in bytes.
const KEPT_BYTES: usize = 4 << 20;

/// Version of the serialization of `LowCardinality`, and what its type of codes may say beside their width: distinct texts
/// stand in the block itself.
const LOW_CARDINALITY_VERSION: u64 = 1;
const CODE_WIDTH: u64 = 0xff;
const OWN_TEXTS: u64 = 1 << 9;
const RENEWED_TEXTS: u64 = 1 << 10;

/// Why a block cannot be read to its end yet, or at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Short,
    NotABlock,
    /// Something else stands where the block has to end.
    NoEnd,
    Damaged,
}

/// The values of a text column.
#[derive(Debug, Default)]
struct Texts {
    /// One a row, or the distinct ones where there are codes.
    spans: Vec<Span>,
    codes: Vec<u32>,
    has_codes: bool,
}

/// Where in a block the reading is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Block,
    Column(usize),
    /// The texts of a column: so many in all, and where they are distinct ones the bytes of a code.
    Texts(usize, usize, Option<usize>),
    Codes(usize, usize),
    End,
}

/// Native to batches of rows, whatever the sizes of the chunks. Holds one block ([`MAX_BLOCK_BYTES`]) and where its texts lie.
#[derive(Debug)]
pub struct NativeDecoder {
    /// The block that is being read or delivered, and what has come behind it.
    bytes: Vec<u8>,
    /// Where the block begins, and how far it has been read.
    start: usize,
    at: usize,
    place: Place,
    rows: usize,
    /// Where the numbers of the columns of [`FIXED`] lie.
    fixed: [usize; FIXED.len()],
    texts: Vec<Texts>,
    timestamps: Vec<i64>,
    event_ids: Vec<u64>,
    offsets: Vec<i16>,
    event_types: Vec<EventType>,
    /// Rows of the block that were delivered, and how many there are to deliver.
    delivered: usize,
    wanted: usize,
    /// Rows delivered of all blocks, and the key of the last one.
    all_rows: u64,
    last_key: Option<(i64, u64)>,
    last_instant: i64,
    passed: bool,
    /// The block has come to its end, and its rows have more text than may be handed on at once.
    too_large: bool,
}

impl NativeDecoder {
    /// A decoder at the start of a stream, whose rows come behind so many others with such a last key.
    pub(super) fn behind(rows: u64, last_key: Option<(i64, u64)>) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            at: 0,
            place: Place::Block,
            rows: 0,
            fixed: [0; FIXED.len()],
            texts: TEXT_COLUMNS.iter().map(|_| Texts::default()).collect(),
            timestamps: Vec::new(),
            event_ids: Vec::new(),
            offsets: Vec::new(),
            event_types: Vec::new(),
            delivered: 0,
            wanted: 0,
            all_rows: rows,
            last_key,
            last_instant: i64::MAX,
            passed: false,
            too_large: false,
        }
    }

    /// Rows delivered so far, and the key of the last one.
    pub(super) fn delivered(&self) -> (u64, Option<(i64, u64)>) {
        (self.all_rows, self.last_key)
    }

    pub(super) fn restart(&mut self, until: i64) {
        self.bytes.clear();
        self.at = 0;
        self.start_block();
        self.stop_at(until);
        self.passed = false;
        self.too_large = false;
    }

    pub(super) fn stop_at(&mut self, until: i64) {
        self.last_instant = until.saturating_sub(1);
        if self.delivered < self.wanted {
            self.cut();
        }
    }

    /// Leaves out what lies behind the end of the range of a block in order.
    fn cut(&mut self) {
        let last_instant = self.last_instant;
        let timestamps = &self.timestamps[..];
        if timestamps.last().is_some_and(|&last| last > last_instant) {
            let wanted = timestamps.partition_point(|&at| at <= last_instant);
            self.wanted = wanted.max(self.delivered);
            self.passed = true;
        }
    }

    pub(super) fn passed(&self) -> bool {
        self.passed
    }

    /// Whether the next block is larger than may be held, or its rows are.
    pub(super) fn overflows(&self) -> bool {
        let read = self.delivered == self.wanted && !self.passed;
        read && (self.too_large || self.bytes.len() - self.start > MAX_BLOCK_BYTES)
    }

    /// What has come behind the last block is the next one's.
    fn start_block(&mut self) {
        if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.bytes.shrink_to(KEPT_BYTES);
            self.at = 0;
        }
        self.start = self.at;
        self.place = Place::Block;
        self.rows = 0;
        self.delivered = 0;
        self.wanted = 0;
    }

    pub(super) fn push(&mut self, chunk: &Bytes) {
        if !self.passed && !self.too_large {
            // Grows by doubling, but never far beyond what a block may have.
            let len = self.bytes.len() + chunk.len();
            if len > self.bytes.capacity() {
                let most = self.start + MAX_BLOCK_BYTES + chunk.len();
                let room = len.max((self.bytes.capacity() * 2).min(most));
                self.bytes.reserve_exact(room - self.bytes.len());
            }
            self.bytes.extend_from_slice(chunk);
        }
    }

    pub(super) fn next_batch(&mut self) -> Result<Option<Batch<'_>>> {
        while self.delivered == self.wanted {
            if self.passed || self.too_large {
                return Ok(None);
            }
            if matches!(self.place, Place::End) {
                self.start_block();
            }
            match self.read() {
                Ok(()) => {
                    if let Err(error) = self.end_block() {
                        // It is the same error when it is asked for again.
                        self.place = Place::Column(COLUMNS);
                        return Err(error);
                    }
                }
                Err(Stop::Short) => return Ok(None),
                Err(stop) => return Err(self.error(stop)),
            }
        }
        let from = self.delivered;
        let until = self.wanted.min(from + MAX_BATCH_ROWS);
        self.delivered = until;
        self.all_rows += (until - from) as u64;
        self.last_key = Some((self.timestamps[until - 1], self.event_ids[until - 1]));
        let markers = &self.bytes[self.fixed[0]..][from..until];
        let settled = markers.iter().filter(|marker| **marker <= 2).count();
        let bytes = &self.bytes[..];
        Ok(Some(Batch {
            timestamps: &self.timestamps[from..until],
            event_ids: &self.event_ids[from..until],
            offsets: &self.offsets[from..until],
            event_types: &self.event_types[from..until],
            settled_rows: settled as u64,
            text: std::array::from_fn(|column| {
                let texts = &self.texts[column];
                if texts.has_codes {
                    TextColumn::Dictionary {
                        bytes,
                        entries: &texts.spans,
                        codes: &texts.codes[from..until],
                    }
                } else {
                    TextColumn::Plain {
                        bytes,
                        spans: &texts.spans[from..until],
                        stride: 1,
                    }
                }
            }),
        }))
    }

    /// Reads on until the end of the block.
    fn read(&mut self) -> std::result::Result<(), Stop> {
        loop {
            match self.place {
                Place::Block => {
                    let (columns, at) = self.length(self.at)?;
                    if columns != COLUMNS {
                        return Err(Stop::NotABlock);
                    }
                    let (rows, at) = self.length(at)?;
                    if rows > MAX_BLOCK_ROWS {
                        return Err(Stop::Damaged);
                    }
                    self.rows = rows;
                    self.at = at;
                    self.place = Place::Column(0);
                }
                Place::Column(COLUMNS) => self.place = Place::End,
                Place::Column(column) => self.start_column(column)?,
                Place::Texts(column, count, width) => self.read_texts(column, count, width)?,
                Place::Codes(column, width) => self.read_codes(column, width)?,
                Place::End => return Ok(()),
            }
        }
    }

    fn start_column(&mut self, column: usize) -> std::result::Result<(), Stop> {
        let (name_len, at) = self.length(self.at)?;
        let (type_len, start) = self.length(at + name_len)?;
        let mut at = start + type_len;
        let found = self.bytes.get(start..at).ok_or(Stop::Short)?;
        let fixed = match column {
            0..IN_FRONT => Some(column),
            _ if column + 1 == COLUMNS => Some(IN_FRONT),
            _ => None,
        };
        if let Some(place) = fixed {
            let (wanted, size) = FIXED[place];
            if found != wanted {
                return Err(Stop::Damaged);
            }
            let end = at + size * self.rows;
            if end > self.bytes.len() {
                return Err(Stop::Short);
            }
            self.fixed[place] = at;
            self.at = end;
            self.place = Place::Column(column + 1);
            return Ok(());
        }
        let (mut count, mut width) = (self.rows, None);
        if found == LOW_CARDINALITY && self.rows > 0 {
            let version = self.number(at)?;
            let codes = self.number(at + 8)?;
            count = self.number(at + 16)?.try_into().unwrap_or(usize::MAX);
            let own = codes & !(CODE_WIDTH | RENEWED_TEXTS) == OWN_TEXTS;
            let power = codes & CODE_WIDTH;
            if version != LOW_CARDINALITY_VERSION || !own || power > 3 || count > MAX_BLOCK_ROWS {
                return Err(Stop::Damaged);
            }
            width = Some(1 << power);
            at += 24;
        } else if found != LOW_CARDINALITY && found != STRING {
            return Err(Stop::Damaged);
        }
        let texts = &mut self.texts[column - IN_FRONT];
        texts.spans.clear();
        texts.codes.clear();
        texts.has_codes = width.is_some();
        self.at = at;
        self.place = Place::Texts(column, count, width);
        Ok(())
    }

    fn read_texts(
        &mut self,
        column: usize,
        count: usize,
        width: Option<usize>,
    ) -> std::result::Result<(), Stop> {
        let spans = &mut self.texts[column - IN_FRONT].spans;
        let bytes = &self.bytes[..];
        let mut at = self.at;
        while spans.len() < count {
            let Some(&first) = bytes.get(at) else {
                break;
            };
            let (len, start) = if first < 0x80 {
                (u32::from(first), at + 1)
            } else {
                match read_length(bytes, at, column) {
                    Ok(found) => found,
                    Err(super::row::Stop::Short) => break,
                    Err(_) => {
                        // Where it stands, so that the error is the same when it is asked for again.
                        self.at = at;
                        return Err(Stop::Damaged);
                    }
                }
            };
            let end = start + len as usize;
            if end > bytes.len() {
                break;
            }
            spans.push(Span {
                // 32 bits hold it: what is larger than a block may be is given up before so much has come.
                start: start as u32,
                len,
            });
            at = end;
        }
        self.at = at;
        if spans.len() < count {
            return Err(Stop::Short);
        }
        self.place = match width {
            Some(width) => Place::Codes(column, width),
            None => Place::Column(column + 1),
        };
        Ok(())
    }

    fn read_codes(&mut self, column: usize, width: usize) -> std::result::Result<(), Stop> {
        let count = self.number(self.at)?;
        if count != self.rows as u64 {
            return Err(Stop::Damaged);
        }
        let Texts { spans, codes, .. } = &mut self.texts[column - IN_FRONT];
        codes.clear();
        let start = self.at + 8;
        let end = start + width * self.rows;
        let found = self.bytes.get(start..end).ok_or(Stop::Short)?;
        match width {
            1 => codes.extend(found.iter().map(|&code| u32::from(code))),
            2 => codes.extend(
                found
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&code| u32::from(u16::from_le_bytes(code))),
            ),
            4 => codes.extend(
                found
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&code| u32::from_le_bytes(code)),
            ),
            _ => codes.extend(
                found
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&code| u32::try_from(u64::from_le_bytes(code)).unwrap_or(u32::MAX)),
            ),
        }
        let entries = spans.len();
        if codes.iter().fold(0, |most, &code| most.max(code)) as usize >= entries {
            return Err(Stop::Damaged);
        }
        self.at = end;
        self.place = Place::Column(column + 1);
        Ok(())
    }

    /// Reads the numbers of a block that is whole, and looks at what they say.
    fn end_block(&mut self) -> Result<()> {
        let rows = self.rows;
        let column = |column: usize| &self.bytes[self.fixed[column]..][..FIXED[column].1 * rows];
        if !column(IN_FRONT).iter().all(|&end| end == ROW_END) {
            return Err(self.error(Stop::NoEnd));
        }
        let markers = column(0);
        if !markers.iter().all(|&marker| is_marker(marker)) {
            return Err(self.error(Stop::NotABlock));
        }
        self.event_types.clear();
        self.event_types
            .extend(markers.iter().map(|marker| match marker & 1 {
                1 => EventType::Pageview,
                _ => EventType::Event,
            }));
        self.timestamps.clear();
        let timestamps = column(1).as_chunks().0.iter();
        self.timestamps
            .extend(timestamps.map(|&bytes| i64::from_le_bytes(bytes)));
        self.event_ids.clear();
        let event_ids = column(2).as_chunks().0.iter();
        self.event_ids
            .extend(event_ids.map(|&bytes| u64::from_le_bytes(bytes)));
        self.offsets.clear();
        let offsets = column(3).as_chunks().0.iter();
        self.offsets
            .extend(offsets.map(|&bytes| i16::from_le_bytes(bytes)));

        let mut before = self.last_key.unwrap_or((i64::MIN, 0));
        let keys = self.timestamps.iter().zip(&self.event_ids);
        for (row, (&timestamp, &event_id)) in keys.enumerate() {
            let key = (timestamp, event_id);
            if key < before {
                let row = self.all_rows + row as u64 + 1;
                return Err(Error::internal(format!(
                    "rows out of order: row {row} comes before the row in front of it"
                ))
                .at(self.position()));
            }
            before = key;
        }
        if self.has_too_much_text() {
            self.too_large = true;
        } else {
            self.wanted = rows;
            self.cut();
        }
        Ok(())
    }

    /// Whether the rows have more text than a block may have: one that many rows share stands in the block only once.
    fn has_too_much_text(&self) -> bool {
        let shared = || self.texts.iter().filter(|texts| texts.has_codes);
        let longest = |texts: &Texts| texts.spans.iter().map(|span| span.len).max().unwrap_or(0);
        let most = shared().map(|texts| longest(texts) as usize * self.rows);
        if most.sum::<usize>() <= MAX_BLOCK_BYTES {
            return false;
        }
        let of_rows = shared().flat_map(|texts| {
            let codes = texts.codes.iter();
            codes.map(|&code| texts.spans[code as usize].len as usize)
        });
        of_rows.sum::<usize>() > MAX_BLOCK_BYTES
    }

    pub(super) fn finish(&self) -> Result<()> {
        let between = matches!(self.place, Place::Block | Place::End);
        let read = self.delivered == self.wanted && !self.too_large;
        if read && (self.passed || between && self.at == self.bytes.len()) {
            return Ok(());
        }
        let row = self.all_rows + 1;
        let what =
            format!("the stream from ClickHouse ended inside the block that row {row} begins");
        Err(Error::new(ErrorKind::BrokenOff, what)
            .at(self.position())
            .with_detail(super::no_row(&self.bytes)))
    }

    fn length(&self, at: usize) -> std::result::Result<(usize, usize), Stop> {
        match read_length(&self.bytes, at, 0) {
            Ok((length, at)) => Ok((length as usize, at)),
            Err(super::row::Stop::Short) => Err(Stop::Short),
            Err(_) => Err(Stop::Damaged),
        }
    }

    fn number(&self, at: usize) -> std::result::Result<u64, Stop> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let bytes = bytes.first_chunk().ok_or(Stop::Short)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn position(&self) -> Position {
        Position {
            row: Some(self.all_rows + 1),
            line: None,
            column: None,
            byte: None,
        }
    }

    fn error(&self, stop: Stop) -> Error {
        let row = self.all_rows + 1;
        let what = match stop {
            Stop::NotABlock | Stop::NoEnd | Stop::Short => "broke off",
            Stop::Damaged => "is damaged",
        };
        let found = self.bytes.get(self.start..).unwrap_or_default();
        let delivered = self.all_rows > 0;
        let kind = match stop {
            Stop::NotABlock => no_row_kind(found, delivered),
            Stop::NoEnd => cut_row_kind(&self.bytes[self.start..self.at], delivered),
            Stop::Damaged if holds_exception(found, LETTERS_OF_EXCEPTION) => ErrorKind::BrokenOff,
            Stop::Short | Stop::Damaged => ErrorKind::Internal,
        };
        let what = format!("the stream from ClickHouse {what} at row {row}");
        Error::new(kind, what)
            .at(self.position())
            .with_detail(super::no_row(found))
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
