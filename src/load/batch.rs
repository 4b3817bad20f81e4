//! Rows on their way into the table, in ClickHouse's RowBinary.

use std::collections::HashSet;

use bytes::Bytes;

use super::column::Column;

/// Most rows of a batch, which is one INSERT: far below the block that ClickHouse would split.
const BATCH_ROWS: usize = 131_072;

/// Bytes after which a batch takes no more rows. One row may go beyond, by at most what a record may have.
const BATCH_BYTES: usize = 16 << 20;

/// Which columns the rows on the wire have, in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// In order, behind `website_id` and `event_id`.
    pub(super) columns: Vec<Column>,
    /// Whether every value has a byte before it that says if the table's default stands in for it.
    pub(super) with_defaults: bool,
}

impl Layout {
    /// The statement that takes such rows. The table's name was checked when the settings were read.
    pub(super) fn insert(&self, table: &str) -> String {
        let columns: Vec<_> = self.columns.iter().map(|column| column.name()).collect();
        let format = if self.with_defaults {
            "RowBinaryWithDefaults"
        } else {
            "RowBinary"
        };
        format!(
            "INSERT INTO {table} (website_id, event_id, {}) FORMAT {format}",
            columns.join(", ")
        )
    }
}

/// Rows of one INSERT. Holds [`BATCH_BYTES`] and the start of each row.
#[derive(Debug)]
pub(super) struct Batch {
    /// The first column of every row, encoded.
    website: Vec<u8>,
    with_defaults: bool,
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// `event_id` of the first row; the others follow.
    first_id: u64,
    /// The first and the last instant, in milliseconds since 1970.
    span: Option<(i64, i64)>,
}

impl Batch {
    /// An empty batch, whose first row will have this `event_id`.
    pub(super) fn new(site: &str, first_id: u64, with_defaults: bool) -> Self {
        let mut batch = Self {
            website: Vec::new(),
            with_defaults,
            bytes: Vec::new(),
            starts: Vec::new(),
            first_id,
            span: None,
        };
        batch.push_text(site.as_bytes());
        std::mem::swap(&mut batch.website, &mut batch.bytes);
        batch
    }

    /// Forgets the rows; the next one follows the last.
    pub(super) fn clear(&mut self) {
        self.first_id += self.rows();
        self.bytes.clear();
        self.starts.clear();
        self.span = None;
    }

    /// An empty batch for the rows behind this one's.
    pub(super) fn next(&self) -> Self {
        Self {
            website: self.website.clone(),
            with_defaults: self.with_defaults,
            bytes: Vec::with_capacity(self.bytes.capacity()),
            starts: Vec::with_capacity(self.starts.capacity()),
            first_id: self.first_id + self.rows(),
            span: None,
        }
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.starts.len() as u64
    }

    /// The size of the last row on the wire.
    pub(super) fn last_row_bytes(&self) -> usize {
        self.bytes.len() - self.starts.last().copied().unwrap_or(0)
    }

    /// Whether it should be inserted before more rows come.
    pub(super) fn is_full(&self) -> bool {
        self.starts.len() >= BATCH_ROWS || self.bytes.len() >= BATCH_BYTES
    }

    /// `event_id` of the first and of the last row. Not for an empty batch.
    pub(super) fn ids(&self) -> (u64, u64) {
        (self.first_id, self.first_id + self.rows().saturating_sub(1))
    }

    /// The first and the last instant of its rows, in milliseconds since 1970.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// Begins a row; its values follow in the layout's order.
    pub(super) fn begin_row(&mut self) {
        let id = self.first_id + self.rows();
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(&self.website);
        self.value(&id.to_le_bytes());
    }

    /// The row's time.
    pub(super) fn push_timestamp(&mut self, milliseconds: i64) {
        self.value(&milliseconds.to_le_bytes());
        self.span = Some(match self.span {
            Some((first, last)) => (first.min(milliseconds), last.max(milliseconds)),
            None => (milliseconds, milliseconds),
        });
    }

    /// The row's type or flag.
    pub(super) fn push_byte(&mut self, byte: u8) {
        self.value(&[byte]);
    }

    /// A text, as it is.
    pub(super) fn push_text(&mut self, text: &[u8]) {
        let mut head = [0; 10];
        let mut len = text.len();
        let mut at = 0;
        while len >= 0x80 {
            head[at] = (len & 0x7f) as u8 | 0x80;
            len >>= 7;
            at += 1;
        }
        head[at] = len as u8;
        self.value(&head[..=at]);
        self.bytes.extend_from_slice(text);
    }

    /// The table's default, where the layout has defaults.
    pub(super) fn push_default(&mut self) {
        debug_assert!(self.with_defaults);
        self.bytes.push(1);
    }

    fn value(&mut self, bytes: &[u8]) {
        if self.with_defaults {
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// All rows on the wire.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }

    /// The rows on the wire whose `event_id` is not among these.
    pub(super) fn into_bytes_without(self, present: &HashSet<u64>) -> Bytes {
        let mut kept = Vec::with_capacity(self.bytes.len());
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.bytes.len()]);
        for ((id, start), end) in (self.first_id..).zip(&self.starts).zip(ends) {
            if !present.contains(&id) {
                kept.extend_from_slice(&self.bytes[*start..end]);
            }
        }
        kept.into()
    }
}
