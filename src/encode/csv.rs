//! CSV: RFC 4180 with `\n`, quotes only where a comma, quote, CR or LF needs them, always a header.

mod fields;
mod spreadsheet;

use bytes::Bytes;

use super::FileInfo;
use super::cells::{Cells, Source, plain_bytes};
use super::copy::{Seen, Special, copy_piece, copy_text, first_bits};
use super::margin::{Readable, Writable};
use super::output::Output;
use super::rows::{
    Dictionaries, MAX_QUICK_BYTES, PIECE_BYTES, PlainRows, RowSpans, as_utf8, row_bytes,
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
        let instants = batch.timestamps.iter().zip(batch.offsets);
        let heads = instants.zip(batch.event_types);
        for (row, ((&timestamp, &offset), &kind)) in heads.enumerate() {
            let Some((text, len)) = time.render(timestamp, offset) else {
                return row;
            };
            let head = Head {
                time: text,
                time_len: len,
                kind,
            };
            let quick = match (&plain, &cells) {
                (Some(plain), _) => quick_row::<B>(output, head, plain.bytes, &plain.rows[row]),
                (None, Some(cells)) => quick_columns::<B>(output, head, cells, row),
                (None, None) => None,
            };
            if quick.is_none() {
                careful_row(output, time, batch, dictionaries, row);
            }
        }
        batch.rows()
    }
}

/// What stands in front of a row's texts.
#[derive(Clone, Copy)]
struct Head {
    time: [u8; timestamp::ROOM],
    time_len: usize,
    kind: EventType,
}

impl Head {
    /// Writes it with its commas, and gives the offset behind it.
    #[inline(always)]
    fn copy(&self, out: &mut Writable<'_>) -> Option<usize> {
        let at = copy_piece(&self.time, self.time_len, out, 0)?;
        let (piece, len) = event_type(self.kind);
        copy_piece(piece, len, out, at)
    }
}

/// Writes any row whose time has a text.
#[inline(never)]
fn careful_row(
    output: &mut Output,
    time: &mut TimestampText,
    batch: &Batch<'_>,
    dictionaries: &Dictionaries,
    row: usize,
) {
    time.put_again(batch, row, output);
    let (piece, len) = event_type(batch.event_types[row]);
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
    head: Head,
    sources: &[Source<'_, CELL_ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> Option<()> {
    let text_bytes = plain_bytes(sources, row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let room =
        timestamp::ROOM + 16 + 2 * text_bytes + TEXT_COLUMNS.len() * (CELL_ROOM + 3) + MAX_STEP;
    let out = &mut Writable::new(output.room(room))?;
    let mut seen = Seen::default();
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
                at = text::<B>(Readable::new(bytes)?, span, out, at, &mut seen)?;
                out.put(separator(column), at)?;
                at += 1;
            }
        }
    }
    if !seen.may_stay(out.written(at)?) {
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
    head: Head,
    bytes: &[u8],
    spans: &RowSpans,
) -> Option<()> {
    let text_bytes = row_bytes(spans);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    // Each byte may be a quote, and each cell has two more and what stands behind it.
    let cells = 2 * text_bytes + 3 * TEXT_COLUMNS.len();
    let bytes = Readable::new(bytes)?;
    let out = &mut Writable::new(output.room(timestamp::ROOM + 16 + cells + MAX_STEP))?;
    let mut at = head.copy(out)?;
    let mut high = false;
    let mut texts = spans.iter();
    while let Some(text) = plain_texts::<B>(bytes, &mut texts, out, &mut at, &mut high)? {
        at = quote::<B>(text.of(bytes.bytes()), out, at)?;
        out.put(b",", at)?;
        at += 1;
    }
    let row = out.written(at)?;
    *row.last_mut()? = b'\n';
    if high && simdutf8::basic::from_utf8(row).is_err() {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Copies texts with a comma behind each to `out[at..]`, up to the first one that needs quotes, and gives that; says where one is not
/// ASCII. `None` where there are fewer than [`MAX_STEP`] bytes from a text's last step on, in front or behind.
#[inline(always)]
fn plain_texts<'a, B: Block>(
    bytes: Readable<'_>,
    texts: &mut std::slice::Iter<'a, Span>,
    out: &mut Writable<'_>,
    at: &mut usize,
    high: &mut bool,
) -> Option<Option<&'a Span>> {
    for text in texts {
        let (from, len) = (text.start as usize, text.len as usize);
        if len <= B::STEP {
            let block: B = bytes.block(from)?;
            out.put_block(block, *at)?;
            let special = NeedsQuotes::among(block);
            let in_text = first_bits(len);
            // One branch for both, which are rare.
            if special.or(block).high_bits() & in_text != 0 {
                *high |= block.high_bits() & in_text != 0;
                if special.high_bits() & in_text != 0 {
                    return Some(Some(text));
                }
            }
        } else {
            let mut seen = Seen::default();
            copy_text::<NeedsQuotes, B>(bytes, *text, out, *at, &mut seen)?;
            *high |= !seen.is_ascii();
            if seen.special() {
                return Some(Some(text));
            }
        }
        *at += len;
        out.put(b",", *at)?;
        *at += 1;
    }
    Some(None)
}

