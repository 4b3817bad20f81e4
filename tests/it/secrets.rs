//! What nobody may read: keys outside their owners' hands, and events in logs. And what everybody should: the export's id.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::{Catalog, KeyLimits};
use rowspout::pushdown::columns::TEXT_COLUMNS;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database, fill, traffic};
use crate::support::process::Process;
use crate::support::service::TestService;

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const EXPORT: &str =
    "/api/websites/site_demo/export?start_date=2026-01-01&end_date=2026-03-31&include_bots=true";

/// Keys that do not exist, and one that could not.
const WRONG: &str = "spk_selfhosted_5ec2e7c0ffee5ec2e7c0ffee5ec2e7c0";
const MALFORMED: &str = "not-a-key-5ec2e7c0de5ec2e7c0de";

/// What the service answers to a key in every place where somebody might put it.
async fn answers(process: &Process, key: &str) -> String {
    let mut said = String::new();
    let head = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    };
    let bearer = format!("Authorization: Bearer {key}\r\n");
    for request in [
        head(EXPORT, &bearer),
        head(EXPORT, &format!("Authorization: {key}\r\n")),
        head(EXPORT, &format!("Authorization: Basic {key}\r\n")),
        head(EXPORT, &format!("{bearer}{bearer}")),
        head(&format!("{EXPORT}&format=parquet"), &bearer),
        head(&format!("{EXPORT}&timezone=Nowhere"), &bearer),
        head(
            "/api/websites/site_nowhere/export?start_date=2026-01-01&end_date=2026-01-01",
            &bearer,
        ),
        head("/api/exports/exp_00000000000000000000000000000000", &bearer),
        head("/metrics", &bearer),
        // Where it does not belong.
        head(&format!("{EXPORT}&key={key}"), &bearer),
        head(&format!("{EXPORT}&{key}=1"), &bearer),
        head(&format!("{EXPORT}&format={key}"), &bearer),
        head(
            &format!("/api/exports/exp_00000000000000000000000000000000?{key}"),
            &bearer,
        ),
        head(&format!("/api/websites/{key}/export"), &bearer),
        head(&format!("/{key}"), ""),
        // Where nothing can be read.
        head(EXPORT, &format!("{bearer}no header\r\n")),
        head(EXPORT, &format!("{bearer}X-A: {}\r\n", "a".repeat(40_000))),
        head(&format!("/{}", "a".repeat(10_000)), &bearer),
        head(EXPORT, &bearer).replace("HTTP/1.1", "HTTP/1.0"),
        format!("{key} {key} {key}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(process.address).await.expect("one");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1."), "{request}");
        said.push_str(&String::from_utf8_lossy(&answer));
    }
    // A client that leaves in the middle of its file, and one whose head never ends.
    for request in [
        head(EXPORT, &bearer),
        format!("GET {EXPORT} HTTP/1.1\r\n{bearer}"),
    ] {
        let mut stream = TcpStream::connect(process.address).await.expect("one");
        stream.write_all(request.as_bytes()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Empty<Bytes>>();
    let request = Request::get(format!("http://{}{EXPORT}", process.address))
        .header("authorization", format!("Bearer {key}"))
        .body(Empty::new())
        .expect("a request");
    let answer = client.request(request).await.expect("an answer");
    said.push_str(&format!("{:?}", answer.headers()));
    let body = answer
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    if let Ok(body) = body {
        said.push_str(&String::from_utf8_lossy(&body));
    }
    said
}

/// The command lines of all processes that can be looked at.
fn command_lines() -> String {
    let mut lines = String::new();
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
            lines.push_str(&String::from_utf8_lossy(&line).replace('\0', " "));
            lines.push('\n');
        }
    }
    lines
}

