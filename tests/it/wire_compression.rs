//! Rows compressed between ClickHouse and here: the same files, and no garbled one that looks whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rowspout::config::{ClickHouse, Config, Layer};
use rowspout::cursor::WireCompression;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::compression::{decode, fill};
use crate::support::insert::database;
use crate::support::service::{TestService, config};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const FORMATS: [&str; 4] = ["csv", "json", "ndjson", "parquet"];

async fn service(clickhouse: &ClickHouse, table: &str, wire: WireCompression) -> TestService {
    let mut settings = config(clickhouse);
    settings.events_table = table.into();
    settings.wire_compression = wire;
    TestService::start_with(settings).await
}

/// A proxy in front of ClickHouse that counts the bytes of all answers, and, where asked, flips a bit of one of them.
struct Meddler {
    url: String,
    /// Bytes of answers so far.
    passed: Arc<AtomicUsize>,
    /// The byte of an answer that is flipped, counted from the answer's begin; `usize::MAX` for none.
    flip: Arc<AtomicUsize>,
}

impl Meddler {
    async fn start(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let passed = Arc::new(AtomicUsize::new(0));
        let flip = Arc::new(AtomicUsize::new(usize::MAX));
        let (count, which) = (passed.clone(), flip.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.expect("ClickHouse");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let answered = Arc::new(AtomicUsize::new(0));
                let asked = answered.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                        asked.store(0, Ordering::SeqCst);
                        if to_server.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
                let (count, which) = (count.clone(), which.clone());
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        let begin = answered.fetch_add(read, Ordering::SeqCst);
                        count.fetch_add(read, Ordering::SeqCst);
                        let flipped = which.load(Ordering::SeqCst).checked_sub(begin);
                        if let Some(byte) = flipped.and_then(|at| buffer[..read].get_mut(at)) {
                            *byte ^= 4;
                        }
                        if to_client.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, passed, flip }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_wire_brings_the_same_file_in_fewer_bytes() {
    let database = database().await;
    fill(&database, 100_000).await;
    let meddler = Meddler::start(&database.config.url).await;
    let mut behind = database.config.clone();
    behind.url.clone_from(&meddler.url);
    for format in FORMATS {
        let mut plain = None;
        for wire in WireCompression::ALL {
            let service = service(&behind, "events", wire).await;
            let before = meddler.passed.load(Ordering::SeqCst);
            let answer = service
                .export("site_demo", &format!("{RANGE}&format={format}"))
                .await;
            let passed = meddler.passed.load(Ordering::SeqCst) - before;
            let file = answer.body.expect("a whole file");
            let (expected, bytes) = plain.get_or_insert_with(|| (file.clone(), passed));
            assert!(file == *expected, "{format} over {wire:?} differs");
            assert!(
                wire == WireCompression::None || passed < *bytes / 2,
                "{wire:?}: {passed} bytes instead of {bytes}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_in_mid_export_aborts_it_over_every_wire() {
    let database = database().await;
    fill(&database, 300_000).await;
    let sql = "CREATE VIEW failing AS SELECT * REPLACE (if(throwIf(timestamp >= (SELECT timestamp FROM events \
               WHERE website_id = 'site_demo' ORDER BY timestamp, event_id LIMIT 1 OFFSET 250000), \
               'broken on purpose') = 0, url, '') AS url) FROM events";
    let view = database.client.query_raw(sql).execute().await;
    view.expect("a view");
    for wire in WireCompression::ALL {
        let service = service(&database.config, "failing", wire).await;
        for format in ["csv", "parquet"] {
            let answer = service
                .export("site_demo", &format!("{RANGE}&format={format}"))
                .await;
            let whole = answer.status == 200 && answer.body.is_ok();
            assert!(!whole, "{format} over {wire:?} looks whole");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_on_a_wire_with_checksums_never_leaves_a_file_that_looks_whole() {
    let database = database().await;
    fill(&database, 100_000).await;
    let meddler = Meddler::start(&database.config.url).await;
    let mut behind = database.config.clone();
    behind.url.clone_from(&meddler.url);
    let layer = Layer {
        clickhouse_url: Some(behind.url.clone()),
        wire_compression: Some("zstd".into()),
        ..Layer::default()
    };
    let resolved = Config::resolve(layer, Layer::default(), Layer::default());
    let mut settings = config(&behind);
    settings.wire_compression = WireCompression::Zstd;
    // A query that others take rows over from is not read to its checksum, so that is not the default here.
    settings.parallel = resolved.expect("settings").parallel;
    assert_eq!(settings.parallel, 1);
    let service = TestService::start_with(settings).await;
    let whole = service.export("site_demo", RANGE).await;
    let whole = whole.body.expect("a whole file");
    let (mut aborted, mut tried) = (0, 0);
    for at in (5_000..1_000_000).step_by(37_777) {
        meddler.flip.store(at, Ordering::SeqCst);
        let answer = service.export("site_demo", RANGE).await;
        meddler.flip.store(usize::MAX, Ordering::SeqCst);
        tried += 1;
        match answer.body {
            // Where the byte was one of the counts, or there were not so many bytes, the file is right.
            Ok(file) if answer.status == 200 => {
                assert!(file == whole, "byte {at} was garbled and so is the file");
            }
            _ => aborted += 1,
        }
    }
    assert!(aborted > tried / 2, "{aborted} of {tried} were aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_engine_compresses_where_a_server_would() {
    let database = database().await;
    fill(&database, 70_000).await;
    let select = format!(
        "SELECT url FROM {}.events ORDER BY event_id FORMAT TSV",
        database.config.database
    );
    let plain = database
        .client
        .query_raw(&select.replace(" FORMAT TSV", ""));
    let mut plain = plain.fetch_bytes("TSV").expect("a cursor");
    let plain = plain.collect().await.expect("rows");
    for (setting, accept, expected) in [
        ("1", "zstd", Some("zstd")),
        ("1", "gzip, zstd", Some("zstd")),
        ("0", "zstd", None),
        ("1", "", None),
    ] {
        let mut url = hyper::Request::post(format!(
            "{}/?enable_http_compression={setting}",
            database.config.url
        ));
        if let (Some(user), Some(password)) = (&database.config.user, &database.config.password) {
            url = url.header("x-clickhouse-user", user);
            url = url.header("x-clickhouse-key", password);
        }
        let request = url
            .header("accept-encoding", accept)
            .body(http_body_util::Full::new(bytes::Bytes::from(
                select.clone(),
            )))
            .expect("a request");
        let executor = hyper_util::rt::TokioExecutor::new();
        let client = hyper_util::client::legacy::Client::builder(executor).build_http();
        let response = client.request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let encoding = response.headers().get("content-encoding").cloned();
        assert_eq!(
            encoding.as_ref().map(|value| value.to_str().expect("text")),
            expected
        );
        let body = http_body_util::BodyExt::collect(response.into_body());
        let body = body.await.expect("a whole body").to_bytes();
        let (decoded, ended) = match expected {
            Some(encoding) => decode(encoding, &body),
            None => (body.to_vec(), true),
        };
        assert!(ended && decoded == plain, "{setting} {accept}");
    }
}

#[test]
fn a_wire_compression_that_is_not_known_is_refused_by_name() {
    let layer = Layer {
        wire_compression: Some("snappy".into()),
        ..Layer::default()
    };
    let error = Config::resolve(layer, Layer::default(), Layer::default()).expect_err("an error");
    for says in ["snappy", "none, lz4, zstd"] {
        assert!(error.message().contains(says), "{error}");
    }
}
