//! Batches of rows to a format's bytes.
//!
//! In: [`Batch`]es, in the order of the export. Out: chunks of bytes that make one file, the same however the rows
//! were cut into batches. Cost: text formats look at each byte about once while they copy it; Parquet looks each text
//! up and compresses. Holds: a text format one encoded batch, at most some six times the batch's bytes, and a few
//! buffers of up to 8 MiB to use again; Parquet one row group, of some 48 MiB, Arrow one record batch, of some 8 MiB of
//! text, and each once more while it is handed over. No I/O.
//!
//! Values are those of the contract, in every format: an absent text is an empty cell or null, bytes that are not
//! UTF-8 become U+FFFD, times are RFC 3339 or the instant.

mod arrow;
mod cells;
mod combinations;
mod copy;
mod csv;
mod helpers;
mod json;
mod json_text;
mod margin;
mod output;
mod parquet;
mod rows;
mod sink;
mod timestamp;
mod vector;
mod words;

use std::borrow::Cow;
use std::num::NonZeroU64;

use ::arrow::datatypes::{DataType, Field, TimeUnit};
use bytes::Bytes;

pub use self::arrow::ArrowEncoder;
pub use self::csv::CsvEncoder;
use self::helpers::Helpers;
pub use self::json::{Framing, JsonEncoder};
pub use self::parquet::ParquetEncoder;
use crate::decode::Batch;
use crate::error::Result;
use crate::request::{self, Compression, Fields, Format};

/// What a file says about itself, as far as its format has a place for it, and what was asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// The website's id.
    pub site: String,
    /// First day, `YYYY-MM-DD`, or first instant in RFC 3339, or a watermark.
    pub start: String,
    /// Last day, `YYYY-MM-DD`, or first instant outside in RFC 3339, or a watermark.
    pub end: String,
    /// What the ends are.
    pub ends: Ends,
    /// IANA name of the zone that the days and offsets are of.
    pub timezone: String,
    /// Whether that zone is UTC, by whatever name: then times end in `Z`. Zones that are at UTC for a part of the year
    /// are not, and write `+00:00`.
    pub utc: bool,
    /// The file's columns.
    pub fields: Fields,
    /// Most rows that were asked for: then the file may be the beginning of the whole one.
    pub limit: Option<NonZeroU64>,
    /// How the pages of a Parquet file are compressed.
    pub compression: Compression,
    /// Whether JSON has `event_data` as a string.
    pub data_as_string: bool,
    /// Whether CSV is made for spreadsheets.
    pub spreadsheet: bool,
}

/// What a file's ends are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// Days, both included.
    #[default]
    Days,
    /// Instants, the last one outside.
    Instants,
    /// Watermarks: what arrived behind the first one and up to the last one.
    Watermarks,
}

/// Counts the changes of what is written for the same rows, in any format: raise it with every one, and caches know that
/// what they have is old. A test fails where it is forgotten.
pub const VERSION: u32 = 2;

/// What else than rows and request a format's bytes depend on. Parquet and Arrow name the program's version.
pub fn version(format: Format) -> String {
    match format {
        Format::Csv | Format::Json | Format::Ndjson => VERSION.to_string(),
        Format::Parquet | Format::Arrow => format!("{VERSION} {}", env!("CARGO_PKG_VERSION")),
    }
}

/// Whether a text is JSON as `event_data` has to be to stand as such in a file. For the bench that compares it with libraries.
#[doc(hidden)]
pub fn is_json(text: &[u8]) -> bool {
    json_text::check(text).is_some()
}

/// Whether a text is UTF-8. For the same bench.
#[doc(hidden)]
pub fn is_utf8(text: &[u8]) -> bool {
    matches!(rows::as_utf8(text), Cow::Borrowed(_))
}

#[cfg(test)]
mod whole;

#[cfg(test)]
#[path = "version_tests.rs"]
mod version_tests;

#[cfg(test)]
#[path = "vector_tests.rs"]
mod vector_tests;

