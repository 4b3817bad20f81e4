//! CSV, as RFC 4180 has it and as spreadsheets and databases write it.

use std::path::Path;

use super::source::{BUFFER_BYTES, Sha256Hex, Source, record_unreadable};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::load::batch::{Batch, Layout};
use crate::load::column::{self, Column};
use crate::load::value;

/// Reads records behind a header. Cells are taken byte for byte, also where they are not UTF-8.
pub(in crate::load) struct CsvReader {
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
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(Source::open(path)?);
        let mut record = csv::ByteRecord::new();
        let columns = if reader
            .read_byte_record(&mut record)
            .map_err(|error| unreadable(error).at(position_at(1, None)))?
        {
            let header_line = record.position().map_or(1, csv::Position::line);
            column::header(record.iter())
                .map_err(|error| error.at(position_at(header_line, None)))?
        } else {
            Vec::new()
        };
        Ok(Self {
            reader,
            columns,
            record,
        })
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
        self.reader.get_mut().record_begins();
        let begin = self.reader.position().line();
        let more = self
            .reader
            .read_byte_record(&mut self.record)
            .map_err(|error| unreadable(error).at(position_at(begin, None)))?;
        if !more {
            return Ok(false);
        }
        let line = self.record.position().map_or(begin, csv::Position::line);
        if self.record.len() != self.columns.len() {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the record has {} cells where the header has {}: is a comma or a quotation mark not quoted?",
                    self.record.len(),
                    self.columns.len()
                ),
            )
            .at(position_at(line, None)));
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
                Error::new(ErrorKind::Data, message).at(position_at(line, Some(*column)))
            })?;
        }
        Ok(true)
    }

    pub(super) fn finish(self) -> Sha256Hex {
        self.reader.into_inner().finish()
    }
}

/// A record by its first line, and a column of it.
fn position_at(line: u64, column: Option<Column>) -> Position {
    Position {
        line: Some(line),
        column: column.map(Column::name),
        ..Position::default()
    }
}

fn unreadable(error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => record_unreadable(error),
        // Lengths are checked here and UTF-8 is not asked for, so nothing else is left to go wrong.
        other => Error::new(ErrorKind::Data, "the record cannot be read")
            .with_detail(format!("{other:?}")),
    }
}
