//! Inner parts of the service, for the fuzz targets: the coding that a client gets, and what comes of it.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderValue};

use super::compress::{Compressor, Piece};
use super::encoding::Encoding;
use crate::error::Result;
use crate::request::Format;

/// The coding for a client that sends these `Accept-Encoding` fields; `None` where it is refused. Fields that no header can
/// have are left out.
pub fn negotiated(fields: &[&[u8]], format: Format) -> Option<&'static str> {
    let mut headers = HeaderMap::new();
    for value in fields
        .iter()
        .filter_map(|field| HeaderValue::from_bytes(field).ok())
    {
        headers.append(ACCEPT_ENCODING, value);
    }
    Some(match Encoding::negotiate(&headers, format).ok()? {
        Encoding::Identity => "identity",
        Encoding::Zstd => "zstd",
        Encoding::Brotli => "br",
        Encoding::Gzip => "gzip",
    })
}

/// Chunks in a coding, as they would be sent, with the end behind the last one.
///
/// # Errors
///
/// The compressor failed.
pub fn compressed(coding: &str, chunks: &[Bytes]) -> Result<Vec<Bytes>> {
    let coding = match coding {
        "zstd" => Encoding::Zstd,
        "br" => Encoding::Brotli,
        "gzip" => Encoding::Gzip,
        _ => return Ok(chunks.to_vec()),
    };
    let mut compressor = Compressor::new(coding)?;
    let chunks = chunks.iter().cloned().map(Piece::Chunk);
    let mut sent = Vec::new();
    for piece in chunks.chain([Piece::End]) {
        if let Some(taken) = compressor.take() {
            let (bytes, same) = taken.compress(piece).map_err(super::compress::failed)?;
            sent.push(bytes);
            compressor = Some(same);
        }
    }
    Ok(sent)
}
