//! `since`: what arrived since an earlier export, once and no more.

use std::collections::HashMap;
use std::time::Duration;

use hyper::Method;
use rowspout::config::Config;
use rowspout::pushdown::columns::COLUMNS;
use serde_json::{Value, json};

use super::FORMATS;
use super::oracle::{by_sql, of_file};
use crate::faults::random::Random;
use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database};
use crate::support::service::{Answer, TestService, config};

/// 2026-03-29T01:00:00Z, when Berlin's clocks go forward.
const SPRING: i64 = 1_774_746_000_000;

const HOUR: i64 = 3_600_000;

/// How long inserts may take in these tests, in seconds.
const SETTLE: u64 = 1;

fn settings(database: &TestDatabase) -> Config {
    let mut settings = config(&database.config);
    settings.settle = Duration::from_secs(SETTLE);
    settings
}

async fn with_site() -> TestDatabase {
    let database = database().await;
    insert::website(&database, "site_a").await;
    database
}

/// Inserts rows whose insert began so many milliseconds ago.
async fn insert_stamped(database: &TestDatabase, first: u64, rows: u64, ago: i64) {
    let sql = format!(
        "INSERT INTO events (website_id, timestamp, event_id, visitor_id, ingested_at) \
         SELECT 'site_a', fromUnixTimestamp64Milli({SPRING} + number * 60000, 'UTC'), {first} + number, \
                concat('v', toString({first} + number)), now64(3) - toIntervalMillisecond({ago}) FROM numbers({rows})"
    );
    let inserted = database.client.query_raw(&sql).execute().await;
    inserted.expect("inserted");
}

