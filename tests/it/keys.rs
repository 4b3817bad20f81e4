//! Keys that expire, that may only export some formats, and attempts with keys that do not exist.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Method, Request};
use rowspout::catalog::{Catalog, KeyLimits};
use rowspout::config::Networks;

use crate::support::command::rowspout;
use crate::support::insert::{self, database, traffic};
use crate::support::service::{Answer, TestService, config};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-01-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_formats_exports_no_other() {
    let database = traffic(100).await;
    let service = TestService::start(&database.config).await;
    let limits = KeyLimits::parse(&["csv".into(), "ndjson".into()], None).expect("formats");
    let catalog = Catalog::new(&database.config);
    let key = catalog
        .create_limited_key(&[], "narrow", &limits)
        .await
        .expect("a key");
    for (format, status) in [
        ("csv", 200),
        ("ndjson", 200),
        ("json", 403),
        ("parquet", 403),
    ] {
        let path = format!("/api/websites/site_demo/export?{RANGE}&format={format}");
        for method in [Method::GET, Method::HEAD] {
            let answer = service.send(method.clone(), &path, Some(&key)).await;
            assert_eq!(answer.status, status, "{format}");
            if status == 403 && method == Method::GET {
                let error = answer.error();
                assert_eq!(error["code"], "forbidden");
                assert!(error.to_string().contains("csv, ndjson"), "{error}");
            }
        }
    }
    // A revocation keeps what the key was.
    let id = catalog.list_keys().await.expect("keys")[1].id.clone();
    catalog.revoke_key(&id).await.expect("revoked");
    let keys = catalog.list_keys().await.expect("keys");
    assert!(keys[1].revoked && !keys[0].revoked);
    assert_eq!(keys[1].formats, ["csv", "ndjson"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stops_working_when_it_expires() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let service = TestService::start(&database.config).await;
    let run = |arguments: &[&str]| {
        let output = rowspout(&database.config)
            .args(arguments)
            .output()
            .expect("rowspout runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
    let short = run(&["key", "create", "--expires", &soon.to_rfc3339()]);
    let long = run(&["key", "create", "--expires", "30d", "--format", "csv"]);
    let path = format!("/api/websites/site_demo/export?{RANGE}");
    let status = |key: String| {
        let service = &service;
        let path = &path;
        async move {
            let answer = service.send(Method::GET, path, Some(key.trim())).await;
            answer.status.as_u16()
        }
    };
    assert_eq!(status(short.clone()).await, 200);
    let begun = Instant::now();
    while status(short.clone()).await == 200 {
        assert!(begun.elapsed() < Duration::from_secs(8), "it still works");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "it ended too early"
    );
    assert_eq!(status(short).await, 401);
    assert_eq!(status(long).await, 200);
    let listed = run(&["key", "list"]);
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines[0][2..], ["valid", "all", "test", "all", "never"]);
    assert_eq!(lines[1][2..6], ["expired", "all", "", "all"]);
    assert_eq!(lines[2][2..6], ["valid", "all", "", "csv"]);
    let in_thirty_days = chrono::Utc::now() + chrono::TimeDelta::days(30);
    assert!(lines[2][6].starts_with(&in_thirty_days.format("%Y-%m-").to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_keys_that_cannot_be_read_make_no_key() {
    let database = database().await;
    for (arguments, says) in [
        (["--expires", "0d"], "30d"),
        (["--expires", "d"], "30d"),
        (["--expires", "+5d"], "30d"),
        (["--expires", "5y"], "30d"),
        (["--expires", "99999999999999999999d"], "30d"),
        (["--expires", "36501d"], "30d"),
        (["--expires", "5é"], "30d"),
        (["--expires", "2020-01-01T00:00:00Z"], "passed"),
        (["--expires", "2999-01-01T00:00:00Z"], "at most"),
        (["--format", "xlsx"], "parquet"),
    ] {
        let output = rowspout(&database.config)
            .args(["key", "create"])
            .args(arguments)
            .output()
            .expect("rowspout runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says) && said.contains(arguments[1]), "{said}");
        assert!(output.stdout.is_empty());
    }
    let keys = Catalog::new(&database.config).list_keys().await;
    assert!(keys.expect("keys").is_empty());
}

/// A request as a proxy passes it on, and how long its answer took.
async fn from(service: &TestService, forwarded_for: &str, key: &str) -> (Answer, Duration) {
    let request = Request::get(format!(
        "http://{}/api/websites/site_demo/export?{RANGE}",
        service.address
    ))
    .header("authorization", format!("Bearer {key}"))
    .header("x-forwarded-for", forwarded_for)
    .body(Empty::<Bytes>::new())
    .expect("a request");
    let begun = Instant::now();
    let answer = service.request(request).await;
    (answer, begun.elapsed())
}

const WRONG: &str = "spk_selfhosted_00000000000000000000000000000000";
const SLOW: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_many_wrong_keys_is_slowed_and_no_other() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let mut settings = config(&database.config);
    settings.failed_attempts_per_minute = 3.try_into().expect("not none");
    settings.trusted_proxies = Networks::parse("x", "127.0.0.1").expect("an address");
    let service = TestService::start_with(settings).await;
    let attacker = "203.0.113.1";
    for _ in 0..3 {
        let (answer, took) = from(&service, attacker, WRONG).await;
        assert_eq!(answer.status, 401);
        assert!(took < SLOW, "{took:?}");
    }
    // What an attacker writes before its address changes nothing.
    for forwarded in [attacker, "198.51.100.7, 203.0.113.1"] {
        let (answer, took) = from(&service, forwarded, WRONG).await;
        assert_eq!(answer.status, 401);
        assert!(took >= SLOW, "{took:?}");
    }
    let (answer, took) = from(&service, "203.0.113.2", WRONG).await;
    assert_eq!(answer.status, 401);
    assert!(took < SLOW, "{took:?}");
    // Many at once do not wait all.
    let many = (0..12).map(|_| from(&service, attacker, WRONG));
    let answers = futures_util::future::join_all(many).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|(answer, _)| answer.status == 429)
        .collect();
    assert!((1..=11).contains(&refused.len()), "{}", refused.len());
    for (answer, took) in refused {
        assert_eq!(answer.error()["code"], "rate_limited");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(*took < SLOW);
    }
    // A right key behind that address is slower once, and not locked out.
    let (answer, took) = from(&service, attacker, &service.key).await;
    assert_eq!(answer.status, 200);
    assert!(took >= SLOW, "{took:?}");
    let (answer, took) = from(&service, attacker, &service.key).await;
    assert_eq!(answer.status, 200);
    assert!(took < SLOW, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_addresses_of_strangers_are_not_believed() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let mut settings = config(&database.config);
    settings.failed_attempts_per_minute = 2.try_into().expect("not none");
    let service = TestService::start_with(settings).await;
    let mut times = Vec::new();
    for address in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        let (answer, took) = from(&service, address, WRONG).await;
        assert_eq!(answer.status, 401);
        times.push(took);
    }
    assert!(times[0] < SLOW && times[2] >= SLOW, "{times:?}");
    // Right keys are no attempts, however many.
    for _ in 0..5 {
        let (answer, _) = from(&service, "203.0.113.1", &service.key).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn right_keys_that_come_as_a_crowd_are_no_attempts() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let mut settings = config(&database.config);
    settings.failed_attempts_per_minute = 2.try_into().expect("not none");
    let service = TestService::start_with(settings).await;
    let catalog = Catalog::new(&database.config);
    let mut keys = Vec::new();
    for _ in 0..40 {
        keys.push(catalog.create_key(&[], "crowd").await.expect("a key"));
    }
    let crowd = keys.iter().map(|key| from(&service, "203.0.113.1", key));
    for (answer, _) in futures_util::future::join_all(crowd).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Wrong ones that come as one are.
    let crowd = (0..40).map(|_| from(&service, "203.0.113.1", WRONG));
    let answers = futures_util::future::join_all(crowd).await;
    let looked_up = answers.iter().filter(|(answer, _)| answer.status == 401);
    assert!(looked_up.count() <= 14);
    let refused = answers.iter().filter(|(answer, _)| answer.status == 429);
    assert!(refused.count() >= 26);
}
