//! A batch of rows, by column.

use crate::pushdown::columns::TEXT_COLUMNS;

/// The kind of an event, with the number that the `event_type` enum has in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventType {
    /// A page was viewed.
    Pageview = 1,
    /// Something else happened; `event_name` says what.
    Event = 2,
}

impl EventType {
    /// The name that parameters, files and the table use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pageview => "pageview",
            Self::Event => "event",
        }
    }
}

/// Where one text lies in its column's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The text's bytes within `bytes`.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + self.len as usize]
    }
}

/// One text column of a batch. Text is whatever the table holds, not always UTF-8; the empty text means absent.
#[derive(Clone, Copy, Debug)]
pub enum TextColumn<'a> {
    /// A text for each row.
    Plain {
        /// The bytes that the spans point into.
        bytes: &'a [u8],
        /// The span of row n at n times `stride`: a wire of rows leaves the spans of a row side by side, and its texts in order,
        /// each directly behind its own length.
        spans: &'a [Span],
        /// Distance from one row's span to the next.
        stride: usize,
    },
    /// A code for each row, into distinct entries.
    Dictionary {
        /// The bytes that the entries point into.
        bytes: &'a [u8],
        /// One span an entry.
        entries: &'a [Span],
        /// One index into `entries` a row.
        codes: &'a [u32],
    },
}

impl<'a> TextColumn<'a> {
    /// The text of a row.
    #[inline]
    pub fn get(&self, row: usize) -> &'a [u8] {
        match *self {
            Self::Plain {
                bytes,
                spans,
                stride,
            } => spans[row * stride].of(bytes),
            Self::Dictionary {
                bytes,
                entries,
                codes,
            } => entries[codes[row] as usize].of(bytes),
        }
    }
}

/// A run of rows, by column. All columns have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamps: &'a [i64],
    /// The order among equal timestamps; never exported.
    pub event_ids: &'a [u64],
    /// Offset of the wanted zone at each row's instant, in minutes east of UTC.
    pub offsets: &'a [i16],
    /// Page view or event.
    pub event_types: &'a [EventType],
    /// How many of the rows arrived so long before the export that no insert can still add to their like.
    pub settled_rows: u64,
    /// The text columns, in the order of [`TEXT_COLUMNS`].
    pub text: [TextColumn<'a>; TEXT_COLUMNS.len()],
}

impl Batch<'_> {
    /// How many rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.timestamps.len()
    }
}
