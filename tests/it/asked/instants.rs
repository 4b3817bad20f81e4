//! `from` and `to`.

use chrono::{DateTime, SecondsFormat};
use rowspout::pushdown::columns::COLUMNS;
use serde_json::{Value, json};

use super::oracle::{by_sql, of_file};
use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database};
use crate::support::service::TestService;

/// 2026-03-29T01:00:00Z, when Berlin's clocks go forward.
const SPRING: i64 = 1_774_746_000_000;

const HOUR: i64 = 3_600_000;

fn instant(ms: i64) -> String {
    let instant = DateTime::from_timestamp_millis(ms).expect("an instant");
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Events on, before and behind each edge that the tests use.
async fn edges() -> TestDatabase {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let mut events = Vec::new();
    for edge in [-25 * HOUR, -HOUR, 0, 1, HOUR, 2 * HOUR + 250, 30 * HOUR] {
        for near in [-1, 0, 0, 1] {
            let id = events.len() as u64;
            events.push(Event::at(SPRING + edge + near, id).with("url", format!("/{id}")));
        }
    }
    insert::events(&database, "site_a", &events).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_instants_holds_what_sql_finds_between_them_in_every_format_and_zone() {
    let database = edges().await;
    let service = TestService::start(&database.config).await;
    let mut rows = 0;
    for (from, to) in [
        (SPRING, SPRING + 1),
        (SPRING - HOUR, SPRING + HOUR),
        (SPRING + 1, SPRING + 2 * HOUR + 250),
        (SPRING - 25 * HOUR, SPRING + 30 * HOUR + 1),
        (SPRING + 3 * HOUR, SPRING + 4 * HOUR),
        (SPRING - 45 * 24 * HOUR, SPRING + 45 * 24 * HOUR),
    ] {
        let condition = format!(
            "toUnixTimestamp64Milli(timestamp) >= {from} AND toUnixTimestamp64Milli(timestamp) < {to}"
        );
        let expected = by_sql(&database, "site_a", &COLUMNS, &condition).await;
        rows += expected.len();
        for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
            for zone in ["UTC", "Europe/Berlin", "America/St_Johns"] {
                let (from, to) = (instant(from), instant(to));
                let query = format!("from={from}&to={to}&format={format}&timezone={zone}");
                let file = service.export("site_a", &query).await.body.expect("whole");
                assert!(of_file(format, &file, &COLUMNS) == expected, "{query}");
            }
        }
    }
    assert!(rows > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_meet_share_no_row_and_miss_none_however_they_are_written() {
    let database = edges().await;
    let service = TestService::start(&database.config).await;
    let whole = "from=2026-03-27T00:00:00Z&to=2026-03-31T00:00:00Z&timezone=Europe/Berlin";
    let whole = service.export("site_a", whole).await.text();
    assert_eq!(whole.lines().count(), 29);
    for middle in [
        "2026-03-29T01:00:00Z",
        "2026-03-29T03:00:00%2B02:00",
        "2026-03-29%2002:00:00.001%2B01:00",
        "2026-03-28t20:00:00-05:00",
    ] {
        let mut parts = String::new();
        for window in [
            format!("from=2026-03-27T00:00:00Z&to={middle}"),
            format!("from={middle}&to=2026-03-31T00:00:00Z"),
        ] {
            let query = format!("{window}&timezone=Europe/Berlin");
            let part = service.export("site_a", &query).await.text();
            let (header, rows) = part.split_once('\n').expect("a header");
            if parts.is_empty() {
                parts = format!("{header}\n");
            }
            parts += rows;
        }
        assert_eq!(parts, whole, "{middle}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_the_receipt_and_the_log_say_the_instants_and_no_days() {
    let database = edges().await;
    let service = TestService::start(&database.config).await;
    let query = "from=2026-03-29T03:00:00%2B02:00&to=2026-03-29T23:30:00.25Z&timezone=Asia/Tokyo&format=parquet";
    let answer = service.export("site_a", query).await;
    assert_eq!(
        answer.headers["content-disposition"],
        "attachment; filename=\"events_site_a_20260329T010000Z_20260329T233000.250Z.parquet\""
    );
    let id = answer.headers["x-export-id"].to_str().expect("text");
    let receipt = service.get(&format!("/api/exports/{id}")).await.text();
    let receipt: Value = serde_json::from_str(&receipt).expect("JSON");
    let window = |receipt: &Value| {
        ["from", "to", "start_date", "end_date"].map(|name| receipt[name].clone())
    };
    let instants = [
        json!("2026-03-29T01:00:00.000Z"),
        json!("2026-03-29T23:30:00.250Z"),
        Value::Null,
        Value::Null,
    ];
    assert_eq!(window(&receipt), instants);
    // Another instance knows it from the table.
    let other = TestService::start(&database.config).await;
    let asked = std::time::Instant::now();
    let found = loop {
        let answer = other.get(&format!("/api/exports/{id}")).await;
        if answer.status == 200 && answer.text().contains("complete") {
            break serde_json::from_str::<Value>(&answer.text()).expect("JSON");
        }
        assert!(asked.elapsed().as_secs() < 20, "{answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(found, receipt);
    let days: (String, String) = database
        .client
        .query_raw("SELECT toString(start_date), toString(end_date) FROM export_log LIMIT 1")
        .fetch_one()
        .await
        .expect("a row");
    assert_eq!(days, ("2026-03-29".to_owned(), "2026-03-29".to_owned()));

    let file = answer.body.expect("whole");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
    let reader = reader.expect("a Parquet file");
    let values = reader.metadata().file_metadata().key_value_metadata();
    let values = values.expect("some");
    let value = |key: &str| {
        let found = values.iter().find(|value| value.key == key);
        found.and_then(|found| found.value.as_deref())
    };
    assert_eq!(value("export.from"), Some("2026-03-29T01:00:00Z"));
    assert_eq!(value("export.to"), Some("2026-03-29T23:30:00.250Z"));
    assert_eq!((value("export.start"), value("export.end")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_instants_or_days_and_not_both() {
    let database = edges().await;
    let run = |arguments: &[&str]| {
        let mut command = rowspout(&database.config);
        command.args(["export", "--site", "site_a"]).args(arguments);
        command.output().expect("rowspout runs")
    };
    let from = ["--from", "2026-03-29T01:00:00Z"];
    let to = ["--to", "2026-03-29T03:00:00+02:00"];
    let output = run(&[&from[..], &["--to", "2026-03-29T01:00:00.001Z"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4);
    let day = ["--start", "2026-03-29"];
    for (arguments, says) in [
        (&from[..], "--to"),
        (&to[..], "--from"),
        (&[], "--start"),
        (&day[..], "--end"),
        (&[&from[..], &to, &day].concat(), "--start"),
        (&[&from[..], &to].concat(), "not behind"),
    ] {
        let output = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
