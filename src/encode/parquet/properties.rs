//! How the file is written. Each choice was tried with the readers it is for.

use parquet::basic::{self, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::compressor::ZSTD_LEVEL;
use crate::encode::FileInfo;
use crate::request::{Compression, Field};

/// Columns of so few values that their statistics and page index are worth what they cost: they let readers skip.
pub(super) const WITH_STATISTICS: [&str; 12] = [
    "timestamp",
    "event_type",
    "event_name",
    "country",
    "region",
    "city",
    "browser",
    "os",
    "device",
    "utm_source",
    "utm_medium",
    "utm_campaign",
];

/// Columns in which nearly every value is another one.
pub(super) const WITHOUT_DICTIONARY: [&str; 2] = ["timestamp", "event_data"];

/// The compression of pages as the file says it.
///
/// # Errors
///
/// None: the level is one of ZSTD's.
pub(super) fn compression(compression: Compression) -> Result<basic::Compression> {
    Ok(match compression {
        Compression::Zstd => basic::Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
        Compression::Snappy => basic::Compression::SNAPPY,
        Compression::None => basic::Compression::UNCOMPRESSED,
    })
}

pub(super) fn properties(info: &FileInfo) -> WriterProperties {
    let key_values = info.key_values().into_iter();
    let key_values = key_values.map(|(key, value)| KeyValue::new(key.to_owned(), value));
    let timestamp = info
        .fields
        .iter()
        .position(|field| field == Field::Timestamp);
    let sorted_by = timestamp.map(|place| {
        vec![SortingColumn {
            column_idx: place as i32,
            descending: false,
            nulls_first: false,
        }]
    });
    // What concerns a column's pages is in `chunks` and `pages`.
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_sorting_columns(sorted_by)
        .set_key_value_metadata(Some(key_values.collect()))
        .build()
}
