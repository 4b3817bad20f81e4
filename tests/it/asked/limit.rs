//! `limit`: the beginning of the file, proved, and never taken for the whole.

use std::process::Command;

use rowspout::decode::Wire;
use rowspout::pushdown::columns::COLUMNS;
use serde_json::{Value, json};

use super::oracle::{by_sql, of_file};
use super::{FORMATS, export_command};
use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database, traffic};
use crate::support::service::{Answer, TestService, config};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";

async fn receipt(service: &TestService, answer: &Answer) -> Value {
    let id = answer.headers["x-export-id"].to_str().expect("text");
    let receipt = service.get(&format!("/api/exports/{id}")).await.text();
    serde_json::from_str(&receipt).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rows_come_in_every_format_and_everything_says_that_they_are_a_part() {
    let database = traffic(20_000).await;
    let all = by_sql(&database, "site_demo", &COLUMNS, "1").await;
    for wire in [Wire::RowBinary, Wire::Native] {
        let mut settings = config(&database.config);
        settings.wire = wire;
        let service = TestService::start_with(settings).await;
        for format in FORMATS {
            for limit in [1, 2, 8_192, 8_193, 19_999, 20_000, 20_001, usize::MAX] {
                let query = format!("{RANGE}&format={format}&limit={limit}");
                let answer = service.export("site_demo", &query).await;
                assert_eq!(answer.headers["x-export-limit"], limit.to_string());
                let extension = if format == "arrow" { "arrows" } else { format };
                let name = answer.headers["content-disposition"]
                    .to_str()
                    .expect("text");
                assert!(
                    name.ends_with(&format!("_2026-03-31_first-{limit}.{extension}\"")),
                    "{name}"
                );
                let found = receipt(&service, &answer).await;
                let file = answer.body.expect("whole");
                let expected = &all[..limit.min(all.len())];
                assert!(of_file(format, &file, &COLUMNS) == expected, "{query}");
                assert_eq!(found["limit"], json!(limit));
                assert_eq!(
                    (&found["rows"], &found["status"]),
                    (&json!(expected.len()), &json!("complete"))
                );
                if format == "parquet" {
                    let reader =
                        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
                            file,
                        );
                    let reader = reader.expect("a Parquet file");
                    let values = reader.metadata().file_metadata().key_value_metadata();
                    let values = values.expect("some").iter();
                    let said = values.filter(|value| value.key == "export.limit");
                    assert_eq!(
                        said.map(|value| value.value.clone()).collect::<Vec<_>>(),
                        [Some(limit.to_string())]
                    );
                }
            }
        }
        let whole = service.export("site_demo", RANGE).await;
        assert!(!whole.headers.contains_key("x-export-limit"));
        assert_eq!(receipt(&service, &whole).await["limit"], Value::Null);
    }
}

/// Rows of one key, which nothing tells apart.
async fn twins() -> TestDatabase {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let event = |id| Event::at(1_772_532_900_000, id).with("url", "/same");
    insert::events(&database, "site_a", &[1, 2, 2, 2, 3].map(event)).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_may_lie_between_rows_of_one_key() {
    let database = twins().await;
    let service = TestService::start(&database.config).await;
    for limit in 1..=6 {
        let query = format!("start_date=2026-03-03&end_date=2026-03-03&limit={limit}");
        let text = service.export("site_a", &query).await.text();
        assert_eq!(text.lines().count(), 1 + limit.min(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_that_there_may_be_more() {
    let database = twins().await;
    let folder = tempfile::tempdir().expect("a folder");
    let run = |mut command: Command| {
        let output = command.current_dir(folder.path()).output();
        let output = output.expect("rowspout runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let export = |limit: &str| {
        let mut command = export_command(&database, "2026-03-03", "2026-03-03");
        command.args(["-o", "events.csv", "--receipt", "receipt.json"]);
        command.args(["--limit", limit]);
        run(command)
    };
    let verify = || {
        let mut command = rowspout(&database.config);
        command.args(["verify", "events.csv", "receipt.json"]);
        run(command)
    };
    assert!(export("2").contains("the first 2 rows"));
    assert!(verify().contains("only the first 2 rows"));
    assert_eq!(export("6"), "");
    assert!(!verify().contains("only"));
}
