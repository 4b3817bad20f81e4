//! Compressed request bodies, as the common clients send their inserts: LZ4 frames and Zstandard.

use std::io::{self, Read};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use lz4_flex::frame::FrameDecoder;
use tokio::sync::mpsc;

use super::exception::{Exception, code};
use super::request::{MAX_DISCARDED_BYTES, read_piece};

/// Bytes that are decompressed at once.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait before and behind the decoder.
const PIECES_IN_FLIGHT: usize = 2;

/// A body's pieces; `None` is its proven end, the end of the channel is not.
type Pieces = mpsc::Receiver<Result<Option<Bytes>, Exception>>;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

impl Compression {
    /// Reads a request's `Content-Encoding`.
    ///
    /// # Errors
    ///
    /// 89 for an encoding that is not known here.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Exception> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => Ok(None),
            Some(b"lz4") => Ok(Some(Self::Lz4)),
            Some(b"zstd") => Ok(Some(Self::Zstd)),
            Some(_) => Err(Exception::new(
                code::UNKNOWN_COMPRESSION_METHOD,
                "UNKNOWN_COMPRESSION_METHOD",
                "The embedded engine takes bodies with Content-Encoding lz4, zstd or none",
            )),
        }
    }
}

/// A body behind a decoder, which runs on a thread of its own.
pub(crate) struct Decompressed(Pieces);

impl Decompressed {
    /// Starts to decompress `body`.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(crate) fn new(compression: Compression, mut body: Incoming) -> Result<Self, Exception> {
        let (compressed, source) = mpsc::channel(PIECES_IN_FLIGHT);
        let (pieces, decompressed) = mpsc::channel(PIECES_IN_FLIGHT);
        tokio::spawn(async move {
            loop {
                let piece = read_piece(&mut body).await;
                let last = !matches!(piece, Ok(Some(_)));
                if compressed.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        super::spawn("decompress", move || {
            let mut source = Source {
                pieces: source,
                current: Bytes::new(),
                ended: false,
            };
            let last = run(compression, &mut source, &pieces).map(|()| None);
            if last.is_err() {
                source.discard();
            }
            // Without a receiver nobody waits for the end.
            let _ = pieces.blocking_send(last);
        })?;
        Ok(Self(decompressed))
    }

    /// The next piece, or `None` at the proven end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The client broke off, or what came cannot be decompressed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Exception> {
        self.0
            .recv()
            .await
            .unwrap_or_else(|| Err(Exception::internal("The decoder's thread is gone")))
    }
}

fn run(
    compression: Compression,
    source: &mut Source,
    pieces: &mpsc::Sender<Result<Option<Bytes>, Exception>>,
) -> Result<(), Exception> {
    let failed = |error: io::Error| match error.downcast::<Broken>() {
        Ok(Broken(exception)) => exception,
        Err(error) => Exception::new(
            code::CANNOT_DECOMPRESS,
            "CANNOT_DECOMPRESS",
            format_args!("The request's body cannot be decompressed: {error}"),
        ),
    };
    let mut decoder = Decoder::new(compression, source).map_err(failed)?;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let count = decoder.read(&mut piece).map_err(failed)?;
        if count == 0 {
            return Ok(());
        }
        piece.truncate(count);
        if pieces.blocking_send(Ok(Some(piece.into()))).is_err() {
            return Err(Exception::cancelled());
        }
    }
}

/// The compressed pieces, to be read.
struct Source {
    pieces: Pieces,
    current: Bytes,
    ended: bool,
}

impl Source {
    /// Reads on, within bounds, so that the client sees the answer instead of a reset.
    fn discard(&mut self) {
        let mut discarded = 0;
        while discarded < MAX_DISCARDED_BYTES
            && let Some(Ok(Some(bytes))) = self.pieces.blocking_recv()
        {
            discarded += bytes.len();
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            let piece = self.pieces.blocking_recv();
            match piece.unwrap_or_else(|| Err(Exception::cancelled())) {
                Ok(Some(bytes)) => self.current = bytes,
                Ok(None) => self.ended = true,
                Err(exception) => return Err(io::Error::other(Broken(exception))),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// An exception on its way through a decoder.
#[derive(Debug)]
struct Broken(Exception);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Broken {}

/// Decompresses a source, frame after frame, to its end.
enum Decoder<R: Read> {
    Lz4(Option<FrameDecoder<Ahead<R>>>),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Over a source that ends where the last frame does.
    ///
    /// # Errors
    ///
    /// There is no memory for a decoder.
    fn new(compression: Compression, source: R) -> io::Result<Self> {
        Ok(match compression {
            Compression::Lz4 => Self::Lz4(Some(FrameDecoder::new(Ahead {
                source,
                byte: None,
                begun: false,
                ended: false,
            }))),
            Compression::Zstd => Self::Zstd(Box::new(zstd::Decoder::new(source)?)),
        })
    }

    /// Reads some bytes; 0 is the end of the source.
    ///
    /// # Errors
    ///
    /// The source's own, or bytes that are no frames, or an end within one.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Lz4(decoder) => loop {
                let Some(current) = decoder else {
                    return Ok(0);
                };
                match current.read(buffer)? {
                    0 => {}
                    count => return Ok(count),
                }
                // The end of a frame, or of the source before one. The library takes an end of the source where a block
                // should begin for the frame's own end: a frame that ends by itself is not read beyond its end mark.
                let Some(mut ahead) = decoder.take().map(FrameDecoder::into_inner) else {
                    return Ok(0);
                };
                if ahead.begun && ahead.ended {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if ahead.has_more()? {
                    ahead.begun = false;
                    *decoder = Some(FrameDecoder::new(ahead));
                }
            },
        }
    }
}

/// A source that can be asked whether more is to come.
struct Ahead<R> {
    source: R,
    byte: Option<u8>,
    /// Whether anything was read of the frame, and whether the source's end was met.
    begun: bool,
    ended: bool,
}

impl<R: Read> Ahead<R> {
    fn has_more(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        if self.byte.is_none() && self.source.read(&mut byte)? > 0 {
            self.byte = Some(byte[0]);
        }
        Ok(self.byte.is_some())
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.byte.take(), buffer) {
            (Some(byte), [first, ..]) => {
                *first = byte;
                self.begun = true;
                Ok(1)
            }
            (byte, buffer) => {
                self.byte = byte;
                let count = self.source.read(buffer)?;
                self.begun |= count > 0;
                self.ended |= count == 0 && !buffer.is_empty();
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use std::io::Write as _;

    use lz4_flex::frame::FrameEncoder;

    use super::*;

    fn decompress(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoder = Decoder::new(compression, bytes)?;
        let mut found = Vec::new();
        loop {
            let mut piece = [0; 100];
            match decoder.read(&mut piece)? {
                0 => return Ok(found),
                count => found.extend_from_slice(&piece[..count]),
            }
        }
    }

    #[test]
    fn frames_that_are_cut_anywhere_are_refused() {
        let text = b"some rows\n".repeat(20);
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(&text[..90]).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(&text[90..]).unwrap();
        let lz4 = encoder.finish().unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (compression, frame) in [(Compression::Lz4, lz4), (Compression::Zstd, zstd)] {
            let two = frame.repeat(2);
            for end in 1..=two.len() {
                let found = decompress(compression, &two[..end]);
                if end % frame.len() == 0 {
                    assert_eq!(found.unwrap(), text.repeat(end / frame.len()));
                } else {
                    assert!(found.is_err(), "{compression:?} cut at {end}");
                }
            }
        }
    }
}
