//! A file to rows.
//!
//! In: a file of one of the export's formats. Out: its rows in their order, encoded into a [`Batch`], and the
//! SHA-256 of its bytes. Blocking. Holds one buffer of 1 MiB and one record of at most 32 MiB; Parquet one batch of 8,192
//! rows and the pages under it.

mod csv;
mod json;
mod json_row;
mod parquet;
mod parquet_values;
mod source;

use std::path::Path;

use self::csv::CsvReader;
use self::json::JsonReader;
use self::parquet::ParquetReader;
pub(super) use self::source::Sha256Hex;
use super::batch::{Batch, Layout};
use crate::decode::MAX_ROW_BYTES;
use crate::error::{Error, ErrorKind, Position, Result};
use crate::request::Format;

/// A file's rows, in their order.
pub(super) enum Reader {
    Csv(CsvReader),
    Json(JsonReader),
    Parquet(ParquetReader),
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a column that cannot be loaded.
    pub(super) fn open(path: &Path, format: Format) -> Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(CsvReader::open(path)?),
            Format::Json | Format::Ndjson => Self::Json(JsonReader::open(path)?),
            Format::Parquet => Self::Parquet(ParquetReader::open(path)?),
            Format::Arrow => return Err(super::no_arrow()),
        })
    }

    /// Which columns the rows have.
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Csv(reader) => reader.layout(),
            Self::Json(reader) => reader.layout(),
            Self::Parquet(reader) => reader.layout(),
        }
    }

    /// How much of the file was read, in bytes.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Csv(reader) => reader.position(),
            Self::Json(reader) => reader.position(),
            Self::Parquet(reader) => reader.position(),
        }
    }

    /// Adds rows until the batch is full or the file ends. An empty batch means that it ended.
    ///
    /// # Errors
    ///
    /// A row cannot be loaded, with its line or row and column.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<()> {
        while !batch.is_full() {
            let more = match self {
                Self::Csv(reader) => reader.row(batch)?,
                Self::Json(reader) => reader.row(batch)?,
                Self::Parquet(reader) => reader.row(batch)?,
            };
            if !more {
                break;
            }
            if batch.last_row_bytes() > MAX_ROW_BYTES {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!(
                        "an event has {} MiB, and no export carries more than {}: shorten its texts",
                        batch.last_row_bytes() >> 20,
                        MAX_ROW_BYTES >> 20
                    ),
                )
                .at(Position {
                    byte: Some(self.position()),
                    ..Position::default()
                }));
            }
        }
        Ok(())
    }

    /// The SHA-256 of the file, which was read to its end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn finish(self) -> Result<Sha256Hex> {
        match self {
            Self::Csv(reader) => Ok(reader.finish()),
            Self::Json(reader) => Ok(reader.finish()),
            Self::Parquet(reader) => reader.finish(),
        }
    }
}
