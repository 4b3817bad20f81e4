//! `fields`: any columns in any order.

use rowspout::decode::Wire;
use rowspout::pushdown::columns::COLUMNS;
use serde_json::{Value, json};

use super::oracle::{by_sql, of_file};
use super::{DAYS, FORMATS, export_command, real_traffic};
use crate::support::insert::{self, Event, database};
use crate::support::service::{TestService, config};

/// Columns in orders that are not their own.
fn orders() -> Vec<Vec<&'static str>> {
    let mut orders: Vec<Vec<_>> = COLUMNS.iter().map(|column| vec![*column]).collect();
    orders.push(COLUMNS.iter().rev().copied().collect());
    orders.push(COLUMNS.to_vec());
    for (start, step) in [(3, 5), (11, 2), (16, 7), (0, 16)] {
        let places = (0..step + 1).map(|n| (start + n * step) % COLUMNS.len());
        let mut order: Vec<&str> = Vec::new();
        for place in places {
            if !order.contains(&COLUMNS[place]) {
                order.push(COLUMNS[place]);
            }
        }
        orders.push(order);
    }
    orders
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_the_columns_that_were_asked_for_in_their_order() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let all = by_sql(&database, "site_a", &COLUMNS, "country != 'US'").await;
    assert!(all.len() > 5_000);
    for wire in [Wire::RowBinary, Wire::Native] {
        let mut settings = config(&database.config);
        settings.wire = wire;
        let service = TestService::start_with(settings).await;
        for order in orders() {
            let places = order
                .iter()
                .map(|field| COLUMNS.iter().position(|column| column == field));
            let places: Vec<usize> = places.map(|place| place.expect("a column")).collect();
            let pick = |row: &Vec<Value>| places.iter().map(|place| row[*place].clone()).collect();
            let expected: Vec<Vec<Value>> = all.iter().map(pick).collect();
            for format in FORMATS {
                let fields = order.join(",");
                // The filter is by a column that most of these do not have.
                let query = format!("{DAYS}&format={format}&country=!US&fields={fields}");
                let file = service.export("site_a", &query).await.body.expect("whole");
                assert!(of_file(format, &file, &order) == expected, "{query}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_columns_in_their_own_order_are_the_same_file_as_none_named() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let service = TestService::start(&database.config).await;
    for format in FORMATS {
        let query = format!("{DAYS}&format={format}");
        let none = service.export("site_a", &query).await.body.expect("whole");
        let fields = COLUMNS.join("%2C");
        let query = format!("{query}&fields={fields}");
        let all = service.export("site_a", &query).await.body.expect("whole");
        assert!(all == none, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_need_care_are_written_the_same_alone() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let mut events = Vec::new();
    for (id, text) in [
        "",
        "a,b",
        "\"",
        "a\nb",
        "\r",
        "ü\u{1}",
        "{\"a\": \n1}",
        "{",
        "\u{feff}x",
    ]
    .iter()
    .enumerate()
    {
        let event = Event::at(1_772_532_900_000 + id as i64, id as u64);
        events.push(
            event
                .with("url", *text)
                .with("event_data", *text)
                .with("city", *text),
        );
    }
    events.push(Event::at(1_772_532_990_000, 99).with("url", b"\xff\xfe".to_vec()));
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    let days = "start_date=2026-03-03&end_date=2026-03-03";
    let whole = service
        .export("site_a", &format!("{days}&format=ndjson"))
        .await
        .text();
    let whole: Vec<Value> = whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(whole.len(), events.len());
    for fields in ["url", "event_data", "city,url", "event_data,timestamp"] {
        let query = format!("{days}&fields={fields}");
        let part = service
            .export("site_a", &format!("{query}&format=ndjson"))
            .await
            .text();
        let part: Vec<Value> = part
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        for (part, whole) in part.iter().zip(&whole) {
            for field in fields.split(',') {
                assert_eq!(part[field], whole[field], "{fields}");
            }
        }
        assert_eq!(part.len(), whole.len());
        let csv = service.export("site_a", &query).await.text();
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<csv::StringRecord> =
            reader.records().map(|row| row.expect("a record")).collect();
        // Not even a row without any value is a line that readers skip.
        assert_eq!(rows.len(), whole.len(), "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_and_the_receipt_have_the_fields_too() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    insert::events(
        &database,
        "site_a",
        &[Event::at(1_772_532_900_000, 1).with("os", "Linux")],
    )
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let receipt = folder.path().join("receipt.json");
    let mut command = export_command(&database, "2026-03-03", "2026-03-03");
    let output = command
        .args(["--fields", "os,event_type", "--receipt"])
        .arg(&receipt)
        .output();
    let output = output.expect("rowspout runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "os,event_type\nLinux,pageview\n"
    );
    let receipt: Value =
        serde_json::from_slice(&std::fs::read(receipt).expect("a receipt")).expect("JSON");
    assert_eq!(receipt["fields"], json!(["os", "event_type"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_does_not_read_what_nobody_asked_for() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let event = Event::at(1_772_532_900_000, 1).with("os", "Linux");
    insert::events(&database, "site_a", &[event.with("url", "/")]).await;
    let view = "CREATE VIEW guarded AS SELECT * REPLACE \
        (if(throwIf(url != '', 'was read') = 0, url, '') AS url) FROM events";
    database
        .client
        .query_raw(view)
        .execute()
        .await
        .expect("a view");
    for wire in [Wire::RowBinary, Wire::Native] {
        let mut settings = config(&database.config);
        settings.events_table = "guarded".into();
        settings.wire = wire;
        let service = TestService::start_with(settings).await;
        let days = "start_date=2026-03-03&end_date=2026-03-03";
        let without = service.export("site_a", &format!("{days}&fields=os")).await;
        assert_eq!(without.text(), "os\nLinux\n");
        for asks in ["&fields=os,url", "&fields=os&url=/", ""] {
            let with = service.export("site_a", &format!("{days}{asks}")).await;
            assert_eq!(with.status, 500, "{asks}");
        }
    }
}
