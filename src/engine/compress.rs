//! Compressed results, for clients that ask as they would ask a server: `Accept-Encoding` and
//! `enable_http_compression=1`.

use std::io::Write as _;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderValue};
use lz4_flex::frame::FrameEncoder;

use super::decompress::Compression;
use super::exception::Exception;

/// Of Zstandard: a server's own default (`http_zlib_compression_level`).
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// What a client takes, if anything. Weights do not matter: only programs ask, and they name one.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(ACCEPT_ENCODING).iter();
        fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','))
            .find_map(|name| match name.trim() {
                "zstd" => Some(Self::Zstd),
                "lz4" => Some(Self::Lz4),
                _ => None,
            })
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// One frame in the making. Zstandard has a checksum at its end; LZ4 has none, as a server's has none.
pub(crate) enum Compressor {
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Compressor {
    /// A frame without content.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub(crate) fn new(compression: Compression) -> Result<Self, Exception> {
        Ok(match compression {
            Compression::Lz4 => Self::Lz4(Box::new(FrameEncoder::new(Vec::new()))),
            Compression::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(failed)?;
                encoder.include_checksum(true).map_err(failed)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    /// What is ready once `block` is in, all of which can be decompressed from it. Blocks.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<Bytes, Exception> {
        let ready = match self {
            Self::Lz4(encoder) => {
                encoder.write_all(block).map_err(failed)?;
                encoder.flush().map_err(failed)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(block).map_err(failed)?;
                encoder.flush().map_err(failed)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(ready).into())
    }

    /// The frame's end.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn end(mut self) -> Result<Bytes, Exception> {
        let ready = match &mut self {
            Self::Lz4(encoder) => {
                encoder.try_finish().map_err(|error| failed(error.into()))?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.do_finish().map_err(failed)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(ready).into())
    }
}

fn failed(error: std::io::Error) -> Exception {
    Exception::internal(format_args!("The result cannot be compressed: {error}"))
}
