//! Compresses an export's chunks on their way to the body.
//!
//! In: what an export's task says. Out: the same, its chunks compressed, each flushed, so that what went in can be read at
//! once on the other side. Costs what the compressor costs, on blocking threads: no async thread waits for it. Holds
//! one chunk, twice, and the compressor's window and tables, 1 to 5 MiB. The end of the compressed stream is written
//! only at the file's proven end: one that failed is cut within it, so that a client sees that even if it misses the
//! aborted connection.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{QUEUED_CHUNKS, Said, Say};
use super::compressing::{Compressing, GaveUp};
use super::encoding::Encoding;
use super::patience;
use crate::error::{Error, Result};

/// Of zstd: 1 is the fastest of the usual ones.
const ZSTD_LEVEL: i32 = 1;
/// Of gzip: 1 to 9.
const GZIP_LEVEL: u32 = 3;
/// Of Brotli: 0 to 11. From 2 on it takes more than twice the time, and makes a stream that is flushed often larger.
const BROTLI_QUALITY: u32 = 1;
/// Brotli's window, as a power of two: 1 MiB.
const BROTLI_WINDOW: u32 = 20;
/// Bytes that the Brotli library collects in front of its encoder.
const BROTLI_BUFFER: usize = 64 << 10;

/// Puts a compressor behind `said`, if there is one. It gives up when nobody takes a chunk within `stall`, and where it cannot
/// compress; what its export knows of it says so before `said` is closed, and counts its work.
pub(super) fn encoded(
    compressor: Option<(Compressor, Compressing)>,
    said: mpsc::Receiver<Said>,
    stall: Duration,
) -> mpsc::Receiver<Said> {
    let Some((compressor, compressing)) = compressor else {
        return said;
    };
    let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
    tokio::spawn(run(compressor, said, sender, stall, compressing));
    receiver
}

/// Takes what is said through the compressor, until its end, a failure, or until nobody listens.
async fn run(
    compressor: Compressor,
    mut said: mpsc::Receiver<Said>,
    sender: mpsc::Sender<Said>,
    stall: Duration,
    compressing: Compressing,
) {
    let compressed = compress_all(compressor, &mut said, &sender, stall, &compressing).await;
    if let Err(why) = compressed {
        compressing.give_up(why);
        said.close();
        // The connection is kept until the export has said of itself how it ended, and holds no room here any more.
        while said.recv().await.is_some() {}
    }
}

async fn compress_all(
    mut compressor: Compressor,
    said: &mut mpsc::Receiver<Said>,
    sender: &mpsc::Sender<Said>,
    stall: Duration,
    compressing: &Compressing,
) -> Result<(), GaveUp> {
    // Whether there is still someone to take more.
    let hand_over = async |said: Said| match tokio::time::timeout(stall, sender.send(said)).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => Err(GaveUp::Stalled),
    };
    loop {
        let next = tokio::select! {
            next = said.recv() => next,
            () = sender.closed() => return Ok(()),
        };
        let (piece, end) = match next {
            Some(Ok(Say::Chunk(chunk))) => (Piece::Chunk(chunk), None),
            Some(Ok(end @ Say::End(_))) => (Piece::End, Some(Ok(end))),
            // Without the end of the compressed stream.
            Some(Err(error)) => return hand_over(Err(error)).await.map(|_| ()),
            // A task that fell silent: so does this one.
            None => return Ok(()),
        };
        let begun = Instant::now();
        let compressed = tokio::task::spawn_blocking(move || compressor.compress(piece)).await;
        compressing.add(begun);
        let stopped = |error| Error::internal("the compressor stopped").with_source(error);
        let (bytes, same) = compressed
            .map_err(|error| GaveUp::Failed(stopped(error)))?
            .map_err(|error| GaveUp::Failed(failed(error)))?;
        compressor = same;
        if !bytes.is_empty() && !hand_over(Ok(Say::Chunk(bytes))).await? {
            return Ok(());
        }
        if let Some(end) = end {
            // What is handed over is not yet taken: who waits for that sees it by this end of the channel.
            return match hand_over(end).await? && patience::is_lost(sender, stall).await {
                true => Err(GaveUp::Stalled),
                false => Ok(()),
            };
        }
    }
}

/// What a compressor is given.
pub(super) enum Piece {
    Chunk(Bytes),
    End,
}

/// A stream of one of the codings, which writes into memory. Dropped before its end it may write one, which nobody gets.
pub(super) enum Compressor {
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
}

impl Compressor {
    /// The one of an encoding, if it needs one.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub(super) fn new(encoding: Encoding) -> Result<Option<Self>> {
        Ok(Some(match encoding {
            Encoding::Identity => return Ok(None),
            Encoding::Zstd => Self::Zstd(Box::new(
                zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)
                    .and_then(|mut encoder| {
                        encoder.include_checksum(true)?;
                        Ok(encoder)
                    })
                    .map_err(failed)?,
            )),
            Encoding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Encoding::Gzip => Self::Gzip(Box::new(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(GZIP_LEVEL),
            ))),
        }))
    }

    /// What can be sent once `piece` is in; and itself, to go on with.
    pub(super) fn compress(mut self, piece: Piece) -> io::Result<(Bytes, Self)> {
        match piece {
            Piece::Chunk(chunk) => {
                let writer = self.writer();
                writer.write_all(&chunk)?;
                writer.flush()?;
            }
            Piece::End => match &mut self {
                Self::Zstd(encoder) => encoder.do_finish()?,
                // Its only way to end is to be taken apart.
                Self::Brotli(encoder) => {
                    let empty = brotli::CompressorWriter::new(Vec::new(), 1, 0, 10);
                    let ended = std::mem::replace(&mut **encoder, empty).into_inner();
                    return Ok((ended.into(), self));
                }
                Self::Gzip(encoder) => encoder.try_finish()?,
            },
        }
        Ok((self.take(), self))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Zstd(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
        }
    }

    /// The bytes that are ready.
    fn take(&mut self) -> Bytes {
        let ready = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        std::mem::take(ready).into()
    }
}

pub(super) fn failed(error: io::Error) -> Error {
    Error::internal("the file cannot be compressed").with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_and_the_connection_kept_until_the_export_has_heard_why()
    {
        let compressing = Compressing::default();
        let (export, said) = mpsc::channel(QUEUED_CHUNKS + 1);
        let room = export.clone().reserve_owned().await.unwrap();
        let compressor = Compressor::new(Encoding::Gzip).unwrap().unwrap();
        let compressor = Some((compressor, compressing.clone()));
        let mut body = encoded(compressor, said, Duration::from_millis(50));
        let chunk = Bytes::from_static(b"row\n");
        while export.send(Ok(Say::Chunk(chunk.clone()))).await.is_ok() {}
        assert!(matches!(compressing.gave_up(), Some(GaveUp::Stalled)));
        for _ in 0..QUEUED_CHUNKS {
            assert!(matches!(body.recv().await, Some(Ok(Say::Chunk(_)))));
        }
        assert!(matches!(
            body.try_recv(),
            Err(mpsc::error::TryRecvError::Empty)
        ));
        drop(room);
        assert!(body.recv().await.is_none());
    }
}
