//! The row that the end of a chunk went through: collected from as many chunks as it takes.

use super::row::{HEAD_BYTES, Head, MIN_ROW_BYTES, RowSpans, Stop, is_marker, read_length};
use super::{MAX_ROW_BYTES, Span, is_exception};
use crate::pushdown::columns::{ROW_END, TEXT_COLUMNS};

/// Room that is kept from one partial row to the next, in bytes.
const KEPT_BYTES: usize = 256 << 10;

/// One row, as far as it has arrived. Each field is looked at once, however small the chunks are: the scan goes on
/// where it stopped, and nothing is looked at before as many bytes are there as the row has at least.
#[derive(Debug)]
pub(super) struct PartialRow {
    /// The row's bytes so far: at most [`MAX_ROW_BYTES`].
    bytes: Vec<u8>,
    /// Fewest bytes that the row has, as far as is known.
    needed: usize,
    /// The next text to find, and where its length stands.
    column: usize,
    at: usize,
    spans: RowSpans,
    /// Whether the row is whole and has been handed out.
    delivered: bool,
    /// Why the row cannot be read, once that is known.
    damaged: Option<Stop>,
}

impl PartialRow {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            needed: 1,
            column: 0,
            at: HEAD_BYTES,
            spans: [Span::default(); TEXT_COLUMNS.len()],
            delivered: false,
            damaged: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn spans(&self) -> &RowSpans {
        &self.spans
    }

    pub(super) fn head(&self) -> Option<Head> {
        self.bytes.first_chunk().map(Head::read)
    }

    /// Says that the row is being handed out, so that [`release`](Self::release) drops it.
    pub(super) fn deliver(&mut self) {
        self.delivered = true;
    }

    /// Drops the row that was handed out.
    pub(super) fn release(&mut self) {
        if self.delivered {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.needed = 1;
            self.column = 0;
            self.at = HEAD_BYTES;
            self.delivered = false;
        }
    }

    /// Takes bytes of `chunk` from `from` on, no more than the row has. Gives whether the row is whole.
    pub(super) fn fill(&mut self, chunk: &[u8], from: &mut usize) -> Result<bool, Stop> {
        if let Some(stop) = self.damaged {
            return Err(stop);
        }
        loop {
            let missing = self.needed - self.bytes.len();
            let rest = chunk.get(*from..).unwrap_or_default();
            let taken = &rest[..rest.len().min(missing)];
            self.append(taken);
            *from += taken.len();
            if taken.len() < missing {
                return self.check_marker().map(|()| false);
            }
            self.check_marker()?;
            match self.scan() {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(stop) => {
                    self.damaged = Some(stop);
                    return Err(stop);
                }
            }
        }
    }

    /// Grows by doubling, but never beyond what the row has at least.
    fn append(&mut self, more: &[u8]) {
        let len = self.bytes.len() + more.len();
        if len > self.bytes.capacity() {
            let room = len.max((self.bytes.capacity() * 2).min(self.needed));
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
    }

    fn check_marker(&self) -> Result<(), Stop> {
        match self.bytes.first() {
            Some(&byte) if !is_marker(byte) => Err(Stop::NotARow),
            _ => Ok(()),
        }
    }

    /// Looks for texts in the bytes that are there; gives whether the row is whole.
    fn scan(&mut self) -> Result<bool, Stop> {
        if self.bytes.len() < MIN_ROW_BYTES {
            self.needed = MIN_ROW_BYTES;
            return Ok(false);
        }
        while self.column < TEXT_COLUMNS.len() {
            let (len, start) = match read_length(&self.bytes, self.at, self.column) {
                Ok(found) => found,
                // At least one more byte of this length, one for each text behind it, and the end.
                Err(Stop::Short) => {
                    let behind = TEXT_COLUMNS.len() - self.column;
                    self.need(self.bytes.len().max(self.at) + 1 + behind)?;
                    return Ok(false);
                }
                Err(stop) => return Err(stop),
            };
            self.spans[self.column] = Span {
                start: start as u32,
                len,
            };
            let end = start + len as usize;
            let behind = TEXT_COLUMNS.len() - self.column;
            self.need(end + behind).map_err(|stop| {
                // Its first letter would be the last group of the length.
                match is_exception(&self.bytes[start - 1..]) {
                    true => Stop::Cut,
                    false => stop,
                }
            })?;
            self.column += 1;
            self.at = end;
        }
        if self.bytes.len() < self.needed {
            return Ok(false);
        }
        match self.bytes.last() {
            Some(&ROW_END) => Ok(true),
            _ => Err(Stop::NoEnd),
        }
    }

    fn need(&mut self, bytes: usize) -> Result<(), Stop> {
        if bytes > MAX_ROW_BYTES {
            return Err(Stop::TooLong);
        }
        self.needed = self.needed.max(bytes);
        Ok(())
    }
}
