//! `event_data=string` and `spreadsheet=true`.

use serde_json::Value;

use super::export_command;
use crate::support::TestDatabase;
use crate::support::insert::{self, Event, database};
use crate::support::service::TestService;

const DAY: &str = "start_date=2026-03-03&end_date=2026-03-03";

/// Texts that formulas hide in, and texts that look a little like them.
const TEXTS: [&str; 20] = [
    "",
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+49 30",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\u{ff1d}1",
    "a;=1",
    "a\n-1",
    "a,=1",
    "\"=1\"",
    "'=1",
    "/a?b=c&d=-1",
    "{\"a\": -1}",
    "{\"a\":\n\"=1\"}",
    "not json",
    "1e999",
];

async fn hostile() -> TestDatabase {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let mut events = Vec::new();
    for (id, text) in TEXTS.iter().enumerate() {
        let event = Event::at(1_772_532_900_000, id as u64).with("url", *text);
        let event = event.with("event_data", *text).with("city", *text);
        events.push(event.with("utm_campaign", *text));
    }
    insert::events(&database, "site_a", &events).await;
    database
}

/// Whether a spreadsheet may take a cell for a formula.
fn is_formula(cell: &str) -> bool {
    cell.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cell_of_a_spreadsheet_is_a_formula_and_all_others_are_as_they_were() {
    let database = hostile().await;
    let service = TestService::start(&database.config).await;
    for fields in ["", "&fields=url", "&fields=utm_campaign,event_data,url"] {
        let query = format!("{DAY}{fields}&spreadsheet=true");
        let file = service.export("site_a", &query).await.text();
        let file = file.strip_prefix('\u{feff}').expect("a byte order mark");
        let plain = service
            .export("site_a", &format!("{DAY}{fields}&spreadsheet=false"))
            .await
            .text();
        let rows = |text: &str| {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(text.as_bytes());
            reader
                .records()
                .map(|row| row.expect("a record"))
                .collect::<Vec<_>>()
        };
        let (safe, plain) = (rows(file), rows(&plain));
        assert_eq!(safe.len(), TEXTS.len() + 1);
        for (safe, plain) in safe.iter().zip(&plain) {
            assert_eq!(safe.len(), plain.len());
            for (safe, plain) in safe.iter().zip(plain) {
                assert!(!is_formula(safe), "{safe:?}");
                // Nor is what stands behind anything that may divide cells.
                assert!(
                    !safe
                        .split([';', '\t', '\r', '\n'])
                        .skip(1)
                        .any(|rest| !rest.is_empty() && is_formula(rest)),
                    "{safe:?}"
                );
                let hides =
                    is_formula(plain) || plain.split([';', '\t', '\r', '\n']).any(is_formula);
                if hides {
                    assert_eq!(safe.replace('\'', ""), plain.replace('\'', ""));
                } else {
                    assert_eq!(safe, plain);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_data_is_a_string_of_its_text_where_that_was_asked_for() {
    let database = hostile().await;
    let service = TestService::start(&database.config).await;
    for format in ["json", "ndjson"] {
        for fields in ["", "&fields=event_data,url"] {
            let query = format!("{DAY}{fields}&format={format}&event_data=string");
            let text = service.export("site_a", &query).await.text();
            let rows: Vec<Value> = match format {
                "json" => serde_json::from_str(&text).expect("JSON"),
                _ => text
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("JSON"))
                    .collect(),
            };
            assert_eq!(rows.len(), TEXTS.len());
            for (row, text) in rows.iter().zip(TEXTS) {
                let expected = if text.is_empty() {
                    Value::Null
                } else {
                    text.into()
                };
                assert_eq!(row["event_data"], expected);
                assert_eq!(row["url"], expected);
            }
        }
    }
    // It is one in the others already.
    let query = format!("{DAY}&event_data=string");
    let csv = service.export("site_a", &query).await.text();
    assert_eq!(csv, service.export("site_a", DAY).await.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_has_both_forms() {
    let database = hostile().await;
    let run = |arguments: &[&str]| {
        let mut command = export_command(&database, "2026-03-03", "2026-03-03");
        let output = command.args(arguments).output().expect("rowspout runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let service = TestService::start(&database.config).await;
    let spreadsheet = service
        .export("site_a", &format!("{DAY}&spreadsheet=true"))
        .await
        .text();
    assert_eq!(run(&["--spreadsheet"]), spreadsheet);
    let strings = service
        .export("site_a", &format!("{DAY}&format=ndjson&event_data=string"))
        .await
        .text();
    assert_eq!(
        run(&["--format", "ndjson", "--event-data", "string"]),
        strings
    );
}
