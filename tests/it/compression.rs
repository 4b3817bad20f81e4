//! Files compressed on their way to the client: the same bytes, and the same honesty about their end.

use std::io::Read;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Method, Request};

use crate::support::insert::{self, database};
use crate::support::service::{Answer, TestService};
use crate::support::{Http, OwnEngine, TestDatabase, read_answer};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
const ENCODINGS: [&str; 3] = ["zstd", "br", "gzip"];
const TEXTS: [&str; 3] = ["csv", "json", "ndjson"];

pub(crate) async fn fill(database: &TestDatabase, rows: u64) {
    insert::website(database, "site_demo").await;
    insert::website(database, "site_empty").await;
    let site = rowspout::request::WebsiteId::parse("site_demo").expect("an id");
    rowspout::schema::make_demo_events(&database.config, &site, rows)
        .await
        .expect("traffic");
}

async fn ask(
    service: &TestService,
    method: Method,
    site: &str,
    format: &str,
    accept: Option<&str>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(format!(
        "http://{}/api/websites/{site}/export?{RANGE}&format={format}",
        service.address
    ));
    request = request.header("authorization", format!("Bearer {}", service.key));
    if let Some(accept) = accept {
        request = request.header("accept-encoding", accept);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    service.request(request).await
}

/// What can be decoded, and whether the stream had its end there.
pub(crate) fn decode(encoding: &str, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut decoder: Box<dyn Read> = match encoding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4 << 10)),
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        other => panic!("there is no encoding {other}"),
    };
    let mut decoded = Vec::new();
    let ended = decoder.read_to_end(&mut decoded).is_ok();
    (decoded, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_decodes_to_the_same_file() {
    let database = database().await;
    fill(&database, 60_000).await;
    let service = TestService::start(&database.config).await;
    for site in ["site_demo", "site_empty"] {
        for format in TEXTS {
            let plain = ask(&service, Method::GET, site, format, None).await;
            assert!(!plain.headers.contains_key("content-encoding"));
            assert_eq!(plain.headers["vary"], "accept-encoding");
            let file = plain.body.expect("a whole file");
            for encoding in ENCODINGS {
                let answer = ask(&service, Method::GET, site, format, Some(encoding)).await;
                assert_eq!(answer.status, 200);
                assert_eq!(answer.headers["content-encoding"], encoding);
                assert_eq!(answer.headers["vary"], "accept-encoding");
                for name in ["content-type", "content-disposition", "cache-control"] {
                    assert_eq!(answer.headers[name], plain.headers[name], "{name}");
                }
                let body = answer.body.expect("a whole body");
                let (decoded, ended) = decode(encoding, &body);
                assert!(ended, "{format} as {encoding} has no end");
                assert!(decoded == file, "{format} as {encoding} differs");
                assert!(site == "site_empty" || body.len() < file.len() / 3);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_is_never_compressed_again() {
    let database = database().await;
    fill(&database, 1_000).await;
    let service = TestService::start(&database.config).await;
    let plain = ask(&service, Method::GET, "site_demo", "parquet", None).await;
    let answer = ask(
        &service,
        Method::GET,
        "site_demo",
        "parquet",
        Some("zstd, br, gzip"),
    )
    .await;
    for answer in [&plain, &answer] {
        assert!(!answer.headers.contains_key("content-encoding"));
        assert!(!answer.headers.contains_key("vary"));
    }
    assert_eq!(plain.body.expect("a file"), answer.body.expect("a file"));

    let refused = ask(
        &service,
        Method::GET,
        "site_demo",
        "parquet",
        Some("gzip, identity;q=0"),
    )
    .await;
    assert_eq!(refused.status, 406);
    let error = refused.error();
    assert_eq!(error["code"], "bad_request");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("identity;q=0"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_the_encoding_too() {
    let database = database().await;
    fill(&database, 10).await;
    let service = TestService::start(&database.config).await;
    let encodings = [None, Some("gzip"), Some("gzip;q=0.5, br"), Some("identity")];
    for format in ["csv", "ndjson", "parquet"] {
        for accept in encodings {
            let get = ask(&service, Method::GET, "site_demo", format, accept).await;
            let head = ask(&service, Method::HEAD, "site_demo", format, accept).await;
            assert_eq!(head.status, 200);
            for name in ["content-encoding", "vary", "content-type"] {
                assert_eq!(head.headers.get(name), get.headers.get(name), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_in_mid_export_leaves_no_encoded_file_that_looks_whole() {
    let mut engine = OwnEngine::start();
    let database = insert::with_tables(TestDatabase {
        config: engine.process().clickhouse("default"),
        client: engine.client(),
    })
    .await;
    fill(&database, 2_000_000).await;
    let service = TestService::start(&database.config).await;
    let whole = service
        .export("site_demo", RANGE)
        .await
        .body
        .expect("whole");
    let http = Http::new(
        &format!("http://{}", service.address),
        &format!("Authorization: Bearer {}\r\n", service.key),
    );

    // Clients that have not read anything yet, so that their exports stand still.
    let mut streams = Vec::new();
    for encoding in ENCODINGS {
        let target = format!("/api/websites/site_demo/export?{RANGE}");
        let head = http.head("GET", &target, &format!("Accept-Encoding: {encoding}\r\n"));
        let stream = http.open(head.as_bytes()).await;
        stream.readable().await.expect("an answer");
        streams.push((encoding, stream));
    }
    engine.kill();
    for (encoding, mut stream) in streams {
        let answer = read_answer(&mut stream).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert!(!answer.complete, "{encoding}: the response looks whole");
        let (decoded, ended) = decode(encoding, &answer.body);
        assert!(!ended, "{encoding}: the compressed stream looks whole");
        // What had been sent can be read: nothing waits in a compressor.
        assert!(!decoded.is_empty(), "{encoding}: nothing was flushed");
        assert!(decoded.len() < whole.len());
        assert!(whole.starts_with(&decoded), "{encoding}: other bytes");
    }
}
