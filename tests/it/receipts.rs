//! Receipts: what an instance, another instance and the table say of an export, while it runs and afterwards.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::Catalog;
use rowspout::config::User;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::command::rowspout;
use crate::support::insert::{self, fill, traffic};
use crate::support::service::{Answer, TestService, config, free_address, listens};
use crate::support::{Http, OwnEngine, TestDatabase};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        })
}

fn id(answer: &Answer) -> String {
    answer.headers["x-export-id"]
        .to_str()
        .expect("an id")
        .to_owned()
}

async fn receipt(service: &TestService, id: &str) -> Value {
    let answer = service.get(&format!("/api/exports/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    serde_json::from_str(&answer.text()).expect("JSON")
}

async fn rows_of(database: &TestDatabase, id: &str) -> Vec<(u32, String, u64, String)> {
    database
        .client
        .query_raw(
            "SELECT version, status, rows, reason FROM export_log WHERE export_id = {id:String} ORDER BY version",
        )
        .param("id", id)
        .fetch_all()
        .await
        .expect("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_export_has_the_receipt_of_its_bytes_on_every_instance() {
    let database = traffic(30_000).await;
    let service = TestService::start(&database.config).await;
    let other = TestService::start(&database.config).await;
    for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
        let query = format!("{RANGE}&format={format}&timezone=Europe/Berlin");
        let answer = service.export("site_demo", &query).await;
        let id = id(&answer);
        let body = answer.body.expect("complete");
        let found = receipt(&service, &id).await;
        assert_eq!(found["export_id"], id);
        assert_eq!(found["status"], "complete");
        assert_eq!(found["reason"], Value::Null);
        assert_eq!(found["website"], "site_demo");
        assert_eq!(found["format"], format);
        assert_eq!(found["timezone"], "Europe/Berlin");
        assert_eq!(
            (&found["start_date"], &found["end_date"]),
            (&"2026-01-01".into(), &"2026-03-31".into())
        );
        assert_eq!(
            (&found["event_type"], &found["include_bots"]),
            (&Value::Null, &true.into())
        );
        assert_eq!(found["bytes"], body.len());
        assert_eq!(found["sha256"], sha256(&body));
        assert_eq!(found["resumes"], 0);
        let (started, finished) = (found["started"].as_str(), found["finished"].as_str());
        assert!(started.is_some() && started <= finished, "{found}");
        if format == "ndjson" {
            let lines = body.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(found["rows"], lines);
        }
        // The other instance knows it from the table, to the last letter.
        assert_eq!(
            other.receipt_when(&id, |status| status == "complete").await,
            found
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_export_is_seen_to_grow_and_one_whose_client_left_is_aborted() {
    let database = traffic(2_000_000).await;
    // A merge of the log's parts would leave the last row of an export alone.
    let stopped = database
        .client
        .query_raw("SYSTEM STOP MERGES export_log")
        .execute();
    stopped.await.expect("no merges");
    let mut settings = config(&database.config);
    settings.heartbeat = Duration::from_millis(200);
    let service = TestService::start_with(settings.clone()).await;
    let other = TestService::start_with(settings).await;
    let (mut stream, id) = service.begin_export(&service.key, RANGE).await;
    let first = receipt(&service, &id).await;
    assert_eq!(first["status"], "running", "{first}");
    assert_eq!(
        (&first["sha256"], &first["finished"]),
        (&Value::Null, &Value::Null)
    );
    let (rows, bytes) = (first["rows"].as_u64(), first["bytes"].as_u64());
    assert!(rows > Some(0) && bytes > Some(0), "{first}");
    assert_eq!(
        other.receipt_when(&id, |status| status == "running").await["website"],
        "site_demo"
    );
    let mut taken = vec![0; 50_000_000];
    stream.read_exact(&mut taken).await.expect("some megabytes");
    let second = receipt(&service, &id).await;
    assert!(second["rows"].as_u64() > rows && second["bytes"].as_u64() > bytes);
    // A heartbeat carries the figures to the other instance.
    let asked = Instant::now();
    while receipt(&other, &id).await["rows"].as_u64() < second["rows"].as_u64() {
        assert!(asked.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(stream);
    for instance in [&service, &other] {
        let left = instance
            .receipt_when(&id, |status| status == "aborted")
            .await;
        assert_eq!(left["reason"], "client_left");
        assert_eq!(left["sha256"], Value::Null);
        assert!(left["finished"].is_string());
    }
    let rows = rows_of(&database, &id).await;
    assert_eq!(rows.first().map(|row| row.1.as_str()), Some("running"));
    assert_eq!(rows.last().map(|row| row.1.as_str()), Some("aborted"));
    assert!(rows.len() > 2, "no heartbeat in {rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_says_why_in_its_receipt() {
    let database = traffic(1_200_000).await;
    for sql in [
        "CREATE VIEW broken_late AS SELECT * REPLACE (if(throwIf(timestamp = (SELECT timestamp FROM events \
         WHERE website_id = 'site_demo' ORDER BY timestamp, event_id LIMIT 1 OFFSET 1100000), \
         'broken on purpose') = 0, url, '') AS url) FROM events",
        "CREATE VIEW slow AS SELECT * REPLACE (if(sleepEachRow(0.01) = 0, url, '') AS url) FROM events",
    ] {
        database.client.query_raw(sql).execute().await.expect(sql);
    }
    for (table, status, reason) in [
        ("broken_late", 200, "internal"),
        ("slow", 504, "query_timeout"),
    ] {
        let mut settings = config(&database.config);
        settings.events_table = table.into();
        if table == "slow" {
            settings.max_query = Duration::from_secs(1);
        }
        let service = TestService::start_with(settings).await;
        let answer = service.export("site_demo", RANGE).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(status != 200 || answer.body.is_err());
        let found = receipt(&service, &id(&answer)).await;
        assert_eq!(found["status"], "aborted");
        assert_eq!(found["reason"], reason);
        assert_eq!(found["sha256"], Value::Null);
        assert!(!found.to_string().contains("purpose"), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_an_instance_that_died_is_lost_once_its_heartbeat_is_missing() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.heartbeat = Duration::from_secs(1);
    let other = TestService::start_with(settings).await;
    let port = free_address();
    let mut child = rowspout(&database.config)
        .args(["serve", "--listen", &port.to_string()])
        .env("ROWSPOUT_HEARTBEAT_SECONDS", "1")
        .spawn()
        .expect("rowspout starts");
    let http = Http::new(
        &format!("http://{port}"),
        &format!("Authorization: Bearer {}\r\n", other.key),
    );
    listens(port).await;
    let target = format!("/api/websites/site_demo/export?{RANGE}");
    let mut stream = http.open(http.head("GET", &target, "").as_bytes()).await;
    let mut head = vec![0; 1_024];
    stream.read_exact(&mut head).await.expect("the head");
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let (_, rest) = head.split_once("x-export-id: ").expect("an id");
    let id = &rest[..36];
    // It lives for longer than it may be silent.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(receipt(&other, id).await["status"], "running");
    child.kill().expect("killed");
    child.wait().expect("gone");
    let lost = other.receipt_when(id, |status| status == "aborted").await;
    assert_eq!(lost["reason"], "lost");
    assert_eq!(lost["finished"], Value::Null);
    assert!(lost["rows"].as_u64() > Some(0), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_for_the_exports_own_key_or_one_that_opens_all_websites() {
    let database = traffic(100).await;
    let service = TestService::start(&database.config).await;
    let other = TestService::start(&database.config).await;
    let catalog = Catalog::new(&database.config);
    let key = |name: &'static str| {
        let catalog = catalog.clone();
        async move {
            let sites = ["site_demo".to_owned()];
            catalog.create_key(&sites, name).await.expect("a key")
        }
    };
    let (own, foreign) = (key("own").await, key("foreign").await);
    let export = format!("/api/websites/site_demo/export?{RANGE}");
    let made = service.send(Method::GET, &export, Some(&own)).await;
    let path = format!("/api/exports/{}", id(&made));
    other
        .receipt_when(&id(&made), |status| status == "complete")
        .await;
    for instance in [&service, &other] {
        for (key, status) in [
            (Some(&own), 200),
            (Some(&service.key), 200),
            (Some(&foreign), 404),
            (None, 401),
        ] {
            let key = key.map(String::as_str);
            let answer = instance.send(Method::GET, &path, key).await;
            assert_eq!(answer.status, status, "{answer:?}");
            let head = instance.send(Method::HEAD, &path, key).await;
            assert_eq!((head.status.as_u16(), head.text().len()), (status, 0));
        }
    }
    // What is not known looks the same as what is another's.
    let foreign_answer = service.send(Method::GET, &path, Some(&foreign)).await;
    let unknown = format!("/api/exports/exp_{}", "0".repeat(32));
    let unknown_answer = service.send(Method::GET, &unknown, Some(&foreign)).await;
    assert_eq!(unknown_answer.status, 404);
    let message = |answer: &Answer| answer.error()["message"].as_str().unwrap_or("").to_owned();
    assert_eq!(
        message(&foreign_answer).replace(&id(&made), ""),
        message(&unknown_answer).replace(&unknown["/api/exports/".len()..], "")
    );
    for (method, path, status) in [
        (Method::POST, path.clone(), 405),
        (Method::GET, format!("{path}?rows=1"), 400),
        (Method::GET, path.to_uppercase(), 404),
        (Method::GET, format!("{path}0"), 404),
        (Method::GET, "/api/exports/".to_owned(), 404),
    ] {
        let answer = service.send(method, &path, Some(&own)).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_go_on_when_the_log_cannot_be_written_and_are_written_once_it_can() {
    let database = traffic(1_000).await;
    let service = TestService::start(&database.config).await;
    database
        .client
        .query_raw("RENAME TABLE export_log TO export_log_away")
        .execute()
        .await
        .expect("renamed");
    let answer = service.export("site_demo", RANGE).await;
    let id = id(&answer);
    let body = answer.body.expect("complete");
    assert_eq!(receipt(&service, &id).await["sha256"], sha256(&body));
    tokio::time::sleep(Duration::from_millis(500)).await;
    database
        .client
        .query_raw("RENAME TABLE export_log_away TO export_log")
        .execute()
        .await
        .expect("renamed back");
    let other = TestService::start(&database.config).await;
    let found = other.receipt_when(&id, |status| status == "complete").await;
    assert_eq!(found["sha256"], sha256(&body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_user_that_may_not_write_is_said_in_a_warning_and_a_metric() {
    let engine = OwnEngine::start();
    let database = insert::with_tables(TestDatabase {
        config: engine.process().clickhouse("default"),
        client: engine.client(),
    })
    .await;
    insert::website(&database, "site_demo").await;
    fill(&database, 1_000).await;
    let key = Catalog::new(&database.config)
        .create_key(&[], "k")
        .await
        .expect("a key");
    let address = free_address();
    let mut child = rowspout(&database.config)
        .args(["serve", "--listen", &address.to_string()])
        .env("ROWSPOUT_LOG_USER", "writer")
        .env("ROWSPOUT_LOG_PASSWORD", "wrong-password")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("rowspout starts");
    listens(address).await;
    let http = Http::new(
        &format!("http://{address}"),
        &format!("Authorization: Bearer {key}\r\n"),
    );
    let before = http.get("/metrics").await;
    assert!(
        before.text().contains("\nrowspout_log_failures_total 0\n"),
        "{}",
        before.text()
    );
    let answer = http
        .get(&format!("/api/websites/site_demo/export?{RANGE}"))
        .await;
    assert!(answer.status == 200 && answer.complete);
    let asked = Instant::now();
    loop {
        let metrics = http.get("/metrics").await;
        let line = metrics
            .text()
            .lines()
            .find(|line| line.starts_with("rowspout_log_failures_total "));
        if line.is_some_and(|line| line != "rowspout_log_failures_total 0") {
            break;
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "{line:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().expect("killed");
    let output = child.wait_with_output().expect("gone");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        log.contains("export_log cannot be written") && log.contains("ROWSPOUT_LOG_USER"),
        "{log}"
    );
    assert!(
        !log.contains("wrong-password") && !log.contains(&key),
        "{log}"
    );
    let rows: u64 = database
        .client
        .query_raw("SELECT count() FROM export_log")
        .fetch_one()
        .await
        .expect("a count");
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_exports_are_in_the_log_when_the_service_has_stopped() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.grace = Duration::from_secs(1);
    let mut service = TestService::start_with(settings).await;
    let answer = service
        .export("site_demo", "start_date=2026-01-01&end_date=2026-01-01")
        .await;
    let finished = id(&answer);
    let (mut stream, cut) = service.begin_export(&service.key, RANGE).await;
    service.begin_stop();
    let stopped = service.stopped().await;
    assert!(stopped.is_err(), "a client that reads nothing is cut");
    // At once: what it has not taken yet would go with the process.
    let told = stream.read_to_end(&mut Vec::new()).await;
    let told = told.expect_err("no end as usual");
    assert_eq!(told.kind(), std::io::ErrorKind::ConnectionReset);
    let last = |rows: Vec<(u32, String, u64, String)>| rows.into_iter().next_back().expect("a row");
    assert_eq!(last(rows_of(&database, &finished).await).1, "complete");
    let cut = last(rows_of(&database, &cut).await);
    assert_eq!((cut.1.as_str(), cut.3.as_str()), ("aborted", "shutdown"));
}

/// A client that has the head of an export and takes no more, though the service has sent all of it.
async fn sent_and_not_taken(service: &TestService) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small one");
    let mut stream = socket.connect(service.address).await.expect("connected");
    // Kept open, so that it is closed because the service stops.
    let id = service
        .begin_export_on(&mut stream, &service.key, RANGE, "")
        .await;
    let path = format!("/api/exports/{id}");
    while !service.get(&path).await.text().contains("\"complete\"") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_stays_until_its_clients_have_what_was_sent() {
    let database = traffic(3_000).await;
    let mut service = TestService::start(&database.config).await;
    let mut stream = sent_and_not_taken(&service).await;
    service.begin_stop();
    let mut stopped = Box::pin(service.stopped());
    let early = tokio::time::timeout(Duration::from_secs(1), &mut stopped).await;
    assert!(early.is_err(), "the client has not yet all of it");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("in order");
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"));
    stopped.await.expect("in order");

    let mut settings = config(&database.config);
    settings.grace = Duration::from_secs(1);
    let mut service = TestService::start_with(settings).await;
    let _stream = sent_and_not_taken(&service).await;
    service.begin_stop();
    let error = service.stopped().await.expect_err("a client took nothing");
    // The one that asked for the receipt may still be among them.
    assert!(
        error.message().contains("still busy 1 seconds after"),
        "{error}"
    );
}

/// Trailers, if the response had any, and what its head says of them.
async fn trailers_over(
    service: &TestService,
    http2: bool,
    te: Option<&str>,
) -> (Option<String>, Option<hyper::HeaderMap>, Vec<u8>) {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http();
    let mut request = Request::get(format!(
        "http://{}/api/websites/site_demo/export?{RANGE}",
        service.address
    ))
    .header("authorization", format!("Bearer {}", service.key));
    if let Some(te) = te {
        request = request.header("te", te);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = client.request(request).await.expect("a response");
    assert_eq!(response.status(), 200);
    let announced = response.headers().get("trailer");
    let announced = announced.map(|value| value.to_str().expect("text").to_owned());
    let body = response.into_body().collect().await.expect("complete");
    let trailers = body.trailers().cloned();
    (announced, trailers, body.to_bytes().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_trailers_get_the_receipts_figures_behind_the_body() {
    let database = traffic(20_000).await;
    let service = TestService::start(&database.config).await;
    for http2 in [false, true] {
        let (announced, trailers, body) = trailers_over(&service, http2, Some("trailers")).await;
        assert_eq!(
            announced.as_deref(),
            Some("x-export-rows, x-export-bytes, x-export-sha256")
        );
        let trailers = trailers.expect("trailers");
        assert_eq!(trailers.len(), 3, "{trailers:?}");
        assert_eq!(trailers["x-export-rows"], "20000");
        assert_eq!(trailers["x-export-bytes"], body.len().to_string().as_str());
        assert_eq!(trailers["x-export-sha256"], sha256(&body).as_str());

        for te in [None, Some("")] {
            let (announced, trailers, again) = trailers_over(&service, http2, te).await;
            assert_eq!((announced, trailers), (None, None));
            assert_eq!(sha256(&again), sha256(&body));
        }
    }
    // As the bytes of HTTP/1.1 have them.
    let request = format!(
        "GET /api/websites/site_demo/export?{RANGE} HTTP/1.1\r\nHost: x\r\nTE: deflate;q=0.5, Trailers\r\n\
         Connection: close, TE\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    let answer = service.raw(request.as_bytes()).await;
    let end = String::from_utf8_lossy(&answer[answer.len() - 200..]).into_owned();
    let (_, end) = end.split_once("\r\n0\r\n").expect("the last chunk");
    assert!(
        end.contains("x-export-rows: 20000\r\n") && end.ends_with("\r\n\r\n"),
        "{end:?}"
    );
    // HEAD has no body, so nothing behind it.
    let request = String::from_utf8_lossy(request.as_bytes()).replacen("GET", "HEAD", 1);
    let answer = String::from_utf8(service.raw(request.as_bytes()).await).expect("a head");
    assert!(
        answer.ends_with("\r\n\r\n") && !answer.contains("trailer"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_receipts_and_verifies_files_by_them() {
    let database = traffic(5_000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let output = rowspout(&database.config)
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .expect("rowspout runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("a code"), said)
    };
    let range = [
        "--start",
        "2026-01-01",
        "--end",
        "2026-03-31",
        "--include-bots",
    ];
    for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
        let extension = if format == "arrow" { "arrows" } else { format };
        let (file, receipt) = (format!("a.{extension}"), format!("{format}.json.receipt"));
        let mut arguments = vec![
            "export",
            "--site",
            "site_demo",
            "-o",
            &file,
            "--receipt",
            &receipt,
        ];
        arguments.extend(range);
        let (code, said) = run(&arguments);
        assert_eq!(code, 0, "{said}");
        let bytes = std::fs::read(folder.path().join(&file)).expect("the file");
        let written = std::fs::read(folder.path().join(&receipt)).expect("the receipt");
        let json: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(json["rows"], 5_000);
        assert_eq!(json["bytes"], bytes.len());
        assert_eq!(json["sha256"], sha256(&bytes));
        assert_eq!(json["status"], "complete");
        let (code, said) = run(&["verify", &file, &receipt]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("5000 rows"), "{said}");

        // A byte less, a byte changed.
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        for (other, says) in [(&bytes[..bytes.len() - 1], "bytes"), (&changed, "SHA-256")] {
            std::fs::write(folder.path().join("other"), other).expect("written");
            let (code, said) = run(&["verify", "other", &receipt]);
            assert_eq!(code, 1, "{said}");
            assert!(said.contains(says), "{said}");
        }
        // Receipts that do not hold: other rows, and an export that was never complete.
        for (field, value, says) in [
            ("rows", Value::from(5_001), "5001"),
            ("status", "aborted".into(), "not complete"),
        ] {
            let mut wrong = json.clone();
            wrong[field] = value;
            let path = folder.path().join("wrong");
            std::fs::write(path, wrong.to_string()).expect("written");
            let (code, said) = run(&["verify", &file, "wrong"]);
            assert_eq!(code, 1, "{said}");
            assert!(said.contains(says), "{said}");
        }
    }
    for (file, receipt) in [
        ("nowhere", "csv.json.receipt"),
        ("a.csv", "nowhere"),
        ("a.csv", "a.json"),
    ] {
        let (code, said) = run(&["verify", file, receipt]);
        assert_eq!(code, 2, "{said}");
    }
    assert_eq!(run(&["verify", "a.csv"]).0, 2);
    // An export that fails leaves neither file nor receipt.
    let (code, said) = run(&[
        "export",
        "--site",
        "site_nowhere",
        "--start",
        "2026-01-01",
        "--end",
        "2026-01-02",
        "-o",
        "b.csv",
        "--receipt",
        "b.json",
    ]);
    assert_eq!(code, 1, "{said}");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.starts_with("b.") || name.starts_with(".rowspout"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // A receipt of the service verifies what curl saved.
    let service = TestService::start(&database.config).await;
    let answer = service.export("site_demo", RANGE).await;
    let of_service = receipt(&service, &id(&answer)).await;
    std::fs::write(folder.path().join("saved"), answer.body.expect("complete")).expect("saved");
    std::fs::write(folder.path().join("served"), of_service.to_string()).expect("saved");
    assert_eq!(run(&["verify", "saved", "served"]).0, 0);
}

/// A proxy that keeps what each connection sent to ClickHouse.
async fn listening_proxy(url: &str) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.expect("ClickHouse");
            let (mut client_read, mut client_write) = client.into_split();
            let (mut server_read, mut server_write) = server.into_split();
            let said = said.clone();
            let number = {
                let mut said = said.lock().expect("not poisoned");
                said.push(Vec::new());
                said.len() - 1
            };
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = client_read.read(&mut buffer).await {
                    said.lock().expect("not poisoned")[number].extend_from_slice(&buffer[..read]);
                    if server_write.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut server_read, &mut client_write).await;
            });
        }
    });
    (format!("http://{address}"), heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_written_by_its_own_user_and_events_are_read_by_the_other() {
    let database = traffic(1_000).await;
    let mut settings = config(&database.config);
    let (url, heard) = listening_proxy(&database.config.url).await;
    settings.clickhouse.url = url;
    settings.log_user = Some(User {
        name: "the_writer".into(),
        password: database.config.password.clone(),
    });
    let service = TestService::start_with(settings).await;
    let answer = service.export("site_demo", RANGE).await;
    let id = id(&answer);
    let other = TestService::start(&database.config).await;
    other.receipt_when(&id, |status| status == "complete").await;
    let heard = heard.lock().expect("not poisoned").clone();
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    let (mut log, mut events) = (0, 0);
    for connection in &heard {
        let by_writer = has(connection, "the_writer");
        if has(connection, "export_log") {
            assert!(by_writer, "{}", String::from_utf8_lossy(connection));
            log += 1;
        }
        if has(connection, "FROM events") || has(connection, "FROM api_keys") {
            assert!(!by_writer, "{}", String::from_utf8_lossy(connection));
            events += 1;
        }
    }
    assert!(log > 0 && events > 0, "{log} {events}");

    // What schema/README.md asks the log is SQL that answers.
    let readme = include_str!("../../schema/README.md");
    let (_, rest) = readme.split_once("```\nSELECT key_id").expect("a query");
    let (query, _) = rest.split_once("```").expect("its end");
    let query = format!("SELECT key_id{query}");
    let sums = database.client.query_raw(&query);
    let sums: Vec<(String, String, u64, u64, u64)> = sums.fetch_all().await.expect("sums");
    let bytes = answer.body.expect("complete").len() as u64;
    assert_eq!(sums.len(), 1);
    assert_eq!((sums[0].2, sums[0].3, sums[0].4), (1, 1_000, bytes));
}
