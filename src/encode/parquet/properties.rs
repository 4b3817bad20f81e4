//! How the file is written. Each choice was tried with the readers it is for.

use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::encode::FileInfo;

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

pub(super) fn properties(info: &FileInfo) -> WriterProperties {
    // Days are both included, and instants half-open: names of their own keep one from being read as the other.
    let (start, end) = if info.instants {
        ("export.from", "export.to")
    } else {
        ("export.start", "export.end")
    };
    let key_values = [
        ("export.site", info.site.as_str()),
        (start, &info.start),
        (end, &info.end),
        ("export.timezone", &info.timezone),
        ("export.version", env!("CARGO_PKG_VERSION")),
        ("event_data.format", "json"),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
    // What concerns a column's pages is in `chunks` and `pages`.
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]))
        .set_key_value_metadata(Some(key_values.to_vec()))
        .build()
}
