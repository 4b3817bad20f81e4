//! JSON and NDJSON: one object a row, all keys in column order, absent texts `null`.
//!
//! `event_data` is spliced in as it is where every reader takes it for JSON ([`json_text`]), less the
//! line breaks between its tokens; otherwise it is a string.

mod fields;

use bytes::Bytes;

use super::FileInfo;
use super::cells::{Cells, Source, plain_bytes};
use super::copy::{Nothing, Seen, copy_piece, copy_text};
use super::json_text::{self, LineBreaks, NeedsEscape};
use super::margin::{Readable, Writable};
use super::output::Output;
use super::rows::{Dictionaries, MAX_QUICK_BYTES, PlainRows, RowSpans, as_utf8, row_bytes};
use super::timestamp::{self, TimestampText, all_written};
use super::vector::{Block, MAX_STEP, OnBlocks, widest};
use crate::decode::{Batch, EventType, Span};
use crate::error::Result;
use crate::pushdown::columns::{EVENT_DATA, TEXT_COLUMNS};
use crate::request::Fields;

/// How the objects of a file are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `[`, objects with `,\n` between them, `]`; an empty one is `[]`.
    Array,
    /// Each object a line.
    Lines,
}

/// A constant part of a row, with room behind it so that it is copied in two steps.
type Piece = ([u8; 32], usize);

const fn piece(parts: &[&str]) -> Piece {
    let mut bytes = [b' '; 32];
    let mut len = 0;
    let mut part = 0;
    while part < parts.len() {
        let text = parts[part].as_bytes();
        let mut i = 0;
        while i < text.len() {
            bytes[len] = text[i];
            len += 1;
            i += 1;
        }
        part += 1;
    }
    (bytes, len)
}

const TIMESTAMP: Piece = piece(&["{\"timestamp\":\""]);
const TIMESTAMP_OF_NEXT: Piece = piece(&[",\n{\"timestamp\":\""]);
const PAGEVIEW: Piece = piece(&["\",\"event_type\":\"", EventType::Pageview.as_str(), "\""]);
const EVENT: Piece = piece(&["\",\"event_type\":\"", EventType::Event.as_str(), "\""]);

/// `,"name":"` of each text column.
const KEYS: [Piece; TEXT_COLUMNS.len()] = pieces("\":\"");
/// `,"name":null` of each text column.
const NULLS: [Piece; TEXT_COLUMNS.len()] = pieces("\":null");
/// `,"event_data":`, in front of a value.
const EVENT_DATA_KEY: Piece = piece(&[",\"", TEXT_COLUMNS[EVENT_DATA], "\":"]);

const fn pieces(end: &str) -> [Piece; TEXT_COLUMNS.len()] {
    let mut pieces = [([0; 32], 0); TEXT_COLUMNS.len()];
    let mut i = 0;
    while i < TEXT_COLUMNS.len() {
        pieces[i] = piece(&[",\"", TEXT_COLUMNS[i], end]);
        i += 1;
    }
    pieces
}

/// Room for all constant parts of a row and its time.
const FIXED_ROOM: usize = timestamp::ROOM + (TEXT_COLUMNS.len() + 3) * 33 + MAX_STEP;

#[inline(always)]
fn event_type(event_type: EventType) -> &'static Piece {
    match event_type {
        EventType::Pageview => &PAGEVIEW,
        EventType::Event => &EVENT,
    }
}

/// Room of a value of a few-valued column with its key.
const CELL_ROOM: usize = 64;

/// A JSON or NDJSON file in the making. Holds one encoded batch.
#[derive(Debug)]
pub struct JsonEncoder {
    framing: Framing,
    output: Output,
    time: TimestampText,
    dictionaries: Dictionaries,
    cells: Cells<CELL_ROOM>,
    fields: Fields,
    /// Whether objects are written key by key, and not all columns in one go.
    by_field: bool,
    data_as_string: bool,
    rows: u64,
    started: bool,
}

