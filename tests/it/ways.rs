//! Ways to the same file: wires, numbers of cursors, parts that overlap, and a view that hides them; and which way is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowspout::config::ClickHouse;
use rowspout::decode::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::support::insert;
use crate::support::service::{TestService, config};

const RANGE: &str =
    "start_date=2026-01-01&end_date=2026-03-31&include_bots=true&timezone=Europe/Berlin";

#[tokio::test(flavor = "multi_thread")]
async fn a_files_bytes_are_the_same_whichever_way_its_rows_come() {
    let database = insert::traffic(300_000).await;
    // From the middle of the window on every row lies beside one of another part.
    for sql in [
        "SYSTEM STOP MERGES events",
        "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id) FROM events WHERE timestamp >= '2026-02-14'",
        "CREATE VIEW seen AS SELECT * FROM events",
    ] {
        let run = database.client.query_raw(sql).execute().await;
        run.expect(sql);
    }
    for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
        let mut whole = None;
        for wire in [Wire::RowBinary, Wire::Native] {
            for parallel in [1, 3] {
                for table in ["events", "seen"] {
                    let mut settings = config(&database.config);
                    settings.wire = wire;
                    settings.parallel = parallel;
                    settings.events_table = table.into();
                    let service = TestService::start_with(settings).await;
                    let query = format!("{RANGE}&format={format}");
                    let answer = service.export("site_demo", &query).await;
                    let case = format!("{format} of {table} over {wire:?} with {parallel}");
                    assert_eq!(answer.status, 200, "{case}: {answer:?}");
                    let file = answer.body.expect(&case);
                    assert!(file.len() > 1_000_000, "{case}: {}", file.len());
                    let whole = whole.get_or_insert_with(|| file.clone());
                    assert!(file == *whole, "{case} differs");
                }
            }
        }
    }
}

/// A way to ClickHouse along which all requests are written down. Where rows are read, some come at once, and more come
/// slowly until a second statement reads rows too: one does once it is known how they lie.
async fn overheard(clickhouse: &ClickHouse) -> (ClickHouse, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let target = clickhouse.url.trim_start_matches("http://").to_owned();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let written = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.expect("ClickHouse");
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let (written, read) = (written.clone(), written.clone());
            tokio::spawn(pass(from_client, to_server, move |bytes| {
                written.lock().expect("whole").extend_from_slice(bytes);
                Duration::ZERO
            }));
            let mut passed = 0;
            tokio::spawn(pass(from_server, to_client, move |bytes| {
                passed += bytes.len();
                let waits = passed > 1 << 20 && statements(&read.lock().expect("whole")).len() == 1;
                Duration::from_millis(if waits { 200 } else { 0 })
            }));
        }
    });
    let mut clickhouse = clickhouse.clone();
    clickhouse.url = url;
    (clickhouse, heard)
}

/// Passes bytes on after the pause that `each` gives for some of them.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut each: impl FnMut(&[u8]) -> Duration,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let pause = each(&buffer[..read]);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// The statements that read an export's rows, among all requests.
fn statements(requests: &[u8]) -> Vec<String> {
    let requests = String::from_utf8_lossy(requests);
    let rows = requests.split("POST ").filter(|request| {
        let parameters = request.split(['?', '&', ' ']);
        let mut names = parameters.filter_map(|parameter| parameter.strip_prefix("query_id=exp_"));
        let number = names.next().and_then(|name| name.split_once('-'));
        number.is_some_and(|(_, number)| number.parse::<u32>().is_ok())
    });
    rows.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_in_the_way_that_suits_how_their_parts_lie() {
    let database = insert::traffic(400_000).await;
    let is_packed = |sql: &str| sql.contains("SELECT concat(");
    let is_buffered = |sql: &str| !sql.contains("read_in_order_use_buffering = 0");
    let is_preferring = |sql: &str| sql.contains("preferred_block_size_bytes = ");
    for overlap in [false, true] {
        for (wire, parallel) in [
            (Wire::RowBinary, 1),
            (Wire::RowBinary, 3),
            (Wire::Native, 1),
            (Wire::Native, 3),
        ] {
            let case = format!("{wire:?} with {parallel}, parts that overlap: {overlap}");
            let (clickhouse, heard) = overheard(&database.config).await;
            let mut settings = config(&clickhouse);
            settings.wire = wire;
            settings.parallel = parallel;
            let service = TestService::start_with(settings).await;
            let answer = service
                .export("site_demo", &format!("{RANGE}&format=csv"))
                .await;
            assert_eq!(answer.status, 200, "{case}");
            assert!(answer.body.is_ok(), "{case}");
            let statements = statements(&heard.lock().expect("whole"));
            let (first, others) = statements.split_first().expect("statements");
            let is_native = wire == Wire::Native;
            // Of the first nothing is known: it gives its rows early, wherever they lie.
            assert_eq!(is_packed(first), !is_native, "{case}: {first}");
            assert!(!is_buffered(first), "{case}: {first}");
            assert!(!others.is_empty(), "{case}: one statement read all");
            for sql in others {
                assert_eq!(is_packed(sql), overlap || !is_native, "{case}: {sql}");
                assert_eq!(is_buffered(sql), !overlap, "{case}: {sql}");
                assert_eq!(is_preferring(sql), !overlap && !is_native, "{case}: {sql}");
            }
        }
        for sql in [
            "SYSTEM STOP MERGES events",
            "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id) FROM events",
        ] {
            let run = database.client.query_raw(sql).execute().await;
            run.expect(sql);
        }
    }
}
