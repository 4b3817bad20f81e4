//! Requests beside their SQL and their files, readable on their own. See `tests/golden/README.md`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rowspout::load::{self, LoadRequest};
use rowspout::pushdown::columns::TEXT_COLUMNS;
use rowspout::pushdown::{
    self, Fence, Form, Key, Parts, Range, Slots, Statement, TextTypes, Value,
};
use rowspout::request::{ExportRequest, WebsiteId};

use crate::support::insert::{self, database};
use crate::support::service::{TestService, config};

const SITE: &str = "site_golden";

/// 2026-06-01T00:00:00Z.
const FENCE: Fence = Fence::at(1_780_272_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn requests_become_the_sql_and_the_files_beside_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    // As in the schema.
    let strings = ["url", "event_data", "visitor_id", "session_id", "referrer"];
    let columns = TEXT_COLUMNS.into_iter();
    let types = TextTypes {
        nullable: Vec::new(),
        low_cardinality: columns.filter(|column| !strings.contains(column)).collect(),
    };
    assert!(!cases.is_empty());
    for case in cases {
        let query = std::fs::read_to_string(case.join("request.txt")).unwrap();
        let query = query.trim_end();
        let site = WebsiteId::parse(SITE).unwrap();
        let request = ExportRequest::from_query(site, query).unwrap();
        let last = Some(Key {
            timestamp: 1,
            event_id: 2,
        });
        let whole = Range {
            limit: request.limit.map(std::num::NonZeroU64::get),
            ..Range::whole(&request.window)
        };
        let rows = pushdown::rows(
            &request,
            "events",
            FENCE,
            whole,
            Form::Packed(Parts::Unknown),
            &types,
        );
        compare(&case.join("rows.sql"), &text(&rows));
        let slots = Slots::of(&request.window);
        let slots = pushdown::slots(&request, "events", FENCE, slots, true);
        compare(&case.join("slots.sql"), &text(&slots));
        let of_all = request.filters.is_empty() && request.limit.is_none();
        let kept = pushdown::kept_slots(&request, "events", FENCE, true).filter(|_| of_all);
        let file = case.join("kept_slots.sql");
        assert_eq!(kept.is_some(), file.exists(), "{}", file.display());
        if let Some((_, kept)) = kept {
            compare(&file, &text(&kept));
        }
        let range = Range { last, ..whole };
        let proof = pushdown::proof(&request, "events", FENCE, range);
        compare(&case.join("proof.sql"), &text(&proof));

        let database = database().await;
        insert::website(&database, SITE).await;
        let loading = LoadRequest {
            file: case.join("events.csv"),
            site: request.website.clone(),
            format: None,
            again: false,
        };
        load::load(&config(&database.config), loading)
            .await
            .unwrap();
        let service = TestService::start(&database.config).await;
        for format in ["csv", "json", "ndjson"] {
            let file = service
                .export(SITE, &format!("{query}&format={format}"))
                .await
                .text();
            compare(&case.join(format!("output.{format}")), &file);
        }
    }
}

fn text(statement: &Statement) -> String {
    let mut text = format!("{}\n", statement.text);
    for (name, value) in &statement.parameters {
        match value {
            Value::Int(value) => writeln!(text, "-- {name} = {value}"),
            Value::Unsigned(value) => writeln!(text, "-- {name} = {value}"),
            Value::Text(value) => writeln!(text, "-- {name} = '{value}'"),
        }
        .unwrap();
    }
    text
}

/// Compares with a golden file, or writes it where that was asked for.
fn compare(path: &Path, now: &str) {
    if std::env::var_os("ROWSPOUT_BLESS").is_some() {
        std::fs::write(path, now).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(
        golden == now,
        "{} differs; now it is\n{now}",
        path.display()
    );
}