/// Fails where a text holds a key, or a good part of it.
fn assert_no_key(place: &str, text: &str, keys: &[&str]) {
    for key in keys {
        let tail = &key[key.len() - 16..];
        for line in text.lines() {
            assert!(!line.contains(tail), "{place} holds a key: {line:.300}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_nowhere_but_in_its_owners_hands() {
    let database = traffic(50_000).await;
    for settings in [
        &[("RUST_LOG", "trace")][..],
        &[("RUST_LOG", "trace"), ("ROWSPOUT_LOG", "json")],
        // Nobody listens there.
        &[
            ("RUST_LOG", "trace"),
            ("ROWSPOUT_CLICKHOUSE_URL", "http://127.0.0.1:9"),
        ],
        &[],
    ] {
        let settings = [settings, &[("ROWSPOUT_FAILED_ATTEMPTS_PER_MINUTE", "1000")]].concat();
        let mut process = Process::serve(&database, &settings).await;
        let key = process.key.clone();
        let keys = [key.as_str(), WRONG, MALFORMED];
        let mut answered = String::new();
        for key in keys {
            answered.push_str(&answers(&process, key).await);
        }
        assert!(answered.contains("401 Unauthorized") || answered.contains("503"));
        let metrics = process.http.get("/metrics").await;
        let lines = command_lines();
        assert!(lines.contains("serve --listen"), "{lines}");
        assert_no_key("a command line", &lines, &keys);
        process.stop().await;
        let said = process.said();
        assert!(said.contains("exp_"), "nothing was logged: {said}");
        assert_no_key("the log", &said, &keys);
        assert_no_key("the metrics", metrics.text(), &keys);
        // The text of a malformed one is no secret to who sent it.
        assert_no_key("an answer", &answered, &keys[..2]);
        let listed = rowspout(&database.config).args(["key", "list"]).output();
        let listed = listed.expect("rowspout runs").stdout;
        assert_no_key("the list", &String::from_utf8_lossy(&listed), &keys);
        for table in ["api_keys", "export_log"] {
            let sql = format!("SELECT toString(tuple(*)) FROM {table}");
            let rows = database.client.query_raw(&sql).fetch_all::<String>().await;
            assert_no_key(table, &rows.expect("rows").join("\n"), &keys);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_unknown_revoked_or_expired_cannot_be_told_apart() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let service = TestService::start(&database.config).await;
    let catalog = Catalog::new(&database.config);
    let revoked = catalog.create_key(&[], "revoked").await.expect("a key");
    let id = catalog.list_keys().await.expect("keys");
    let id = id.iter().find(|key| key.name == "revoked").expect("it");
    catalog.revoke_key(&id.id).await.expect("revoked");
    let soon = (chrono::Utc::now() + chrono::TimeDelta::milliseconds(1_500)).to_rfc3339();
    let limits = KeyLimits::parse(&[], Some(&soon)).expect("limits");
    let expired = catalog
        .create_limited_key(&[], "", &limits)
        .await
        .expect("a key");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answers = BTreeSet::new();
    for key in [WRONG, &revoked, &expired] {
        let path = format!("/api/websites/site_demo/export?{RANGE}");
        let answer = service.send(Method::GET, &path, Some(key)).await;
        assert_eq!(answer.status, 401);
        let mut headers = answer.headers.clone();
        for own in ["x-export-id", "date"] {
            headers.remove(own);
        }
        answers.insert(format!("{headers:?} {}", answer.text()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

/// What stands in every event's texts.
const MARK: &str = "jane.doe-of-23-elm-street";

/// Lines that are not about one export.
const NOT_OF_AN_EXPORT: [&str; 2] = ["the connection ended early", "export_log cannot be written"];

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_the_log_names_its_export_and_none_holds_an_event() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    fill(&database, 20_000).await;
    // Some events look like errors of ClickHouse, in each of the ways that it has to tell of them.
    let errors = [
        format!("Code: 60. DB::Exception: Table {MARK} does not exist. (UNKNOWN_TABLE)"),
        format!(
            "\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 241. DB::Exception: {MARK}\r\n31 abcdefghijklmnop\r\n__exception__\r\n"
        ),
        MARK.to_owned(),
    ];
    let events: Vec<_> = (0..300u64)
        .map(|number| {
            let mut event = Event::at(1_772_500_000_000 + number as i64, number + 1);
            for column in TEXT_COLUMNS {
                event = event.with(column, errors[number as usize % errors.len()].clone());
            }
            event
        })
        .collect();
    insert::events(&database, "site_demo", &events).await;
    // Views that ClickHouse fails on in the middle: it quotes the text that it could not use, and one that says it outright.
    for (name, expression) in [
        (
            "quoting",
            "toString(toUInt64(if(position(url, 'elm-street') > 0, url, '1')))",
        ),
        (
            "throwing",
            "if(throwIf(position(url, 'elm-street') > 0, 'jane.doe-of-23-elm-street') = 0, url, '')",
        ),
    ] {
        let sql =
            format!("CREATE VIEW {name} AS SELECT * REPLACE ({expression} AS url) FROM events");
        database
            .client
            .query_raw(&sql)
            .execute()
            .await
            .expect("a view");
    }
    for (table, form) in [
        ("events", "json"),
        ("quoting", "json"),
        ("throwing", "json"),
        ("quoting", "text"),
    ] {
        let settings = [
            ("ROWSPOUT_EVENTS_TABLE", table),
            ("ROWSPOUT_LOG", form),
            ("RUST_LOG", "trace"),
        ];
        let mut process = Process::serve(&database, &settings).await;
        let mut ids = BTreeSet::new();
        for format in ["csv", "json", "ndjson", "parquet"] {
            let answer = process.http.get(&format!("{EXPORT}&format={format}")).await;
            assert_eq!(
                answer.complete && answer.status == 200,
                table == "events",
                "{answer:?}"
            );
            ids.insert(answer.header("x-export-id").expect("an id").to_owned());
        }
        // One whose client leaves, and some that are refused.
        let head = process.http.head("GET", EXPORT, "");
        drop(process.http.open(head.as_bytes()).await);
        let refused = process.http.get(&format!("{EXPORT}&format=xlsx")).await;
        ids.insert(refused.header("x-export-id").expect("an id").to_owned());
        process.stop().await;
        let said = process.said();
        for line in said.lines() {
            assert!(
                !line.contains("elm-street"),
                "the log holds an event: {line}"
            );
        }
        for id in &ids {
            assert!(said.contains(id.as_str()), "{id} is not in the log");
        }
        if form == "json" {
            assert_lines_name_exports(&said);
        }
    }
}

fn assert_lines_name_exports(said: &str) {
    let mut levels = BTreeSet::new();
    for line in said.lines().filter(|line| !line.starts_with("rowspout ")) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        levels.insert(line["level"].to_string());
        let target = line["target"].as_str().expect("a target");
        if !target.starts_with("rowspout") {
            continue;
        }
        let fields = &line["fields"];
        let message = fields["message"].as_str().expect("a message");
        if NOT_OF_AN_EXPORT
            .iter()
            .any(|known| message.starts_with(known))
        {
            continue;
        }
        let id = fields["export"].as_str().or(fields["query_id"].as_str());
        assert!(
            id.is_some_and(|id| id.starts_with("exp_") && id.len() >= 36),
            "{line}"
        );
    }
    assert!(levels.len() > 2, "only {levels:?}");
}

#[test]
fn a_form_or_level_of_the_log_that_there_is_not_is_refused_by_name() {
    for (variable, value, says) in [
        ("ROWSPOUT_LOG", "yaml", "text or json"),
        ("RUST_LOG", "rowspout=loud", "debug"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rowspout"));
        let output = command
            .args(["schema", "print"])
            .env(variable, value)
            .output();
        let output = output.expect("rowspout runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(variable) && said.contains(value) && said.contains(says),
            "{said}"
        );
    }
}
