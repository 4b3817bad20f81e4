//! Rows on their way into columns.

use std::ops::Range;

use crate::decode::{Batch, EventType, TextColumn};
use crate::encode::rows::{PlainRows, RowSpans};
use crate::pushdown::columns::TEXT_COLUMNS;

/// Rows that lie side by side are added so many at a time, column by column: they stay in the processor's first cache for all of
/// their columns.
pub(super) const TILE_ROWS: usize = 256;

/// Room that is kept for the bytes of rows, in bytes.
const MAX_KEPT_BYTES: usize = 2 << 20;

/// Rows to add.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) timestamps: &'a [i64],
    pub(super) event_types: &'a [EventType],
    pub(super) texts: RowTexts<'a>,
    /// How many bytes the texts have; of a tile, those of all rows that it is a part of.
    pub(super) text_bytes: usize,
}

/// Their texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowTexts<'a> {
    /// Those of a row one behind the other, as [`PlainRows`] has them.
    SideBySide {
        bytes: &'a [u8],
        spans: &'a [RowSpans],
    },
    /// In the columns of a batch, from one of its rows on.
    ByColumn {
        text: &'a [TextColumn<'a>; TEXT_COLUMNS.len()],
        start: usize,
    },
}

impl<'a> Rows<'a> {
    /// Some of a batch's.
    pub(super) fn of(
        batch: &'a Batch<'_>,
        plain: Option<&PlainRows<'a>>,
        range: Range<usize>,
        text_bytes: usize,
    ) -> Self {
        let texts = match plain {
            Some(plain) => RowTexts::SideBySide {
                bytes: plain.bytes,
                spans: &plain.rows[range.clone()],
            },
            None => RowTexts::ByColumn {
                text: &batch.text,
                start: range.start,
            },
        };
        Self {
            timestamps: &batch.timestamps[range.clone()],
            event_types: &batch.event_types[range],
            texts,
            text_bytes,
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// As many at a time as are added at once.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Self> {
        let tile = match self.texts {
            RowTexts::SideBySide { .. } => TILE_ROWS,
            RowTexts::ByColumn { .. } => self.len().max(1),
        };
        (0..self.len()).step_by(tile).map(move |first| {
            let range = first..self.len().min(first + tile);
            let texts = match self.texts {
                RowTexts::SideBySide { bytes, spans } => RowTexts::SideBySide {
                    bytes,
                    spans: &spans[range.clone()],
                },
                RowTexts::ByColumn { text, start } => RowTexts::ByColumn {
                    text,
                    start: start + first,
                },
            };
            Self {
                timestamps: &self.timestamps[range.clone()],
                event_types: &self.event_types[range],
                texts,
                ..*self
            }
        })
    }
}

/// Rows that lie side by side, kept until there are enough of them to be worth several threads' while. Holds their bytes and 130 bytes
/// beside for each, twice as many at most as were ever kept at once.
#[derive(Debug, Default)]
pub(super) struct Kept {
    timestamps: Vec<i64>,
    event_types: Vec<EventType>,
    bytes: Vec<u8>,
    spans: Vec<RowSpans>,
    text_bytes: usize,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes on the wire.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Keeps rows behind the others.
    pub(super) fn push(&mut self, rows: &Rows<'_>, bytes: &[u8], spans: &[RowSpans]) {
        let ([[first, ..], ..], [.., [.., last]]) = (spans, spans) else {
            return;
        };
        let end = (last.start + last.len) as usize;
        // From where they lay to where they lie now, with wrapping numbers.
        let moved = (self.bytes.len() as u32).wrapping_sub(first.start);
        self.bytes
            .extend_from_slice(&bytes[first.start as usize..end]);
        self.spans.extend(spans.iter().map(|row| {
            let mut row = *row;
            for span in &mut row {
                span.start = span.start.wrapping_add(moved);
            }
            row
        }));
        self.timestamps.extend_from_slice(rows.timestamps);
        self.event_types.extend_from_slice(rows.event_types);
        self.text_bytes += rows.text_bytes;
    }

    /// All of them.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows {
            timestamps: &self.timestamps,
            event_types: &self.event_types,
            texts: RowTexts::SideBySide {
                bytes: &self.bytes,
                spans: &self.spans,
            },
            text_bytes: self.text_bytes,
        }
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.timestamps.clear();
        self.event_types.clear();
        self.bytes.clear();
        self.bytes.shrink_to(MAX_KEPT_BYTES);
        self.spans.clear();
        self.text_bytes = 0;
    }
}
