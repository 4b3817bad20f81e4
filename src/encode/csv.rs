//! CSV: RFC 4180 with `\n`, quotes only where a comma, quote, CR or LF needs them, always a header.

mod fields;
mod spreadsheet;

use bytes::Bytes;

use super::FileInfo;
use super::cells::{Cells, Source, plain_bytes};
use super::copy::{Seen, Special, copy_piece, copy_text};
use super::output::Output;
use super::rows::{
    Dictionaries, MAX_QUICK_BYTES, PIECE_BYTES, PlainRows, RowSpans, as_utf8, text_bytes,
};
use super::timestamp::{self, TimestampText, all_written};
use super::vector::{Block, Block16, Four, MAX_STEP, OnBlocks, STEP, widest};
use crate::decode::{Batch, EventType, Span};
use crate::error::Result;
use crate::pushdown::columns::TEXT_COLUMNS;
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
    fn among<B: Block>(block: B) -> B {
        const FOUR: Four = Four::of(*b",\"\n\r");
        block.any_of(&FOUR)
    }
}

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
        let cells = plain.is_none().then(|| self.cells.sources(batch));
        let (output, time) = (&mut self.output, &mut self.time);
        let dictionaries = &self.dictionaries;
        let written = widest(Rows {
            batch,
            plain,
            cells,
            dictionaries,
            output,
            time,
        });
        self.rows += written as u64;
        all_written(batch, written, self.rows)
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

/// The rows of a batch, all columns.
struct Rows<'a> {
    batch: &'a Batch<'a>,
    /// Where the texts lie, by row or by column.
    plain: Option<PlainRows<'a>>,
    cells: Option<[Source<'a, CELL_ROOM>; TEXT_COLUMNS.len()]>,
    dictionaries: &'a Dictionaries,
    output: &'a mut Output,
    time: &'a mut TimestampText,
}

impl OnBlocks for Rows<'_> {
    type Output = usize;

    /// Writes the rows up to the first one whose time has no text, and gives how many.
    #[inline(always)]
    fn on<B: Block>(self) -> usize {
        let Self {
            batch,
            plain,
            cells,
            dictionaries,
            output,
            time,
        } = self;
        for row in 0..batch.rows() {
            let Some((time, time_len)) = time.render(batch.timestamps[row], batch.offsets[row])
            else {
                return row;
            };
            let kind = batch.event_types[row];
            let head = Head {
                time,
                time_len,
                kind,
            };
            let quick = match (&plain, &cells) {
                (Some(plain), _) => quick_row::<B>(output, head, plain.bytes, &plain.rows[row]),
                (None, Some(cells)) => quick_columns::<B>(output, head, cells, row),
                (None, None) => None,
            };
            if quick.is_none() {
                careful_row(output, head, batch, dictionaries, row);
            }
        }
        batch.rows()
    }
}

/// What stands in front of a row's texts.
#[derive(Clone, Copy)]
struct Head<'a> {
    time: &'a [u8; timestamp::ROOM],
    time_len: usize,
    kind: EventType,
}

impl Head<'_> {
    /// Writes it with its commas, and gives the offset behind it.
    #[inline(always)]
    fn copy(&self, out: &mut [u8]) -> Option<usize> {
        let at = copy_piece(self.time, self.time_len, out, 0)?;
        let (piece, len) = event_type(self.kind);
        copy_piece(piece, len, out, at)
    }
}