impl JsonEncoder {
    pub(super) fn new(info: &FileInfo, framing: Framing) -> Self {
        Self {
            framing,
            output: Output::default(),
            time: TimestampText::new(info.utc),
            dictionaries: Dictionaries::default(),
            cells: Cells::default(),
            fields: info.fields.clone(),
            by_field: info.data_as_string || !info.fields.is_all(),
            data_as_string: info.data_as_string,
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
            self.dictionaries.render(batch, value);
            let around = |column: usize| (&KEYS[column].0[..KEYS[column].1 - 1], &b""[..]);
            self.cells.fill(batch, &self.dictionaries, around);
        }
        let cells = plain.is_none().then(|| self.cells.sources(batch));
        let (next, last, last_len): (_, &[u8; 2], _) = match self.framing {
            Framing::Array => (&TIMESTAMP_OF_NEXT, b"} ", 1),
            Framing::Lines => (&TIMESTAMP, b"}\n", 2),
        };
        let frame = Frame {
            first: if self.rows == 0 { &TIMESTAMP } else { next },
            next,
            last,
            last_len,
        };
        let (output, time) = (&mut self.output, &mut self.time);
        let dictionaries = &self.dictionaries;
        let written = widest(Rows {
            batch,
            plain,
            cells,
            dictionaries,
            frame,
            output,
            time,
        });
        self.rows += written as u64;
        all_written(batch, written, self.rows)
    }

    fn start(&mut self) {
        if !self.started {
            self.started = true;
            if self.framing == Framing::Array {
                self.output.put_byte(b'[');
            }
        }
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        self.output.take()
    }

    pub(super) fn finish(&mut self) {
        self.start();
        if self.framing == Framing::Array {
            self.output.put_byte(b']');
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// What stands around the rows of a batch.
struct Frame {
    /// In front of the first row's time, and of the others'.
    first: &'static Piece,
    next: &'static Piece,
    /// Behind a row's last value, and how much of it.
    last: &'static [u8; 2],
    last_len: usize,
}

impl Frame {
    /// What stands in front of the time of a row of the batch.
    #[inline(always)]
    fn in_front_of(&self, row: usize) -> &'static Piece {
        if row == 0 { self.first } else { self.next }
    }
}

/// The rows of a batch, all columns.
struct Rows<'a> {
    batch: &'a Batch<'a>,
    /// Where the texts lie, by row or by column.
    plain: Option<PlainRows<'a>>,
    cells: Option<[Source<'a, CELL_ROOM>; TEXT_COLUMNS.len()]>,
    dictionaries: &'a Dictionaries,
    frame: Frame,
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
            frame,
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
                first: frame.in_front_of(row),
                time: text,
                time_len: len,
                kind: event_type(kind),
            };
            let quick = match (&plain, &cells) {
                (Some(plain), _) => {
                    quick_row::<B>(output, head, &frame, plain.bytes, &plain.rows[row])
                }
                (None, Some(cells)) => quick_columns::<B>(output, head, &frame, cells, row),
                (None, None) => None,
            };
            if quick.is_none() {
                careful_row(output, time, &frame, batch, dictionaries, row);
            }
        }
        batch.rows()
    }
}

/// What stands in front of a row's texts.
#[derive(Clone, Copy)]
struct Head {
    first: &'static Piece,
    time: [u8; timestamp::ROOM],
    time_len: usize,
    kind: &'static Piece,
}

impl Head {
    /// Writes it, and gives the offset behind it.
    #[inline(always)]
    fn copy(&self, out: &mut Writable<'_>) -> Option<usize> {
        let at = copy_piece(&self.first.0, self.first.1, out, 0)?;
        let at = copy_piece(&self.time, self.time_len, out, at)?;
        copy_piece(&self.kind.0, self.kind.1, out, at)
    }
}

/// Writes any row whose time has a text.
#[inline(never)]
fn careful_row(
    output: &mut Output,
    time: &mut TimestampText,
    frame: &Frame,
    batch: &Batch<'_>,
    dictionaries: &Dictionaries,
    row: usize,
) {
    let (first, len) = frame.in_front_of(row);
    output.put(&first[..*len]);
    time.put_again(batch, row, output);
    let kind = event_type(batch.event_types[row]);
    output.put(&kind.0[..kind.1]);
    for (column, key) in KEYS.iter().enumerate() {
        output.put(&key.0[..key.1 - 1]);
        match dictionaries.get(batch, column, row) {
            Some(rendered) => output.put(rendered),
            None => value(output, column, batch.text[column].get(row)),
        }
    }
    output.put(&frame.last[..frame.last_len]);
}

