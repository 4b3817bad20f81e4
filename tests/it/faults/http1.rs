//! HTTP/1.1 messages taken apart as they come: heads, and bodies by length or in chunks.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes that are read at once.
const READ: usize = 32 << 10;

/// The bytes of one direction of a connection.
pub(crate) struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

/// What is to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks: what is left of this one, and whether a line break stands before the next.
    Chunked { left: u64, behind: bool },
    /// Nothing any more.
    Ended,
}

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes, and whether a chunk ends behind them.
    Data(Bytes, bool),
    /// The end.
    End,
    /// The connection ended before the body did.
    Broken,
}

/// The head of a message.
pub(crate) struct Head {
    /// With the empty line.
    pub(crate) bytes: Bytes,
    pub(crate) framing: Framing,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            buffer: BytesMut::new(),
        }
    }

    /// What it reads from.
    pub(crate) fn into_inner(self) -> R {
        self.from
    }

    /// Reads more; 0 at the end of the connection. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        self.from.read_buf(&mut self.buffer).await
    }

    /// The next head, or `None` where the connection ends. Cancel-safe.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let end = self.buffer.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                let bytes = self.buffer.split_to(end + 4).freeze();
                let framing = framing(&bytes);
                return Ok(Some(Head { bytes, framing }));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next part of a body. Cancel-safe.
    pub(crate) async fn piece(&mut self, framing: &mut Framing) -> io::Result<Piece> {
        loop {
            match *framing {
                Framing::Ended | Framing::Length(0) => return Ok(Piece::End),
                Framing::Length(left) if !self.buffer.is_empty() => {
                    let bytes = self.take(left);
                    *framing = Framing::Length(left - bytes.len() as u64);
                    return Ok(Piece::Data(bytes, false));
                }
                Framing::Chunked { left: 1.., .. } if self.buffer.is_empty() => {}
                Framing::Chunked {
                    left: left @ 1.., ..
                } => {
                    let bytes = self.take(left);
                    let left = left - bytes.len() as u64;
                    *framing = Framing::Chunked { left, behind: true };
                    return Ok(Piece::Data(bytes, left == 0));
                }
                Framing::Chunked {
                    left: 0,
                    behind: true,
                } if self.buffer.len() >= 2 => {
                    self.buffer.advance(2);
                    *framing = Framing::Chunked {
                        left: 0,
                        behind: false,
                    };
                    continue;
                }
                Framing::Chunked {
                    left: 0,
                    behind: false,
                } => {
                    if let Some(line) = self.buffer.windows(2).position(|end| end == b"\r\n") {
                        let size = std::str::from_utf8(&self.buffer[..line]).ok();
                        let size = size.and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
                        let size = size.ok_or_else(|| io::Error::other("no chunk's size"))?;
                        if size > 0 {
                            self.buffer.advance(line + 2);
                            *framing = Framing::Chunked {
                                left: size,
                                behind: true,
                            };
                            continue;
                        }
                        // Trailers are not passed on.
                        let end = self.buffer.windows(4).position(|end| end == b"\r\n\r\n");
                        if let Some(end) = end {
                            self.buffer.advance(end + 4);
                            *framing = Framing::Ended;
                            return Ok(Piece::End);
                        }
                    }
                }
                _ => {}
            }
            if self.fill().await? == 0 {
                return Ok(Piece::Broken);
            }
        }
    }

    fn take(&mut self, left: u64) -> Bytes {
        let take = self.buffer.len().min(usize::try_from(left).unwrap());
        self.buffer.split_to(take).freeze()
    }
}

/// A header's value in a head.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn framing(head: &[u8]) -> Framing {
    if header(head, "transfer-encoding").is_some() {
        return Framing::Chunked {
            left: 0,
            behind: false,
        };
    }
    let length = header(head, "content-length").and_then(|length| length.parse().ok());
    Framing::Length(length.unwrap_or(0))
}

/// A chunk as it stands on the wire.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The chunk that calls a body complete.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
