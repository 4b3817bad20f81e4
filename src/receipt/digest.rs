//! The SHA-256 of a body, computed beside the export and not in its way.
//!
//! In: the body's chunks, shared and not copied. Out: their hash. A task of its own hashes on another thread, with
//! the processor's SHA instructions where it has them (measured: 0.5 ns of another core a byte; about four times that without). It holds at most
//! [`QUEUED_CHUNKS`] chunks and the one it works on; an export that is faster than that waits. A body that stays small needs none:
//! going to a task and back takes longer than hashing it.

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

/// A body of so many bytes is small. It is hashed where it comes from: 8 µs with SHA instructions.
pub const SMALL_BODY_BYTES: usize = 16 << 10;

/// The hash of a body that is under way.
pub struct BodyDigest(Place);

/// Where it is hashed.
enum Place {
    /// Here, so many bytes so far.
    Here(Sha256, usize),
    Task {
        chunks: mpsc::Sender<Bytes>,
        task: JoinHandle<Sha256>,
    },
}

impl BodyDigest {
    /// Begins with no bytes.
    pub fn begin() -> Self {
        Self(Place::Here(Sha256::new(), 0))
    }

    /// Adds a chunk. Needs a runtime. Not cancel-safe: whether the chunk was added is not known after a dropped call.
    ///
    /// # Errors
    ///
    /// The hashing stopped.
    pub async fn push(&mut self, chunk: Bytes) -> Result<()> {
        let chunks = match &mut self.0 {
            Place::Here(hash, bytes) if *bytes + chunk.len() <= SMALL_BODY_BYTES => {
                hash.update(&chunk);
                *bytes += chunk.len();
                return Ok(());
            }
            Place::Here(hash, _) => {
                let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS);
                let task = tokio::spawn(add(std::mem::take(hash), receiver));
                self.0 = Place::Task {
                    chunks: chunks.clone(),
                    task,
                };
                chunks
            }
            Place::Task { chunks, .. } => chunks.clone(),
        };
        chunks.send(chunk).await.map_err(|_| stopped())
    }

    /// The hash of all chunks. A dropped call leaves none.
    ///
    /// # Errors
    ///
    /// The hashing stopped.
    pub async fn finish(self) -> Result<Sha256Hex> {
        let hash = match self.0 {
            Place::Here(hash, _) => hash,
            Place::Task { chunks, task } => {
                drop(chunks);
                task.await.map_err(|error| stopped().with_source(error))?
            }
        };
        Ok(random::hex(&hash.finalize()))
    }
}

fn stopped() -> Error {
    Error::internal("the hashing of the body stopped")
}

/// Adds chunks to what has been hashed.
async fn add(mut hash: Sha256, mut chunks: mpsc::Receiver<Bytes>) -> Sha256 {
    while let Some(chunk) = chunks.recv().await {
        for step in chunk.chunks(STEP_BYTES) {
            hash.update(step);
            tokio::task::yield_now().await;
        }
    }
    hash
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
        let sizes = [
            1_000,
            SMALL_BODY_BYTES,
            STEP_BYTES,
            STEP_BYTES + 1,
            body.len(),
        ];
        for body in [
            &body,
            &body[..SMALL_BODY_BYTES],
            &body[..SMALL_BODY_BYTES + 1],
        ] {
            for size in sizes {
                let mut digest = BodyDigest::begin();
                for chunk in body.chunks(size) {
                    digest.push(Bytes::copy_from_slice(chunk)).await.unwrap();
                }
                let is_small = matches!(digest.0, Place::Here(..));
                assert_eq!(is_small, body.len() <= SMALL_BODY_BYTES);
                assert_eq!(
                    digest.finish().await.unwrap(),
                    random::hex(&Sha256::digest(body))
                );
            }
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BodyDigest::begin().finish().await.unwrap(), empty);
    }
}
