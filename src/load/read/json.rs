//! JSON: one object a line, or one array of objects.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::json_row::{Row, RowError};
use super::source::{BUFFER_BYTES, Sha256Hex, Source, record_unreadable};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::load::batch::{Batch, Layout};
use crate::load::column::Column;

/// Where the reader is in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The file's first character is still to be seen.
    Unknown,
    /// One object a line.
    Lines,
    /// In an array, before its first element.
    ArrayBegun,
    /// In an array, behind an element.
    Element,
    /// Behind the array.
    ArrayEnded,
}

/// Reads objects. Which framing the file has is seen from its first character, whatever its name says.
pub(in crate::load) struct JsonReader {
    reader: BufReader<Source>,
    framing: Framing,
    /// One line or element.
    text: Vec<u8>,
    /// The line that is read now, from 1.
    line: u64,
}

impl JsonReader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, Source::open(path)?),
            framing: Framing::Unknown,
            text: Vec::new(),
            line: 1,
        })
    }

    /// Every row may lack other columns, so all of them are sent, with defaults.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            columns: Column::all().collect(),
            with_defaults: true,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.reader.get_ref().position()
    }

    pub(super) fn row(&mut self, batch: &mut Batch) -> Result<bool> {
        self.reader.get_mut().record_begins();
        if self.framing == Framing::Unknown {
            self.framing = match self.skip_white_space()? {
                Some(b'[') => {
                    self.reader.consume(1);
                    Framing::ArrayBegun
                }
                _ => Framing::Lines,
            };
        }
        let line = match self.framing {
            Framing::Lines => self.next_line()?,
            _ => self.next_element()?,
        };
        let Some(line) = line else { return Ok(false) };
        let row = Row::parse(&self.text).map_err(|error| located(error, line))?;
        row.push(batch);
        Ok(true)
    }

    pub(super) fn finish(self) -> Sha256Hex {
        self.reader.into_inner().finish()
    }

    /// Fills `text` with the next line that is not empty, and returns its number.
    fn next_line(&mut self) -> Result<Option<u64>> {
        loop {
            self.text.clear();
            let line = self.line;
            self.reader
                .read_until(b'\n', &mut self.text)
                .map_err(|error| record_unreadable(error).at(at_line(line)))?;
            if self.text.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            // Without its end, so that an error at the end is not placed on the next line.
            self.text.truncate(self.text.trim_ascii_end().len());
            if !self.text.is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Fills `text` with the next element of the array, and returns the line of its beginning.
    fn next_element(&mut self) -> Result<Option<u64>> {
        let refused =
            |message: &str, line| Err(Error::new(ErrorKind::Data, message).at(at_line(line)));
        loop {
            let next = self.skip_white_space()?;
            match (self.framing, next) {
                (Framing::ArrayEnded, None) => return Ok(None),
                (Framing::ArrayEnded, Some(_)) => {
                    return refused(
                        "something follows the array: give one array a file",
                        self.line,
                    );
                }
                (_, None) => {
                    return refused(
                        "the array does not end: the file was cut, so get it again",
                        self.line,
                    );
                }
                (Framing::ArrayBegun | Framing::Element, Some(b']')) => {
                    self.reader.consume(1);
                    self.framing = Framing::ArrayEnded;
                }
                (Framing::Element, Some(b',')) => {
                    self.reader.consume(1);
                    return match self.skip_white_space()? {
                        Some(b'{') => self.object().map(Some),
                        _ => refused("an object should follow the comma", self.line),
                    };
                }
                (Framing::ArrayBegun, Some(b'{')) => {
                    self.framing = Framing::Element;
                    return self.object().map(Some);
                }
                (_, Some(_)) => {
                    return refused(
                        "this is not an array of objects: every element is one event, with commas between",
                        self.line,
                    );
                }
            }
        }
    }

    /// Fills `text` from an opening brace to the one that closes it, and returns the line of the first.
    fn object(&mut self) -> Result<u64> {
        let begin = self.line;
        self.text.clear();
        let mut depth: u64 = 0;
        let mut in_string = false;
        let mut escaped = false;
        loop {
            let bytes = self
                .reader
                .fill_buf()
                .map_err(|error| record_unreadable(error).at(at_line(begin)))?;
            if bytes.is_empty() {
                return Err(Error::new(
                    ErrorKind::Data,
                    "the object that begins here does not end: the file was cut, so get it again",
                )
                .at(at_line(begin)));
            }
            let mut used = bytes.len();
            let mut closed = false;
            for (at, byte) in bytes.iter().enumerate() {
                self.line += u64::from(*byte == b'\n');
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            closed = true;
                            used = at + 1;
                            break;
                        }
                    }
                    _ => {}
                }
            }
            self.text.extend_from_slice(&bytes[..used]);
            self.reader.consume(used);
            if closed {
                return Ok(begin);
            }
        }
    }

    /// The next byte that is no white space; it is not consumed.
    fn skip_white_space(&mut self) -> Result<Option<u8>> {
        loop {
            let line = self.line;
            let bytes = self
                .reader
                .fill_buf()
                .map_err(|error| record_unreadable(error).at(at_line(line)))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let white = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let next = bytes.get(white).copied();
            self.line += bytes[..white]
                .iter()
                .map(|b| u64::from(*b == b'\n'))
                .sum::<u64>();
            self.reader.consume(white);
            if next.is_some() {
                return Ok(next);
            }
            self.reader.get_mut().record_begins();
        }
    }
}

fn at_line(line: u64) -> Position {
    Position {
        line: Some(line),
        ..Position::default()
    }
}

/// An error in a text that begins at a line of the file.
fn located(error: RowError, begin: u64) -> Error {
    Error::new(ErrorKind::Data, error.message).at(Position {
        line: Some(begin + error.line.saturating_sub(1)),
        column: error.column.map(Column::name),
        ..Position::default()
    })
}
