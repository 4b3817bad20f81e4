//! CSV, as RFC 4180 has it and as spreadsheets and databases write it.

use std::path::{Path, PathBuf};

use super::source::{BUFFER_BYTES, Sha256Hex, Source, line_at, record_unreadable};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::load::batch::{Batch, Layout};
use crate::load::column::{self, Column};
use crate::load::value;

/// Reads records behind a header. Cells are taken byte for byte, also where they are not UTF-8.
pub(in crate::load) struct CsvReader {
    path: PathBuf,
    reader: csv::Reader<Source>,
    columns: Vec<Column>,
    record: csv::ByteRecord,
}

impl CsvReader {
    /// Opens a file and reads its header. An empty file has no columns and no rows.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its header cannot be loaded.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(Source::open(path)?);
        let mut this = Self {
            path: path.to_owned(),
            reader,
            columns: Vec::new(),
            record: csv::ByteRecord::new(),
        };
        if this.next_record()? {
            this.columns =
                column::header(this.record.iter()).map_err(|error| error.at(this.place(None)))?;
        }
        Ok(this)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            columns: self.columns.clone(),
            with_defaults: false,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.reader.get_ref().position()
    }

    pub(super) fn row(&mut self, batch: &mut Batch) -> Result<bool> {
        // The last good record's place, should the file turn out to be cut.
        let last = self.record.position().map_or(0, csv::Position::byte);
        if !self.next_record()? {
            if self.reader.get_ref().has_open_quote() {
                return Err(Error::new(
                    ErrorKind::Data,
                    "a quotation mark is opened here or further up and never closed: is the file cut?",
                )
                .at(self.place_of(last, None)));
            }
            return Ok(false);
        }
        if self.record.len() != self.columns.len() {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the record has {} cells where the header has {}: is a comma or a quotation mark not quoted?",
                    self.record.len(),
                    self.columns.len()
                ),
            )
            .at(self.place(None)));
        }
        batch.begin_row();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            let pushed = match column {
                Column::Timestamp => {
                    value::timestamp(cell).map(|milliseconds| batch.push_timestamp(milliseconds))
                }
                Column::EventType => value::event_type(cell).map(|byte| batch.push_byte(byte)),
                Column::IsBot => value::is_bot(cell).map(|flag| batch.push_byte(flag.into())),
                Column::Text(_) => {
                    batch.push_text(cell);
                    Ok(())
                }
            };
            pushed.map_err(|message| {
                Error::new(ErrorKind::Data, message).at(self.place(Some(*column)))
            })?;
        }
        Ok(true)
    }

    pub(super) fn finish(self) -> Sha256Hex {
        self.reader.into_inner().finish()
    }

    fn next_record(&mut self) -> Result<bool> {
        self.reader.get_mut().record_begins();
        let begin = self.reader.position().byte();
        match self.reader.read_byte_record(&mut self.record) {
            Ok(more) => Ok(more),
            Err(error) => Err(match error.into_kind() {
                csv::ErrorKind::Io(error) => record_unreadable(error),
                // Lengths are checked here and UTF-8 is not asked for, so nothing else is left to go wrong.
                other => Error::new(ErrorKind::Data, "the record cannot be read")
                    .with_detail(format!("{other:?}")),
            }
            .at(self.place_of(begin, None))),
        }
    }

    /// The record's place in the file.
    fn place(&self, column: Option<Column>) -> Position {
        let byte = self.record.position().map_or(0, csv::Position::byte);
        self.place_of(byte, column)
    }

    /// A record's first line. The csv crate counts the lines of files with CR LF or empty lines otherwise than an editor.
    fn place_of(&self, byte: u64, column: Option<Column>) -> Position {
        let byte = self.reader.get_ref().place_in_file(byte);
        Position {
            line: line_at(&self.path, byte).ok(),
            column: column.map(Column::name),
            ..Position::default()
        }
    }
}
