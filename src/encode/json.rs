//! JSON and NDJSON: one object a row, all keys in column order, absent texts `null`.
//!
//! `event_data` is spliced in as it is where every reader takes it for JSON ([`json_text`]), less the
//! line breaks between its tokens; otherwise it is a string.

mod fields;

use bytes::Bytes;

use super::FileInfo;
use super::cells::{Cells, Source, plain_bytes};
use super::copy::{Seen, Special, copy_piece, copy_text};
use super::json_text::{self, LineBreaks, NeedsEscape};
use super::output::Output;
use super::rows::{Dictionaries, MAX_QUICK_BYTES, PlainRows, as_utf8, text_bytes};
use super::timestamp::{self, TimestampText, no_text};
use super::vector::{Block, STEP};
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
const FIXED_ROOM: usize = timestamp::ROOM + (TEXT_COLUMNS.len() + 3) * 33 + STEP;

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
        let sources = plain.is_none().then(|| self.cells.sources(batch));
        let (next, last): (&Piece, &[u8; 2]) = match self.framing {
            Framing::Array => (&TIMESTAMP_OF_NEXT, b"} "),
            Framing::Lines => (&TIMESTAMP, b"}\n"),
        };
        let last_len = if self.framing == Framing::Array { 1 } else { 2 };
        for row in 0..batch.rows() {
            let first = if self.rows == 0 { &TIMESTAMP } else { next };
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            let Some((time, time_len)) = self.time.render(ms, offset) else {
                return Err(no_text(self.rows + 1, ms, offset));
            };
            let kind = event_type(batch.event_types[row]);
            let quick = plain.as_ref().and_then(|plain| {
                let ends = (last, last_len);
                quick_row(
                    &mut self.output,
                    first,
                    time,
                    time_len,
                    kind,
                    ends,
                    plain,
                    row,
                )
            });
            let quick = quick.or_else(|| {
                let sources = sources.as_ref()?;
                let (out, ends) = (&mut self.output, (last, last_len));
                quick_columns(out, first, time, time_len, kind, ends, sources, row)
            });
            if quick.is_none() {
                self.output.put(&first.0[..first.1]);
                self.output.put(&time[..time_len]);
                self.output.put(&kind.0[..kind.1]);
                for (column, key) in KEYS.iter().enumerate() {
                    self.output.put(&key.0[..key.1 - 1]);
                    match self.dictionaries.get(batch, column, row) {
                        Some(rendered) => self.output.put(rendered),
                        None => value(&mut self.output, column, batch.text[column].get(row)),
                    }
                }
                self.output.put(&last[..last_len]);
            }
            self.rows += 1;
        }
        Ok(())
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

/// Writes a row in which no text needs escapes, with `event_data` absent or JSON. `None`, and nothing written, where
/// one does, where a text is not UTF-8, and where there is not enough behind the row's last text to read in
/// steps.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // the parts of a row, in order
fn quick_row(
    output: &mut Output,
    first: &Piece,
    time: &[u8; timestamp::ROOM],
    time_len: usize,
    kind: &Piece,
    (last, last_len): (&[u8; 2], usize),
    plain: &PlainRows<'_>,
    row: usize,
) -> Option<()> {
    let spans = &plain.rows[row];
    let text_bytes = text_bytes(spans);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let out = output.room(FIXED_ROOM + text_bytes);
    let mut seen = Seen::nothing();
    let mut at = copy_piece(&first.0, first.1, out, 0)?;
    at = copy_piece(time, time_len, out, at)?;
    at = copy_piece(&kind.0, kind.1, out, at)?;
    for (column, &span) in spans.iter().enumerate() {
        at = plain_value(plain.bytes, span, column, out, at, &mut seen)?;
    }
    at = copy_piece(last, last_len, out, at)?;
    if !seen.may_stay(out.get(..at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// As [`quick_row`], of texts that lie by column.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // the parts of a row, in order
fn quick_columns(
    output: &mut Output,
    first: &Piece,
    time: &[u8; timestamp::ROOM],
    time_len: usize,
    kind: &Piece,
    (last, last_len): (&[u8; 2], usize),
    sources: &[Source<'_, CELL_ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> Option<()> {
    let text_bytes = plain_bytes(sources, row);
    if text_bytes > MAX_QUICK_BYTES {
        return None;
    }
    let out = output.room(FIXED_ROOM + text_bytes + TEXT_COLUMNS.len() * CELL_ROOM);
    let mut seen = Seen::nothing();
    let mut at = copy_piece(&first.0, first.1, out, 0)?;
    at = copy_piece(time, time_len, out, at)?;
    at = copy_piece(&kind.0, kind.1, out, at)?;
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
                at = plain_value(bytes, span, column, out, at, &mut seen)?;
            }
        }
    }
    at = copy_piece(last, last_len, out, at)?;
    if !seen.may_stay(out.get(..at)?) {
        return None;
    }
    output.advance(at);
    Some(())
}

/// Copies a text with its key; one that needs escapes is seen. `None` where `event_data` is not JSON on one line.
#[inline(always)]
fn plain_value(
    bytes: &[u8],
    span: Span,
    column: usize,
    out: &mut [u8],
    mut at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    if span.len == 0 {
        return copy_piece(&NULLS[column].0, NULLS[column].1, out, at);
    }
    if column == EVENT_DATA {
        let LineBreaks::None = json_text::check(span.of(bytes))? else {
            return None;
        };
        at = copy_piece(&EVENT_DATA_KEY.0, EVENT_DATA_KEY.1, out, at)?;
        return copy_text::<Nothing>(bytes, span, out, at, seen);
    }
    at = copy_piece(&KEYS[column].0, KEYS[column].1, out, at)?;
    at = copy_text::<NeedsEscape>(bytes, span, out, at, seen)?;
    *out.get_mut(at)? = b'"';
    Some(at + 1)
}

struct Nothing;

impl Special for Nothing {
    #[inline(always)]
    fn among(_: Block) -> Block {
        Block::zero()
    }
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
