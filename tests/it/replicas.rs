//! Several replicas: whichever of them is down, breaks, stalls or lags, the file is that of an unbroken export, or none.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use rowspout::catalog::Catalog;
use rowspout::config::{ClickHouse, Config, Layer};
use rowspout::decode::Wire;
use rowspout::engine::install::ensure;
use rowspout::engine::process::{EngineCommand, EngineProcess};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event};
use crate::support::service::{TestService, config, free_address, listens};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const FORMATS: [&str; 4] = ["csv", "json", "ndjson", "parquet"];

/// One password for all replicas, as a cluster has it.
const PASSWORD: &str = "of-all-replicas";

/// Bytes of an answer that only one with many rows has.
const MANY: usize = 400_000;

/// An engine that stands for one replica.
struct Replica {
    directory: tempfile::TempDir,
    process: Arc<Mutex<Option<EngineProcess>>>,
    /// Its address, which is another one when it was started again.
    url: Arc<Mutex<String>>,
}

impl Replica {
    fn start() -> Self {
        let replica = Self {
            directory: tempfile::tempdir().expect("a folder"),
            process: Arc::default(),
            url: Arc::default(),
        };
        replica.start_again();
        replica
    }

    fn start_again(&self) {
        let explicit = std::env::var_os("ROWSPOUT_LIBCHDB").map(PathBuf::from);
        let command = EngineCommand {
            program: env!("CARGO_BIN_EXE_rowspout").into(),
            libchdb: ensure(explicit.as_deref()).expect("libchdb"),
            path: self.directory.path().to_owned(),
            arguments: vec!["--password".into(), PASSWORD.into()],
        };
        let process = command.start().expect("an engine");
        *self.url.lock().expect("a lock") = process.url().to_owned();
        *self.process.lock().expect("a lock") = Some(process);
    }

    fn kill(&self) {
        kill(&self.process);
    }

    fn database(&self) -> TestDatabase {
        let config = clickhouse(&self.url.lock().expect("a lock"));
        TestDatabase {
            client: config.client(),
            config,
        }
    }

    /// Runs statements.
    async fn run(&self, statements: &[&str]) {
        let database = self.database();
        for sql in statements {
            let query = database.client.query_raw(sql);
            query.execute().await.expect(sql);
        }
    }

    /// Queries over rows that run.
    async fn queries(&self) -> u64 {
        self.database()
            .client
            .query_raw(
                "SELECT count() FROM system.processes WHERE position(query, 'toUnixTimestamp64Milli(timestamp)') > 0 \
                 AND position(query, 'system.processes') = 0",
            )
            .fetch_one::<u64>()
            .await
            .expect("a count")
    }
}

fn kill(process: &Mutex<Option<EngineProcess>>) -> bool {
    let process = process.lock().expect("a lock").take();
    let there = process.is_some();
    if let Some(process) = process {
        process.kill().expect("it dies");
    }
    there
}

/// How to reach replicas.
fn clickhouse(urls: &str) -> ClickHouse {
    ClickHouse {
        url: urls.to_owned(),
        user: Some("default".into()),
        password: Some(PASSWORD.into()),
        database: "default".into(),
    }
}

/// The table of rows that arrived an hour ago, of which no insert can make more.
const SETTLED: [&str; 2] = [
    "CREATE TABLE settled AS events",
    "INSERT INTO settled SELECT * REPLACE (ingested_at - INTERVAL 1 HOUR AS ingested_at) FROM events",
];

/// Two replicas with the same synthetic traffic, and a key that both know.
async fn two(rows: u64) -> ([Replica; 2], String) {
    let replicas = [Replica::start(), Replica::start()];
    for replica in &replicas {
        let database = insert::with_tables(replica.database()).await;
        insert::website(&database, "site_demo").await;
        insert::fill(&database, rows).await;
        replica.run(&SETTLED).await;
    }
    let key = key_of_both(&replicas).await;
    (replicas, key)
}

