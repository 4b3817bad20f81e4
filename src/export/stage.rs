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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::decode::Wire;
    use crate::encode::FileInfo;
    use crate::request::Format;

    /// The beginning of a row whose first text has more bytes than ever come here.
    fn beginning(bytes: usize) -> Bytes {
        let mut row = vec![1];
        row.extend_from_slice(&[0; 18]);
        row.extend_from_slice(&[0xff, 0xff, 0x7f]);
        row.resize(bytes, b'x');
        row.into()
    }

    #[test]
    fn work_is_heavy_once_more_than_a_little_came_and_then_to_the_end() {
        for (format, is_ever_heavy) in [
            (Format::Csv, false),
            (Format::Json, false),
            (Format::Ndjson, false),
            (Format::Parquet, true),
            (Format::Arrow, true),
        ] {
            let encoder = Encoder::new(format, &FileInfo::default()).unwrap();
            let mut stage = Stage::new(Decoder::new(Wire::RowBinary), encoder);
            let mut is_heavy = |chunk: Bytes| {
                let work = Work::Chunks(vec![chunk]);
                let heavy = stage.is_heavy(&work);
                stage.work(work, &mut Delivered::default()).unwrap();
                (heavy, stage.is_heavy(&Work::Finish))
            };
            let little = beginning(LIGHT_BYTES);
            assert_eq!(is_heavy(little.clone()), (false, false), "{format}");
            let more = (is_ever_heavy, is_ever_heavy);
            assert_eq!(is_heavy(little.slice(..1)), more, "{format}");
        }
    }
}
