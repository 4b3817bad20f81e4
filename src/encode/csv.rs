//! CSV: RFC 4180 with `\n`, quotes only where a comma, quote, CR or LF needs them, always a header.

mod fields;
mod spreadsheet;

use bytes::Bytes;

use super::FileInfo;
use super::cells::{Cells, Source, plain_bytes};
use super::copy::{Seen, Special, copy_piece, copy_run, copy_text};
use super::output::Output;
use super::rows::{
    Dictionaries, MAX_QUICK_BYTES, PIECE_BYTES, PlainRows, RowSpans, as_utf8, text_bytes,
};
use super::timestamp::{self, TimestampText, no_text};
use super::vector::{Block, STEP};
use crate::decode::{Batch, EventType, Span};
use crate::error::Result;
use crate::pushdown::columns::{EVENT_DATA, TEXT_COLUMNS};
use crate::request::Fields;

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
    fn among(block: Block) -> Block {
        let breaks = block.equals(b'\n').or(block.equals(b'\r'));
        block.equals(b',').or(block.equals(b'"')).or(breaks)
    }
}

/// Ones for the lengths whose byte is one of those.
const SPECIAL_LENGTHS: [u8; 128] = {
    let mut lengths = [0; 128];
    lengths[b',' as usize] = 1;
    lengths[b'"' as usize] = 1;
    lengths[b'\n' as usize] = 1;
    lengths[b'\r' as usize] = 1;
    lengths
};

/// Room of a cell of a few-valued column with its comma.
const CELL_ROOM: usize = 32;

/// A CSV file in the making. Holds one encoded batch.
#[derive(Debug)]
pub struct CsvEncoder {
    output: Output,
    time: TimestampText,
    dictionaries: Dictionaries,
    cells: Cells<CELL_ROOM>,
    fields: Fields,
    /// Whether rows are written cell by cell, and not all columns in one go.
    by_field: bool,
    spreadsheet: bool,
    rows: u64,
    started: bool,
}

impl CsvEncoder {
    pub(super) fn new(info: &FileInfo) -> Self {
        Self {
            output: Output::default(),
            time: TimestampText::new(info.utc),
            dictionaries: Dictionaries::default(),
            cells: Cells::default(),
            fields: info.fields.clone(),
            by_field: info.spreadsheet || !info.fields.is_all(),
            spreadsheet: info.spreadsheet,
            rows: 0,
            started: false,
        }
    }

