//! What HTTP clients may rely on: statuses, headers and errors.

use hyper::{Method, StatusCode};

use crate::support::insert::{self, database};
use crate::support::service::{Answer, TestService};

const RANGE: &str = "start_date=2026-03-01&end_date=2026-03-07";

async fn service_with_site() -> (crate::support::TestDatabase, TestService) {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let service = TestService::start(&database.config).await;
    (database, service)
}

fn assert_refused(answer: &Answer, status: u16, code: &str, field: Option<&str>, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let error = answer.error();
    assert_eq!(error["code"], code, "{error}");
    assert_eq!(error["field"].as_str(), field, "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    assert!(answer.headers.contains_key("x-export-id"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_range_is_an_empty_file_in_every_format() {
    let (_database, service) = service_with_site().await;
    let header = "timestamp,event_type,url,event_name,event_data,visitor_id,session_id,country,region,city,\
                  browser,os,device,referrer,utm_source,utm_medium,utm_campaign\n";
    for (format, content_type, body) in [
        ("csv", "text/csv; charset=utf-8", header),
        ("json", "application/json", "[]"),
        ("ndjson", "application/x-ndjson", ""),
    ] {
        let answer = service
            .export("site_a", &format!("{RANGE}&format={format}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["content-type"], content_type);
        assert_eq!(
            answer.headers["content-disposition"],
            format!("attachment; filename=\"events_site_a_2026-03-01_2026-03-07.{format}\"")
                .as_str()
        );
        assert_eq!(answer.headers["accept-ranges"], "none");
        assert_eq!(answer.text(), body);
    }
    let answer = service
        .export("site_a", &format!("{RANGE}&format=parquet"))
        .await;
    assert_eq!(
        answer.headers["content-type"],
        "application/vnd.apache.parquet"
    );
    let file = answer.body.expect("a complete file");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("a Parquet file");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    assert_eq!(reader.schema().fields().len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_parameter_is_refused_by_name_with_its_remedy() {
    let (_database, service) = service_with_site().await;
    for (query, field, says) in [
        ("end_date=2026-03-07", "start_date", "missing"),
        ("start_date=2026-03-07", "end_date", "missing"),
        (
            "start_date=&end_date=2026-03-07",
            "start_date",
            "YYYY-MM-DD",
        ),
        (
            "start_date=2026-3-1&end_date=2026-03-07",
            "start_date",
            "YYYY-MM-DD",
        ),
        (
            "start_date=2026-02-30&end_date=2026-03-07",
            "start_date",
            "calendar",
        ),
        (
            "start_date=2026-03-08&end_date=2026-03-07",
            "end_date",
            "swap",
        ),
        (
            "start_date=2026-01-01&end_date=2026-04-01",
            "end_date",
            "91 days",
        ),
        (
            "start_date=0000-01-01&end_date=0000-01-02",
            "start_date",
            "out of reach",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&format=xlsx",
            "format",
            "ndjson",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&format=",
            "format",
            "csv",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&timezone=Mars/Olympus",
            "timezone",
            "IANA",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&timezone=europe/berlin",
            "timezone",
            "Europe/Berlin",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&timezone=Etc/GMT+5",
            "timezone",
            "%2B",
        ),
        (
            "start_date=1970-03-01&end_date=1970-03-07&timezone=Africa/Monrovia",
            "timezone",
            "whole minutes",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&event_type=click",
            "event_type",
            "pageview",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&include_bots=1",
            "include_bots",
            "true",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&rows=5",
            "rows",
            "no parameter",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&fields=",
            "fields",
            "timestamp,event_type",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&fields=url,is_bot",
            "fields",
            "is_bot",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&fields=url,%20os",
            "fields",
            "commas",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&fields=url,os,url",
            "fields",
            "url more than once",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&fields=url&fields=os",
            "fields",
            "more than once",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&limit=0",
            "limit",
            "leave it out",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&limit=%2B5",
            "limit",
            "number of rows",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&limit=18446744073709551616",
            "limit",
            "number of rows",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&compression=zstd",
            "compression",
            "format=parquet",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&format=parquet&compression=lz4",
            "compression",
            "zstd, snappy, none",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&format=json&spreadsheet=true",
            "spreadsheet",
            "format=csv",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&spreadsheet=yes",
            "spreadsheet",
            "neither true nor false",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&event_data=x",
            "event_data",
            "data.KEY",
        ),
        ("format=csv", "start_date", "from and to"),
        ("from=2026-03-01T00:00:00Z", "to", "missing"),
        ("to=2026-03-01T00:00:00Z", "from", "missing"),
        (
            "from=2026-03-01T00:00:00Z&end_date=2026-03-07",
            "from",
            "end_date",
        ),
        (
            "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&start_date=2026-03-01&end_date=2026-03-07",
            "from",
            "start_date",
        ),
        (
            "from=2026-03-01&to=2026-03-02T00:00:00Z",
            "from",
            "RFC 3339",
        ),
        (
            "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00",
            "to",
            "no zone",
        ),
        (
            "from=2026-03-01T00:00:00+01:00&to=2026-03-02T00:00:00Z",
            "from",
            "%2B",
        ),
        (
            "from=2026-03-01T00:00:00.0001Z&to=2026-03-02T00:00:00Z",
            "from",
            "finer than a millisecond",
        ),
        (
            "from=2026-03-01T00:00:00Z&to=2026-03-01T01:00:00%2B01:00",
            "to",
            "not behind",
        ),
        (
            "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
            "to",
            "not behind",
        ),
        (
            "from=2026-01-01T00:00:00Z&to=2026-04-01T00:00:00.001Z",
            "to",
            "to=2026-04-01T00:00:00Z",
        ),
        (
            "from=1899-12-31T23:59:59Z&to=1900-01-01T00:00:00Z",
            "from",
            "1900",
        ),
        (
            "from=2100-01-01T00:00:00Z&to=2100-01-01T00:00:01Z&timezone=Asia/Tokyo",
            "from",
            "use UTC",
        ),
        (
            "from=1970-03-01T00:00:00Z&to=1970-03-01T00:00:01Z&timezone=Africa/Monrovia",
            "timezone",
            "whole minutes",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&Format=csv",
            "Format",
            "no parameter",
        ),
        (
            "start_date=2026-03-01&start_date=2026-03-01&end_date=2026-03-07",
            "start_date",
            "more than once",
        ),
        ("start_date=%FF&end_date=2026-03-07", "start_date", "UTF-8"),
        (
            "start_date=2026-03-01'%20OR%201=1--&end_date=2026-03-07",
            "start_date",
            "YYYY-MM-DD",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&event_type=event'%20OR%20'1'='1",
            "event_type",
            "neither",
        ),
        (
            "start_date=2026-03-01&end_date=2026-03-07&timezone=UTC');DROP%20TABLE%20events;--",
            "timezone",
            "known",
        ),
    ] {
        let answer = service.export("site_a", query).await;
        assert_refused(&answer, 400, "validation_error", Some(field), says);
    }
    // Ninety days, both ends included, are allowed.
    let answer = service
        .export("site_a", "start_date=2026-01-01&end_date=2026-03-31")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_websites_and_paths_are_checked_in_the_contracts_order() {
    let (database, service) = service_with_site().await;
    insert::website(&database, "site_b").await;
    let catalog = rowspout::catalog::Catalog::new(&database.config);
    let narrow = catalog
        .create_key(&["site_a".to_owned()], "narrow")
        .await
        .expect("a key");
    let export = |site: &str| format!("/api/websites/{site}/export?{RANGE}");

    // Path before method before key.
    for path in [
        "/page",
        "/api/websites/site_a",
        "/api/websites/abc/export",
        "/api/websites/site_a/export/",
        "/API/websites/site_a/export",
    ] {
        let answer = service.send(Method::POST, path, None).await;
        assert_refused(&answer, 404, "not_found", None, "/api/websites/{id}/export");
    }
    let answer = service.send(Method::POST, &export("site_a"), None).await;
    assert_refused(&answer, 405, "method_not_allowed", None, "GET");
    assert_eq!(answer.headers["allow"], "GET, HEAD");

    // Key before parameters.
    for key in [
        None,
        Some(""),
        Some("spk_selfhosted_"),
        Some("spk_selfhosted_00000000000000000000000000000000"),
        Some("' OR 1=1"),
    ] {
        let answer = service
            .send(Method::GET, "/api/websites/site_a/export?x=1", key)
            .await;
        assert_refused(&answer, 401, "unauthorized", None, "key");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }

    // Parameters before the key's websites before the website.
    let answer = service
        .send(Method::GET, "/api/websites/site_b/export", Some(&narrow))
        .await;
    assert_refused(
        &answer,
        400,
        "validation_error",
        Some("start_date"),
        "missing",
    );
    let answer = service
        .send(Method::GET, &export("site_nowhere"), Some(&narrow))
        .await;
    assert_refused(&answer, 403, "forbidden", None, "site_nowhere");
    let answer = service
        .send(Method::GET, &export("site_b"), Some(&narrow))
        .await;
    assert_refused(&answer, 403, "forbidden", None, "site_b");
    let answer = service
        .send(Method::GET, &export("site_nowhere"), Some(&service.key))
        .await;
    assert_refused(&answer, 404, "not_found", None, "site_nowhere");
    let answer = service
        .send(Method::GET, &export("site_a"), Some(&narrow))
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_like_get_without_a_body() {
    let (_database, service) = service_with_site().await;
    let path = format!("/api/websites/site_a/export?{RANGE}&format=ndjson");
    let get = service.get(&path).await;
    let head = service.send(Method::HEAD, &path, Some(&service.key)).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.text(), "");
    for name in [
        "content-type",
        "content-disposition",
        "accept-ranges",
        "cache-control",
        "x-content-type-options",
    ] {
        assert_eq!(head.headers.get(name), get.headers.get(name), "{name}");
    }
    let bad = service
        .send(
            Method::HEAD,
            "/api/websites/site_a/export",
            Some(&service.key),
        )
        .await;
    assert_eq!(bad.status, 400);
    let unknown = service.send(Method::HEAD, &path, None).await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_working_within_five_seconds() {
    let (database, service) = service_with_site().await;
    let path = format!("/api/websites/site_a/export?{RANGE}");
    assert_eq!(service.get(&path).await.status, 200);
    let catalog = rowspout::catalog::Catalog::new(&database.config);
    let keys = catalog.list_keys().await.expect("keys");
    catalog.revoke_key(&keys[0].id).await.expect("revoked");
    let revoked = std::time::Instant::now();
    while service.get(&path).await.status == 200 {
        assert!(revoked.elapsed().as_secs() < 5, "the key still works");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(service.get(&path).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_read_get_the_same_kind_of_error() {
    let (database, _) = service_with_site().await;
    let mut config = crate::support::service::config(&database.config);
    config.head = std::time::Duration::from_secs(1);
    let service = TestService::start_with(config).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(10_000));
    let long_uri = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let long_header = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    let huge_header = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n",
        "a".repeat(600_000)
    );
    let many_headers = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X-A: b\r\n".repeat(500)
    );
    let old = format!("GET /api/websites/site_a/export?{RANGE} HTTP/1.0\r\nHost: x\r\n\r\n");
    for (request, status) in [
        (long_path.as_str(), "414"),
        (&long_uri, "414"),
        (&long_header, "431"),
        (&huge_header, "431"),
        (&many_headers, "431"),
        (&old, "505"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n", "408"),
        ("NOT HTTP AT ALL\r\n\r\n", "400"),
        (
            "GET /healthz HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
            "400",
        ),
    ] {
        let answer = service.raw(request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or("");
        assert!(
            line.starts_with("HTTP/1") && line.contains(status),
            "{line:?} is not {status}"
        );
        assert!(
            answer.to_lowercase().contains("x-export-id: exp_"),
            "{answer}"
        );
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or("");
        let json: serde_json::Value = serde_json::from_str(body).expect(body);
        assert_eq!(json["error"]["code"], "bad_request", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_answer() {
    let (_database, service) = service_with_site().await;
    assert_eq!(
        service.send(Method::GET, "/healthz", None).await.status,
        200
    );
    assert_eq!(service.send(Method::GET, "/readyz", None).await.status, 200);
    assert_eq!(
        service.send(Method::GET, "/metrics", None).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_clickhouse_is_said_with_a_time_to_retry() {
    let (database, _) = service_with_site().await;
    let service = TestService::start(&database.config).await;
    let mut config = crate::support::service::config(&database.config);
    // A port that nobody listens on.
    config.clickhouse.url = "http://127.0.0.1:9".into();
    let deaf = TestService::start_without_key(config, service.key.clone()).await;
    assert_eq!(deaf.send(Method::GET, "/healthz", None).await.status, 200);
    for path in ["/readyz", &format!("/api/websites/site_a/export?{RANGE}")] {
        let answer = deaf.send(Method::GET, path, Some(&service.key)).await;
        assert_refused(&answer, 503, "unavailable", None, "ClickHouse");
        assert!(answer.headers.contains_key("retry-after"));
    }
}
