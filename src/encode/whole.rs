//! For tests: whole files.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use bytes::Bytes;

use super::{Encoder, FileInfo};
use crate::decode::{Decoder, Wire};
use crate::request::Format;

/// The file of what came over a wire, in chunks of so many bytes.
pub(super) fn file(
    info: &FileInfo,
    format: Format,
    wire: Wire,
    bytes: &[u8],
    chunk: usize,
) -> Vec<u8> {
    file_by(&mut Encoder::new(format, info).unwrap(), wire, bytes, chunk)
}

/// The file that an encoder makes of the same.
pub(super) fn file_by(encoder: &mut Encoder, wire: Wire, bytes: &[u8], chunk: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(wire);
    for chunk in bytes.chunks(chunk) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(batch) = decoder.next_batch().unwrap() {
            encoder.batch(&batch).unwrap();
        }
    }
    decoder.finish().unwrap();
    encoder.finish().unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = encoder.take_chunk() {
        file.extend_from_slice(&chunk);
    }
    file
}
