//! CSV: RFC 4180 with `\n`, quotes only where a comma, quote, CR or LF needs them, always a header.

use bytes::Bytes;

use super::FileInfo;
use super::copy::{STEP, Seen, Special, copy_piece, copy_text};
use super::output::Output;
use super::rows::{Dictionaries, MAX_QUICK_BYTES, PIECE_BYTES, PlainRows, as_utf8};
use super::timestamp::{self, TimestampText, no_text};
use crate::decode::{Batch, EventType};
use crate::error::Result;
use crate::pushdown::columns::{COLUMNS, EVENT_DATA, TEXT_COLUMNS};

/// The event type between its commas, with room behind it.
const EVENT_TYPES: [(&[u8; 16], usize); 2] = [(b",pageview,      ", 10), (b",event,         ", 7)];

#[inline(always)]
fn event_type(event_type: EventType) -> (&'static [u8; 16], usize) {
    match event_type {
        EventType::Pageview => EVENT_TYPES[0],
        EventType::Event => EVENT_TYPES[1],
    }
}

struct NeedsQuotes;

impl Special for NeedsQuotes {
    #[inline(always)]
    fn is_special(byte: u8) -> bool {
        (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r')
    }
}

/// A CSV file in the making. Holds one encoded batch.
#[derive(Debug)]
pub struct CsvEncoder {
    output: Output,
    time: TimestampText,
    dictionaries: Dictionaries,
    rows: u64,
    started: bool,
}

impl CsvEncoder {
    pub(super) fn new(info: &FileInfo) -> Self {
        Self {
            output: Output::default(),
            time: TimestampText::new(info.utc),
            dictionaries: Dictionaries::default(),
            rows: 0,
            started: false,
        }
    }

    pub(super) fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.start();
        let plain = PlainRows::of(batch);
        if plain.is_none() {
            self.dictionaries
                .render(batch, |output, _, text| cell(output, text));
        }
        for row in 0..batch.rows() {
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            let Some((time, time_len)) = self.time.render(ms, offset) else {
                return Err(no_text(self.rows + 1, ms, offset));
            };
            let kind = batch.event_types[row];
            let quick = plain
                .as_ref()
                .and_then(|plain| quick_row(&mut self.output, time, time_len, kind, plain, row));
            if quick.is_none() {
                self.output.put(&time[..time_len]);
                let (piece, len) = event_type(kind);
                self.output.put(&piece[..len]);
                for column in 0..TEXT_COLUMNS.len() {
                    match self.dictionaries.get(batch, column, row) {
                        Some(rendered) => self.output.put(rendered),
                        None => cell(&mut self.output, batch.text[column].get(row)),
                    }
                    let last = column == TEXT_COLUMNS.len() - 1;
                    self.output.put_byte(if last { b'\n' } else { b',' });
                }
            }
            self.rows += 1;
        }
        Ok(())
    }

    fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.output.put(COLUMNS.join(",").as_bytes());
            self.output.put_byte(b'\n');
        }
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        self.output.take()
    }

    pub(super) fn finish(&mut self) {
        self.start();
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// Writes a row in which no text but `event_data` needs quotes. `None`, and nothing written, where one does, where a
/// text is not UTF-8, and where there is not enough behind the row's last text to read in steps.
#[inline(always)]
fn quick_row(
    output: &mut Output,
    time: &[u8; timestamp::ROOM],
    time_len: usize,
    kind: EventType,
    plain: &PlainRows<'_>,
    row: usize,
) -> Option<()> {
    let (spans, text_bytes) = plain.row(row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let quoted = 2 + spans[EVENT_DATA].len as usize;
    let out = output.room(timestamp::ROOM + 16 + text_bytes + quoted + TEXT_COLUMNS.len() + STEP);
    let mut seen = Seen::nothing();
    let mut at = copy_piece(time, time_len, out, 0)?;
    let (piece, len) = event_type(kind);
    at = copy_piece(piece, len, out, at)?;
    for (column, span) in spans.into_iter().enumerate() {
        if column == EVENT_DATA && span.len > 0 {
            let mut own = Seen::nothing();
            let end = copy_text::<NeedsQuotes>(plain.bytes, span, out, at, &mut own)?;
            if own.special() {
                at = quote(span.of(plain.bytes), out, at)?;
            } else {
                at = end;
            }
            seen.add_any(&own);
        } else {
            at = copy_text::<NeedsQuotes>(plain.bytes, span, out, at, &mut seen)?;
        }
        *out.get_mut(at)? = b',';
        at += 1;
    }
    *out.get_mut(at - 1)? = b'\n';
    if seen.special() {
        return None;
    }
    if seen.not_ascii() && simdutf8::basic::from_utf8(out.get(..at)?).is_err() {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Writes a text in quotes to `out[at..]`, its own quotes doubled.
#[inline]
fn quote(text: &[u8], out: &mut [u8], mut at: usize) -> Option<usize> {
    *out.get_mut(at)? = b'"';
    at = double_quotes(text, out, at + 1)?;
    *out.get_mut(at)? = b'"';
    Some(at + 1)
}

#[inline]
fn double_quotes(text: &[u8], out: &mut [u8], mut at: usize) -> Option<usize> {
    let out = out.get_mut(..at + 2 * text.len() + 1)?;
    for &byte in text {
        out[at] = byte;
        out[at + 1] = b'"';
        at += 1 + usize::from(byte == b'"');
    }
    Some(at)
}

/// Writes any text as a cell.
fn cell(output: &mut Output, text: &[u8]) {
    let text = as_utf8(text);
    if !text.iter().any(|&byte| NeedsQuotes::is_special(byte)) {
        output.put(&text);
        return;
    }
    output.put_byte(b'"');
    for piece in text.chunks(PIECE_BYTES) {
        let room = output.room(2 * piece.len() + 1);
        if let Some(written) = double_quotes(piece, room, 0) {
            output.advance(written);
        }
    }
    output.put_byte(b'"');
}
