//! Bytes kept in memory, for tests of the decoder and for benches.

use std::collections::VecDeque;

use bytes::Bytes;

use super::ByteSource;
use crate::error::Result;

/// Gives back the chunks it was made of.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    chunks: VecDeque<Bytes>,
}

impl Replay {
    /// The chunks, in order.
    pub fn new(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            chunks: chunks.into_iter().collect(),
        }
    }
}

impl ByteSource for Replay {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.chunks.pop_front())
    }
}