impl FileInfo {
    /// What Parquet and Arrow say of the file beside its columns.
    fn key_values(&self) -> Vec<(&'static str, String)> {
        // Days are both included, and instants half-open: names of their own keep one from being read as the other.
        let (start, end) = match self.ends {
            Ends::Days => ("export.start", "export.end"),
            Ends::Instants => ("export.from", "export.to"),
            Ends::Watermarks => ("export.since", "export.next_since"),
        };
        let mut key_values = vec![
            ("export.site", self.site.clone()),
            (start, self.start.clone()),
            (end, self.end.clone()),
            ("export.timezone", self.timezone.clone()),
            ("export.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("event_data.format", "json".to_owned()),
        ];
        if let Some(limit) = self.limit {
            key_values.push(("export.limit", limit.to_string()));
        }
        key_values
    }

    /// The columns as Arrow has them: the zone is kept in the type of times, texts are plain UTF-8 whatever a writer is fed.
    fn arrow_fields(&self) -> Vec<Field> {
        let fields = self.fields.iter().map(|field| match field {
            request::Field::Timestamp => {
                let zone = Some(self.timezone.as_str().into());
                let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
                Field::new(field.name(), time, false)
            }
            request::Field::EventType | request::Field::Text(_) => {
                Field::new(field.name(), DataType::Utf8, true)
            }
        });
        fields.collect()
    }
}

/// One file in the making.
#[derive(Debug)]
pub enum Encoder {
    /// RFC 4180.
    Csv(CsvEncoder),
    /// One array, or one object a line.
    Json(JsonEncoder),
    /// Apache Parquet.
    Parquet(Box<ParquetEncoder>),
    /// An Arrow IPC stream.
    Arrow(Box<ArrowEncoder>),
}

impl Encoder {
    /// An encoder at the start of a file.
    ///
    /// # Errors
    ///
    /// Where the writer of Parquet or Arrow refuses its settings.
    pub fn new(format: Format, info: &FileInfo) -> Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(CsvEncoder::new(info)),
            Format::Json => Self::Json(JsonEncoder::new(info, Framing::Array)),
            Format::Ndjson => Self::Json(JsonEncoder::new(info, Framing::Lines)),
            Format::Parquet => {
                let helpers = Helpers::of_process();
                Self::Parquet(Box::new(ParquetEncoder::new(info, helpers)?))
            }
            Format::Arrow => Self::Arrow(Box::new(ArrowEncoder::new(info)?)),
        })
    }

    /// An encoder of Parquet at the start of a file, as on a machine of so many cores. For tests, and the bench that shows what more
    /// cores bring.
    ///
    /// # Errors
    ///
    /// Where the writer refuses its settings.
    #[doc(hidden)]
    pub fn parquet_on(cores: usize, info: &FileInfo) -> Result<Self> {
        let encoder = ParquetEncoder::new(info, Helpers::for_cores(cores))?;
        Ok(Self::Parquet(Box::new(encoder)))
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// Where a time cannot be written in RFC 3339: its local year is not one of 0000 to 9999, or its offset is a
    /// day or more. The error names the row.
    pub fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        match self {
            Self::Csv(encoder) => encoder.batch(batch),
            Self::Json(encoder) => encoder.batch(batch),
            Self::Parquet(encoder) => encoder.batch(batch),
            Self::Arrow(encoder) => encoder.batch(batch),
        }
    }

    /// What is ready of the file, if anything; call until `None`.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        match self {
            Self::Csv(encoder) => encoder.take_chunk(),
            Self::Json(encoder) => encoder.take_chunk(),
            Self::Parquet(encoder) => encoder.take_chunk(),
            Self::Arrow(encoder) => encoder.take_chunk(),
        }
    }

    /// Ends the file; what is left of it is ready then.
    ///
    /// # Errors
    ///
    /// Where the writer of Parquet or Arrow fails.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Csv(encoder) => encoder.finish(),
            Self::Json(encoder) => encoder.finish(),
            Self::Parquet(encoder) => return encoder.finish(),
            Self::Arrow(encoder) => return encoder.finish(),
        }
        Ok(())
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Csv(encoder) => encoder.rows(),
            Self::Json(encoder) => encoder.rows(),
            Self::Parquet(encoder) => encoder.rows(),
            Self::Arrow(encoder) => encoder.rows(),
        }
    }

    /// Whether a call with many rows can take longer than an async thread should be held: then use a blocking thread.
    pub fn is_heavy(&self) -> bool {
        match self {
            Self::Csv(_) | Self::Json(_) => false,
            Self::Parquet(_) | Self::Arrow(_) => true,
        }
    }
}
