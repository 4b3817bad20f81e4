//! One row of the wire: its head, its texts, and why it cannot be read.

use super::{EventType, Span};
use crate::pushdown::columns::{ROW_END, TEXT_COLUMNS};

/// Bytes in front of a row's texts.
pub(super) const HEAD_BYTES: usize = 1 + 8 + 8 + 2;

/// Fewest bytes of a row: the head, a length of zero for each text, and the end.
pub(super) const MIN_ROW_BYTES: usize = HEAD_BYTES + TEXT_COLUMNS.len() + 1;

/// Where the texts of a row lie.
pub(super) type RowSpans = [Span; TEXT_COLUMNS.len()];

/// What stands in front of a row's texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) marker: u8,
    pub(super) timestamp: i64,
    pub(super) event_id: u64,
    pub(super) offset: i16,
}

impl Head {
    #[inline(always)]
    pub(super) fn read(b: &[u8; HEAD_BYTES]) -> Self {
        Self {
            marker: b[0],
            timestamp: i64::from_le_bytes([b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8]]),
            event_id: u64::from_le_bytes([b[9], b[10], b[11], b[12], b[13], b[14], b[15], b[16]]),
            offset: i16::from_le_bytes([b[17], b[18]]),
        }
    }

    #[inline(always)]
    pub(super) fn key(self) -> (i64, u64) {
        (self.timestamp, self.event_id)
    }

    #[inline(always)]
    pub(super) fn event_type(self) -> EventType {
        if self.marker & 1 == 1 {
            EventType::Pageview
        } else {
            EventType::Event
        }
    }

    /// Whether the row arrived so long before the export that no insert can still add to its like.
    #[inline(always)]
    pub(super) fn settled(self) -> bool {
        self.marker <= 2
    }
}

/// Whether a row can start with this byte.
#[inline(always)]
pub(crate) fn is_marker(byte: u8) -> bool {
    byte.wrapping_sub(1) < 4
}

/// Why a row cannot be read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The row goes on behind the last byte.
    Short,
    /// No row starts here.
    NotARow,
    /// The length of this text column does not fit 32 bits.
    Length(usize),
    /// The row is longer than [`MAX_ROW_BYTES`](super::MAX_ROW_BYTES).
    TooLong,
    /// A length is finished by what ClickHouse says of an error: the row was cut there.
    Cut,
    /// Something else stands where the row has to end.
    NoEnd,
    /// The row's key is smaller than the one before.
    Order,
    /// The row is behind the end of the range.
    Passed,
}

/// Reads a LEB128 number of at most 32 bits at `at`; gives it with the offset behind it, or [`Stop::Short`] where the bytes
/// end before it does.
#[inline(never)]
pub(super) fn read_length(bytes: &[u8], at: usize, column: usize) -> Result<(u32, usize), Stop> {
    if let Some(found) = four_groups(bytes, at) {
        return Ok(found);
    }
    let mut value = 0u64;
    for (i, &byte) in bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take(5)
        .enumerate()
    {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return match u32::try_from(value) {
                Ok(length) => Ok((length, at + i + 1)),
                Err(_) => Err(Stop::Length(column)),
            };
        }
    }
    if bytes.len().saturating_sub(at) < 5 {
        Err(Stop::Short)
    } else {
        Err(Stop::Length(column))
    }
}

/// A LEB128 number of exactly four groups, as ClickHouse is [asked to write](crate::pushdown) most of them, with the offset behind it.
#[inline(always)]
fn four_groups(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let groups = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    let number = groups & 0x7f
        | groups >> 1 & 0x7f << 7
        | groups >> 2 & 0x7f << 14
        | groups >> 3 & 0x7f << 21;
    (groups & 0x8080_8080 == 0x0080_8080).then_some((number, at + 4))
}

/// Finds one row's texts, from `at` on, and its end; gives the offset behind the row.
#[inline(always)]
pub(super) fn find_texts(bytes: &[u8], mut at: usize, spans: &mut RowSpans) -> Result<usize, Stop> {
    let Some(last) = bytes.len().checked_sub(4) else {
        return Err(Stop::Short);
    };
    // Five in a row without a loop: counting them would be a part of the work.
    const { assert!(TEXT_COLUMNS.len().is_multiple_of(5)) };
    for (place, five) in spans.as_chunks_mut::<5>().0.iter_mut().enumerate() {
        for (index, span) in five.iter_mut().enumerate() {
            let (len, start) = match short_length(bytes, at, last) {
                Some(found) => found,
                None => read_length(bytes, at, 5 * place + index)?,
            };
            *span = Span {
                start: start as u32,
                len,
            };
            at = start + len as usize;
        }
    }
    match bytes.get(at) {
        Some(&ROW_END) => Ok(at + 1),
        Some(_) => Err(Stop::NoEnd),
        None => Err(Stop::Short),
    }
}

/// A length of one of the two kinds that most have: of one group, or of [four](four_groups) of which only the first
/// one is not zero. Gives it with the offset behind it. `last` is where the last four
/// bytes begin.
#[inline(always)]
fn short_length(bytes: &[u8], at: usize, last: usize) -> Option<(u32, usize)> {
    // The compiler leaves out all other checks.
    if at > last {
        return None;
    }
    let groups = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    let number = groups & 0x7f;
    if groups & 0x80 == 0 {
        Some((number, at + 1))
    } else if groups >> 8 == 0x8080 {
        Some((number, at + 4))
    } else {
        None
    }
}