/// A key made on the first replica, which replication would bring to the second.
async fn key_of_both([first, second]: &[Replica; 2]) -> String {
    let catalog = Catalog::new(&first.database().config);
    let key = catalog.create_key(&[], "test").await.expect("a key");
    let client = first.database().client;
    let rows = client.query_raw("SELECT * FROM api_keys");
    let mut rows = rows.fetch_bytes("RowBinary").expect("a cursor");
    let rows = rows.collect().await.expect("rows");
    let client = second.database().client;
    let mut insert = client.insert_formatted_with("INSERT INTO api_keys FORMAT RowBinary");
    insert.send(rows).await.expect("sent");
    insert.end().await.expect("inserted");
    key
}

/// Settings over replicas that give up soon.
fn settings(urls: &str) -> Config {
    let mut settings = config(&clickhouse(urls));
    settings.events_table = "settled".into();
    settings.resume_attempts = 6;
    settings.resume_pause = Duration::from_millis(20);
    settings
}

/// The file of an unbroken export from one replica alone.
async fn unbroken(replica: &Replica, query: &str) -> Bytes {
    let service = TestService::start_with(settings(&replica.database().config.url)).await;
    let answer = service.export("site_demo", query).await;
    answer.body.expect("an unbroken export")
}

/// What happens to an answer of many bytes.
#[derive(Clone)]
enum Fault {
    /// The replica dies as by `kill -9`.
    Death(Arc<Mutex<Option<EngineProcess>>>),
    /// The connection ends.
    End,
    /// It is reset.
    Reset,
    /// Nothing more comes.
    Silence,
}

/// A way to a replica on which so many answers of many bytes are interrupted.
struct Way {
    url: String,
    /// Faults that are still to come, and those that came.
    left: Arc<AtomicUsize>,
    came: Arc<AtomicUsize>,
}

async fn way(replica: &Replica, fault: Fault, faults: usize) -> Way {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (left, came) = (Arc::new(AtomicUsize::new(faults)), Arc::default());
    let way = Way {
        url,
        left,
        came: Arc::clone(&came),
    };
    let (left, target) = (way.left.clone(), replica.url.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let target = target.lock().expect("a lock").clone();
            let (fault, left, came) = (fault.clone(), left.clone(), came.clone());
            tokio::spawn(async move {
                let target = target.trim_start_matches("http://");
                if let Ok(server) = TcpStream::connect(target).await {
                    pass(client, server, fault, &left, &came).await;
                }
            });
        }
    });
    way
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    fault: Fault,
    left: &AtomicUsize,
    came: &AtomicUsize,
) {
    let socket = client.as_fd().try_clone_to_owned().expect("a socket");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        from_client
    });
    let (mut buffer, mut passed) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        passed += read;
        let take = |faults: usize| faults.checked_sub(1);
        if passed < MANY
            || left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                .is_err()
        {
            continue;
        }
        came.fetch_add(1, Ordering::SeqCst);
        match &fault {
            Fault::Death(process) => {
                kill(process);
            }
            Fault::End => break,
            Fault::Reset => {
                let socket = std::net::TcpStream::from(socket);
                let socket = TcpStream::from_std(socket).expect("a socket");
                socket.set_zero_linger().expect("no lingering");
                up.abort();
                drop(up.await);
                drop(to_client);
                return;
            }
            Fault::Silence => std::future::pending().await,
        }
    }
}

