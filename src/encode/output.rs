//! The bytes of a text format that are ready.

use bytes::Bytes;

/// Smallest room of a fresh chunk, in bytes.
const MIN_ROOM: usize = 64 << 10;

/// A buffer with a cursor. Bytes behind the cursor are room: they exist, so that they can be overwritten without any
/// further check, and mean nothing. Holds one encoded batch.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    at: usize,
    /// Room of the next chunk: a little more than the last one took.
    expected: usize,
}

impl Output {
    /// Bytes written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Takes back what was written behind `len`.
    #[inline]
    pub(super) fn rewind(&mut self, len: usize) {
        debug_assert!(len <= self.at);
        self.at = len;
    }

    /// Says that `more` bytes of the room have been written.
    #[inline]
    pub(super) fn advance(&mut self, more: usize) {
        debug_assert!(self.at + more <= self.bytes.len());
        self.at += more;
    }

    /// The bytes written from `start` on.
    #[inline]
    pub(super) fn written(&self, start: usize) -> &[u8] {
        &self.bytes[start..self.at]
    }

    /// At least `size` bytes of room.
    #[inline]
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.at < size {
            self.grow(size);
        }
        &mut self.bytes[self.at..]
    }

    #[cold]
    fn grow(&mut self, size: usize) {
        if self.bytes.is_empty() {
            // Zeroed memory comes from the system for nothing, resizing an empty vector would write it.
            self.bytes = vec![0; self.expected.max(size).max(MIN_ROOM)];
        } else {
            let len = (self.at + size).max(self.bytes.len() * 2);
            self.bytes.resize(len, 0);
        }
    }

    /// Writes `text`.
    #[inline]
    pub(super) fn put(&mut self, text: &[u8]) {
        self.room(text.len())[..text.len()].copy_from_slice(text);
        self.at += text.len();
    }

    /// Writes one byte.
    #[inline]
    pub(super) fn put_byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    /// Hands over what was written, without copying it.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if self.at == 0 {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.at);
        self.expected = self.at + self.at / 8;
        self.at = 0;
        Some(Bytes::from(bytes))
    }
}