    pub(super) fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.start();
        if self.by_field {
            return self.batch_by_field(batch);
        }
        let plain = PlainRows::of(batch);
        if plain.is_none() {
            self.dictionaries
                .render(batch, |output, _, text| cell(output, text));
            let around = |column| (&b""[..], &separator(column)[..]);
            self.cells.fill(batch, &self.dictionaries, around);
        }
        let sources = plain.is_none().then(|| self.cells.sources(batch));
        for row in 0..batch.rows() {
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            let Some((time, time_len)) = self.time.render(ms, offset) else {
                return Err(no_text(self.rows + 1, ms, offset));
            };
            let kind = batch.event_types[row];
            let quick = plain.as_ref().and_then(|plain| {
                let spans = &plain.rows[row];
                quick_row(&mut self.output, time, time_len, kind, plain.bytes, spans)
            });
            let quick = quick.or_else(|| {
                let sources = sources.as_ref()?;
                quick_columns(&mut self.output, time, time_len, kind, sources, row)
            });
            if quick.is_none() {
                self.output.put(&time[..time_len]);
                let (piece, len) = event_type(kind);
                self.output.put(&piece[..len]);
                for column in 0..TEXT_COLUMNS.len() {
                    match self.dictionaries.get(batch, column, row) {
                        Some(rendered) => self.output.put(rendered),
                        None => cell(&mut self.output, batch.text[column].get(row)),
                    }
                    self.output.put(separator(column));
                }
            }
            self.rows += 1;
        }
        Ok(())
    }

    fn start(&mut self) {
        if !self.started {
            self.started = true;
            if self.spreadsheet {
                self.output.put(spreadsheet::BYTE_ORDER_MARK);
            }
            let names: Vec<_> = self.fields.names().collect();
            self.output.put(names.join(",").as_bytes());
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

/// What stands behind a column's cell.
#[inline(always)]
fn separator(column: usize) -> &'static [u8; 1] {
    if column == TEXT_COLUMNS.len() - 1 {
        b"\n"
    } else {
        b","
    }
}

/// As [`quick_row`], of texts that lie by column.
#[inline(always)]
fn quick_columns(
    output: &mut Output,
    time: &[u8; timestamp::ROOM],
    time_len: usize,
    kind: EventType,
    sources: &[Source<'_, CELL_ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> Option<()> {
    let text_bytes = plain_bytes(sources, row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let room = timestamp::ROOM + 16 + 2 * text_bytes + TEXT_COLUMNS.len() * (CELL_ROOM + 3) + STEP;
    let out = output.room(room);
    let mut seen = Seen::nothing();
    let mut at = copy_piece(time, time_len, out, 0)?;
    let (piece, len) = event_type(kind);
    at = copy_piece(piece, len, out, at)?;
    for (column, source) in sources.iter().enumerate() {
        match *source {
            Source::Slots { slots, codes } => {
                let slot = &slots[codes[row] as usize];
                if slot.len > CELL_ROOM {
                    return None;
                }
                at = copy_piece(&slot.bytes, slot.len, out, at)?;
            }
            Source::Plain {
                bytes,
                spans,
                stride,
            } => {
                let span = spans[row * stride];
                if column == EVENT_DATA {
                    at = event_data(bytes, span, out, at, &mut seen)?;
                } else {
                    at = copy_text::<NeedsQuotes>(bytes, span, out, at, &mut seen)?;
                }
                *out.get_mut(at)? = separator(column)[0];
                at += 1;
            }
        }
    }
    if !seen.may_stay(out.get(..at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Writes a row in which no text but `event_data` needs quotes. `None`, and nothing written, where one does, where a
/// text is not UTF-8, and where there is not enough behind the row's last text to read in steps.
#[inline(always)]
fn quick_row(
    output: &mut Output,
    time: &[u8; timestamp::ROOM],
    time_len: usize,
    kind: EventType,
    bytes: &[u8],
    spans: &RowSpans,
) -> Option<()> {
    let text_bytes = text_bytes(spans);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let data = spans[EVENT_DATA];
    let quoted = 2 + data.len as usize;
    let out = output.room(timestamp::ROOM + 16 + text_bytes + quoted + TEXT_COLUMNS.len() + STEP);
    let mut seen = Seen::nothing();
    let mut at = copy_piece(time, time_len, out, 0)?;
    let (piece, len) = event_type(kind);
    at = copy_piece(piece, len, out, at)?;
    if data.len == 0 {
        at = cells(bytes, spans, out, at, &mut seen)?;
    } else {
        at = cells(bytes, &spans[..EVENT_DATA], out, at, &mut seen)?;
        *out.get_mut(at)? = b',';
        at = event_data(bytes, data, out, at + 1, &mut seen)?;
        *out.get_mut(at)? = b',';
        at = cells(bytes, &spans[EVENT_DATA + 1..], out, at + 1, &mut seen)?;
    }
    *out.get_mut(at)? = b'\n';
    at += 1;
    if !seen.may_stay(out.get(..at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Copies the text of `event_data`, in quotes where it needs them: most of them do, so that is no reason to start the row
/// again.
#[inline(always)]
fn event_data(
    bytes: &[u8],
    span: Span,
    out: &mut [u8],
    at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let mut own = Seen::nothing();
    let end = copy_text::<NeedsQuotes>(bytes, span, out, at, &mut own)?;
    seen.add_any(&own);
    if own.special() {
        quote(span.of(bytes), out, at)
    } else {
        Some(end)
    }
}

/// Copies texts as cells with commas between: all at once where they lie so, else one by one.
#[inline(always)]
fn cells(
    bytes: &[u8],
    spans: &[Span],
    out: &mut [u8],
    mut at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let lengths = &SPECIAL_LENGTHS;
    if let Some(end) = copy_run::<NeedsQuotes>(bytes, spans, lengths, out, at, seen) {
        return Some(end);
    }
    for span in spans {
        at = copy_text::<NeedsQuotes>(bytes, *span, out, at, seen)?;
        *out.get_mut(at)? = b',';
        at += 1;
    }
    Some(at - 1)
}

/// Writes a text in quotes to `out[at..]`, its own quotes doubled.
#[inline]
fn quote(text: &[u8], out: &mut [u8], mut at: usize) -> Option<usize> {
    *out.get_mut(at)? = b'"';
    at = double_quotes(text, out, at + 1)?;
    *out.get_mut(at)? = b'"';
    Some(at + 1)
}

/// Copies a text with each quote twice. `None` where `out` has not twice the text's length and a step more.
#[inline]
fn double_quotes(text: &[u8], out: &mut [u8], mut at: usize) -> Option<usize> {
    let mut rest = text;
    while let Some(block) = rest.first_chunk() {
        *out.get_mut(at..)?.first_chunk_mut()? = *block;
        let quotes = Block::load(block).equals(b'"').high_bits();
        if quotes == 0 {
            rest = &rest[STEP..];
            at += STEP;
        } else {
            let first = quotes.trailing_zeros() as usize;
            rest = &rest[first + 1..];
            at += first + 2;
            *out.get_mut(at - 1)? = b'"';
        }
    }
    for &byte in rest {
        *out.get_mut(at)? = byte;
        *out.get_mut(at + 1)? = b'"';
        at += 1 + usize::from(byte == b'"');
    }
    Some(at)
}

/// Writes any text as a cell.
fn cell(output: &mut Output, text: &[u8]) {
    let text = as_utf8(text);
    if !needs_quotes(&text) {
        output.put(&text);
    } else {
        quoted(output, &text);
    }
}

/// Writes any UTF-8 as a cell in quotes.
fn quoted(output: &mut Output, text: &[u8]) {
    output.put_byte(b'"');
    for piece in text.chunks(PIECE_BYTES) {
        let room = output.room(2 * piece.len() + STEP);
        if let Some(written) = double_quotes(piece, room, 0) {
            output.advance(written);
        }
    }
    output.put_byte(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks();
    let among = |block| NeedsQuotes::among(Block::load(block)).high_bits() != 0;
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    blocks.iter().any(among) || rest.iter().any(special)
}
