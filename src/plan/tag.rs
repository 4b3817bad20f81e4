//! The ETag of a part.

use sha2::{Digest as _, Sha256};

use crate::cursor::Digest;
use crate::encode;
use crate::random;
use crate::request::{ExportRequest, Interval};

/// Bytes of the hash that stand in a tag.
const TAG_BYTES: usize = 16;

/// What tells the bytes of an export of a part of a request's window from others: a hash of the request, of the encoder's
/// version, of the zone's offsets, as another version's zone database may have them, and of the rows. With its quotes.
pub fn etag(request: &ExportRequest, part: Interval, rows: Digest) -> String {
    let Digest { rows, hash } = rows;
    let text = format!(
        "{}\n{}\n{}\n{:?}\n{rows} {hash}\n",
        encode::version(request.format),
        request.website,
        request.query_of(part),
        request.window.offsets.within(part),
    );
    let tag = Sha256::digest(text);
    format!("\"{}\"", random::hex(&tag[..TAG_BYTES]))
}
