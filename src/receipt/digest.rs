//! The SHA-256 of a body, computed beside the export and not in its way.
//!
//! In: the body's chunks, shared and not copied. Out: their hash. A task of its own hashes on another thread, with
//! the processor's SHA instructions where it has them (measured: 0.5 ns of another core a byte; about four times that without). It holds at most
//! [`QUEUED_CHUNKS`] chunks and the one it works on; an export that is faster than that waits.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::random;

/// Chunks that wait to be hashed.
const QUEUED_CHUNKS: usize = 2;

/// Bytes that are hashed before other tasks have their turn: a third of a millisecond with SHA instructions.
const STEP_BYTES: usize = 512 << 10;

/// A SHA-256 as 64 lower-case hexadecimal digits.
pub type Sha256Hex = String;

/// The hash of a body that is under way.
pub struct BodyDigest {
    chunks: mpsc::Sender<Bytes>,
    task: JoinHandle<Sha256Hex>,
}

impl BodyDigest {
    /// Begins with no bytes. Needs a runtime.
    pub fn begin() -> Self {
        let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS);
        Self {
            chunks,
            task: tokio::spawn(hash(receiver)),
        }
    }

    /// Adds a chunk. Not cancel-safe: whether the chunk was added is not known after a dropped call.
    ///
    /// # Errors
    ///
    /// The hashing stopped.
    pub async fn push(&self, chunk: Bytes) -> Result<()> {
        self.chunks
            .send(chunk)
            .await
            .map_err(|_| Error::internal("the hashing of the body stopped"))
    }

    /// The hash of all chunks.
    ///
    /// # Errors
    ///
    /// The hashing stopped.
    pub async fn finish(self) -> Result<Sha256Hex> {
        drop(self.chunks);
        self.task
            .await
            .map_err(|error| Error::internal("the hashing of the body stopped").with_source(error))
    }
}

async fn hash(mut chunks: mpsc::Receiver<Bytes>) -> Sha256Hex {
    let mut hash = Sha256::new();
    while let Some(chunk) = chunks.recv().await {
        for step in chunk.chunks(STEP_BYTES) {
            hash.update(step);
            tokio::task::yield_now().await;
        }
    }
    random::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[tokio::test]
    async fn the_hash_is_that_of_all_chunks_in_their_order() {
        let body: Vec<u8> = (0..3_000_000u32)
            .map(|i| (i.wrapping_mul(i) >> 3) as u8)
            .collect();
        for size in [1_000, STEP_BYTES, STEP_BYTES + 1, body.len()] {
            let digest = BodyDigest::begin();
            for chunk in body.chunks(size) {
                digest.push(Bytes::copy_from_slice(chunk)).await.unwrap();
            }
            assert_eq!(
                digest.finish().await.unwrap(),
                random::hex(&Sha256::digest(&body))
            );
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BodyDigest::begin().finish().await.unwrap(), empty);
    }
}
