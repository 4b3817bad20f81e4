//! Rows whose text came as hexadecimal digits, back to plain RowBinary.
//!
//! Used for the stretch behind a suspected error: text in this form holds only digits and letters, so nothing that a
//! visitor sent can look like ClickHouse's text of an error.

use bytes::Bytes;

use super::ByteSource;
use crate::decode::{FIXED_ROW_BYTES, LETTERS_OF_EXCEPTION, holds_exception, is_marker};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::columns::TEXT_COLUMNS;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The end of a row and the fixed part of the next one, with so many bytes to come.
    Fixed(usize),
    /// The length of the text column with this index, with the bits read so far.
    Length {
        column: usize,
        value: u64,
        shift: u32,
    },
    /// The digits of that column, with so many to come and the high half of a byte if it was read.
    Digits {
        column: usize,
        left: u64,
        high: Option<u8>,
    },
    /// What no row begins with, and all behind it.
    NoRow,
}

/// How much of what came is kept to look for an exception's text that chunks divide, in bytes.
const KEPT_BYTES: usize = 16;

/// Undoes `hex()` in every text column, wherever the chunks are cut. Holds no row.
pub struct Unhex<S> {
    source: S,
    place: Place,
    /// The last [`KEPT_BYTES`] that came.
    last: Vec<u8>,
    /// Why it cannot go on behind what was handed out.
    malformed: Option<Error>,
}

impl<S: ByteSource> Unhex<S> {
    /// Rows from the source, from the beginning of a row on.
    pub fn new(source: S) -> Self {
        Self {
            source,
            place: Place::Fixed(FIXED_ROW_BYTES),
            last: Vec::new(),
            malformed: None,
        }
    }
}

impl<S: ByteSource> ByteSource for Unhex<S> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(error) = self.malformed.take() {
            return Err(error);
        }
        let Some(chunk) = self.source.next().await? else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(chunk.len());
        match unhex(self.place, &chunk, &mut out) {
            Ok(place) => self.place = place,
            // Rows in front of it are whole.
            Err(what) => {
                let recent = [&self.last[..], &chunk].concat();
                self.malformed = Some(malformed(what, &recent));
            }
        }
        self.last
            .extend_from_slice(&chunk[chunk.len().saturating_sub(KEPT_BYTES)..]);
        let more = self.last.len().saturating_sub(KEPT_BYTES);
        self.last.drain(..more);
        Ok(Some(out.into()))
    }
}

/// Goes through `bytes` from a place in a row, and says at which place they ended, or why they are no rows.
fn unhex(
    mut place: Place,
    mut bytes: &[u8],
    out: &mut Vec<u8>,
) -> std::result::Result<Place, &'static str> {
    loop {
        match place {
            // What follows the last row may be text of an error: the decoder knows that from its first byte.
            Place::Fixed(FIXED_ROW_BYTES)
                if bytes.first().is_some_and(|&byte| !is_marker(byte)) =>
            {
                place = Place::NoRow;
            }
            Place::NoRow => {
                out.extend_from_slice(bytes);
                return Ok(place);
            }
            Place::Fixed(left) => {
                // The end of a row is looked at before what follows it.
                let most = if left > FIXED_ROW_BYTES { 1 } else { left };
                let take = most.min(bytes.len());
                out.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                place = if take == left {
                    Place::Length {
                        column: 0,
                        value: 0,
                        shift: 0,
                    }
                } else {
                    Place::Fixed(left - take)
                };
            }
            Place::Length {
                column,
                value,
                shift,
            } => {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return Ok(place);
                };
                bytes = rest;
                if shift > 56 {
                    return Err("a text's length has too many bytes");
                }
                let value = value | u64::from(byte & 0x7f) << shift;
                if byte & 0x80 != 0 {
                    place = Place::Length {
                        column,
                        value,
                        shift: shift + 7,
                    };
                    continue;
                }
                if value % 2 != 0 {
                    return Err("an odd number of digits");
                }
                push_leb128(out, value / 2);
                place = Place::Digits {
                    column,
                    left: value,
                    high: None,
                };
            }
            Place::Digits {
                column,
                left: 0,
                high: _,
            } => {
                place = if column + 1 == TEXT_COLUMNS.len() {
                    Place::Fixed(1 + FIXED_ROW_BYTES)
                } else {
                    Place::Length {
                        column: column + 1,
                        value: 0,
                        shift: 0,
                    }
                };
            }
            Place::Digits { column, left, high } => {
                let Some((&byte, rest)) = bytes.split_first() else {
                    return Ok(place);
                };
                bytes = rest;
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    b'A'..=b'F' => byte - b'A' + 10,
                    _ => return Err("a byte that is no digit"),
                };
                let high = match high {
                    None => Some(digit << 4),
                    Some(high) => {
                        out.push(high | digit);
                        None
                    }
                };
                place = Place::Digits {
                    column,
                    left: left - 1,
                    high,
                };
            }
        }
        if bytes.is_empty() && !matches!(place, Place::Digits { left: 0, .. }) {
            return Ok(place);
        }
    }
}

