//! The formats of an export.

use std::fmt;

/// A format that events are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 4180 with a header line.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// All formats, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Csv,
        Self::Json,
        Self::Ndjson,
        Self::Parquet,
        Self::Arrow,
    ];

    /// The name in the `format` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The extension of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            // Files of Arrow's other form, with a footer, are `.arrow`.
            Self::Arrow => "arrows",
            other => other.as_str(),
        }
    }

    /// The format of files with this extension, in lower case.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.extension() == extension)
    }

    /// Whether a terminal can show it.
    pub fn is_text(self) -> bool {
        match self {
            Self::Csv | Self::Json | Self::Ndjson => true,
            Self::Parquet | Self::Arrow => false,
        }
    }

    /// All names, for an error's remedy.
    pub(crate) fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// How the pages of a Parquet file are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// ZSTD, for small files.
    #[default]
    Zstd,
    /// Snappy, for readers that know no ZSTD.
    Snappy,
    /// Not at all, for readers that know neither.
    None,
}

impl Compression {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Snappy, Self::None];

    /// The name in the `compression` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
