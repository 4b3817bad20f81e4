//! The stages that do no I/O, as one that a blocking thread may take.

use bytes::Bytes;

use super::delivered::Delivered;
use crate::decode::Decoder;
use crate::encode::Encoder;
use crate::error::Result;

/// Up to so many bytes of the wire no work is heavy, whatever the encoder: going to a thread and back takes longer than almost all of it.
const LIGHT_BYTES: usize = 16 << 10;

/// The stages that do no I/O: a chunk goes in, chunks come out.
pub(super) struct Stage {
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Bytes that came so far.
    bytes: usize,
}

/// What a stage is given.
pub(super) enum Work {
    Chunks(Vec<Bytes>),
    Finish,
}

impl Stage {
    pub(super) fn new(decoder: Decoder, encoder: Encoder) -> Self {
        Self {
            decoder,
            encoder,
            bytes: 0,
        }
    }

    /// Whether work can take longer than an async thread should be held: then a blocking thread does it.
    pub(super) fn is_heavy(&self, work: &Work) -> bool {
        let more: usize = match work {
            Work::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Work::Finish => 0,
        };
        self.encoder.is_heavy() && self.bytes.saturating_add(more) > LIGHT_BYTES
    }

    /// Takes chunks through the decoder into the encoder, or ends the file; `delivered` is what has been delivered then,
    /// in front of an error as well.
    pub(super) fn work(&mut self, work: Work, delivered: &mut Delivered) -> Result<()> {
        match work {
            Work::Chunks(chunks) => {
                for chunk in chunks {
                    self.bytes = self.bytes.saturating_add(chunk.len());
                    self.decoder.push(chunk);
                    while let Some(batch) = self.decoder.next_batch()? {
                        self.encoder.batch(&batch)?;
                        delivered.add(&batch);
                    }
                    if self.decoder.passed() || self.decoder.overflows() {
                        break;
                    }
                }
                Ok(())
            }
            Work::Finish => self.encoder.finish(),
        }
    }
}
