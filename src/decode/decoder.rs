//! The decoder of whichever wire rows travel on.

use bytes::Bytes;

use super::native::NativeDecoder;
use super::{Batch, RowBinaryDecoder, Wire};
use crate::error::Result;

/// A wire's bytes to batches of rows, whatever the sizes of the chunks. A batch borrows from the decoder, so it is used before
/// the next call.
#[derive(Debug)]
pub enum Decoder {
    /// Rows.
    RowBinary(Box<RowBinaryDecoder>),
    /// Columns.
    Native(Box<NativeDecoder>),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(wire: Wire) -> Self {
        Self::behind(wire, 0, None)
    }

    fn behind(wire: Wire, rows: u64, last_key: Option<(i64, u64)>) -> Self {
        match wire {
            Wire::RowBinary => Self::RowBinary(Box::new(RowBinaryDecoder::behind(rows, last_key))),
            Wire::Native => Self::Native(Box::new(NativeDecoder::behind(rows, last_key))),
        }
    }

    /// Goes on with another stream, whose rows come behind those delivered and before `until`, in milliseconds since
    /// 1970-01-01T00:00:00Z. What was not delivered of the stream before is dropped.
    pub fn restart(&mut self, wire: Wire, until: i64) {
        match (&mut *self, wire) {
            (Self::RowBinary(decoder), Wire::RowBinary) => decoder.restart(until),
            (Self::Native(decoder), Wire::Native) => decoder.restart(until),
            (Self::RowBinary(decoder), Wire::Native) => {
                *self = Self::behind(wire, decoder.rows(), decoder.last_key());
                self.stop_at(until);
            }
            (Self::Native(decoder), Wire::RowBinary) => {
                let (rows, last_key) = decoder.delivered();
                *self = Self::behind(wire, rows, last_key);
                self.stop_at(until);
            }
        }
    }

    /// Delivers no row from this instant on, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn stop_at(&mut self, until: i64) {
        match self {
            Self::RowBinary(decoder) => decoder.stop_at(until),
            Self::Native(decoder) => decoder.stop_at(until),
        }
    }

    /// Whether there was a row from that instant on: what is wanted of the stream has been delivered.
    pub fn passed(&self) -> bool {
        match self {
            Self::RowBinary(decoder) => decoder.passed(),
            Self::Native(decoder) => decoder.passed(),
        }
    }

    /// Whether the stream cannot be read on this wire, because its next rows come in one piece that is too large.
    pub fn overflows(&self) -> bool {
        match self {
            Self::RowBinary(_) => false,
            Self::Native(decoder) => decoder.overflows(),
        }
    }

    /// Takes the next bytes of the stream. Only called when [`next_batch`](Self::next_batch) has returned `None`.
    pub fn push(&mut self, chunk: Bytes) {
        match self {
            Self::RowBinary(decoder) => decoder.push(chunk),
            Self::Native(decoder) => decoder.push(&chunk),
        }
    }

    /// The next rows, or `None` where more bytes are needed.
    ///
    /// # Errors
    ///
    /// Where the bytes are not rows, or not in the order of (timestamp, event_id). The error names the row.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>> {
        match self {
            Self::RowBinary(decoder) => decoder.next_batch(),
            Self::Native(decoder) => decoder.next_batch(),
        }
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    ///
    /// Where it ended inside a row or a block.
    pub fn finish(&self) -> Result<()> {
        match self {
            Self::RowBinary(decoder) => decoder.finish(),
            Self::Native(decoder) => decoder.finish(),
        }
    }
}
