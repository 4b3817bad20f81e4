//! `/openapi.json` is true: what the service answers is what stands there.

use std::collections::BTreeSet;

use hyper::Method;
use rowspout::catalog::Catalog;
use rowspout::pushdown::columns::COLUMNS;
use serde_json::Value;

use crate::support::insert::traffic;
use crate::support::service::{TestService, config};
use crate::support::{Answer, Http};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-01-02";
const EXPORT: &str = "/api/websites/{id}/export";
const PLAN: &str = "/api/websites/{id}/export/plan";
const RECEIPT: &str = "/api/exports/{export_id}";
const TICKETS: &str = "/api/websites/{id}/export/tickets";
const WEBSITES: &str = "/api/websites";

/// Headers of HTTP itself, which no description names.
const OF_HTTP: [&str; 5] = [
    "date",
    "content-length",
    "connection",
    "transfer-encoding",
    "content-type",
];

/// The description that the service gives of itself.
struct Document(Value);

impl Document {
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(pointer) => {
                let found = self.0.pointer(pointer.trim_start_matches('#'));
                self.resolved(found.expect("a pointer leads somewhere"))
            }
        }
    }

    /// Fails where an answer is not as it is described.
    fn check(&self, path: &str, method: &str, answer: &Answer) {
        let status = answer.status.to_string();
        let described = match &self.0["paths"][path][method.to_lowercase()]["responses"][&status] {
            Value::Null => &self.0["paths"][path]["x-other-methods"][&status],
            described => described,
        };
        assert!(
            !described.is_null(),
            "{method} {path}: {status} is not described"
        );
        let described = self.resolved(described);
        let headers = described["headers"].as_object().expect("headers");
        let mut known: BTreeSet<_> = OF_HTTP.iter().map(|name| (*name).to_owned()).collect();
        for (name, header) in headers {
            let header = self.resolved(header);
            let name = name.to_lowercase();
            match answer.header(&name) {
                None => assert_eq!(header["required"], false, "{status}: no {name}"),
                Some(value) => self.check_value(&header["schema"], &name, value),
            }
            known.insert(name);
        }
        for line in answer.head.lines().skip(1) {
            let (name, _) = line.split_once(':').expect("a header");
            assert!(known.contains(name), "{status}: {name} is not described");
        }
        if method == "HEAD" || answer.status == 304 {
            assert!(answer.body.is_empty() && described["content"].is_null());
            return;
        }
        let content = described["content"].as_object().expect("content");
        let content_type = answer.header("content-type").expect("a type");
        assert!(
            content.contains_key(content_type),
            "{status}: {content_type}"
        );
        if answer.status >= 400 {
            let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
            let code = &error["error"]["code"];
            let schema = &content[content_type]["schema"]["allOf"][1]["properties"]["error"];
            let schema = &schema["properties"]["code"];
            let codes = schema["enum"].as_array();
            assert!(
                schema["const"] == *code || codes.is_some_and(|codes| codes.contains(code)),
                "{status}: {code}"
            );
        }
    }

    fn check_value(&self, schema: &Value, name: &str, value: &str) {
        if let Some(expected) = schema["const"].as_str() {
            assert_eq!(value, expected, "{name}");
        }
        if let Some(known) = schema["enum"].as_array() {
            assert!(known.contains(&value.into()), "{name}: {value}");
        }
        if schema["type"] == "integer" {
            assert!(
                value.parse::<u32>().is_ok_and(|number| number >= 1),
                "{name}"
            );
        }
    }
}

