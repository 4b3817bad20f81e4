//! RowBinary to batches: ClickHouse's row format, little-endian, field after field without any frame.
//!
//! One row on the wire:
//!
//! ```text
//! marker u8 | timestamp i64, ms | event_id u64 | offset i16, minutes | 15 × (length LEB128, text) | end u8
//! ```
//!
//! The marker is the event type's number, plus 2 where the row is fresh, so 1 to 4: the only bytes a row can start
//! with. ClickHouse appends the text of an exception behind the last row it sent, and no such text starts so. Where a row was
//! cut, the text stands inside of it, and may be as long as what is missing: that it is no row shows at the end, which is a byte
//! that no UTF-8 has ([`ROW_END`](crate::pushdown::columns::ROW_END)). A length may have groups of zeros at its end, as LEB128
//! allows and ClickHouse is asked to write them.
//!
//! Format: <https://clickhouse.com/docs/interfaces/formats/RowBinary>.

use bytes::Bytes;

use super::partial::PartialRow;
use super::row::{HEAD_BYTES, Head, RowSpans, Stop, find_texts, is_marker};
use super::{
    Batch, DETAIL_BYTES, EventType, MAX_BATCH_BYTES, MAX_BATCH_ROWS, MAX_ROW_BYTES, Span,
    TextColumn, cut_row_kind, no_row, no_row_kind,
};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::pushdown::columns::TEXT_COLUMNS;

/// RowBinary to batches of rows, whatever the sizes of the chunks.
///
/// A batch borrows from the decoder, so it is used before the next call. Work for a row is proportional to its
/// length, also where it arrives in many small chunks.
#[derive(Debug)]
pub struct RowBinaryDecoder {
    /// The chunk being read and the offset of the next row in it.
    chunk: Bytes,
    at: usize,
    /// The row that the end of a chunk went through: at most [`MAX_ROW_BYTES`].
    partial: PartialRow,
    /// The batch being delivered, and room for [`MAX_BATCH_ROWS`] rows.
    timestamps: Vec<i64>,
    event_ids: Vec<u64>,
    offsets: Vec<i16>,
    event_types: Vec<EventType>,
    spans: Vec<RowSpans>,
    /// Rows delivered, and the bytes of the stream in front of the next one.
    rows: u64,
    bytes: u64,
    last_key: Option<(i64, u64)>,
    last_key_is_unique: bool,
    /// Rows behind this instant are not delivered, and whether there was one.
    last_instant: i64,
    passed: bool,
}

/// What was read of a chunk.
struct Read {
    rows: usize,
    /// How many of them are settled.
    settled_rows: u64,
    /// Why it went no further, unless the batch is full.
    stop: Option<Stop>,
}

