//! Rows whose text came as hexadecimal digits, back to plain RowBinary.
//!
//! Used for the stretch behind a suspected error: text in this form holds only digits and letters, so nothing that a
//! visitor sent can look like ClickHouse's text of an error.

use bytes::Bytes;

use super::ByteSource;
use crate::decode::FIXED_ROW_BYTES;
use crate::error::{Error, Result};
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
}

/// Undoes `hex()` in every text column, wherever the chunks are cut. Holds no row.
pub struct Unhex<S> {
    source: S,
    place: Place,
}

impl<S: ByteSource> Unhex<S> {
    /// Rows from the source, from the beginning of a row on.
    pub fn new(source: S) -> Self {
        Self {
            source,
            place: Place::Fixed(FIXED_ROW_BYTES),
        }
    }
}

impl<S: ByteSource> ByteSource for Unhex<S> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(chunk) = self.source.next().await? else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(chunk.len());
        self.place = unhex(self.place, &chunk, &mut out)?;
        Ok(Some(out.into()))
    }
}

/// Goes through `bytes` from a place in a row, and says at which place they ended.
fn unhex(mut place: Place, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Place> {
    loop {
        match place {
            Place::Fixed(left) => {
                // What follows the last row may be text of an error: the decoder knows that from its first byte, so
                // it is handed on as it is.
                let take = left.min(bytes.len());
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
                    return Err(malformed("a text's length has too many bytes"));
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
                    return Err(malformed("an odd number of digits"));
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
                    _ => return Err(malformed("a byte that is no digit")),
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

fn malformed(what: &str) -> Error {
    Error::internal("the stream from ClickHouse broke off")
        .with_detail(format!("{what} where hexadecimal text was asked for"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failing test may panic
    use super::*;
    use crate::pushdown::columns::ROW_END;

    /// A row's fixed part, its texts in the given form, and its end.
    fn row(texts: &[Vec<u8>; 15], hex: bool) -> Vec<u8> {
        let mut row: Vec<u8> = (0..FIXED_ROW_BYTES as u8).collect();
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
}
