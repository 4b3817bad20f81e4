//! The distinct texts of a batch's dictionary columns as whole cells, each in a slot of its own, so that a row copies them
//! without looking at them.

use super::rows::Dictionaries;
use crate::decode::{Batch, Span, TextColumn};
use crate::pushdown::columns::TEXT_COLUMNS;

/// A cell with room behind it, and its length; longer than the room where it did not fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<const ROOM: usize> {
    pub(super) bytes: [u8; ROOM],
    pub(super) len: usize,
}

/// What a row of a column takes its text from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a, const ROOM: usize> {
    /// Spans, the row's at so many times the stride.
    Plain {
        bytes: &'a [u8],
        spans: &'a [Span],
        stride: usize,
    },
    /// Slots by code.
    Slots {
        slots: &'a [Slot<ROOM>],
        codes: &'a [u32],
    },
}

/// The slots of a batch. Holds one for each distinct text.
#[derive(Debug, Default)]
pub(super) struct Cells<const ROOM: usize> {
    slots: Vec<Slot<ROOM>>,
    starts: [usize; TEXT_COLUMNS.len()],
}

impl<const ROOM: usize> Cells<ROOM> {
    /// Puts what was rendered of the batch's dictionaries between what stands in front of and behind each cell.
    pub(super) fn fill(
        &mut self,
        batch: &Batch<'_>,
        rendered: &Dictionaries,
        around: impl Fn(usize) -> (&'static [u8], &'static [u8]),
    ) {
        self.slots.clear();
        for column in 0..TEXT_COLUMNS.len() {
            self.starts[column] = self.slots.len();
            let (front, behind) = around(column);
            for text in rendered.entries(batch, column) {
                let mut slot = Slot {
                    bytes: [0; ROOM],
                    len: front.len() + text.len() + behind.len(),
                };
                if slot.len <= ROOM {
                    let (head, rest) = slot.bytes.split_at_mut(front.len());
                    let (middle, rest) = rest.split_at_mut(text.len());
                    head.copy_from_slice(front);
                    middle.copy_from_slice(text);
                    rest[..behind.len()].copy_from_slice(behind);
                }
                self.slots.push(slot);
            }
        }
    }

    /// Where each column of the batch has its texts.
    pub(super) fn sources<'a>(
        &'a self,
        batch: &Batch<'a>,
    ) -> [Source<'a, ROOM>; TEXT_COLUMNS.len()] {
        std::array::from_fn(|column| match batch.text[column] {
            TextColumn::Plain {
                bytes,
                spans,
                stride,
            } => Source::Plain {
                bytes,
                spans,
                stride,
            },
            TextColumn::Dictionary { entries, codes, .. } => {
                let start = self.starts[column];
                Source::Slots {
                    slots: &self.slots[start..start + entries.len()],
                    codes,
                }
            }
        })
    }
}

/// How many bytes the plain texts of a row have.
#[inline(always)]
pub(super) fn plain_bytes<const ROOM: usize>(
    sources: &[Source<'_, ROOM>; TEXT_COLUMNS.len()],
    row: usize,
) -> usize {
    sources.iter().fold(0, |bytes, source| match source {
        Source::Plain { spans, stride, .. } => bytes + spans[row * stride].len as usize,
        Source::Slots { .. } => bytes,
    })
}