/// Copies a text, in quotes where it needs them.
#[inline(always)]
fn text<B: Block>(
    bytes: Readable<'_>,
    span: Span,
    out: &mut Writable<'_>,
    at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let mut own = Seen::default();
    let end = copy_text::<NeedsQuotes, B>(bytes, span, out, at, &mut own)?;
    seen.add_plain(own);
    if own.special() {
        quote::<B>(span.of(bytes.bytes()), out, at)
    } else {
        Some(end)
    }
}

/// Writes a text in quotes to `out[at..]`, its own quotes doubled.
#[inline(always)]
fn quote<B: Block>(text: &[u8], out: &mut Writable<'_>, at: usize) -> Option<usize> {
    out.put(b"\"", at)?;
    let at = double_quotes::<B>(text, out, at + 1)?;
    out.put(b"\"", at)?;
    Some(at + 1)
}

/// Copies a text with each quote twice. `None` where `out` has not twice the text's length and a step more.
#[inline(always)]
fn double_quotes<B: Block>(text: &[u8], out: &mut Writable<'_>, mut at: usize) -> Option<usize> {
    let (eights, rest) = text.as_chunks::<8>();
    for &eight in eights {
        at += double_some::<B>(eight, out, at)?;
    }
    if !rest.is_empty() {
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        at += double_some::<B>(eight, out, at)? - (8 - rest.len());
    }
    Some(at)
}

/// Copies eight bytes with each quote twice, and gives how many that makes.
#[inline(always)]
fn double_some<B: Block>(eight: [u8; 8], out: &mut Writable<'_>, at: usize) -> Option<usize> {
    let quotes = places_of_quotes(eight);
    out.put(&B::double(eight, quotes), at)?;
    Some(8 + quotes.count_ones() as usize)
}

/// A bit for each byte that is a quote, that of the first byte lowest.
#[inline(always)]
fn places_of_quotes(eight: [u8; 8]) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Zero where a byte is one, and its highest bit set where it is another.
    let others = u64::from_le_bytes(eight) ^ 0x2222_2222_2222_2222;
    let high = ((others & LOW) + LOW) | others;
    // Each of the bits goes to a place of its own in the highest byte.
    ((!high >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
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
        let room = Writable::new(output.room(2 * piece.len() + MAX_STEP));
        let written = room.and_then(|mut room| double_quotes::<Block16>(piece, &mut room, 0));
        debug_assert!(written.is_some(), "there is room for twice the piece");
        if let Some(written) = written {
            output.advance(written);
        }
    }
    output.put_byte(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<STEP>();
    let mut blocks = blocks.iter().filter_map(|block| Block16::first(block));
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    blocks.any(|block| NeedsQuotes::among(block).high_bits() != 0) || rest.iter().any(special)
}
