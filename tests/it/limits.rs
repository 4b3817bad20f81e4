//! Limits: what is refused, how, and that a second connection does not get past it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::Catalog;
use rowspout::config::{Config, Layer, default_max_exports};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::insert::traffic;
use crate::support::process::Process;
use crate::support::service::{Answer, TestService, config};
use crate::support::{TestDatabase, clickhouse};

/// More than sockets and queues hold.
const LONG: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const SHORT: &str = "start_date=2026-01-01&end_date=2026-01-01";

fn assert_refused(answer: &Answer, status: u16, code: &str, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.error()["code"], code);
    let message = answer.error()["message"].to_string();
    assert!(message.contains(says), "{message}");
    let retry = answer.headers["retry-after"].to_str().expect("text");
    assert!(retry.parse::<u32>().expect("seconds") >= 1);
}

async fn export(service: &TestService, key: &str, query: &str) -> Answer {
    let path = format!("/api/websites/site_demo/export?{query}");
    service.send(Method::GET, &path, Some(key)).await
}

async fn second_key(database: &TestDatabase) -> String {
    let catalog = Catalog::new(&database.config);
    catalog.create_key(&[], "second").await.expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_wait_in_a_queue_with_a_bound_and_go_on_in_their_turn() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.max_queued = 1;
    settings.queue = Duration::from_secs(60);
    let service = TestService::start_with(settings).await;
    let (running, _) = service.begin_export(&service.key, LONG).await;

    // A client that leaves the queue makes room in it.
    let request = format!(
        "GET /api/websites/site_demo/export?{SHORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    let mut impatient = TcpStream::connect(service.address)
        .await
        .expect("a connection");
    impatient.write_all(request.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 503, "unavailable", "wait");
    drop(impatient);
    let left = Instant::now();
    loop {
        let probe = export(&service, &service.key, SHORT);
        match tokio::time::timeout(Duration::from_millis(500), probe).await {
            // It waits, so there is room; and it leaves.
            Err(_) => break,
            Ok(answer) => assert_eq!(answer.status, 503),
        }
        assert!(left.elapsed() < Duration::from_secs(5), "no room was made");
    }

    let service = std::sync::Arc::new(service);
    let waits = service.clone();
    let waiting = tokio::spawn(async move {
        loop {
            let answer = export(&waits, &waits.key, SHORT).await;
            // The one that left may still be in the queue.
            if answer.status == 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "there was no place");
    assert_refused(
        &export(&service, &service.key, SHORT).await,
        503,
        "unavailable",
        "wait",
    );
    drop(running);
    let answer = waiting.await.expect("an answer");
    assert!(answer.body.expect("complete").len() > 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patience_of_the_queue_ends_with_a_time_to_retry() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.queue = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let (_running, _) = service.begin_export(&service.key, LONG).await;
    let asked = Instant::now();
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 503, "unavailable", "within 1 s");
    assert!((1..5).contains(&asked.elapsed().as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_wait_for_their_clients_lend_their_places_up_to_a_bound() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 3;
    settings.queue = Duration::from_secs(60);
    let service = TestService::start_with(settings).await;
    let other = second_key(&database).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        // Each waits in the queue until the one before waits for its client.
        slow.push(service.begin_export(&service.key, LONG).await);
        let small = export(&service, &other, SHORT).await;
        assert!(small.status == 200 && small.body.is_ok(), "{small:?}");
    }
    slow.push(service.begin_export(&service.key, LONG).await);
    for (_, id) in &slow {
        let receipt = service.get(&format!("/api/exports/{id}")).await.text();
        assert!(receipt.contains("\"running\""), "{receipt}");
    }
    // More must not be open: the next one waits, for all that its key has nothing.
    let next = tokio::time::timeout(Duration::from_secs(2), export(&service, &other, SHORT)).await;
    assert!(next.is_err(), "{next:?}");
    slow.pop();
    assert_eq!(export(&service, &other, SHORT).await.status, 200);
    // Once its client takes something, an export goes on, beside another one that works.
    let busy = export(&service, &other, LONG);
    let (mut stream, id) = slow.remove(0);
    let mut rest = Vec::new();
    let (busy, read) = tokio::join!(busy, stream.read_to_end(&mut rest));
    assert!(read.is_ok() && rest.ends_with(b"0\r\n\r\n"), "it was cut");
    let whole = busy.body.expect("a whole file");
    let receipt = service.get(&format!("/api/exports/{id}")).await.text();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).expect("JSON");
    assert_eq!(receipt["status"], "complete");
    assert_eq!(receipt["bytes"], whole.len());
    assert_eq!(receipt["sha256"], crate::receipts::sha256(&whole));
}

/// Parquet keeps a row group, and Parquet files of slow clients would be too much.
#[tokio::test(flavor = "multi_thread")]
async fn exports_that_hold_much_keep_their_places() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.queue = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let _slow = service
        .begin_export(&service.key, &format!("{LONG}&format=parquet"))
        .await;
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 503, "unavailable", "within 1 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_exports_are_counted_over_all_its_connections() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports_per_key = 1;
    let service = TestService::start_with(settings).await;
    let other = second_key(&database).await;
    let (running, _) = service.begin_export(&service.key, LONG).await;
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 429, "rate_limited", "max_exports_per_key");
    // Nor does another protocol help.
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::get(format!(
        "http://{}/api/websites/site_demo/export?{SHORT}",
        service.address
    ))
    .header("authorization", format!("Bearer {}", service.key))
    .body(Empty::<Bytes>::new())
    .expect("a request");
    assert_eq!(client.request(request).await.expect("one").status(), 429);
    // Another key is not in its way; HEAD runs nothing.
    assert_eq!(export(&service, &other, SHORT).await.status, 200);
    let path = format!("/api/websites/site_demo/export?{SHORT}");
    let head = service.send(Method::HEAD, &path, Some(&service.key)).await;
    assert_eq!(head.status, 200);
    drop(running);
    let left = Instant::now();
    while export(&service, &service.key, SHORT).await.status != 200 {
        assert!(
            left.elapsed() < Duration::from_secs(5),
            "the place was not given back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_requests_are_counted_over_all_its_connections() {
    let database = traffic(10).await;
    let mut settings = config(&database.config);
    settings.requests_per_minute = 3.try_into().expect("not none");
    let service = TestService::start_with(settings).await;
    let other = second_key(&database).await;
    for _ in 0..3 {
        assert_eq!(export(&service, &service.key, SHORT).await.status, 200);
    }
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 429, "rate_limited", "requests_per_minute");
    // One more is allowed every twenty seconds.
    let retry = answer.headers["retry-after"].to_str().expect("text");
    assert!((1..=20).contains(&retry.parse::<u32>().expect("seconds")));
    assert_eq!(export(&service, &other, SHORT).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn uris_headers_and_connections_have_the_bounds_of_the_settings() {
    let database = clickhouse().await;
    let mut settings = config(&database.config);
    settings.max_uri_bytes = 600;
    settings.max_header_bytes = 700;
    settings.max_connections = 1;
    let service = TestService::start_without_key(settings, String::new()).await;
    let request = |uri: usize, header: usize| {
        let uri = format!("/healthz?{}", "a".repeat(uri - "/healthz?".len()));
        // `host: x` and `connection: close` are 28 with what separates them, `x-a: ` 5 and CR LF 2.
        let header = "b".repeat(header - "hostx".len() - 4 - "connectionclose".len() - 4 - 7);
        format!("GET {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: {header}\r\n\r\n")
    };
    for (uri, header, status) in [(600, 700, 200), (601, 700, 414), (600, 701, 431)] {
        let answer = service.raw(request(uri, header).as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{uri} {header}: {answer}"
        );
        // The connection is not counted any more once its task has ended.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut first = TcpStream::connect(service.address).await.expect("one");
    first.write_all(b"GET /healthz HT").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = String::from_utf8(service.raw(b"").await).expect("text");
    let lower = answer.to_lowercase();
    assert!(
        answer.starts_with("HTTP/1.1 503")
            && lower.contains("retry-after: ")
            && lower.contains("max_connections"),
        "{answer}"
    );
    first
        .write_all(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The bounds of [`uris_headers_and_connections_have_the_bounds_of_the_settings`] over HTTP/2, which has no head of a fixed form.
#[tokio::test(flavor = "multi_thread")]
async fn uris_and_headers_have_their_bounds_over_http2_too() {
    let database = clickhouse().await;
    let mut settings = config(&database.config);
    settings.max_uri_bytes = 600;
    settings.max_header_bytes = 700;
    let service = TestService::start_without_key(settings, String::new()).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for (uri, header, status) in [(600, 600, 200), (601, 600, 414), (600, 701, 431)] {
        let path = format!("/healthz?{}", "a".repeat(uri - "/healthz?".len()));
        let request = Request::get(format!("http://{}{path}", service.address))
            .header("x-a", "b".repeat(header))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let answer = client.request(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{uri} {header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_without_requests_is_closed_and_one_with_an_export_is_not() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.head = Duration::from_millis(200);
    let service = TestService::start_with(settings).await;
    let open = || async {
        let stream = TcpStream::connect(service.address).await.expect("one");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
        (sender, tokio::spawn(connection))
    };
    let (_idle, ended): (hyper::client::conn::http2::SendRequest<Empty<Bytes>>, _) = open().await;
    let (mut busy, mut serving) = open().await;
    let request = Request::get(format!(
        "http://{}/api/websites/site_demo/export?{LONG}",
        service.address
    ))
    .header("authorization", format!("Bearer {}", service.key))
    .body(Empty::<Bytes>::new())
    .expect("a request");
    let response = busy.send_request(request).await.expect("a head");
    assert_eq!(response.status(), 200);
    let _ = ended.await.expect("a task");
    // Several looks later the export still runs, and is taken.
    let still = tokio::time::timeout(Duration::from_secs(2), &mut serving).await;
    assert!(still.is_err(), "a connection with an export was closed");
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.is_ok_and(|body| body.to_bytes().len() > 1_000_000));
}

/// A client that lost the answer's length on its way waits for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_kept_and_not_used_is_closed() {
    let database = traffic(1_000).await;
    let mut settings = config(&database.config);
    settings.head = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let request = format!(
        "GET /api/websites/site_demo/export?{LONG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    let answer = service.raw(request.repeat(2).as_bytes()).await;
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_told_to_stop_says_so_first_and_refuses_what_is_new() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.drain = Duration::from_secs(2);
    let mut service = TestService::start_with(settings).await;
    let (mut running, id) = service.begin_export(&service.key, LONG).await;
    assert_eq!(service.get("/readyz").await.status, 200);
    service.begin_stop();
    let told = Instant::now();
    while service.get("/readyz").await.status != 503 {
        assert!(told.elapsed() < Duration::from_secs(1), "still ready");
    }
    assert_refused(
        &service.get("/readyz").await,
        503,
        "unavailable",
        "shutting",
    );
    // Whoever has not heard of it yet is still served.
    assert_eq!(export(&service, &service.key, SHORT).await.status, 200);
    assert!(told.elapsed() < Duration::from_secs(2), "too slow to tell");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = export(&service, &service.key, SHORT).await;
    assert_refused(&answer, 503, "unavailable", "shutting");
    assert_eq!(service.get("/readyz").await.status, 503);
    assert_eq!(service.get("/healthz").await.status, 200);
    let receipt = service.get(&format!("/api/exports/{id}")).await;
    assert!(receipt.text().contains("\"running\""), "{receipt:?}");
    let mut rest = Vec::new();
    running.read_to_end(&mut rest).await.expect("the rest");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the export was cut");
    let address = service.address;
    service.stopped().await.expect("a clean stop");
    assert!(TcpStream::connect(address).await.is_err());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_what_the_first_lets_finish() {
    let database = traffic(2_000_000).await;
    let settings = [("ROWSPOUT_GRACE_SECONDS", "3600")];
    let mut service = Process::serve(&database, &settings).await;
    let mut export = TcpStream::connect(service.address).await.expect("one");
    let request = format!(
        "GET /api/websites/site_demo/export?{LONG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    export.write_all(request.as_bytes()).await.expect("sent");
    let mut body = vec![0; 1_024];
    export.read_exact(&mut body).await.expect("a head");
    assert!(body.starts_with(b"HTTP/1.1 200"));
    service.tell_to_stop();
    // A connection that is taken just before the signal is closed without a word, as idle ones are: what is sent may not be taken.
    let readyz = async || {
        let head = service.http.head("GET", "/readyz", "");
        let mut answer = Vec::new();
        let mut stream = TcpStream::connect(service.address).await.expect("one");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    while !readyz().await.starts_with(b"HTTP/1.1 503") {}
    assert!(service.is_alive());
    service.stop().await;
    let _ = export.read_to_end(&mut body).await;
    assert!(!body.ends_with(b"0\r\n\r\n"), "a part that looks whole");
    assert!(
        service.said().contains("second signal"),
        "{}",
        service.said()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_is_told_that_the_service_stops() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.queue = Duration::from_secs(60);
    settings.grace = Duration::from_secs(5);
    let mut service = TestService::start_with(settings).await;
    let (running, _) = service.begin_export(&service.key, LONG).await;
    let request = format!(
        "GET /api/websites/site_demo/export?{SHORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    let mut waiting = TcpStream::connect(service.address).await.expect("one");
    waiting.write_all(request.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(500)).await;
    service.begin_stop();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.expect("text");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("shutting"),
        "{answer}"
    );
    drop(running);
    service.stopped().await.expect("a clean stop");
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_by_name() {
    let refused = |layer: Layer| {
        let error =
            Config::resolve(Layer::default(), layer, Layer::default()).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        error.message().to_owned()
    };
    macro_rules! check {
        ($($name:ident: $value:expr),* $(,)?) => {$(
            let message = refused(Layer { $name: Some($value), ..Layer::default() });
            assert!(message.starts_with(concat!(stringify!($name), " is ")), "{message}");
        )*};
    }
    check! {
        max_exports: 0, max_open_exports: default_max_exports() - 1, max_exports_per_key: 0, max_queued: 1_000_000, queue_seconds: 0, max_connections: 0,
        max_uri_bytes: 10, max_header_bytes: 1 << 20, requests_per_minute: 0, head_seconds: 0, stall_seconds: 0,
        grace_seconds: 0, drain_seconds: u64::MAX, heartbeat_seconds: 0, max_query_seconds: 0,
    }
    let message = refused(Layer {
        log_password: Some("secret".into()),
        ..Layer::default()
    });
    assert!(
        message.contains("log_user") && !message.contains("secret"),
        "{message}"
    );
    // No queue at all is a choice.
    let layer = Layer {
        max_queued: Some(0),
        ..Layer::default()
    };
    let config = Config::resolve(layer, Layer::default(), Layer::default()).expect("settings");
    assert_eq!(config.max_queued, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_loses_its_export_and_its_place() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.stall = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let (stalled, id) = service.begin_export(&service.key, LONG).await;
    // It waits in the queue until the place is free.
    let answer = export(&service, &service.key, SHORT).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let receipt = service.get(&format!("/api/exports/{id}")).await.text();
    assert!(
        receipt.contains("\"aborted\"") && receipt.contains("client_stalled"),
        "{receipt}"
    );
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_near_the_end_of_a_file_has_stalled_and_not_left() {
    takes_nothing_near_the_end(30_000, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_has_one_left_whose_file_is_compressed() {
    takes_nothing_near_the_end(240_000, "Accept-Encoding: zstd\r\n").await;
}

/// Clients of files of up to so many rows.
async fn takes_nothing_near_the_end(most_rows: u64, lines: &str) {
    let database = traffic(most_rows).await;
    let mut settings = config(&database.config);
    settings.max_exports = 32;
    settings.max_open_exports = 32;
    settings.max_exports_per_key = 32;
    settings.stall = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    // The system takes a part of a file for its client, some frames wait, and behind them the end: of one of these sizes.
    let mut clients = Vec::new();
    for part in 1..=15 {
        let query = format!("{LONG}&limit={}", most_rows / 15 * part);
        let mut stream = TcpStream::connect(service.address).await.expect("one");
        let id = service.begin_export_on(&mut stream, &service.key, &query, lines);
        let id = id.await;
        clients.push((stream, id));
    }
    let mut stalled = 0;
    for (_, id) in &clients {
        let receipt = service.receipt_when(id, |status| status != "running").await;
        let has_stalled = receipt["reason"] == "client_stalled";
        assert!(receipt["status"] == "complete" || has_stalled, "{receipt}");
        stalled += usize::from(has_stalled);
    }
    assert!(stalled > 0, "the system took every file for its client");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_does_not_take_the_end_loses_its_place_too() {
    // So few rows that the end waits right behind the first chunk.
    let database = traffic(2_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.stall = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(1_024)
        .build_http::<Empty<Bytes>>();
    let request = Request::get(format!(
        "http://{}/api/websites/site_demo/export?{LONG}",
        service.address
    ))
    .header("authorization", format!("Bearer {}", service.key))
    .body(Empty::new())
    .expect("a request");
    let response = client.request(request).await.expect("a head");
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-export-id"].to_str().expect("text");
    let receipt = || async { service.get(&format!("/api/exports/{id}")).await.text() };
    assert!(receipt().await.contains("\"running\""));
    let answer = export(&service, &service.key, SHORT).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let receipt = receipt().await;
    assert!(
        receipt.contains("\"aborted\"") && receipt.contains("client_stalled"),
        "{receipt}"
    );
    // Taken too late, it is no file.
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert!(body.is_err(), "it ended as if it were complete");
}
