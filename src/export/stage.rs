//! The stages that do no I/O, as one that a blocking thread may take.

use bytes::Bytes;

use super::delivered::Delivered;
use crate::decode::Decoder;
use crate::encode::Encoder;
use crate::error::Result;

/// The stages that do no I/O: a chunk goes in, chunks come out.
pub(super) struct Stage {
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
}

/// What a stage is given.
pub(super) enum Work {
    Chunks(Vec<Bytes>),
    Finish,
}

impl Stage {
    /// Takes chunks through the decoder into the encoder, or ends the file; `delivered` is what has been delivered then,
    /// in front of an error as well.
    pub(super) fn work(&mut self, work: Work, delivered: &mut Delivered) -> Result<()> {
        match work {
            Work::Chunks(chunks) => {
                for chunk in chunks {
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