impl Default for RowBinaryDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl RowBinaryDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::behind(0, None)
    }

    /// A decoder at the start of a stream whose rows come behind so many others with such a last key.
    pub(super) fn behind(rows: u64, last_key: Option<(i64, u64)>) -> Self {
        Self {
            chunk: Bytes::new(),
            at: 0,
            partial: PartialRow::new(),
            timestamps: vec![0; MAX_BATCH_ROWS],
            event_ids: vec![0; MAX_BATCH_ROWS],
            offsets: vec![0; MAX_BATCH_ROWS],
            event_types: vec![EventType::Pageview; MAX_BATCH_ROWS],
            spans: vec![[Span::default(); TEXT_COLUMNS.len()]; MAX_BATCH_ROWS],
            rows,
            bytes: 0,
            last_key,
            last_key_is_unique: true,
            last_instant: i64::MAX,
            passed: false,
        }
    }

    /// Goes on with another stream, whose rows come behind those delivered and before `until`, in milliseconds since
    /// 1970-01-01T00:00:00Z. What was not delivered of the stream before is dropped.
    pub fn restart(&mut self, until: i64) {
        self.chunk = Bytes::new();
        self.at = 0;
        self.partial = PartialRow::new();
        self.last_instant = until.saturating_sub(1);
        self.passed = false;
    }

    /// Delivers no row from this instant on, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn stop_at(&mut self, until: i64) {
        self.last_instant = until.saturating_sub(1);
    }

    /// Whether there was a row from that instant on: what is wanted of the stream has been delivered.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Takes the next bytes of the stream. Only called when [`next_batch`](Self::next_batch) has returned `None`:
    /// what it has not read of the chunk before would be lost.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.at == self.chunk.len(),
            "a chunk is pushed before the last one is read"
        );
        self.chunk = chunk;
        self.at = 0;
    }

    /// The next rows, or `None` where more bytes are needed.
    ///
    /// # Errors
    ///
    /// Where no row starts at a row's place, a row does not end as rows do, a length does not fit 32 bits, a row is longer
    /// than [`MAX_ROW_BYTES`], or rows are not in the order of (timestamp, event_id). The rows before the bad one are delivered first; from then
    /// on every call gives the error again.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>> {
        self.partial.release();
        if !self.partial.is_empty() {
            return self.next_partial();
        }
        if self.at == self.chunk.len() || self.passed {
            self.chunk = Bytes::new();
            self.at = 0;
            return Ok(None);
        }

        let start = self.at;
        let Read {
            rows,
            settled_rows,
            stop,
        } = self.read_rows();
        if rows == 0 {
            return match stop {
                Some(Stop::Short) | None => self.next_partial(),
                Some(Stop::Passed) => Ok(self.pass()),
                Some(stop @ Stop::NoEnd) => {
                    let [.., last] = &self.spans[0];
                    let end = (last.start + last.len) as usize;
                    Err(self.error(stop, &self.chunk[self.at..][..=end]))
                }
                Some(stop) => Err(self.error(stop, &self.chunk[self.at..])),
            };
        }
        self.rows += rows as u64;
        self.bytes += (self.at - start) as u64;
        let bytes = &self.chunk[start..];
        let text = columns(bytes, &self.spans[..rows]);
        Ok(Some(Batch {
            timestamps: &self.timestamps[..rows],
            event_ids: &self.event_ids[..rows],
            offsets: &self.offsets[..rows],
            event_types: &self.event_types[..rows],
            settled_rows,
            text,
        }))
    }

    /// Reads the whole rows of the chunk, until a batch is full or a row cannot be read.
    fn read_rows(&mut self) -> Read {
        let bytes = &self.chunk[self.at..];
        let mut last_key = self.last_key.unwrap_or((i64::MIN, 0));
        let (mut rows, mut settled_rows, mut at) = (0usize, 0, 0);
        let mut stop = None;
        let timestamps = self.timestamps.iter_mut();
        let keys = timestamps.zip(&mut self.event_ids);
        let kinds = self.offsets.iter_mut().zip(&mut self.event_types);
        for (spans, ((timestamp, event_id), (offset, event_type))) in
            self.spans.iter_mut().zip(keys.zip(kinds))
        {
            if at >= MAX_BATCH_BYTES {
                break;
            }
            let rest = &bytes[at..];
            let Some(head) = rest.first_chunk::<HEAD_BYTES>() else {
                stop = match rest.first() {
                    Some(&byte) if !is_marker(byte) => Some(Stop::NotARow),
                    _ => Some(Stop::Short),
                };
                break;
            };
            let head = Head::read(head);
            if !is_marker(head.marker) {
                stop = Some(Stop::NotARow);
                break;
            }
            if head.timestamp > self.last_instant {
                stop = Some(Stop::Passed);
                break;
            }
            let end = match find_texts(bytes, at + HEAD_BYTES, spans) {
                Ok(end) => end,
                Err(reason) => {
                    stop = Some(reason);
                    break;
                }
            };
            if end - at > MAX_ROW_BYTES {
                stop = Some(Stop::TooLong);
                break;
            }
            if head.key() < last_key {
                stop = Some(Stop::Order);
                break;
            }
            last_key = head.key();
            settled_rows += u64::from(head.settled());
            *timestamp = head.timestamp;
            *event_id = head.event_id;
            *offset = head.offset;
            *event_type = head.event_type();
            rows += 1;
            at = end;
        }
        if rows > 0 {
            let before = match rows.checked_sub(2) {
                Some(before) => Some((self.timestamps[before], self.event_ids[before])),
                None => self.last_key,
            };
            self.last_key_is_unique = before != Some(last_key);
            self.last_key = Some(last_key);
        }
        self.at += at;
        Read {
            rows,
            settled_rows,
            stop,
        }
    }

    /// Drops what lies behind the end of the range.
    fn pass(&mut self) -> Option<Batch<'_>> {
        self.passed = true;
        self.chunk = Bytes::new();
        self.at = 0;
        self.partial = PartialRow::new();
        None
    }

    /// Completes the row that the end of a chunk went through and delivers it alone.
    fn next_partial(&mut self) -> Result<Option<Batch<'_>>> {
        let filled = self.partial.fill(&self.chunk, &mut self.at);
        let head = self.partial.head();
        // A row behind the end of the range is neither waited for nor found damaged.
        if filled != Err(Stop::NotARow)
            && head.is_some_and(|head| head.timestamp > self.last_instant)
        {
            return Ok(self.pass());
        }
        match filled {
            Ok(true) => {}
            Ok(false) => {
                self.chunk = Bytes::new();
                self.at = 0;
                return Ok(None);
            }
            Err(stop) => return Err(self.error(stop, self.partial.bytes())),
        }
        let Some(head) = head else {
            return Err(self.error(Stop::NotARow, self.partial.bytes()));
        };
        if self.last_key.is_some_and(|last| head.key() < last) {
            return Err(self.error(Stop::Order, &[]));
        }
        self.last_key_is_unique = self.last_key != Some(head.key());
        self.last_key = Some(head.key());
        self.rows += 1;
        self.bytes += self.partial.bytes().len() as u64;
        self.partial.deliver();

        self.timestamps[0] = head.timestamp;
        self.event_ids[0] = head.event_id;
        self.offsets[0] = head.offset;
        self.event_types[0] = head.event_type();
        Ok(Some(Batch {
            timestamps: &self.timestamps[..1],
            event_ids: &self.event_ids[..1],
            offsets: &self.offsets[..1],
            event_types: &self.event_types[..1],
            settled_rows: u64::from(head.settled()),
            text: columns(
                self.partial.bytes(),
                std::slice::from_ref(self.partial.spans()),
            ),
        }))
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    ///
    /// Where it ended inside a row.
    pub fn finish(&self) -> Result<()> {
        let unread = &self.chunk[self.at..];
        if self.partial.is_empty() && unread.is_empty() {
            return Ok(());
        }
        let row = self.rows + 1;
        let mut rest = self.partial.bytes().to_vec();
        rest.extend_from_slice(&unread[..unread.len().min(DETAIL_BYTES)]);
        Err(Error::new(
            ErrorKind::BrokenOff,
            format!("the stream from ClickHouse ended inside row {row}"),
        )
        .at(self.position(None))
        .with_detail(no_row(&rest)))
    }

    /// Rows delivered so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The key (timestamp, event_id) of the last row delivered.
    pub fn last_key(&self) -> Option<(i64, u64)> {
        self.last_key
    }

    /// Whether the last row delivered has another key than the one before it.
    pub fn last_key_is_unique(&self) -> bool {
        self.last_key_is_unique
    }

    fn position(&self, column: Option<usize>) -> Position {
        Position {
            row: Some(self.rows + 1),
            line: None,
            column: column.and_then(|column| TEXT_COLUMNS.get(column).copied()),
            byte: Some(self.bytes),
        }
    }

    /// The error for the next row, whose bytes start `found`.
    fn error(&self, stop: Stop, found: &[u8]) -> Error {
        let row = self.rows + 1;
        let kind = match stop {
            Stop::Cut => ErrorKind::BrokenOff,
            Stop::NoEnd => cut_row_kind(found, self.bytes > 0),
            _ => no_row_kind(found, self.bytes > 0),
        };
        let found = &found[..found.len().min(DETAIL_BYTES)];
        match stop {
            Stop::NotARow | Stop::Cut | Stop::NoEnd | Stop::Short | Stop::Passed => Error::new(
                kind,
                format!("the stream from ClickHouse broke off at row {row}"),
            )
            .at(self.position(None))
            .with_detail(no_row(found)),
            Stop::Length(column) => Error::new(
                ErrorKind::Internal,
                format!("the stream from ClickHouse is damaged at row {row}: a length of more than 32 bits"),
            )
            .at(self.position(Some(column)))
            .with_detail(no_row(found)),
            Stop::TooLong => Error::new(
                ErrorKind::Internal,
                format!(
                    "row {row} is longer than {} MiB, the most an export carries: shorten its texts in the table",
                    MAX_ROW_BYTES >> 20
                ),
            )
            .at(self.position(None)),
            Stop::Order => Error::new(
                ErrorKind::Internal,
                format!("rows out of order: row {row} comes before the row in front of it"),
            )
            .at(self.position(None)),
        }
    }
}

/// The rows' texts by column.
fn columns<'a>(bytes: &'a [u8], rows: &'a [RowSpans]) -> [TextColumn<'a>; TEXT_COLUMNS.len()] {
    let spans = rows.as_flattened();
    std::array::from_fn(|column| TextColumn::Plain {
        bytes,
        spans: &spans[column..],
        stride: TEXT_COLUMNS.len(),
    })
}

#[cfg(test)]
#[path = "rowbinary_tests.rs"]
pub(super) mod tests;
