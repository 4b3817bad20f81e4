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

use super::lanes::{NO_KEY, Rows, Run};
use super::partial::PartialRow;
use super::row::Stop;
use super::{Batch, DETAIL_BYTES, MAX_ROW_BYTES, cut_row_kind, no_row, no_row_kind};
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
    /// The batch being delivered, and what has been read behind it.
    read: Rows,
    ahead: Option<Run>,
    /// Rows delivered, and the bytes of the stream in front of the next one.
    rows: u64,
    bytes: u64,
    last_key: Option<(i64, u64)>,
    last_key_is_unique: bool,
    /// Rows behind this instant are not delivered, and whether there was one.
    last_instant: i64,
    passed: bool,
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
            read: Rows::default(),
            ahead: None,
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
        self.passed = false;
        self.stop_at(until);
    }

    /// Delivers no row from this instant on, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn stop_at(&mut self, until: i64) {
        self.last_instant = until.saturating_sub(1);
        self.ahead = None;
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
        self.ahead = None;
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

        let run = self.read_rows();
        if run.rows == 0 {
            return match run.stop {
                Some(Stop::Short) | None => self.next_partial(),
                Some(Stop::Passed) => Ok(self.pass()),
                Some(stop @ Stop::NoEnd) => {
                    let end = self.read.tried_end();
                    Err(self.error(stop, &self.chunk[self.at..][..=end]))
                }
                Some(stop) => Err(self.error(stop, &self.chunk[self.at..])),
            };
        }
        let (last, before) = self.read.last_keys(&run);
        self.last_key_is_unique = before.or(self.last_key) != last;
        self.last_key = last;
        self.rows += run.rows as u64;
        self.bytes += (run.end - run.start) as u64;
        self.at = run.end;
        Ok(Some(self.read.batch(&run, &self.chunk)))
    }

    /// The next whole rows of the chunk: those that were read ahead, or as many as can be read.
    fn read_rows(&mut self) -> Run {
        let last_key = self.last_key.unwrap_or(NO_KEY);
        if let Some(run) = self.ahead.take()
            && self.read.first_key(&run) >= last_key
        {
            return run;
        }
        let (run, ahead) = self
            .read
            .read(&self.chunk, self.at, last_key, self.last_instant);
        self.ahead = ahead;
        run
    }

    /// Drops what lies behind the end of the range.
    fn pass(&mut self) -> Option<Batch<'_>> {
        self.passed = true;
        self.ahead = None;
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

        let (bytes, spans) = (self.partial.bytes(), self.partial.spans());
        Ok(Some(self.read.alone(head, bytes, spans)))
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

#[cfg(test)]
#[path = "rowbinary_tests.rs"]
pub(super) mod tests;