fn http(service: &TestService) -> Http {
    let headers = format!("Authorization: Bearer {}\r\n", service.key);
    Http::new(&format!("http://{}", service.address), &headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_service_describes_them() {
    let database = traffic(2_000).await;
    let settle = "ALTER TABLE events UPDATE ingested_at = ingested_at - INTERVAL 1 HOUR WHERE 1 SETTINGS mutations_sync = 2";
    let settle = database.client.query_raw(settle);
    settle.execute().await.expect("rows that have tags");
    let service = TestService::start(&database.config).await;
    let http = http(&service);
    let document = http.get("/openapi.json").await;
    assert_eq!(document.status, 200);
    let document = Document(serde_json::from_slice(&document.body).expect("JSON"));
    let target = format!("/api/websites/site_demo/export?{RANGE}");
    let mut statuses = BTreeSet::new();
    let mut send = async |path: &str, method: &str, target: &str, headers: &str| {
        let request = http.head(method, target, headers);
        let answer = http.send(request.as_bytes()).await;
        document.check(path, method, &answer);
        statuses.insert(answer.status);
        answer
    };

    let mut id = String::new();
    for method in ["GET", "HEAD"] {
        for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
            for (headers, asked) in [
                ("", ""),
                ("TE: trailers\r\n", "&limit=5&fields=url,timestamp"),
                ("Accept-Encoding: gzip\r\n", "&country=DE&data.plan=pro"),
            ] {
                let target = format!("{target}&format={format}{asked}");
                let answer = send(EXPORT, method, &target, headers).await;
                assert_eq!(answer.status, 200);
                if method == "GET" {
                    id = answer.header("x-export-id").expect("an id").to_owned();
                }
            }
        }
        let part =
            "/api/websites/site_demo/export?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
        let answer = send(EXPORT, method, part, "").await;
        let etag = answer.header("etag").expect("a tag").to_owned();
        let known = format!("If-None-Match: {etag}\r\n");
        assert_eq!(send(EXPORT, method, part, &known).await.status, 304);
        let known = format!("Accept-Encoding: gzip\r\nIf-None-Match: {etag}\r\n");
        assert_eq!(send(EXPORT, method, part, &known).await.status, 304);
        let unknown = "Accept-Encoding: gzip\r\nIf-None-Match: \"a\"\r\n";
        assert_eq!(send(EXPORT, method, part, unknown).await.status, 200);
        let malformed = "If-None-Match: a\r\n";
        assert_eq!(send(EXPORT, method, part, malformed).await.status, 400);
        let plan = target.replace("/export?", "/export/plan?");
        for target in [&plan, &format!("{plan}&part_rows=10&country=DE")] {
            assert_eq!(send(PLAN, method, target, "").await.status, 200);
        }
        send(PLAN, method, &format!("{plan}&part_rows=0"), "").await;
        send(PLAN, method, &plan.replace("demo", "nowhere"), "").await;
        send(PLAN, method, &plan, "Authorization: Bearer x\r\n").await;
        let receipt = send(RECEIPT, method, &format!("/api/exports/{id}"), "").await;
        assert_eq!(receipt.status, 200);
        let nowhere = format!("/api/exports/exp_{}", "0".repeat(32));
        send(RECEIPT, method, &nowhere, "").await;
        send(RECEIPT, method, &format!("/api/exports/{id}?x=1"), "").await;
        send(EXPORT, method, &format!("{target}&x=1"), "").await;
        send(EXPORT, method, &target.replace("demo", "nowhere"), "").await;
        send(
            EXPORT,
            method,
            &target,
            "Accept-Encoding: identity;q=0, x\r\n",
        )
        .await;
        send(EXPORT, method, &target, "Authorization: Bearer x\r\n").await;
        assert_eq!(send(WEBSITES, method, WEBSITES, "").await.status, 200);
        send(WEBSITES, method, "/api/websites?x=1", "").await;
        send(WEBSITES, method, WEBSITES, "Authorization: Bearer x\r\n").await;
        for path in ["/", "/healthz", "/readyz", "/metrics", "/openapi.json"] {
            assert_eq!(send(path, method, path, "").await.status, 200);
            send(path, method, &format!("{path}?{}", "a".repeat(9_000)), "").await;
            let large = format!("X-A: {}\r\n", "a".repeat(40_000));
            send(path, method, path, &large).await;
        }
    }
    let tickets = target.replace("/export?", "/export/tickets?");
    let issued = send(TICKETS, "POST", &tickets, "").await;
    assert_eq!(issued.status, 200);
    send(TICKETS, "POST", &format!("{tickets}&x=1"), "").await;
    send(TICKETS, "POST", &tickets.replace("demo", "nowhere"), "").await;
    send(TICKETS, "POST", &tickets, "Authorization: Bearer x\r\n").await;
    send(TICKETS, "POST", &tickets, "Content-Length: 1\r\n").await;
    let ended = send(RECEIPT, "DELETE", &format!("/api/exports/{id}"), "").await;
    assert_eq!(ended.status, 200);
    send(RECEIPT, "DELETE", &format!("/api/exports/{id}?x=1"), "").await;
    for (path, target) in [
        ("/", "/"),
        (WEBSITES, WEBSITES),
        (EXPORT, target.as_str()),
        (PLAN, "/api/websites/site_demo/export/plan"),
        (RECEIPT, &format!("/api/exports/{id}")),
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/metrics", "/metrics"),
        ("/openapi.json", "/openapi.json"),
    ] {
        assert_eq!(send(path, "POST", target, "").await.status, 405);
        assert_eq!(send(path, "GET", target, "no header\r\n").await.status, 400);
    }

    let url: Value = serde_json::from_slice(&issued.body).expect("JSON");
    let url = url["url"].as_str().expect("a URL");
    let bare = Http::new(&format!("http://{}", service.address), "");
    for (method, status) in [("HEAD", 200), ("GET", 200), ("HEAD", 401), ("GET", 401)] {
        let answer = bare.send(bare.head(method, url, "").as_bytes()).await;
        assert_eq!(answer.status, status);
        document.check(EXPORT, method, &answer);
    }
    let both = http.get(url).await;
    assert_eq!(both.status, 400);
    document.check(EXPORT, "GET", &both);

    let narrow = Catalog::new(&database.config);
    let narrow = narrow.create_key(&["site_demo".to_owned()], "").await;
    let request = http.head("GET", &target.replace("demo", "other"), "");
    let request = request.replace(&service.key, &narrow.expect("a key"));
    let answer = http.send(request.as_bytes()).await;
    document.check(EXPORT, "GET", &answer);
    statuses.insert(answer.status);
    let request = http
        .head("GET", &target, "")
        .replace("HTTP/1.1", "HTTP/1.0");
    let answer = http.send(request.as_bytes()).await;
    document.check(EXPORT, "GET", &answer);
    statuses.insert(answer.status);
    assert_eq!(
        statuses,
        [200, 304, 400, 401, 403, 404, 405, 406, 414, 431, 505].into()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_load_are_as_the_service_describes_them() {
    let database = traffic(10).await;
    let mut settings = config(&database.config);
    settings.requests_per_minute = 1.try_into().expect("not none");
    settings.head = std::time::Duration::from_secs(1);
    let service = TestService::start_with(settings.clone()).await;
    let document = service.get("/openapi.json").await.text();
    let document = Document(serde_json::from_str(&document).expect("JSON"));
    let busy = http(&service);
    let target = format!("/api/websites/site_demo/export?{RANGE}");
    assert_eq!(busy.get(&target).await.status, 200);
    let answer = busy.get(&target).await;
    assert_eq!(answer.status, 429);
    document.check(EXPORT, "GET", &answer);
    let answer = busy.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    assert_eq!(answer.status, 408);
    document.check("/healthz", "GET", &answer);
    // Nobody listens there.
    settings.clickhouse.url = "http://127.0.0.1:9".into();
    let deaf = TestService::start_without_key(settings.clone(), service.key.clone()).await;
    let deaf = http(&deaf);
    for (path, target) in [(EXPORT, target.as_str()), ("/readyz", "/readyz")] {
        let answer = deaf.get(target).await;
        assert_eq!(answer.status, 503);
        document.check(path, "GET", &answer);
    }
    settings.clickhouse.url.clone_from(&database.config.url);
    settings.events_table = "missing".into();
    let broken = TestService::start_with(settings).await;
    let answer = http(&broken).get(&target).await;
    assert_eq!(answer.status, 500);
    document.check(EXPORT, "GET", &answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_exports_have_the_keys_that_are_described_and_every_path_is() {
    let database = traffic(10).await;
    let service = TestService::start(&database.config).await;
    let document: Value =
        serde_json::from_str(&service.get("/openapi.json").await.text()).expect("JSON");
    let described = &document["components"]["schemas"]["Event"]["properties"];
    let described: BTreeSet<_> = described.as_object().expect("keys").keys().collect();
    assert_eq!(described, COLUMNS.map(str::to_owned).iter().collect());
    for (fields, named) in [("", &COLUMNS[..]), ("&fields=os,url", &["os", "url"])] {
        let query = format!("{RANGE}&format=json&include_bots=true{fields}");
        let answer = service.export("site_demo", &query).await;
        let events: Value = serde_json::from_str(&answer.text()).expect("JSON");
        for event in events.as_array().expect("an array") {
            let keys = event.as_object().expect("an object").keys();
            let keys: BTreeSet<_> = keys.map(String::as_str).collect();
            assert_eq!(keys, named.iter().copied().collect());
        }
    }
    // A path that is described is there, and nothing around it is.
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 10);
    for path in paths.keys() {
        let path = path
            .replace("{id}", "site_demo")
            .replace("{export_id}", &format!("exp_{}", "0".repeat(32)));
        let other = service.send(Method::PUT, &path, None).await;
        assert_eq!(other.status, 405, "{path}");
        let beyond = service.send(Method::PUT, &format!("{path}x"), None).await;
        assert_eq!(beyond.status, 404, "{path}");
    }
}
