//! `DELETE /api/exports/{export_id}`: an export ends when its own key says so, wherever it is.

use std::time::Duration;

use hyper::Method;
use rowspout::catalog::Catalog;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::insert::traffic;
use crate::support::service::{Answer, TestService, config};
use crate::support::{TestDatabase, read_answer};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";

async fn delete(service: &TestService, key: &str, id: &str) -> Answer {
    let path = format!("/api/exports/{id}");
    service.send(Method::DELETE, &path, Some(key)).await
}

fn receipt(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// How many queries of an export ClickHouse has under way.
async fn queries(database: &TestDatabase, id: &str) -> u64 {
    let sql = "SELECT count() FROM system.processes WHERE startsWith(query_id, {id:String})";
    let count = database.client.query_raw(sql).param("id", id);
    count.fetch_one().await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_export_is_cut_and_its_receipt_says_cancelled() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    let service = TestService::start_with(settings).await;
    for encoding in ["", "&format=parquet", "&format=ndjson&include_bots=false"] {
        let query = match encoding {
            "&format=ndjson&include_bots=false" => RANGE.replace("&include_bots=true", encoding),
            other => format!("{RANGE}{other}"),
        };
        let (mut stream, id) = service.begin_export(&service.key, &query).await;
        let ended = receipt(&delete(&service, &service.key, &id).await);
        assert_eq!(
            (&ended["status"], &ended["reason"]),
            (&"aborted".into(), &"cancelled".into())
        );
        assert_eq!(ended["sha256"], Value::Null);
        assert!(ended["finished"].is_string());
        // The client sees that its file is none.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the file ended well");
        // Its place is free, and ClickHouse works for it no more.
        let small = "start_date=2026-01-01&end_date=2026-01-01&limit=1";
        assert_eq!(service.export("site_demo", small).await.status, 200);
        let begun = std::time::Instant::now();
        while queries(&database, &id).await > 0 {
            assert!(begun.elapsed().as_secs() < 20, "its queries go on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Once more changes nothing.
        let again = receipt(&delete(&service, &service.key, &id).await);
        assert_eq!(again, ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_has_ended_stays_as_it_is() {
    let database = traffic(100).await;
    let service = TestService::start(&database.config).await;
    let other = TestService::start(&database.config).await;
    let answer = service.export("site_demo", RANGE).await;
    let id = answer.headers["x-export-id"]
        .to_str()
        .expect("an id")
        .to_owned();
    assert!(answer.body.is_ok());
    let ended = receipt(&delete(&service, &service.key, &id).await);
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&"complete".into(), &Value::Null)
    );
    // Another instance says so too, once it knows.
    let begun = std::time::Instant::now();
    loop {
        let answer = delete(&other, &service.key, &id).await;
        if answer.status == 200 && receipt(&answer)["status"] == "complete" {
            break;
        }
        assert!(
            [200, 404, 503].contains(&answer.status.as_u16()),
            "{answer:?}"
        );
        assert!(begun.elapsed().as_secs() < 20, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_of_an_export_ends_it_and_only_where_it_runs() {
    let database = traffic(2_000_000).await;
    let mut settings = config(&database.config);
    settings.heartbeat = Duration::from_millis(200);
    let service = TestService::start_with(settings.clone()).await;
    let other = TestService::start_with(settings).await;
    let catalog = Catalog::new(&database.config);
    let sites = ["site_demo".to_owned()];
    let narrow = catalog.create_key(&sites, "narrow").await;
    let narrow = narrow.expect("a key");
    let (_stream, id) = service.begin_export(&service.key, RANGE).await;
    // To a key that does not see it, it is not there; one that sees all may look.
    assert_eq!(delete(&service, &narrow, &id).await.status, 404);
    assert_eq!(delete(&service, &other.key, &id).await.status, 403);
    assert_eq!(delete(&service, "spk_selfhosted_0", &id).await.status, 401);
    let nowhere = format!("exp_{}", "0".repeat(32));
    assert_eq!(delete(&service, &service.key, &nowhere).await.status, 404);
    let query = delete(&service, &service.key, &format!("{id}?now=true")).await;
    assert_eq!(
        (query.status.as_u16(), &query.error()["field"]),
        (400, &"now".into())
    );
    let begun = std::time::Instant::now();
    loop {
        let answer = delete(&other, &service.key, &id).await;
        if answer.status == 503 {
            assert!(answer.headers.contains_key("retry-after"));
            break;
        }
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(begun.elapsed().as_secs() < 20, "the log never learns");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let running = service.get(&format!("/api/exports/{id}")).await;
    assert_eq!(receipt(&running)["status"], "running");
    let ended = receipt(&delete(&service, &service.key, &id).await);
    assert_eq!(ended["reason"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_byte_the_client_is_told_in_words() {
    let database = traffic(10).await;
    // Rows that take their time.
    let slow = "CREATE VIEW slow AS SELECT * REPLACE (if(sleepEachRow(1) = 0, url, '') AS url) FROM events";
    database
        .client
        .query_raw(slow)
        .execute()
        .await
        .expect("a view");
    let mut settings = config(&database.config);
    settings.events_table = "slow".into();
    let service = TestService::start_with(settings).await;
    let path = format!("/api/websites/site_demo/export/tickets?{RANGE}");
    let issued = service.send(Method::POST, &path, Some(&service.key)).await;
    let json: Value = serde_json::from_str(&issued.text()).expect("JSON");
    let (url, id) = (
        json["url"].as_str().expect("a URL"),
        json["export_id"].as_str().expect("an id"),
    );
    let mut stream = TcpStream::connect(service.address)
        .await
        .expect("a connection");
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let begun = std::time::Instant::now();
    let ended = loop {
        let answer = delete(&service, &service.key, id).await;
        if answer.status == 200 {
            break receipt(&answer);
        }
        assert_eq!(answer.status, 404);
        assert!(begun.elapsed().as_secs() < 20, "it never begins");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&"aborted".into(), &"cancelled".into())
    );
    assert_eq!((&ended["rows"], &ended["bytes"]), (&0.into(), &0.into()));
    let answer = read_answer(&mut stream).await;
    assert_eq!(
        (answer.status, answer.header("x-export-id")),
        (409, Some(id))
    );
    let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(error["error"]["code"], "cancelled");
}