fn header(answer: &Answer, name: &str) -> String {
    let value = answer.headers.get(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    value.to_str().expect("text").to_owned()
}

fn next(answer: &Answer) -> String {
    header(answer, "x-export-next-since")
}

fn late(answer: &Answer) -> u64 {
    header(answer, "x-export-late-rows")
        .parse()
        .expect("a number")
}

/// Up to which moment a watermark reaches.
fn up_to(watermark: &str) -> i64 {
    watermark
        .split('.')
        .nth(3)
        .expect("a moment")
        .parse()
        .expect("ms")
}

/// Waits until what has arrived by now is settled.
async fn settled(database: &TestDatabase) {
    let sql = "SELECT toUnixTimestamp64Milli(now64(3))";
    let now = async || database.client.query_raw(sql).fetch_one::<i64>().await;
    let then = now().await.expect("the time") + 1_000 * SETTLE as i64;
    while now().await.expect("the time") <= then {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn receipt(service: &TestService, answer: &Answer) -> Value {
    let id = header(answer, "x-export-id");
    let receipt = service.get(&format!("/api/exports/{id}")).await.text();
    serde_json::from_str(&receipt).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_export_of_a_chain_is_what_sql_finds_between_its_watermarks_in_every_format() {
    let database = with_site().await;
    let service = TestService::start_with(settings(&database)).await;
    let selections = [
        ("", "NOT is_bot"),
        ("&include_bots=true&timezone=Europe/Berlin", "1"),
        (
            "&event_type=event&url=/1*&timezone=America/St_Johns",
            "NOT is_bot AND event_type = 'event' AND startsWith(url, '/1')",
        ),
    ];
    let mut since = selections.map(|_| "beginning".to_owned());
    let mut rows = 0;
    for run in 0..4_u64 {
        // Those of the second run do not arrive.
        let arriving = if run == 1 { 0 } else { 150 };
        let events: Vec<_> = (0..arriving)
            .map(|number| {
                let id = run * 1_000 + number;
                // Each run's events happened all over the time of the others.
                let at = SPRING + (number as i64 * 7_919 % 97) * HOUR + run as i64;
                let mut event = Event::at(at, id)
                    .with("url", format!("/{}", number % 3))
                    .with("visitor_id", format!("v{id}"));
                event.event_type = 1 + (number % 2) as u8;
                event.is_bot = number % 7 == 0;
                event
            })
            .collect();
        if !events.is_empty() {
            insert::events(&database, "site_a", &events).await;
        }
        settled(&database).await;
        for (place, (query, condition)) in selections.into_iter().enumerate() {
            let mut watermarks = Vec::new();
            for format in FORMATS {
                let asked = format!("since={}{query}&format={format}", since[place]);
                let answer = service.export("site_a", &asked).await;
                assert_eq!(answer.status, 200, "{asked}: {answer:?}");
                assert_eq!(late(&answer), 0, "{asked}");
                let watermark = next(&answer);
                let mut condition = format!(
                    "{condition} AND toUnixTimestamp64Milli(ingested_at) <= {}",
                    up_to(&watermark)
                );
                if since[place] != "beginning" {
                    condition += &format!(
                        " AND toUnixTimestamp64Milli(ingested_at) > {}",
                        up_to(&since[place])
                    );
                }
                let expected = by_sql(&database, "site_a", &COLUMNS, &condition).await;
                assert_eq!(expected.is_empty(), run == 1, "{asked}");
                rows += expected.len();
                let receipt = receipt(&service, &answer).await;
                assert_eq!(receipt["rows"], json!(expected.len()));
                let file = answer.body.expect("whole");
                assert!(of_file(format, &file, &COLUMNS) == expected, "{asked}");
                watermarks.push(watermark);
            }
            // Nothing arrived between them, so any will do.
            since[place] = watermarks.swap_remove(run as usize % FORMATS.len());
        }
    }
    assert!(rows > 3_000, "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_rows_arrive_each_is_in_one_export_of_a_chain_or_counted_as_late() {
    let database = with_site().await;
    let service = TestService::start_with(settings(&database)).await;
    let client = database.client.clone();
    let writer = tokio::spawn(async move {
        for batch in 0..60_u64 {
            // Some take longer than they should: they are stamped when they begin, and visible when they end.
            let rows = 20 + batch * 13 % 50;
            let slow = if batch % 20 == 7 { "0.05" } else { "0" };
            let sql = format!(
                "INSERT INTO events (website_id, timestamp, event_id, visitor_id, ingested_at) \
                 SELECT 'site_a', fromUnixTimestamp64Milli({SPRING} + cityHash64(number, {batch}) % 90000000, 'UTC'), \
                        {batch} * 1000 + number, concat('v', toString({batch} * 1000 + number)), now64(3) \
                 FROM numbers({rows}) WHERE sleepEachRow({slow}) = 0"
            );
            let inserted = client
                .query_raw(&sql)
                .with_setting("max_partitions_per_insert_block", "0")
                .with_setting("function_sleep_max_microseconds_per_block", "60000000")
                .execute()
                .await;
            inserted.expect("inserted");
        }
    });
    let mut seen: HashMap<String, u32> = HashMap::new();
    let (mut since, mut runs, mut late_rows) = ("beginning".to_owned(), 0, 0);
    let mut last = false;
    loop {
        let done = writer.is_finished();
        if done {
            settled(&database).await;
        }
        let query = format!("since={since}&format=ndjson&fields=visitor_id");
        let answer = service.export("site_a", &query).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let watermark = next(&answer);
        let counted = late(&answer);
        // A row that became visible too late, just while it was read, makes no file: the same is asked for again.
        let Ok(file) = answer.body else { continue };
        for line in std::str::from_utf8(&file).expect("UTF-8").lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            *seen
                .entry(row["visitor_id"].as_str().expect("text").to_owned())
                .or_default() += 1;
        }
        (since, runs, late_rows) = (watermark, runs + 1, late_rows + counted);
        if std::mem::replace(&mut last, done) {
            break;
        }
    }
    writer.await.expect("all were inserted");
    let sql = "SELECT visitor_id FROM events";
    let all = database.client.query_raw(sql).fetch_all::<String>().await;
    let all = all.expect("visitors");
    assert!(
        seen.values().all(|&times| times == 1),
        "some came more than once"
    );
    let missing = all.iter().filter(|visitor| !seen.contains_key(*visitor));
    assert_eq!(missing.count() as u64, late_rows, "of {}", all.len());
    assert!(
        runs > 3 && all.len() > 2_000 && seen.len() > 1_000,
        "{runs}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_became_visible_too_late_are_counted_once_by_the_next_export() {
    let database = with_site().await;
    insert_stamped(&database, 0, 100, 3 * HOUR).await;
    let service = TestService::start(&database.config).await;
    let run = async |since: &str| {
        let answer = service.export("site_a", &format!("since={since}")).await;
        let receipt = receipt(&service, &answer).await;
        assert_eq!(receipt["late_rows"], json!(late(&answer)));
        let rows = answer.text().lines().count() - 1;
        (rows, late(&answer), next(&answer))
    };
    let (rows, late, first) = run("beginning").await;
    assert_eq!((rows, late), (100, 0));
    // Two days ago and more is too long ago to be looked at; what is fresh is left to an export of later.
    insert_stamped(&database, 1_000, 7, 3 * HOUR).await;
    insert_stamped(&database, 2_000, 5, 49 * HOUR).await;
    insert_stamped(&database, 3_000, 3, 0).await;
    let (rows, late, second) = run(&first).await;
    assert_eq!((rows, late), (0, 7));
    let (rows, late, third) = run(&second).await;
    assert_eq!((rows, late), (0, 0));
    insert_stamped(&database, 4_000, 2, 11 * 60_000).await;
    let (rows, late, _) = run(&third).await;
    assert_eq!((rows, late), (0, 2));
    // From the one before they are late again: it has not counted them.
    assert_eq!(run(&second).await.1, 2);
    assert_eq!(run("beginning").await.0, 114);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_random_inserts_each_export_has_what_is_new_and_counts_what_is_late() {
    let database = with_site().await;
    let service = TestService::start_with(settings(&database)).await;
    let mut random = Random::of(20_261_125, 0);
    // Stamped now, about as long ago as is waited for, and long ago; the last ones are too old to be noticed.
    let agos = [
        0,
        0,
        0,
        300,
        900,
        1_000,
        1_100,
        2_000,
        HOUR,
        47 * HOUR,
        49 * HOUR,
    ];
    let mut since = "beginning".to_owned();
    let (mut exported, mut all_late, mut inserted) = (0, 0, 0);
    for _ in 0..15 {
        let before = inserted;
        for _ in 0..random.below(6) {
            let (ago, rows) = (random.one_of(&agos), 1 + random.below(40));
            insert_stamped(&database, inserted, rows, ago).await;
            inserted += 1_000;
        }
        if random.below(2) == 0 {
            settled(&database).await;
        }
        let query = format!("since={since}&format=ndjson&fields=visitor_id");
        let answer = service.export("site_a", &query).await;
        let watermark = next(&answer);
        let stamped = |from: i64, to: i64| {
            format!(
                "toUnixTimestamp64Milli(ingested_at) > {from} AND toUnixTimestamp64Milli(ingested_at) <= {to}"
            )
        };
        let (after, until) = match since.as_str() {
            "beginning" => (0, up_to(&watermark)),
            since => (up_to(since), up_to(&watermark)),
        };
        let expected = by_sql(&database, "site_a", &["visitor_id"], &stamped(after, until)).await;
        exported += expected.len();
        let expected_late = match since.as_str() {
            "beginning" => Vec::new(),
            _ => {
                let late = stamped(after - 48 * HOUR, after);
                let late = format!("{late} AND event_id >= {before}");
                by_sql(&database, "site_a", &["visitor_id"], &late).await
            }
        };
        assert_eq!(late(&answer), expected_late.len() as u64, "{query}");
        all_late += expected_late.len();
        let file = answer.body.expect("whole");
        assert!(
            of_file("ndjson", &file, &["visitor_id"]) == expected,
            "{query}"
        );
        since = watermark;
    }
    assert!(exported > 100 && all_late > 50, "{exported} {all_late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_told_of_an_export_names_its_watermarks() {
    let database = with_site().await;
    insert_stamped(&database, 0, 50, HOUR).await;
    let service = TestService::start(&database.config).await;
    let path = "/api/websites/site_a/export?since=beginning&format=parquet&timezone=Asia/Kathmandu";
    let head = service
        .send(Method::HEAD, path, Some(&service.key.clone()))
        .await;
    assert_eq!(head.status, 200);
    assert!(up_to(&next(&head)) > 0 && late(&head) == 0);
    let answer = service.get(path).await;
    let watermark = next(&answer);
    assert!(up_to(&next(&head)) <= up_to(&watermark));
    let name = header(&answer, "content-disposition");
    let up_to = chrono::DateTime::from_timestamp_millis(up_to(&watermark)).expect("a moment");
    let stamp = up_to
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        .replace(['-', ':'], "");
    assert_eq!(
        name,
        format!("attachment; filename=\"events_site_a_arrived_beginning_{stamp}.parquet\"")
    );
    let own = receipt(&service, &answer).await;
    assert_eq!(own["since"], "beginning");
    assert_eq!(own["next_since"], watermark.as_str());
    for absent in ["start_date", "end_date", "from", "to"] {
        assert_eq!(own[absent], Value::Null, "{absent}");
    }
    let file = answer.body.clone().expect("whole");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
    let reader = reader.expect("a Parquet file");
    let values = reader.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| {
        let found = values
            .expect("values")
            .iter()
            .find(|value| value.key == key);
        found.and_then(|found| found.value.clone())
    };
    assert_eq!(value("export.since").as_deref(), Some("beginning"));
    assert_eq!(value("export.next_since"), Some(watermark.clone()));
    assert_eq!((value("export.start"), value("export.from")), (None, None));
    // So does another instance, from the log.
    let other = TestService::start_without_key(config(&database.config), service.key.clone()).await;
    let begun = std::time::Instant::now();
    loop {
        let id = header(&answer, "x-export-id");
        let found = other.get(&format!("/api/exports/{id}")).await;
        if found.status == 200 {
            let found: Value = serde_json::from_str(&found.text()).expect("JSON");
            if found["status"] == "complete" {
                assert_eq!(found, own);
                break;
            }
        }
        assert!(begun.elapsed().as_secs() < 60, "it is not in the log");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_of_another_chain_is_refused_in_words() {
    let database = with_site().await;
    insert::website(&database, "site_b").await;
    insert_stamped(&database, 0, 5, HOUR).await;
    let service = TestService::start(&database.config).await;
    let watermark = next(&service.export("site_a", "since=beginning").await);
    for (site, query, says) in [
        ("site_b", String::new(), "a watermark of site_a"),
        ("site_a", "&include_bots=true".into(), "other filters"),
        ("site_a", "&country=DE".into(), "other filters"),
        ("site_a", "0".into(), "no watermark"),
        ("site_a", "&start_date=2026-01-01".into(), "start_date"),
    ] {
        let query = format!("since={watermark}{query}");
        let answer = service.export(site, &query).await;
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.error();
        assert_eq!(error["field"], "since", "{query}");
        let message = error["message"].as_str().expect("text");
        assert!(message.contains(says), "{message}");
    }
    // Of the days of plans and parts nothing is known of arrivals.
    let plan = format!("/api/websites/site_a/export/plan?since={watermark}");
    let answer = service.get(&plan).await;
    assert_eq!(
        (answer.status.as_u16(), answer.error()["field"].clone()),
        (400, json!("since"))
    );
    // The same in the words of a clock: its moment lies ahead.
    let mut patient = config(&database.config);
    patient.settle = Duration::from_secs(3 * 3_600);
    let patient = TestService::start_with(patient).await;
    let answer = patient
        .export("site_a", &format!("since={watermark}"))
        .await;
    assert_eq!(next(&answer), watermark);
    assert_eq!(answer.text().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_goes_on_from_the_watermark_of_its_receipt() {
    let database = with_site().await;
    insert_stamped(&database, 0, 50, HOUR).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, receipt) = (folder.path().join("a.csv"), folder.path().join("a.json"));
    let run = |since: &str| {
        let mut command = rowspout(&database.config);
        command.args(["export", "--site", "site_a", "--since", since, "-o"]);
        command.arg(&file).arg("--receipt").arg(&receipt);
        let done = command.output().expect("rowspout runs");
        let said = String::from_utf8(done.stderr).expect("UTF-8");
        assert!(done.status.success(), "{said}");
        let receipt = std::fs::read(&receipt).expect("a receipt");
        let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
        let next = receipt["next_since"].as_str().expect("text").to_owned();
        assert!(said.contains(&format!("--since {next}")), "{said}");
        (next, receipt, said)
    };
    let (next, first, _) = run("beginning");
    assert_eq!(
        (&first["rows"], &first["since"]),
        (&json!(50), &json!("beginning"))
    );
    insert_stamped(&database, 100, 4, HOUR).await;
    let (_, second, said) = run(&next);
    assert_eq!(
        (&second["rows"], &second["late_rows"]),
        (&json!(0), &json!(4))
    );
    assert_eq!(second["since"], next.as_str());
    assert!(said.contains("4 rows of earlier exports"), "{said}");
    let mut verify = rowspout(&database.config);
    verify.arg("verify").arg(&file).arg(&receipt);
    assert!(verify.status().expect("rowspout runs").success());
    let mut refused = rowspout(&database.config);
    refused.args(["export", "--site", "site_a", "--since", "wm1.x"]);
    let refused = refused.output().expect("rowspout runs");
    assert_eq!(refused.status.code(), Some(2));
}
