//! A wire's bytes to batches of rows.
//!
//! In: chunks of bytes, cut anywhere. Out: [`Batch`]es, by column, borrowed from the chunk they arrived in; only a
//! row that a cut went through is copied, and on the native wire its block. Cost: one look at each row's frame, two
//! where a row was read ahead in vain, and none at its text but for the few KiB in which the end of a row is looked for. Holds: the last chunk, the spans of one batch ([`MAX_BATCH_ROWS`] rows or [`MAX_BATCH_BYTES`],
//! whichever comes first) and one partial row ([`MAX_ROW_BYTES`]), or one block, with no
//! more text in its rows than it may have itself ([`MAX_BLOCK_BYTES`]). No I/O, and "need more bytes" is an outcome, not an error.

mod batch;
mod decoder;
mod lanes;
mod native;
mod partial;
mod row;
mod rowbinary;
mod wire;

pub use batch::{Batch, EventType, Span, TextColumn};
pub use decoder::Decoder;
pub use native::{MAX_BLOCK_BYTES, NativeDecoder};
pub(crate) use row::is_marker;
pub use rowbinary::RowBinaryDecoder;
#[cfg(test)]
pub(crate) use rowbinary::tests::support;
pub use wire::Wire;

use crate::error::ErrorKind;

/// Most rows of one batch; over RowBinary it has half of them at most.
pub const MAX_BATCH_ROWS: usize = 8_192;

/// A batch ends with the row that reaches this many bytes.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Longest row the decoder takes, in bytes on the wire: what it may hold while a row is incomplete.
pub const MAX_ROW_BYTES: usize = 32 << 20;

/// Bytes of a row in front of its texts: marker, instant, event id and offset.
pub const FIXED_ROW_BYTES: usize = 1 + 8 + 8 + 2;

/// Letters of an exception's text that are told from other bytes, where it may begin anywhere.
pub const LETTERS_OF_EXCEPTION: usize = 3;

/// How much of what stands where rows should go on is searched for the code of an exception, in bytes.
const DETAIL_BYTES: usize = 4 << 10;

/// Whether ClickHouse's text of an exception begins here, in one of its three dialects, wherever it is cut: where it
/// stands in place of a row, the rows in front of it are whole.
fn is_exception(found: &[u8]) -> bool {
    const BEGINS: [&[u8]; 3] = [b"Code: ", b"__exception__", b"\r\n__exception__"];
    let matches = |begin: &&[u8]| found.iter().zip(begin.iter()).all(|(a, b)| a == b);
    !found.is_empty() && BEGINS.iter().any(matches)
}

/// What it means that these bytes stand where rows should go on. What is neither a row nor an exception's text has been damaged on
/// its way, and what was delivered may be, too.
fn no_row_kind(found: &[u8], delivered: bool) -> ErrorKind {
    if is_exception(found) {
        ErrorKind::BrokenOff
    } else if delivered {
        ErrorKind::Damaged
    } else {
        ErrorKind::Internal
    }
}

/// Whether ClickHouse's text of an exception begins inside of these bytes, where a row or a block was cut, as far as so many
/// letters of it tell.
pub fn holds_exception(found: &[u8], letters: usize) -> bool {
    found
        .windows(letters)
        .enumerate()
        .any(|(at, _)| is_exception(&found[at..]))
}

/// What it means that a row or a block does not end as such, where it should have with the last of these bytes. Where an
/// exception's text begins in it, it was cut there, and what is in front of it is whole.
fn cut_row_kind(found: &[u8], delivered: bool) -> ErrorKind {
    if holds_exception(found, 1) {
        ErrorKind::BrokenOff
    } else {
        no_row_kind(&[], delivered)
    }
}

/// What the log may know of bytes that are no row: how many there are, and the code of ClickHouse's exception if one stands
/// at their end. The bytes themselves may be a visitor's.
fn no_row(bytes: &[u8]) -> String {
    let end = &bytes[bytes.len().saturating_sub(DETAIL_BYTES)..];
    let count = bytes.len();
    match exception_code(&String::from_utf8_lossy(end)) {
        Some(code) if is_exception(bytes) => {
            format!("Code: {code}. stands in the {count} bytes there")
        }
        // Inside of a row it may be a visitor's text.
        Some(code) => format!("{count} bytes are there, and Code: {code}. at their end"),
        None => format!("{count} bytes are there"),
    }
}

/// The number in the last `Code: N. DB::Exception`.
fn exception_code(text: &str) -> Option<u32> {
    let (before, _) = text.rsplit_once(". DB::Exception")?;
    let (_, code) = before.rsplit_once("Code: ")?;
    code.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::is_exception;

    #[test]
    fn an_exception_is_known_in_each_dialect_wherever_it_is_cut() {
        let texts = [
            "Code: 241. DB::Exception: Memory limit",
            "__exception__\r\nCode: 241.",
            "\r\n__exception__\r\nabcdefgh\r\nCode: 241.",
        ];
        for text in texts {
            for end in 1..=text.len() {
                assert!(is_exception(&text.as_bytes()[..end]), "{}", &text[..end]);
            }
        }
        for other in [
            "",
            "Cod-e: ",
            "\r\n\r\n",
            "DB::Exception",
            "\u{1}",
            "_e",
            "0",
        ] {
            assert!(!is_exception(other.as_bytes()), "{other:?}");
        }
    }
}
