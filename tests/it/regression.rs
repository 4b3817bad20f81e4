//! What was wrong once.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database};
use crate::support::service::{TestService, config};

const DAY: &str = "start_date=2026-03-03&end_date=2026-03-03&include_bots=true";

/// 2026-03-03T10:15:00Z.
const QUARTER_PAST_TEN: i64 = 1_772_532_900_000;

async fn run(database: &TestDatabase, sql: &str) {
    database.client.query_raw(sql).execute().await.unwrap();
}

/// A service that reads events through a view.
async fn over_view(database: &TestDatabase, columns: &str) -> TestService {
    run(
        database,
        &format!("CREATE OR REPLACE VIEW mine AS SELECT {columns} FROM events"),
    )
    .await;
    let mut settings = config(&database.config);
    settings.events_table = "mine".into();
    TestService::start_with(settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_whose_numbers_or_nulls_differ_is_read_by_its_meaning() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<Event> = (0..20)
        .map(|id| {
            let mut event = Event::at(QUARTER_PAST_TEN + id, id as u64);
            event.event_type = 1 + u8::from(id % 3 == 0);
            event
        })
        .collect();
    insert::events(&database, "site_a", &events).await;
    let straight = TestService::start(&database.config)
        .await
        .export("site_a", DAY)
        .await
        .text();
    let service = over_view(
        &database,
        "* REPLACE (CAST(toString(event_type), 'Enum8(\\'event\\' = 1, \\'pageview\\' = 2)') AS event_type, \
         CAST(if(event_id % 4 = 0, NULL, is_bot), 'Nullable(Bool)') AS is_bot, \
         CAST(if(url = '', NULL, url), 'Nullable(String)') AS url)",
    )
    .await;
    assert_eq!(service.export("site_a", DAY).await.text(), straight);
    let people = "start_date=2026-03-03&end_date=2026-03-03";
    assert_eq!(service.export("site_a", people).await.text(), straight);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_columns_of_any_text_type_give_the_same_file() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    // Lengths around those where LEB128 takes another group.
    let lengths = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
    let events: Vec<Event> = (0..40)
        .map(|id| {
            let place = id as usize;
            Event::at(QUARTER_PAST_TEN + id, id as u64)
                .with("url", "u".repeat(lengths[place % lengths.len()]))
                .with("city", ["", "São Paulo", "Köln"][place % 3])
                .with("utm_source", ["", "x"][place % 2].repeat(200))
        })
        .collect();
    insert::events(&database, "site_a", &events).await;
    let filtered = format!("{DAY}&city=!Oslo");
    let straight = TestService::start(&database.config)
        .await
        .export("site_a", DAY)
        .await
        .text();
    for columns in [
        "*",
        "* REPLACE (CAST(nullIf(city, ''), 'LowCardinality(Nullable(String))') AS city, CAST(nullIf(utm_source, ''), 'Nullable(String)') AS utm_source)",
        "* REPLACE (toString(city) AS city, toString(device) AS device, toLowCardinality(url) AS url)",
        "* REPLACE (CAST(nullIf(city, ''), 'Nullable(String)') AS city, materialize('') AS device, '' AS browser, toLowCardinality('') AS os)",
    ] {
        let service = over_view(&database, columns).await;
        for query in [DAY, &filtered] {
            assert!(
                service.export("site_a", query).await.text() == straight,
                "{columns} {query}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_may_hold_null_from_some_moment_on_loses_no_row() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<Event> = (0..9)
        .map(|id| Event::at(QUARTER_PAST_TEN + id, id as u64))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    let before = service.export("site_a", DAY).await.text();
    run(
        &database,
        "ALTER TABLE events DROP PROJECTION IF EXISTS quarter_hours",
    )
    .await;
    run(
        &database,
        "ALTER TABLE events MODIFY COLUMN visitor_id Nullable(String)",
    )
    .await;
    run(
        &database,
        "ALTER TABLE events UPDATE visitor_id = NULL WHERE event_id % 2 = 1 SETTINGS mutations_sync = 2",
    )
    .await;
    let after = service.export("site_a", DAY).await;
    match (after.status, after.body) {
        (StatusCode::OK, Ok(body)) => assert_eq!(body, before.as_bytes()),
        // Column by column another type is no column that is read, and said so.
        (_, body) => assert!(std::env::var("ROWSPOUT_WIRE").is_ok(), "{body:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_would_be_read_wrongly_is_refused_by_its_column() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    for (columns, column) in [
        (
            "* REPLACE (CAST(timestamp, 'DateTime64(6, \\'UTC\\')') AS timestamp)",
            "timestamp",
        ),
        (
            "* REPLACE (CAST(timestamp, 'DateTime(\\'UTC\\')') AS timestamp)",
            "timestamp",
        ),
        (
            "* REPLACE (CAST(ingested_at, 'Nullable(DateTime64(3))') AS ingested_at)",
            "ingested_at",
        ),
        (
            "* REPLACE (toUInt8(event_type) AS event_type)",
            "event_type",
        ),
        ("* EXCEPT (city)", "city"),
        ("* REPLACE (toUInt32(1) AS device)", "device"),
    ] {
        run(
            &database,
            &format!("CREATE OR REPLACE VIEW mine AS SELECT {columns} FROM events"),
        )
        .await;
        let output = rowspout(&database.config)
            .args([
                "export",
                "--site",
                "site_a",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
            ])
            .args(["--events-table", "mine"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        assert!(said.contains(&format!("the column {column} of")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_a_key_are_all_exported() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events: Vec<Event> = (0..10)
        .map(|row| Event::at(QUARTER_PAST_TEN + row / 2, 1).with("url", format!("/{row}")))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let csv = TestService::start(&database.config)
        .await
        .export("site_a", DAY)
        .await
        .text();
    assert_eq!(csv.lines().count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_gives_its_place_back() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let site = rowspout::request::WebsiteId::parse("site_demo").unwrap();
    rowspout::schema::make_demo_events(&database.config, &site, 500_000)
        .await
        .unwrap();
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.stall = Duration::from_secs(1);
    let service = TestService::start_with(settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(service.address).await.unwrap();
    let whole = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
    let request = format!(
        "GET /api/websites/site_demo/export?{whole} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 64];
    stream.read_exact(&mut head).await.unwrap();
    let begun = Instant::now();
    while service
        .export("site_demo", "start_date=2026-01-01&end_date=2026-01-01")
        .await
        .status
        != 200
    {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the place is still held"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "the export ended as if it were complete"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_inside_quotation_marks_is_not_loaded() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.csv");
    std::fs::write(
        &file,
        "timestamp,url\n2026-03-03T10:15:00Z,\"/whole\"\n2026-03-03T10:15:01Z,\"/cu",
    )
    .unwrap();
    let request = rowspout::load::LoadRequest {
        file,
        site: rowspout::request::WebsiteId::parse("site_a").unwrap(),
        format: None,
        again: false,
    };
    let error = rowspout::load::load(&config(&database.config), request)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("never closed"), "{error}");
    assert!(error.to_string().contains("line 3"), "{error}");
    let rows = database
        .client
        .query_raw("SELECT count() FROM events")
        .fetch_one::<u64>()
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_is_no_panic() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    for arguments in [&["site", "list"] as &[&str], &["schema", "print"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = rowspout(&database.config)
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("standard output"), "{said}");
    }
}

#[test]
fn settings_out_of_reach_are_refused_and_passwords_not_repeated() {
    for (name, value, says) in [
        (
            "ROWSPOUT_MAX_EXPORTS",
            "18446744073709551615",
            "max_exports",
        ),
        ("ROWSPOUT_MAX_EXPORTS", "0", "max_exports"),
        (
            "ROWSPOUT_HEAD_SECONDS",
            "18446744073709551615",
            "head_seconds",
        ),
        ("ROWSPOUT_MAX_QUERY_SECONDS", "0", "max_query_seconds"),
        ("ROWSPOUT_CLICKHOUSE_URL", "http://", "clickhouse_url"),
        (
            "ROWSPOUT_CLICKHOUSE_URL",
            "http://me:sekret@127.0.0.1:8123",
            "clickhouse_password",
        ),
        (
            "ROWSPOUT_CLICKHOUSE_URL",
            "127.0.0.1:8123",
            "clickhouse_url",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rowspout"))
            .args(["site", "list"])
            .env(name, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.contains(says) && !said.contains("sekret"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("rowspout.toml"),
        "listen = \"a\"\nclickhouse_password = sekret\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(["site", "list"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("line 2") && !said.contains("sekret"),
        "{said}"
    );
}
