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

/// Where the texts of a row lie.
pub(super) type RowSpans = [Span; TEXT_COLUMNS.len()];

/// The texts of a batch whose spans lie side by side for each row, as a wire of rows leaves them: the texts of a row lie there in
/// the columns' order, each but the first directly behind its own length in LEB128.
pub(super) struct PlainRows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) rows: &'a [RowSpans],
}

impl<'a> PlainRows<'a> {
    pub(super) fn of(batch: &Batch<'a>) -> Option<Self> {
        let TextColumn::Plain { bytes, spans, .. } = batch.text[0] else {
            return None;
        };
        let side_by_side = batch
            .text
            .iter()
            .enumerate()
            .all(|(column, text)| match *text {
                TextColumn::Plain {
                    bytes: own_bytes,
                    spans: own_spans,
                    stride,
                } => {
                    let place = spans.as_ptr().wrapping_add(column);
                    std::ptr::eq(own_bytes, bytes)
                        && own_spans.as_ptr() == place
                        && stride == TEXT_COLUMNS.len()
                }
                TextColumn::Dictionary { .. } => false,
            });
        let rows = spans.as_chunks().0;
        let plain = (side_by_side && rows.len() >= batch.rows()).then_some(Self { bytes, rows });
        debug_assert!(plain.iter().all(|plain| plain.are_as_on_a_wire()));
        plain
    }

    /// Whether each text lies directly behind its own length.
    fn are_as_on_a_wire(&self) -> bool {
        self.rows.iter().flat_map(|row| row.windows(2)).all(|pair| {
            let (end, next) = (pair[0].start + pair[0].len, pair[1]);
            let groups = self.bytes.get(end as usize..next.start as usize);
            groups.is_some_and(|groups| {
                let number = groups
                    .iter()
                    .rev()
                    .fold(0, |number, group| number << 7 | u64::from(group & 0x7f));
                let (last, others) = groups.split_last().unzip();
                number == u64::from(next.len)
                    && last.is_some_and(|group| *group < 0x80)
                    && others.is_some_and(|groups: &[u8]| groups.iter().all(|group| *group >= 0x80))
            })
        })
    }
}

/// How many bytes the texts of a row have.
#[inline(always)]
pub(super) fn text_bytes(spans: &RowSpans) -> usize {
    spans.iter().map(|span| span.len as usize).sum()
}

/// How many bytes the texts of a row have, with those between them: where they lie one behind the other, as rows of a wire do.
#[inline(always)]
pub(super) fn row_bytes(spans: &RowSpans) -> usize {
    let [first, .., last] = spans;
    (last.start.wrapping_sub(first.start) as usize).saturating_add(last.len as usize)
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
        self.rendered.clear();
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

    /// All entries of a column as they were rendered; none of a plain column.
    pub(super) fn entries<'a>(
        &'a self,
        batch: &Batch<'_>,
        column: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        let ends = match batch.text[column] {
            TextColumn::Dictionary { .. } => &self.ends[column][..],
            TextColumn::Plain { .. } => &[],
        };
        ends.windows(2)
            .map(|ends| &self.rendered.written()[ends[0]..ends[1]])
    }

    /// A text of a dictionary column as it was rendered, or `None` for a plain column.
    pub(super) fn get(&self, batch: &Batch<'_>, column: usize, row: usize) -> Option<&[u8]> {
        let TextColumn::Dictionary { codes, .. } = batch.text[column] else {
            return None;
        };
        let code = codes[row] as usize;
        let (start, end) = (self.ends[column][code], self.ends[column][code + 1]);
        Some(&self.rendered.written()[start..end])
    }
}

/// A text with each sequence that is not UTF-8 replaced by U+FFFD.
#[inline]
pub(super) fn as_utf8(text: &[u8]) -> Cow<'_, [u8]> {
    if is_short_ascii(text) || simdutf8::basic::from_utf8(text).is_ok() {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes())
    }
}

/// Whether a text is ASCII and too short for a call to be worth it.
#[inline(always)]
fn is_short_ascii(text: &[u8]) -> bool {
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().all(u8::is_ascii);
    };
    if text.len() > 64 {
        return false;
    }
    let words = text.as_chunks::<8>().0.iter().chain([last]);
    words.fold(0, |any, word| any | u64::from_le_bytes(*word)) & HIGHS == 0
}
