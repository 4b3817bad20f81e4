//! The encoder of Parquet: another reader reads the rows in its files, and finds what they say about themselves true.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rowspout::request::Format;

use super::super::expected::assert_first_rows;
use super::super::support::Row;
use super::files::same_file;
use super::input::{rows, sizes};

/// Parquet.
pub fn parquet(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let sizes = sizes(u)?;
    let utc = u.arbitrary()?;
    let rows = rows(u, true)?;
    if let Some(file) = same_file(u, Format::Parquet, utc, &rows, &sizes)? {
        reads(file, &rows);
    }
    Ok(())
}

fn reads(file: Vec<u8>, rows: &[Row]) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    let groups = builder.metadata().row_groups();
    assert_eq!(groups.len(), usize::from(!rows.is_empty()));
    for group in groups {
        for (column, chunk) in group.columns().iter().enumerate().skip(2) {
            let Some(statistics) = chunk.statistics() else {
                continue;
            };
            let texts = rows
                .iter()
                .map(|row| String::from_utf8_lossy(&row.text[column - 2]));
            let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
            let bytes = |text: Option<&std::borrow::Cow<'_, str>>| {
                text.map(|text| text.as_bytes().to_vec())
            };
            assert_eq!(
                statistics.min_bytes_opt(),
                bytes(texts.iter().min()).as_deref()
            );
            assert_eq!(
                statistics.max_bytes_opt(),
                bytes(texts.iter().max()).as_deref()
            );
            assert_eq!(
                statistics.null_count_opt(),
                Some((rows.len() - texts.len()) as u64)
            );
        }
    }
    let mut rest = rows;
    for batch in builder.with_batch_size(1000).build().unwrap() {
        let batch = batch.unwrap();
        rest = assert_first_rows(&batch, rest);
    }
    assert!(rest.is_empty());
}