async fn receipt(
    service: &TestService,
    answer: &crate::support::service::Answer,
) -> serde_json::Value {
    let id = answer.headers["x-export-id"].to_str().expect("an id");
    let path = format!("/api/exports/{id}");
    let answer = service.send(Method::GET, &path, Some(&service.key)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text()).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_down_before_the_start_is_left_for_the_next() {
    let ([replica, down], key) = two(20_000).await;
    let whole = unbroken(&replica, RANGE).await;
    let dead = down.database().config.url;
    down.kill();
    let urls = format!("{dead}, {}", replica.database().config.url);
    let service = TestService::start_without_key(settings(&urls), key.clone()).await;
    for _ in 0..3 {
        let answer = service.export("site_demo", RANGE).await;
        assert_eq!(answer.body.as_ref(), Ok(&whole));
        assert_eq!(receipt(&service, &answer).await["resumes"], 0);
    }
    assert_eq!(service.get("/readyz").await.status, 200);

    let folder = tempfile::tempdir().expect("a folder");
    let output = rowspout(&clickhouse(&urls))
        .current_dir(folder.path())
        .env("ROWSPOUT_EVENTS_TABLE", "settled")
        .args([
            "export",
            "--site",
            "site_demo",
            "--include-bots",
            "-o",
            "file.csv",
        ])
        .args(["--start", "2026-01-01", "--end", "2026-03-31"])
        .output()
        .expect("rowspout runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = std::fs::read(folder.path().join("file.csv")).expect("the file");
    assert!(file == whole, "the file differs");
    // What is loaded goes to the one that answers, too.
    let output = rowspout(&clickhouse(&urls))
        .current_dir(folder.path())
        .args(["load", "--site", "site_demo", "file.csv"])
        .output()
        .expect("rowspout runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("loaded 20000 rows"), "{said}");

    replica.kill();
    assert_eq!(service.get("/readyz").await.status, 503);
    let answer = service.export("site_demo", RANGE).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.error()["code"], "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_mid_export_changes_no_byte_of_any_format_over_either_wire() {
    let ([first, second], key) = two(400_000).await;
    for format in FORMATS {
        let query = format!("{RANGE}&format={format}&timezone=Europe/Berlin");
        let whole = unbroken(&second, &query).await;
        for (wire, parallel) in [(Wire::RowBinary, 1), (Wire::Native, 1), (Wire::Native, 3)] {
            let way = way(&first, Fault::Death(first.process.clone()), 1).await;
            let urls = format!("{},{}", way.url, second.database().config.url);
            let mut settings = settings(&urls);
            settings.wire = wire;
            settings.parallel = parallel;
            let service = TestService::start_without_key(settings, key.clone()).await;
            let answer = service.export("site_demo", &query).await;
            let case = format!("{format} over {wire:?} with {parallel}");
            assert_eq!(answer.status, 200, "{case}: {answer:?}");
            assert_eq!(way.came.load(Ordering::SeqCst), 1, "{case}: nothing died");
            let resumes = receipt(&service, &answer).await["resumes"].as_u64();
            assert!(resumes > Some(0), "{case}: {resumes:?}");
            let body = answer
                .body
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(body == whole, "{case} differs");
            first.start_again();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_is_reset_or_falls_silent_changes_no_byte() {
    let ([first, second], key) = two(200_000).await;
    for format in ["csv", "parquet"] {
        let query = format!("{RANGE}&format={format}");
        let whole = unbroken(&second, &query).await;
        for fault in [Fault::End, Fault::Reset, Fault::Silence] {
            // Alone, a replica is opened again itself; the second one stands in where there is one.
            for others in ["", ",another"] {
                let way = way(&first, fault.clone(), 2).await;
                let another = second.database().config.url;
                let urls = format!("{}{}", way.url, others.replace("another", &another));
                let mut settings = settings(&urls);
                // Longer than a busy machine takes: a replica that is slow is left for the other one, and nothing breaks.
                settings.silence = Duration::from_secs(5);
                // With more, one may break that is not needed any more.
                settings.parallel = 1;
                let service = TestService::start_without_key(settings, key.clone()).await;
                let answer = service.export("site_demo", &query).await;
                let came = way.came.load(Ordering::SeqCst);
                assert!(came > 0, "nothing broke");
                let resumes = receipt(&service, &answer).await["resumes"].as_u64();
                assert!(resumes >= Some(came as u64), "{resumes:?} of {came}");
                assert!(answer.body == Ok(whole.clone()), "{format} differs");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_never_makes_a_file_that_lacks_its_rows() {
    let ([lagging, second], key) = two(300_000).await;
    let whole = unbroken(&second, RANGE).await;
    // The newest rows are missing, or some in the middle, or the oldest.
    for missing in [
        "event_id > 290000",
        "event_id BETWEEN 100000 AND 100010",
        "event_id < 50",
    ] {
        lagging
            .run(&[
                "TRUNCATE TABLE settled",
                &format!("{} WHERE NOT ({missing})", SETTLED[1]),
            ])
            .await;
        let lags = lagging.database().config.url;
        // It is not read from, though it comes first.
        let urls = format!("{lags},{}", second.database().config.url);
        let service = TestService::start_without_key(settings(&urls), key.clone()).await;
        for _ in 0..2 {
            let answer = service.export("site_demo", RANGE).await;
            assert!(
                answer.body.as_ref() == Ok(&whole),
                "{missing}: the file differs"
            );
        }
        // Nor does it stand in for one that dies, though nobody else is left.
        let way = way(&second, Fault::Death(second.process.clone()), 1).await;
        let urls = format!("{},{lags}", way.url);
        let service = TestService::start_without_key(settings(&urls), key.clone()).await;
        let answer = service.export("site_demo", RANGE).await;
        assert_eq!(way.came.load(Ordering::SeqCst), 1, "nothing died");
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.is_err(),
            "{missing}: it ended as if it were complete"
        );
        let receipt = receipt(&service, &answer).await;
        assert_eq!(receipt["status"], "aborted", "{receipt}");
        second.start_again();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_tells_no_plan_and_no_tag() {
    let ([lagging, second], key) = two(20_000).await;
    let lacks = format!("{} WHERE event_id % 1000 != 7", SETTLED[1]);
    lagging.run(&["TRUNCATE TABLE settled", &lacks]).await;
    let plan = format!("/api/websites/site_demo/export/plan?{RANGE}");
    let parts = |plan: &str| {
        let plan: serde_json::Value = serde_json::from_str(plan).expect("JSON");
        plan["parts"].as_array().expect("parts").clone()
    };
    let of = async |urls: &str| TestService::start_without_key(settings(urls), key.clone()).await;
    let (lags, whole) = (lagging.database().config.url, second.database().config.url);
    let alone = parts(&of(&lags).await.get(&plan).await.text());
    let whole_alone = parts(&of(&whole).await.get(&plan).await.text());
    let both = format!("{lags},{whole}");
    assert_eq!(parts(&of(&both).await.get(&plan).await.text()), whole_alone);
    let (old, new) = alone
        .iter()
        .zip(&whole_alone)
        .find(|(old, new)| old["etag"] != new["etag"])
        .expect("a part that differs");
    for method in [Method::GET, Method::HEAD] {
        // Each time the first replica was not left alone before.
        let service = of(&both).await;
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!(
                "http://{}{}",
                service.address,
                new["url"].as_str().expect("a URL")
            ))
            .header("authorization", format!("Bearer {key}"))
            .header("if-none-match", old["etag"].as_str().expect("a tag"));
        let request = request.body(http_body_util::Empty::new());
        let answer = service.request(request.expect("a request")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["etag"], new["etag"].as_str().expect("a tag"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_tells_no_arrivals() {
    let ([lagging, second], key) = two(20_000).await;
    // The first and the last ones are missing: by itself it would know of a smaller window.
    let lacks = format!("{} WHERE event_id BETWEEN 10 AND 19000", SETTLED[1]);
    lagging.run(&["TRUNCATE TABLE settled", &lacks]).await;
    let of = async |urls: &str| TestService::start_without_key(settings(urls), key.clone()).await;
    let (lags, whole) = (lagging.database().config.url, second.database().config.url);
    let query = "since=beginning&include_bots=true&timezone=Europe/Berlin";
    let expected = of(&whole).await.export("site_demo", query).await;
    let both = of(&format!("{lags},{whole}")).await;
    let answer = both.export("site_demo", query).await;
    assert!(answer.body.is_ok() && answer.body == expected.body);
    assert_eq!(answer.text().lines().count(), 20_001);
    let alone = of(&lags).await.export("site_demo", query).await;
    assert!(alone.text().lines().count() < 19_100);
    // With its rows there again, they were late.
    lagging.run(&["TRUNCATE TABLE settled", SETTLED[1]]).await;
    let next = alone.headers["x-export-next-since"].to_str().expect("text");
    let query = format!("since={next}&include_bots=true");
    let answer = both.export("site_demo", &query).await;
    assert_eq!(answer.headers["x-export-late-rows"], "1009");
    assert_eq!(answer.text().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_between_rows_of_one_key_is_no_file() {
    let replicas = [Replica::start(), Replica::start()];
    // Each key twice.
    let events: Vec<Event> = (0..40_000)
        .map(|row| Event::at(1_772_532_900_000 + row / 2, 1).with("url", format!("/{row:060}")))
        .collect();
    for replica in &replicas {
        let database = insert::with_tables(replica.database()).await;
        insert::website(&database, "site_demo").await;
        insert::events(&database, "site_demo", &events).await;
        replica.run(&SETTLED).await;
    }
    let key = key_of_both(&replicas).await;
    let query = "start_date=2026-03-03&end_date=2026-03-03";
    let way = way(&replicas[0], Fault::End, 1).await;
    let urls = format!("{},{}", way.url, replicas[1].database().config.url);
    let mut settings = settings(&urls);
    // Of columns, nothing would have been delivered yet.
    settings.wire = Wire::RowBinary;
    let service = TestService::start_without_key(settings, key.clone()).await;
    let answer = service.export("site_demo", query).await;
    assert_eq!(way.came.load(Ordering::SeqCst), 1, "nothing broke");
    assert!(
        answer.status != 200 || answer.body.is_err(),
        "it looks whole"
    );
    // Unbroken, it is whole.
    let answer = service.export("site_demo", query).await;
    assert_eq!(answer.text().lines().count(), 40_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_patience_is_over_the_export_is_aborted() {
    let ([first, second], key) = two(300_000).await;
    let way_1 = way(&first, Fault::Death(first.process.clone()), 1).await;
    let way_2 = way(&second, Fault::Death(second.process.clone()), 1).await;
    let urls = format!("{},{}", way_1.url, way_2.url);
    // Either the attempts or the time are used up first.
    for (attempts, seconds) in [(3, 300), (1_000_000, 1)] {
        let mut settings = settings(&urls);
        settings.resume_attempts = attempts;
        settings.resume = Duration::from_secs(seconds);
        let service = TestService::start_without_key(settings, key.clone()).await;
        let answer = service.export("site_demo", RANGE).await;
        assert_eq!(answer.status, 200, "the first rows came");
        assert!(answer.body.is_err(), "it ended as if it were complete");
        for (way, replica) in [(&way_1, &first), (&way_2, &second)] {
            assert_eq!(way.left.swap(1, Ordering::SeqCst), 0, "nothing died");
            replica.start_again();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_a_client_that_left_are_gone_on_every_replica() {
    let ([first, second], key) = two(1_000_000).await;
    let way = way(&first, Fault::Silence, 1).await;
    let urls = format!("{},{}", way.url, second.database().config.url);
    let mut settings = settings(&urls);
    // Long enough for a count on a busy machine.
    settings.silence = Duration::from_secs(3);
    settings.parallel = 1;
    let service = TestService::start_without_key(settings, key.clone()).await;
    let (mut stream, id) = service.begin_export(&service.key, RANGE).await;
    // The first replica falls silent with its query still running, and the second one goes on.
    let mut buffer = vec![0; 64 << 10];
    while second.queries().await == 0 {
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            let receipt = service.get(&format!("/api/exports/{id}")).await;
            panic!("the export has ended: {}", receipt.text());
        }
    }
    assert_eq!(way.came.load(Ordering::SeqCst), 1, "nothing broke");
    drop(stream);
    let left = Instant::now();
    while first.queries().await + second.queries().await > 0 {
        assert!(
            left.elapsed() < Duration::from_secs(1),
            "a query still runs"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a process holds: sockets and other open files, threads, and resident memory in KiB.
fn held_by(process: u32) -> (usize, usize, usize) {
    let entries = |folder: &str| {
        let path = format!("/proc/{process}/{folder}");
        std::fs::read_dir(path).expect("a process").count()
    };
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .expect("its memory");
    (
        entries("fd"),
        entries("task"),
        resident.parse().expect("a number"),
    )
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn tasks_sockets_and_memory_return_to_where_they_were_when_clients_leave() {
    let ([first, second], key) = two(300_000).await;
    let urls = format!(
        "{},{}",
        first.database().config.url,
        second.database().config.url
    );
    // Tasks are those of this test's own runtime.
    let service = TestService::start_without_key(settings(&urls), key.clone()).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    // Sockets and memory are those of a process of its own.
    let address = free_address();
    let mut serving = rowspout(&clickhouse(&urls))
        .args(["serve", "--listen", &address.to_string()])
        .env("ROWSPOUT_EVENTS_TABLE", "settled")
        .env("RUST_LOG", "off")
        .stderr(Stdio::null())
        .spawn()
        .expect("rowspout starts");
    listens(address).await;
    let leave = async |to: std::net::SocketAddr, query: &str| {
        let request = format!(
            "GET /api/websites/site_demo/export?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            service.key
        );
        let mut stream = TcpStream::connect(to).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = vec![0; 12];
        stream.read_exact(&mut head).await.expect("a head");
        assert_eq!(head, b"HTTP/1.1 200");
    };
    let round = async || {
        for format in FORMATS {
            let query = format!("{RANGE}&format={format}");
            let leaving = (0..4).map(|_| async {
                leave(service.address, &query).await;
                leave(address, &query).await;
            });
            futures_util::future::join_all(leaving).await;
        }
    };
    // The first round fills caches and pools that stay.
    round().await;
    let settle = async |most: usize, files: usize| {
        let begun = Instant::now();
        loop {
            let (now, held) = (tasks(), held_by(serving.id()));
            if now <= most && held.0 <= files || begun.elapsed() > Duration::from_secs(90) {
                return (now, held);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (before, held_before) = settle(4, 20).await;
    for _ in 0..3 {
        round().await;
    }
    let (after, held_after) = settle(before, held_before.0).await;
    serving.kill().expect("killed");
    serving.wait().expect("ended");
    assert!(after <= before, "{after} tasks instead of {before}");
    assert!(
        held_after.0 <= held_before.0,
        "{held_after:?} instead of {held_before:?}"
    );
    // Three more rounds of abandoned exports may not keep what one did.
    assert!(
        held_after.2 < held_before.2 + (64 << 10),
        "{held_after:?} instead of {held_before:?}"
    );
}

#[test]
fn replicas_are_given_with_commas_or_as_a_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rowspout.toml");
    let urls = |text: &str| {
        std::fs::write(&path, text).expect("written");
        let file = Layer::from_file(Some(&path))?;
        let config = Config::resolve(Layer::default(), Layer::default(), file)?;
        let replicas = config.clickhouse.replicas().map(|replica| replica.url);
        Ok::<_, rowspout::error::Error>(replicas.collect::<Vec<_>>())
    };
    let both = ["http://a:8123", "https://b:8443"];
    for text in [
        "clickhouse_url = 'http://a:8123, https://b:8443'",
        "clickhouse_url = ['http://a:8123', 'https://b:8443']",
    ] {
        assert_eq!(urls(text).expect("settings"), both);
    }
    for bad in [
        "clickhouse_url = 'http://a:8123,'",
        "clickhouse_url = []",
        "clickhouse_url = ['http://a:8123', 'ftp://b']",
        "clickhouse_url = 5",
        "resume_pause_ms = 0",
        "resume_seconds = 0",
        "replica_pause_seconds = 0",
        "silence_seconds = 0",
    ] {
        let name = bad.split(' ').next().expect("a name");
        let error = urls(bad).expect_err(bad);
        assert!(
            error.message().contains(name) || error.message().contains("address"),
            "{error}"
        );
    }
}
