//! Whatever breaks in the middle, nobody holds a file that looks complete.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rowspout::config::ClickHouse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::command::rowspout;
use crate::support::insert::{self, database, traffic};
use crate::support::service::{TestService, config};
use crate::support::{OwnEngine, TestDatabase};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const FORMATS: [&str; 5] = ["csv", "json", "ndjson", "parquet", "arrow"];

/// Runs `rowspout export` into a folder of its own.
fn export_to_file(
    clickhouse: &ClickHouse,
    table: &str,
    format: &str,
) -> (tempfile::TempDir, std::process::Child) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = rowspout(clickhouse);
    command
        .current_dir(folder.path())
        .args([
            "export",
            "--site",
            "site_demo",
            "--start",
            "2026-01-01",
            "--end",
            "2026-03-31",
        ])
        .args(["--include-bots", "--format", format, "-o", "file"])
        .env("ROWSPOUT_EVENTS_TABLE", table)
        .env("ROWSPOUT_RESUME_ATTEMPTS", "3")
        .env("ROWSPOUT_RESUME_PAUSE_MS", "1")
        .stderr(Stdio::piped());
    (folder, command.spawn().expect("rowspout starts"))
}

fn assert_no_file(folder: &tempfile::TempDir) {
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(left.is_empty(), "{left:?} was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_after_a_million_rows_aborts_every_format() {
    let database = traffic(1_200_000).await;
    // The view throws at the 1,100,001st row in the order of the export, and at no other, since streams begin anywhere.
    let sql = "CREATE VIEW failing AS SELECT * REPLACE (if(throwIf(timestamp = (SELECT timestamp FROM events \
               WHERE website_id = 'site_demo' ORDER BY timestamp, event_id LIMIT 1 OFFSET 1100000), \
               'broken on purpose') = 0, url, '') AS url) FROM events";
    database
        .client
        .query_raw(sql)
        .execute()
        .await
        .expect("a view");
    let mut settings = config(&database.config);
    settings.events_table = "failing".into();
    let service = TestService::start_with(settings).await;
    for format in FORMATS {
        let answer = service
            .export("site_demo", &format!("{RANGE}&format={format}"))
            .await;
        assert_eq!(answer.status, 200, "the first rows were fine");
        assert!(
            answer.body.is_err(),
            "{format} ended as if it were complete"
        );

        let (folder, child) = export_to_file(&database.config, "failing", format);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_no_file(&folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_before_its_first_row_gets_a_status() {
    let database = traffic(1_000).await;
    let sql = "CREATE VIEW failing AS SELECT * REPLACE (if(throwIf(1, 'secret detail') = 0, url, '') AS url) FROM events";
    database
        .client
        .query_raw(sql)
        .execute()
        .await
        .expect("a view");
    let mut settings = config(&database.config);
    settings.events_table = "failing".into();
    let service = TestService::start_with(settings).await;
    for format in FORMATS {
        let answer = service
            .export("site_demo", &format!("{RANGE}&format={format}"))
            .await;
        assert_eq!(answer.status, 500);
        let error = answer.error();
        assert_eq!(error["code"], "internal");
        let message = error["message"].as_str().expect("a message");
        let id = answer.headers["x-export-id"].to_str().expect("an id");
        assert!(
            message.contains(id) && !message.contains("secret"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_before_its_first_row_is_a_timeout() {
    let database = traffic(1_000).await;
    let sql = "CREATE VIEW slow AS SELECT * REPLACE (if(sleepEachRow(0.1) = 0, url, '') AS url) FROM events";
    database
        .client
        .query_raw(sql)
        .execute()
        .await
        .expect("a view");
    let mut settings = config(&database.config);
    settings.events_table = "slow".into();
    settings.max_query = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let answer = service.export("site_demo", RANGE).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.error()["code"], "query_timeout");
}

/// A proxy in front of ClickHouse that cuts every connection after so many bytes of answer, once armed.
async fn cutting_proxy(url: &str, cut_after: usize, reset: bool) -> (String, Arc<AtomicBool>) {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let armed = Arc::new(AtomicBool::new(false));
    let cut = armed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let target = target.clone();
            let cut = cut.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(&target).await.expect("ClickHouse");
                let (mut client_read, mut client_write) = client.into_split();
                let (mut server_read, mut server_write) = server.into_split();
                let up = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut client_read, &mut server_write).await;
                    client_read
                });
                let mut buffer = vec![0; 64 << 10];
                let mut passed = 0;
                loop {
                    let read = server_read.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        break;
                    }
                    passed += read;
                    if client_write.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                    if passed > cut_after && cut.load(Ordering::Relaxed) {
                        if reset {
                            up.abort();
                            if let Ok(read_half) = up.await {
                                drop(read_half);
                            }
                        }
                        return;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), armed)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_clickhouse_that_are_all_cut_change_no_byte() {
    let database = traffic(100_000).await;
    for cut_after in [1_000_000, 3_000_000] {
        let (url, armed) =
            cutting_proxy(&database.config.url, cut_after, cut_after > 1_000_000).await;
        let mut behind = database.config.clone();
        behind.url = url;
        let mut settings = config(&behind);
        settings.resume_pause = Duration::from_millis(1);
        let service = TestService::start_with(settings).await;
        let plain = FORMATS.map(|format| (format, ""));
        let asked = [
            ("csv", "&limit=54321"),
            ("ndjson", "&limit=54321&device=!mobile&fields=url,timestamp"),
        ];
        for (format, asked) in plain.into_iter().chain(asked) {
            let query = format!("{RANGE}&format={format}{asked}");
            armed.store(false, Ordering::Relaxed);
            let whole = service.export("site_demo", &query).await;
            let whole = whole.body.expect("an unbroken export");
            armed.store(true, Ordering::Relaxed);
            let answer = service.export("site_demo", &query).await;
            let status = answer.status;
            assert!(
                status == 200 && answer.body.as_ref() == Ok(&whole),
                "{format} cut after {cut_after} bytes differs: {status}, {:?}, {:?}",
                answer.headers,
                answer.body.map(|body| (
                    body.len(),
                    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
                ))
            );
            if !asked.is_empty() {
                continue;
            }
            let (folder, child) = export_to_file(&behind, "events", format);
            let output = child.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            let file = std::fs::read(folder.path().join("file")).expect("the file");
            assert!(file == whole, "{format} cut after {cut_after} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_in_mid_export_leaves_no_file_and_no_complete_response() {
    let mut engine = OwnEngine::start();
    let database = insert::with_tables(TestDatabase {
        config: engine.process().clickhouse("default"),
        client: engine.client(),
    })
    .await;
    insert::website(&database, "site_demo").await;
    let site = rowspout::request::WebsiteId::parse("site_demo").expect("an id");
    rowspout::schema::make_demo_events(&database.config, &site, 2_000_000)
        .await
        .expect("traffic");
    let mut settings = config(&database.config);
    settings.resume_attempts = 3;
    let service = TestService::start_with(settings).await;

    // A client that has read the head and a little of the body, and waits.
    let mut stream = TcpStream::connect(service.address)
        .await
        .expect("a connection");
    let request = format!(
        "GET /api/websites/site_demo/export?{RANGE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut buffer = vec![0; 64 << 10];
    stream
        .read_exact(&mut buffer)
        .await
        .expect("some of the body");
    assert!(buffer.starts_with(b"HTTP/1.1 200"));
    let (folder, child) = export_to_file(&database.config, "events", "csv");
    // Long enough to have begun, not to have ended.
    tokio::time::sleep(Duration::from_millis(300)).await;
    engine.kill();

    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "the response ended as if it were complete"
    );
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert_no_file(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_of_a_client_that_left_is_gone_within_a_second() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    // With more, the cursors that are read ahead may all have ended.
    settings.parallel = 1;
    let service = TestService::start_with(settings).await;
    for (format, encoding) in [
        ("csv", "identity"),
        ("csv", "gzip"),
        ("parquet", "identity"),
    ] {
        let mut stream = TcpStream::connect(service.address)
            .await
            .expect("a connection");
        let request = format!(
            "GET /api/websites/site_demo/export?{RANGE}&format={format} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\n\
             Authorization: Bearer {}\r\n\r\n",
            service.key
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut buffer = vec![0; 512];
        stream.read_exact(&mut buffer).await.expect("the head");
        // The embedded engine names its queries itself, so they are known by their database and text.
        let running = || async {
            database
                .client
                .query_raw(
                    "SELECT count() FROM system.processes WHERE current_database = {database:String} \
                     AND position(query, 'toUnixTimestamp64Milli(timestamp)') > 0 AND position(query, 'system.processes') = 0",
                )
                .param("database", database.config.database.as_str())
                .fetch_one::<u64>()
                .await
                .expect("a count")
        };
        assert!(
            running().await > 0,
            "{format}: the query has ended before the client left"
        );
        drop(stream);
        let left = Instant::now();
        while running().await > 0 {
            assert!(
                left.elapsed() < Duration::from_secs(1),
                "{format}: the query still runs"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_in_flight_finish_when_the_service_is_told_to_stop() {
    let database = traffic(500_000).await;
    let mut service = TestService::start(&database.config).await;
    let whole = service
        .export("site_demo", RANGE)
        .await
        .body
        .expect("complete");
    let mut stream = TcpStream::connect(service.address)
        .await
        .expect("a connection");
    let request = format!(
        "GET /api/websites/site_demo/export?{RANGE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = vec![0; 100];
    stream.read_exact(&mut head).await.expect("the head");
    service.begin_stop();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the rest");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the export was cut");
    assert!(rest.len() > whole.len());
    service.stopped().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_exports_than_allowed_are_refused_with_a_time_to_retry() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.max_queued = 0;
    let service = TestService::start_with(settings).await;
    let mut stream = TcpStream::connect(service.address)
        .await
        .expect("a connection");
    let request = format!(
        "GET /api/websites/site_demo/export?{RANGE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = vec![0; 100];
    stream.read_exact(&mut head).await.expect("the head");
    let answer = service.export("site_demo", RANGE).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.error()["code"], "unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    drop(stream);
    let left = Instant::now();
    while service
        .export("site_demo", "start_date=2026-01-01&end_date=2026-01-01")
        .await
        .status
        != 200
    {
        assert!(
            left.elapsed() < Duration::from_secs(5),
            "the place was not given back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A proxy that cuts the second connection on which so many bytes of answer came, and no other.
async fn second_cutting_proxy(url: &str, bytes: usize) -> String {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let large = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (target, large) = (target.clone(), large.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect(&target).await.expect("ClickHouse");
                let (mut client_read, mut client_write) = client.into_split();
                let (mut server_read, mut server_write) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut client_read, &mut server_write).await;
                });
                let (mut buffer, mut passed) = (vec![0; 64 << 10], 0);
                while let Ok(read @ 1..) = server_read.read(&mut buffer).await {
                    if client_write.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                    let before = passed;
                    passed += read;
                    if (before..passed).contains(&bytes)
                        && large.fetch_add(1, Ordering::SeqCst) == 1
                    {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_given_up_while_it_waited_is_gone_on_with() {
    // So that they are counted long before the first cursor has come to their end.
    let database = insert::settled_traffic(600_000).await;
    for format in FORMATS {
        let query = format!("{RANGE}&format={format}");
        let whole = TestService::start(&database.config)
            .await
            .export("site_demo", &query)
            .await;
        let mut settings = config(&database.config);
        settings.clickhouse.url = second_cutting_proxy(&database.config.url, 300_000).await;
        let service = TestService::start_with(settings).await;
        let answer = service.export("site_demo", &query).await;
        assert!(answer.body.is_ok(), "{format}: {:?}", answer.body);
        assert!(answer.body == whole.body, "{format} differs");
        let id = answer.headers["x-export-id"].to_str().expect("an id");
        let path = format!("/api/exports/{id}");
        let receipt = service
            .send(hyper::Method::GET, &path, Some(&service.key))
            .await
            .text();
        let receipt: serde_json::Value = serde_json::from_str(&receipt).expect("JSON");
        assert_eq!(receipt["resumes"], 1, "{format}: nothing was cut");
    }
}

/// A proxy that ends the first answer with rows politely after so many bytes of its body, as if it were complete, and behind a text
/// whose bytes come each for itself.
async fn lying_proxy(url: &str, bytes: usize, text: &'static [u8]) -> String {
    changing_proxy(url, move |answer| shortened(answer, bytes, text)).await
}

/// A proxy that gives another answer in the place of the first one with rows.
async fn changing_proxy(
    url: &str,
    lie: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static,
) -> String {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let lied = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(lie_once(client, target.clone(), lied.clone(), lie.clone()));
        }
    });
    format!("http://{address}")
}

async fn lie_once(
    mut client: TcpStream,
    target: String,
    lied: Arc<AtomicBool>,
    lie: impl Fn(&[u8]) -> Vec<u8>,
) {
    let mut server = TcpStream::connect(&target).await.expect("ClickHouse");
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(read) if read > 0 => {
                    asked.extend_from_slice(&up[..read]);
                    server.write_all(&up[..read]).await.expect("forwarded");
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(read) if read > 0 => {
                    let rows = asked.windows(11).any(|text| text == b"'RowBinary'");
                    if !rows || lied.load(Ordering::Relaxed) {
                        if client.write_all(&down[..read]).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    // The whole answer is small and comes chunked; it is taken apart once its end is there.
                    answer.extend_from_slice(&down[..read]);
                    if answer.ends_with(b"0\r\n\r\n") {
                        lied.store(true, Ordering::Relaxed);
                        let _ = client.write_all(&lie(&answer)).await;
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

/// A chunked answer's head and body.
fn unchunked(answer: &[u8]) -> (&[u8], Vec<u8>) {
    let head = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let (mut body, mut rest) = (Vec::new(), &answer[head..]);
    loop {
        let line = rest
            .windows(2)
            .position(|end| end == b"\r\n")
            .expect("a chunk");
        let size = std::str::from_utf8(&rest[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
    (&answer[..head], body)
}

/// A chunked answer of that head and these chunks.
fn chunked<'a>(head: &[u8], chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut answer = head.to_vec();
    for chunk in chunks {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

/// A chunked answer whose body ends after so many bytes and a text.
fn shortened(answer: &[u8], bytes: usize, text: &[u8]) -> Vec<u8> {
    let (head, body) = unchunked(answer);
    assert!(body.len() > bytes, "the body has only {} bytes", body.len());
    chunked(head, std::iter::once(&body[..bytes]).chain(text.chunks(1)))
}

/// Settings whose wire can be cut between two rows.
fn over_rows(clickhouse: &ClickHouse) -> rowspout::config::Config {
    let mut settings = config(clickhouse);
    settings.wire = rowspout::decode::Wire::RowBinary;
    settings
}

/// Bytes on the wire of an event whose only text is a URL of two.
const WIRE_ROW: usize = rowspout::decode::FIXED_ROW_BYTES + 15 + 2 + 1;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_too_early_is_gone_on_with_behind_its_last_row() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<insert::Event> = (10..90)
        .map(|row| insert::Event::at(1_772_532_900_000 + row, 1).with("url", row.to_string()))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let query = "start_date=2026-03-03&end_date=2026-03-03";
    for format in FORMATS {
        let query = format!("{query}&format={format}");
        let whole = TestService::start(&database.config)
            .await
            .export("site_a", &query)
            .await;
        let exception = &b"Code: 241. DB::Exception: Memory limit (total) exceeded: would use 9.31 GiB, maximum: 8.00 GiB"[..];
        // What came of a row whose end is missing is dropped.
        for (end, text) in [
            (33 * WIRE_ROW, &b""[..]),
            (33 * WIRE_ROW + 7, b""),
            // The `C` is the length of the last text, as many bytes follow, and then more or none do.
            (33 * WIRE_ROW - 2, exception),
            (33 * WIRE_ROW - 2, &exception[..68]),
            (33 * WIRE_ROW - 2, &exception[..69]),
            // It is what is missing of the row's texts, or of its end.
            (33 * WIRE_ROW - 17, exception),
            (33 * WIRE_ROW - 1, exception),
            (33 * WIRE_ROW - 1, &exception[..1]),
        ] {
            let mut behind = database.config.clone();
            behind.url = lying_proxy(&database.config.url, end, text).await;
            let answer = TestService::start_with(over_rows(&behind))
                .await
                .export("site_a", &query)
                .await;
            let text = text.len();
            assert_eq!(
                answer.body, whole.body,
                "{format} ended after {end} bytes and {text} of a text"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_between_rows_of_one_key_is_no_file() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<insert::Event> = (10..20)
        .map(|row| insert::Event::at(1_772_532_900_000 + row / 2, 1).with("url", row.to_string()))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let mut behind = database.config.clone();
    behind.url = lying_proxy(&database.config.url, 9 * WIRE_ROW, b"").await;
    let service = TestService::start_with(over_rows(&behind)).await;
    let query = "start_date=2026-03-03&end_date=2026-03-03";
    let answer = service.export("site_a", query).await;
    assert!(answer.status != 200 || answer.body.is_err(), "{answer:?}");
    // Unbroken, it is whole.
    let answer = service.export("site_a", query).await;
    assert_eq!(answer.text().lines().count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_from_behind_the_window_ends_no_stream_whose_checksum_is_still_to_come() {
    const ROWS: usize = 40_000;
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<insert::Event> = (0..ROWS as i64)
        .map(|row| insert::Event::at(1_772_532_900_000 + row, 1).with("url", "x"))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let query = "start_date=2026-03-03&end_date=2026-03-03&format=csv";
    let mut behind = database.config.clone();
    // In digits; one more of a row is another one, and the row behind it is of another age. The checksum is that of the rows as
    // they were.
    let lie = |answer: &[u8]| {
        let (head, body) = unchunked(answer);
        let mut rows = zstd::decode_all(&body[..]).expect("zstd");
        // A letter is two digits.
        const ROW: usize = WIRE_ROW;
        assert_eq!(rows.len(), ROWS * ROW, "rows in digits");
        let right = compressed(&rows);
        let url = ROWS / 2 * ROW + rowspout::decode::FIXED_ROW_BYTES + 1;
        assert_eq!(rows[url..url + 2], *b"78");
        rows[url + 1] = b'9';
        rows[(ROWS / 2 + 1) * ROW + 8] = 0x40;
        let mut wrong = compressed(&rows);
        let checksum = wrong.len() - 4;
        wrong[checksum..].copy_from_slice(&right[right.len() - 4..]);
        chunked(head, wrong.chunks(1 << 10))
    };
    behind.url = changing_proxy(&database.config.url, lie).await;
    let mut settings = config(&behind);
    settings.wire_compression = rowspout::cursor::WireCompression::Zstd;
    settings.parallel = 1;
    let service = TestService::start_with(settings).await;
    let answer = service.export("site_a", query).await;
    assert!(
        answer.status != 200 || answer.body.is_err(),
        "it looks whole"
    );
    let answer = service.export("site_a", query).await;
    assert_eq!(answer.text().lines().count(), ROWS + 1);
}

/// With a checksum, as ClickHouse compresses what it sends.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.include_checksum(true).expect("zstd");
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}
