//! Output formats: which of them can be put together from blocks that were formatted one by one, and how.
//!
//! The library formats every block by itself. A format whose rows simply follow each other streams as it is. One
//! with a header streams once the header of every block but the first is taken off. Any other runs whole.

use super::exception::Exception;

/// How a format's blocks become one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The blocks follow each other.
    Plain,
    /// Every block begins with the same header.
    Header(Header),
    /// The blocks cannot be joined; the result is formatted whole.
    Whole,
}

/// How long a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Lines in which a line feed is always escaped.
    Lines(usize),
    /// Lines of quoted cells, which may hold line feeds.
    CsvLines(usize),
    /// A count of columns and then that many strings, this many times.
    Binary(usize),
}

impl Framing {
    /// The framing of a format.
    pub(crate) fn of(format: &str) -> Self {
        use Header::{Binary, CsvLines, Lines};
        match format.to_ascii_lowercase().as_str() {
            "rowbinary"
            | "rowbinarywithdefaults"
            | "native"
            | "null"
            | "csv"
            | "tsv"
            | "tabseparated"
            | "tsvraw"
            | "tabseparatedraw"
            | "raw"
            | "tskv"
            | "lineasstring"
            | "jsoneachrow"
            | "jsonlines"
            | "ndjson"
            | "jsonl"
            | "jsonstringseachrow"
            | "jsoncompacteachrow"
            | "jsoncompactstringseachrow"
            | "msgpack"
            | "bsoneachrow"
            | "rawblob" => Self::Plain,
            "csvwithnames" => Self::Header(CsvLines(1)),
            "csvwithnamesandtypes" => Self::Header(CsvLines(2)),
            "tsvwithnames"
            | "tabseparatedwithnames"
            | "jsoncompacteachrowwithnames"
            | "jsoncompactstringseachrowwithnames" => Self::Header(Lines(1)),
            "tsvwithnamesandtypes"
            | "tabseparatedwithnamesandtypes"
            | "jsoncompacteachrowwithnamesandtypes"
            | "jsoncompactstringseachrowwithnamesandtypes" => Self::Header(Lines(2)),
            "rowbinarywithnames" => Self::Header(Binary(1)),
            "rowbinarywithnamesandtypes" => Self::Header(Binary(2)),
            _ => Self::Whole,
        }
    }
}

/// Takes the repeated header off the blocks of one result.
pub(crate) struct HeaderFilter {
    header: Option<Header>,
    bytes: Option<Vec<u8>>,
}

impl HeaderFilter {
    /// For a framing; one without a header passes everything.
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            header: match framing {
                Framing::Header(header) => Some(header),
                Framing::Plain | Framing::Whole => None,
            },
            bytes: None,
        }
    }

    /// How many bytes at the start of this block repeat the header.
    ///
    /// # Errors
    ///
    /// The block does not begin with the result's header.
    pub(crate) fn repeated(&mut self, block: &[u8]) -> Result<usize, Exception> {
        let Some(header) = self.header else {
            return Ok(0);
        };
        match &self.bytes {
            Some(bytes) if block.starts_with(bytes) => Ok(bytes.len()),
            Some(_) => Err(Exception::internal(
                "A block of the result does not begin with the header of the first",
            )),
            None => {
                let length = header.length(block).ok_or_else(|| {
                    Exception::internal("The result does not begin with its format's header")
                })?;
                self.bytes = Some(block[..length].to_vec());
                Ok(0)
            }
        }
    }
}

impl Header {
    /// Length of the header that `block` begins with, in bytes.
    fn length(self, block: &[u8]) -> Option<usize> {
        match self {
            Self::Lines(lines) => block
                .iter()
                .enumerate()
                .filter(|&(_, &byte)| byte == b'\n')
                .nth(lines - 1)
                .map(|(at, _)| at + 1),
            Self::CsvLines(lines) => {
                let mut quoted = false;
                let mut ended = 0;
                block
                    .iter()
                    .position(|&byte| {
                        quoted ^= byte == b'"';
                        ended += usize::from(byte == b'\n' && !quoted);
                        ended == lines
                    })
                    .map(|at| at + 1)
            }
            Self::Binary(times) => {
                let mut at = 0;
                let columns = leb128(block, &mut at)?;
                for _ in 0..columns.checked_mul(times)? {
                    let length = leb128(block, &mut at)?;
                    at = at.checked_add(length).filter(|&at| at <= block.len())?;
                }
                Some(at)
            }
        }
    }
}

/// Reads an unsigned LEB128 number.
fn leb128(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_its_format_says() {
        for (format, header, rows) in [
            ("CSVWithNames", &b"\"a\"\"\n\",\"b\"\n"[..], &b"1,2\n"[..]),
            (
                "CSVWithNamesAndTypes",
                b"\"a\"\r\n\"Enum8('x\ny' = 1)\"\r\n",
                b"1\n",
            ),
            ("TSVWithNames", b"a\\nb\n", b"\n\n"),
            ("RowBinaryWithNames", b"\x02\x01a\x00", b"\x01"),
            ("RowBinaryWithNamesAndTypes", b"\x01\x01a\x05UInt8", b"\x01"),
            ("RowBinary", b"", b"\x02\x01a"),
        ] {
            let block = [header, rows].concat();
            let mut filter = HeaderFilter::new(Framing::of(format));
            assert_eq!(filter.repeated(&block).ok(), Some(0), "{format}");
            assert_eq!(filter.repeated(&block).ok(), Some(header.len()), "{format}");
            let other = [b"x", &block[..]].concat();
            assert_eq!(
                filter.repeated(&other).is_err(),
                !header.is_empty(),
                "{format}"
            );
        }
    }

    #[test]
    fn a_header_that_is_cut_is_an_error() {
        for (format, block) in [
            ("CSVWithNames", &b"\"a\n"[..]),
            ("TSVWithNamesAndTypes", b"a\n"),
            ("RowBinaryWithNamesAndTypes", b"\x01\x01a\x05UInt"),
            (
                "RowBinaryWithNamesAndTypes",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ] {
            let mut filter = HeaderFilter::new(Framing::of(format));
            assert!(filter.repeated(block).is_err(), "{format}");
        }
    }
}
