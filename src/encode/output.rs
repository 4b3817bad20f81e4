//! The bytes of a text format that are ready.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Smallest room of a fresh buffer, in bytes.
const MIN_ROOM: usize = 64 << 10;

/// Buffers that wait to be used again: one that is written and one or two on their way to the client.
const SPARE_BUFFERS: usize = 3;

/// Larger buffers are not kept, in bytes: one hostile row must not hold memory for the rest of the export.
const MAX_SPARE_BYTES: usize = 8 << 20;

/// A buffer with a cursor. Bytes behind the cursor are room: they exist, so that they can be overwritten without any
/// further check, and mean nothing. Holds one encoded batch, and [`SPARE_BUFFERS`] that were handed over and
/// came back: fresh memory for each chunk would cost more than writing it.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    at: usize,
    spare: Arc<Spare>,
}

#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn give_back(&self, bytes: Vec<u8>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < SPARE_BUFFERS && bytes.len() <= MAX_SPARE_BYTES {
            buffers.push(bytes);
        }
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// What was handed over; its buffer comes back when it is dropped.
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    spare: Arc<Spare>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.spare.give_back(std::mem::take(&mut self.bytes));
    }
}

impl Output {
    /// Bytes written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Says that `more` bytes of the room have been written.
    #[inline]
    pub(super) fn advance(&mut self, more: usize) {
        debug_assert!(self.at + more <= self.bytes.len());
        self.at += more;
    }

    /// The bytes written.
    #[inline]
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Forgets what was written.
    pub(super) fn clear(&mut self) {
        self.at = 0;
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
            self.bytes = self.spare.take().unwrap_or_default();
        }
        let len = self.at + size;
        if self.bytes.is_empty() {
            self.bytes = vec![0; len.max(MIN_ROOM)];
        } else if self.bytes.len() < len {
            self.bytes.resize(len.max(self.bytes.len() * 2), 0);
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
        let chunk = Chunk {
            bytes: std::mem::take(&mut self.bytes),
            len: std::mem::take(&mut self.at),
            spare: Arc::clone(&self.spare),
        };
        Some(Bytes::from_owner(chunk))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn a_chunk_keeps_its_bytes_while_others_are_written() {
        let mut output = Output::default();
        let mut chunks = Vec::new();
        for i in 0..10u8 {
            output.put(&vec![i; 100_000 * usize::from(i + 1)]);
            output.put_byte(b'!');
            chunks.push(output.take().unwrap());
            if i % 3 == 0 {
                chunks.swap_remove(0);
            }
        }
        assert!(output.take().is_none());
        for chunk in chunks {
            let (end, start) = chunk.split_last().unwrap();
            assert_eq!(*end, b'!');
            assert!(start.iter().all(|byte| *byte == start[0]));
            assert_eq!(start.len(), 100_000 * (usize::from(start[0]) + 1));
        }
    }

    #[test]
    fn a_buffer_that_comes_back_is_used_again_unless_it_is_huge() {
        let mut output = Output::default();
        output.put(b"some text");
        let chunk = output.take().unwrap();
        let place = chunk.as_ptr();
        drop(chunk);
        output.put(b"other text");
        let chunk = output.take().unwrap();
        assert_eq!((chunk.as_ptr(), &chunk[..]), (place, &b"other text"[..]));

        output.put(&vec![0; MAX_SPARE_BYTES + 1]);
        drop(output.take());
        assert!(output.spare.take().is_none());
    }
}