fn push_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The error of bytes inside of a row that are none of one: an exception's text, or damage.
fn malformed(what: &str, recent: &[u8]) -> Error {
    let kind = if holds_exception(recent, LETTERS_OF_EXCEPTION) {
        ErrorKind::BrokenOff
    } else {
        ErrorKind::Internal
    };
    Error::new(kind, "the stream from ClickHouse broke off")
        .with_detail(format!("{what} where hexadecimal text was asked for"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failing test may panic
    use super::*;
    use crate::cursor::Replay;
    use crate::pushdown::columns::ROW_END;

    /// A row's fixed part, its texts in the given form, and its end.
    fn row(texts: &[Vec<u8>; 15], hex: bool) -> Vec<u8> {
        let mut row: Vec<u8> = (1..=FIXED_ROW_BYTES as u8).collect();
        for text in texts {
            let text = if hex {
                text.iter()
                    .flat_map(|b| format!("{b:02X}").into_bytes())
                    .collect()
            } else {
                text.clone()
            };
            push_leb128(&mut row, text.len() as u64);
            row.extend_from_slice(&text);
        }
        row.push(ROW_END);
        row
    }

    #[test]
    fn hexadecimal_rows_cut_at_any_byte_become_the_plain_rows() {
        let texts: [Vec<u8>; 15] =
            std::array::from_fn(|i| (0..i * 13).map(|b| (b * 37 + i) as u8).collect());
        let plain = [row(&texts, false), row(&texts, false)].concat();
        let hex = [row(&texts, true), row(&texts, true)].concat();
        for cut in 0..=hex.len() {
            let mut out = Vec::new();
            let mut place = Place::Fixed(FIXED_ROW_BYTES);
            for part in [&hex[..cut], &hex[cut..]] {
                place = unhex(place, part, &mut out).unwrap();
            }
            assert_eq!(out, plain, "cut at {cut}");
            assert!(matches!(place, Place::Fixed(FIXED_ROW_BYTES)));
        }
    }

    #[test]
    fn text_that_is_not_hexadecimal_is_refused() {
        let mut bytes = vec![1; FIXED_ROW_BYTES];
        bytes.extend_from_slice(b"\x02zz");
        assert!(unhex(Place::Fixed(FIXED_ROW_BYTES), &bytes, &mut Vec::new()).is_err());
    }

    #[tokio::test]
    async fn what_is_in_front_of_an_exceptions_text_is_handed_out_however_both_are_cut() {
        let texts: [Vec<u8>; 15] = std::array::from_fn(|i| vec![b'a' + i as u8; i]);
        let (plain, hex) = (row(&texts, false), row(&texts, true));
        let text = b"__exception__\r\nCode: 241. DB::Exception: Memory limit (total) exceeded\n";
        for missing in 0..hex.len() {
            let stream = [&hex[..], &hex[..hex.len() - missing], text].concat();
            for size in [1, 7, 100, stream.len()] {
                let chunks = stream.chunks(size).map(Bytes::copy_from_slice);
                let mut unhex = Unhex::new(Replay::new(chunks));
                let (mut out, mut ended) = (Vec::new(), Ok(()));
                loop {
                    match unhex.next().await {
                        Ok(Some(chunk)) => out.extend_from_slice(&chunk),
                        Ok(None) => break,
                        Err(error) => {
                            ended = Err(error);
                            break;
                        }
                    }
                }
                assert!(out.starts_with(&plain), "{missing} {size}");
                if missing < 2 {
                    // The text as it is, in the place of an end or behind it: the decoder sees that.
                    let last = &plain[..plain.len() - missing];
                    assert_eq!(out[plain.len()..], [last, text].concat());
                    ended.unwrap();
                } else if size == stream.len() {
                    assert_eq!(ended.unwrap_err().kind(), ErrorKind::BrokenOff);
                } else {
                    assert!(ended.is_err() || !out.ends_with(&plain));
                }
            }
        }
    }
}
