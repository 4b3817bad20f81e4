//! `compression`: the codec of Parquet pages, and nothing else of the file.

use parquet::basic::Compression;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use rowspout::pushdown::columns::COLUMNS;

use super::oracle::{by_sql, of_file};
use super::{DAYS, export_command, real_traffic};
use crate::support::service::TestService;

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_holds_the_same_rows_and_is_named_in_every_column() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let expected = by_sql(&database, "site_a", &COLUMNS, "1").await;
    let service = TestService::start(&database.config).await;
    let mut sizes = Vec::new();
    for name in ["zstd", "snappy", "none"] {
        let query = format!("{DAYS}&format=parquet&compression={name}");
        let file = service.export("site_a", &query).await.body.expect("whole");
        assert!(of_file("parquet", &file, &COLUMNS) == expected, "{name}");
        let reader = SerializedFileReader::new(file.clone()).expect("a Parquet file");
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let found = match column.compression() {
                    Compression::ZSTD(_) => "zstd",
                    Compression::SNAPPY => "snappy",
                    Compression::UNCOMPRESSED => "none",
                    other => panic!("{other}"),
                };
                assert_eq!(found, name);
            }
        }
        sizes.push(file.len());
        // The command writes the same bytes.
        let mut command = export_command(&database, "2015-05-17", "2015-05-20");
        command.args([
            "--include-bots",
            "--format",
            "parquet",
            "--compression",
            name,
        ]);
        let output = command.output().expect("rowspout runs");
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout == file, "{name}");
        if name == "zstd" {
            let query = format!("{DAYS}&format=parquet");
            let default = service.export("site_a", &query).await.body.expect("whole");
            assert!(default == file);
        }
    }
    assert!(sizes.is_sorted(), "{sizes:?}");
}
