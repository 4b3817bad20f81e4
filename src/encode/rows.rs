//! What the text formats share: the texts of a batch, row by row.

use std::borrow::Cow;

use super::output::Output;
use crate::decode::{Batch, Span, TextColumn};
use crate::pushdown::columns::TEXT_COLUMNS;

/// Rows with more text than this, in bytes, are written with care at once: what is expected of them is work, not
/// speed, and the room that writing in one go takes would be a multiple of it.
pub(super) const MAX_QUICK_BYTES: usize = 64 << 10;

/// How much of a long text is quoted or escaped at once, in bytes.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// The texts of a batch whose columns all lie in the same bytes, as a row-wise wire leaves them.
pub(super) struct PlainRows<'a> {
    pub(super) bytes: &'a [u8],
    columns: [&'a [Span]; TEXT_COLUMNS.len()],
}

impl<'a> PlainRows<'a> {
    pub(super) fn of(batch: &Batch<'a>) -> Option<Self> {
        let TextColumn::Plain { bytes, .. } = batch.text[0] else {
            return None;
        };
        let mut columns: [&[Span]; TEXT_COLUMNS.len()] = [&[]; TEXT_COLUMNS.len()];
        for (plain, column) in columns.iter_mut().zip(&batch.text) {
            match *column {
                TextColumn::Plain { bytes: own, spans } if std::ptr::eq(own, bytes) => {
                    *plain = spans
                }
                _ => return None,
            }
        }
        Some(Self { bytes, columns })
    }

    /// The texts of a row, and their bytes in all.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> ([Span; TEXT_COLUMNS.len()], usize) {
        let mut total = 0;
        let spans = std::array::from_fn(|column| {
            let span = self.columns[column][row];
            total += span.len as usize;
            span
        });
        (spans, total)
    }
}

/// The distinct entries of a batch's dictionary columns, each rendered once.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    rendered: Output,
    /// For each column, the end of each entry in `rendered`, behind the start of the first one. Empty for plain columns.
    ends: [Vec<usize>; TEXT_COLUMNS.len()],
}

impl Dictionaries {
    /// Renders the entries of `batch`; `render` writes one text of a column.
    pub(super) fn render(
        &mut self,
        batch: &Batch<'_>,
        mut render: impl FnMut(&mut Output, usize, &[u8]),
    ) {
        self.rendered.rewind(0);
        for (index, (ends, column)) in self.ends.iter_mut().zip(&batch.text).enumerate() {
            ends.clear();
            if let TextColumn::Dictionary { bytes, entries, .. } = *column {
                ends.push(self.rendered.len());
                for entry in entries {
                    render(&mut self.rendered, index, entry.of(bytes));
                    ends.push(self.rendered.len());
                }
            }
        }
    }

    /// A text of a dictionary column as it was rendered, or `None` for a plain column.
    pub(super) fn get(&self, batch: &Batch<'_>, column: usize, row: usize) -> Option<&[u8]> {
        let TextColumn::Dictionary { codes, .. } = batch.text[column] else {
            return None;
        };
        let code = codes[row] as usize;
        let (start, end) = (self.ends[column][code], self.ends[column][code + 1]);
        Some(&self.rendered.written(0)[start..end])
    }
}

/// A text with each sequence that is not UTF-8 replaced by U+FFFD.
#[inline]
pub(super) fn as_utf8(text: &[u8]) -> Cow<'_, [u8]> {
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes()),
    }
}
