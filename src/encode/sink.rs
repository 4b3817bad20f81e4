//! Where the writers of Parquet and Arrow write to: chunks that are handed over one by one.

use std::collections::VecDeque;
use std::io::{Result, Write};

use bytes::Bytes;

/// Size of a chunk, in bytes. A row group becomes many, so that its memory goes as it is sent.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes written and not yet handed over.
#[derive(Debug, Default)]
pub(super) struct Sink {
    full: VecDeque<Vec<u8>>,
    last: Vec<u8>,
}

impl Sink {
    /// The next chunk, if anything was written.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let chunk = match self.full.pop_front() {
            Some(chunk) => chunk,
            None => std::mem::take(&mut self.last),
        };
        (!chunk.is_empty()).then(|| Bytes::from(chunk))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.last.len() >= CHUNK_BYTES {
            self.full.push_back(std::mem::take(&mut self.last));
        }
        if self.last.capacity() == 0 {
            self.last.reserve_exact(CHUNK_BYTES);
        }
        let written = bytes.len().min(CHUNK_BYTES - self.last.len());
        self.last.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
