//! How the file is written. Each choice was tried with the readers it is for.

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::encode::FileInfo;

/// Columns of so few values that their statistics and page index are worth what they cost: they let readers skip.
const WITH_STATISTICS: [&str; 12] = [
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
const WITHOUT_DICTIONARY: [&str; 2] = ["timestamp", "event_data"];

/// A data page ends when it reaches this many bytes.
const PAGE_BYTES: usize = 4 << 20;

pub(super) fn properties(info: &FileInfo) -> WriterProperties {
    let key_values = [
        ("export.site", info.site.as_str()),
        ("export.start", &info.start),
        ("export.end", &info.end),
        ("export.timezone", &info.timezone),
        ("export.version", env!("CARGO_PKG_VERSION")),
        ("event_data.format", "json"),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(true)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_bloom_filter_enabled(false)
        // Row groups end where the encoder says.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]))
        .set_key_value_metadata(Some(key_values.to_vec()));
    for column in WITH_STATISTICS {
        builder = builder
            .set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    for column in WITHOUT_DICTIONARY {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    builder.build()
}