/// Writes a row in which no text needs escapes, with `event_data` absent or JSON. `None`, and nothing written, where
/// one does, where a text is not UTF-8, and where there is not enough behind the row's last text to read in
/// blocks.
#[inline(always)]
fn quick_row<B: Block>(
    output: &mut Output,
    head: Head,
    frame: &Frame,
    bytes: &[u8],
    spans: &RowSpans,
) -> Option<()> {
    let text_bytes = row_bytes(spans);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let bytes = Readable::new(bytes)?;
    let out = &mut Writable::new(output.room(FIXED_ROOM + text_bytes))?;
    let mut seen = Seen::default();
    let mut at = head.copy(out)?;
    for (column, &span) in spans.iter().enumerate() {
        at = plain_value::<B>(bytes, span, column, out, at, &mut seen)?;
    }
    at = copy_piece(frame.last, frame.last_len, out, at)?;
    if !seen.may_stay(out.written(at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// As [`quick_row`], of texts that lie by column.
#[inline(always)]
fn quick_columns<B: Block>(
    output: &mut Output,
    head: Head,
    frame: &Frame,
    sources: &[Source<'_, CELL_ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> Option<()> {
    let text_bytes = plain_bytes(sources, row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let room = FIXED_ROOM + text_bytes + TEXT_COLUMNS.len() * CELL_ROOM;
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
                let (head, tail) = slot.bytes.split_first_chunk::<32>()?;
                copy_piece(head, 32, out, at)?;
                if slot.len > 32 {
                    copy_piece::<32>(tail.first_chunk()?, 32, out, at + 32)?;
                }
                at += slot.len;
            }
            Source::Plain {
                bytes,
                spans,
                stride,
            } => {
                let span = spans[row * stride];
                at = plain_value::<B>(Readable::new(bytes)?, span, column, out, at, &mut seen)?;
            }
        }
    }
    at = copy_piece(frame.last, frame.last_len, out, at)?;
    if !seen.may_stay(out.written(at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Copies a text with its key; one that needs escapes is seen. `None` where `event_data` is not JSON on one line.
#[inline(always)]
fn plain_value<B: Block>(
    bytes: Readable<'_>,
    span: Span,
    column: usize,
    out: &mut Writable<'_>,
    mut at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    if span.len == 0 {
        return copy_piece(&NULLS[column].0, NULLS[column].1, out, at);
    }
    if column == EVENT_DATA {
        let LineBreaks::None = json_text::check(span.of(bytes.bytes()))? else {
            return None;
        };
        at = copy_piece(&EVENT_DATA_KEY.0, EVENT_DATA_KEY.1, out, at)?;
        return copy_text::<Nothing, B>(bytes, span, out, at, seen);
    }
    at = copy_piece(&KEYS[column].0, KEYS[column].1, out, at)?;
    at = copy_text::<NeedsEscape, B>(bytes, span, out, at, seen)?;
    out.put(b"\"", at)?;
    Some(at + 1)
}

/// Writes any text of a column as a value.
fn value(output: &mut Output, column: usize, text: &[u8]) {
    if text.is_empty() {
        output.put(b"null");
        return;
    }
    let text = as_utf8(text);
    if column == EVENT_DATA {
        match json_text::check(&text) {
            Some(LineBreaks::None) => return output.put(&text),
            Some(LineBreaks::Some) => {
                for line in text.split(|&byte| byte == b'\n' || byte == b'\r') {
                    output.put(line);
                }
                return;
            }
            None => {}
        }
    }
    string(output, &text);
}

/// Writes a text as a JSON string.
fn string(output: &mut Output, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    output.put_byte(b'"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(json_text::plain_prefix(rest));
        output.put(plain);
        let Some((&byte, behind)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' => output.put(b"\\\""),
            b'\\' => output.put(b"\\\\"),
            0x08 => output.put(b"\\b"),
            0x0c => output.put(b"\\f"),
            b'\n' => output.put(b"\\n"),
            b'\r' => output.put(b"\\r"),
            b'\t' => output.put(b"\\t"),
            _ => output.put(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = behind;
    }
    output.put_byte(b'"');
}