/// Writes any row.
#[inline(never)]
fn careful_row(
    output: &mut Output,
    head: Head<'_>,
    batch: &Batch<'_>,
    dictionaries: &Dictionaries,
    row: usize,
) {
    output.put(&head.time[..head.time_len]);
    let (piece, len) = event_type(head.kind);
    output.put(&piece[..len]);
    for column in 0..TEXT_COLUMNS.len() {
        match dictionaries.get(batch, column, row) {
            Some(rendered) => output.put(rendered),
            None => cell(output, batch.text[column].get(row)),
        }
        output.put(separator(column));
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
fn quick_columns<B: Block>(
    output: &mut Output,
    head: Head<'_>,
    sources: &[Source<'_, CELL_ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> Option<()> {
    let text_bytes = plain_bytes(sources, row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let room =
        timestamp::ROOM + 16 + 2 * text_bytes + TEXT_COLUMNS.len() * (CELL_ROOM + 3) + MAX_STEP;
    let out = output.room(room);
    let mut seen = Seen::<B>::nothing();
    let mut at = head.copy(out)?;
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
                at = text::<B>(bytes, span, out, at, &mut seen)?;
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

/// Writes a row whose texts lie in one place. `None`, and nothing written, where one is not UTF-8, where they have more than
/// [`MAX_QUICK_BYTES`], and where there is not enough behind the last one to read in blocks.
#[inline(always)]
fn quick_row<B: Block>(
    output: &mut Output,
    head: Head<'_>,
    bytes: &[u8],
    spans: &RowSpans,
) -> Option<()> {
    let text_bytes = text_bytes(spans);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    // Each byte may be a quote, and each cell has two more and what stands behind it.
    let cells = 2 * text_bytes + 3 * TEXT_COLUMNS.len();
    let out = output.room(timestamp::ROOM + 16 + cells + MAX_STEP);
    let mut seen = Seen::<B>::nothing();
    let mut at = head.copy(out)?;
    for (column, &span) in spans.iter().enumerate() {
        at = text(bytes, span, out, at, &mut seen)?;
        *out.get_mut(at)? = separator(column)[0];
        at += 1;
    }
    if !seen.may_stay(out.get(..at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Copies a text, in quotes where it needs them.
#[inline(always)]
fn text<B: Block>(
    bytes: &[u8],
    span: Span,
    out: &mut [u8],
    at: usize,
    seen: &mut Seen<B>,
) -> Option<usize> {
    let mut own = Seen::<B>::nothing();
    let end = copy_text::<NeedsQuotes, B>(bytes, span, out, at, &mut own)?;
    seen.add_any(&own);
    if own.special() {
        quote(bytes, span, out, at)
    } else {
        Some(end)
    }
}

/// Writes a text in quotes to `out[at..]`, its own quotes doubled.
#[inline(never)]
fn quote(bytes: &[u8], span: Span, out: &mut [u8], mut at: usize) -> Option<usize> {
    *out.get_mut(at)? = b'"';
    at = double_quotes(bytes, span, out, at + 1)?;
    *out.get_mut(at)? = b'"';
    Some(at + 1)
}

/// Copies a text with each quote twice. `None` where `out` has not twice the text's length and a step more.
#[inline]
fn double_quotes(bytes: &[u8], span: Span, out: &mut [u8], mut at: usize) -> Option<usize> {
    let mut from = span.start as usize;
    let end = from + span.len as usize;
    while from < end {
        let left = end - from;
        let Some(block) = Block16::load(bytes.get(from..)?) else {
            let byte = *bytes.get(from)?;
            *out.get_mut(at)? = byte;
            *out.get_mut(at + 1)? = b'"';
            at += 1 + usize::from(byte == b'"');
            from += 1;
            continue;
        };
        block.store(out.get_mut(at..)?)?;
        // What lies behind the text is copied too, and written over.
        let quote = block.equals(b'"').high_bits().trailing_zeros() as usize;
        if quote < left.min(STEP) {
            from += quote + 1;
            at += quote + 2;
            *out.get_mut(at - 1)? = b'"';
        } else {
            from += STEP;
            at += left.min(STEP);
        }
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
        let whole = Span {
            start: 0,
            len: piece.len() as u32,
        };
        if let Some(written) = double_quotes(piece, whole, room, 0) {
            output.advance(written);
        }
    }
    output.put_byte(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<STEP>();
    let mut blocks = blocks.iter().filter_map(|block| Block16::load(block));
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    blocks.any(|block| NeedsQuotes::among(block).high_bits() != 0) || rest.iter().any(special)
}
