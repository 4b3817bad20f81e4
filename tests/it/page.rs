//! The page at `/` and what it stands on: who may load what, and which websites a key opens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use rowspout::catalog::{Catalog, KeyLimits};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::insert::{self, database};
use crate::support::service::{Answer, TestService, config};

/// What stands between each `<name …>` and its `</name>`.
fn elements<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut found = Vec::new();
    for rest in html.split(&open).skip(1) {
        let (attributes, rest) = rest.split_once('>').expect("a tag");
        assert!(!attributes.contains("src="), "{attributes}");
        found.push(rest.split_once(&close).expect("its end").0);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_what_its_policy_names_and_nothing_else() {
    let database = database().await;
    let service = TestService::start(&database.config).await;
    let answer = service.send(Method::GET, "/", None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str();
    let policy = policy.expect("text").to_owned();
    let directives: std::collections::BTreeMap<_, _> = policy
        .split("; ")
        .map(|directive| directive.split_once(' ').expect("a value"))
        .collect();
    let html = answer.text();
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let hashes: Vec<_> = elements(&html, element)
            .into_iter()
            .map(|text| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text))))
            .collect();
        assert_eq!(hashes.len(), 1, "{element}");
        assert_eq!(directives[directive], hashes.join(" "));
    }
    for (directive, value) in [
        ("default-src", "'none'"),
        ("connect-src", "'self'"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
        ("frame-ancestors", "'none'"),
        ("require-trusted-types-for", "'script'"),
        ("trusted-types", "'none'"),
    ] {
        assert_eq!(directives[directive], value);
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'));
    for (header, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.headers[header], value);
    }
    // Nothing in it runs past the policy, or is fetched from elsewhere.
    for attribute in [
        " onclick=",
        " onload=",
        " onsubmit=",
        " onerror=",
        " style=",
    ] {
        assert!(!html.contains(attribute), "{attribute}");
    }
    let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:"));
    assert!(html.len() < 60_000);
    let head = service.send(Method::HEAD, "/", None).await;
    assert_eq!(head.headers["content-length"], html.len().to_string());
    assert_eq!(service.send(Method::POST, "/", None).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_the_page_has_nothing_there() {
    let database = database().await;
    let mut settings = config(&database.config);
    settings.page = false;
    let service = TestService::start_with(settings).await;
    for method in [Method::GET, Method::POST] {
        let answer = service.send(method, "/", None).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.error()["code"], "not_found");
    }
    assert_eq!(service.get("/api/websites").await.status, 200);
}

fn listed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text()).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lists_the_websites_and_formats_that_it_opens() {
    let database = database().await;
    let catalog = Catalog::new(&database.config);
    let service = TestService::start(&database.config).await;
    let all = json!(["csv", "json", "ndjson", "parquet", "arrow"]);
    assert_eq!(
        listed(&service.get("/api/websites").await),
        json!({"websites": [], "complete": true, "formats": all})
    );
    let hostile = "Ä \"quoted\" <b>&amp;</b>";
    for (id, name, zone) in [
        ("site_b", hostile, "Europe/Berlin"),
        ("site_a", "A", "UTC"),
        ("site_c", "", "Asia/Tokyo"),
    ] {
        let id = rowspout::request::WebsiteId::parse(id).expect("an id");
        let added = catalog.add_website(&id, name, zone).await;
        added.expect("added");
    }
    let website = |id: &str, name: &str, timezone: &str| json!({"id": id, "name": name, "timezone": timezone});
    let (a, b, c) = (
        website("site_a", "A", "UTC"),
        website("site_b", hostile, "Europe/Berlin"),
        website("site_c", "", "Asia/Tokyo"),
    );
    let answer = listed(&service.get("/api/websites").await);
    assert_eq!(
        answer,
        json!({"websites": [a, b, c], "complete": true, "formats": all})
    );
    let limits = KeyLimits::parse(&["parquet".into(), "csv".into()], None).expect("limits");
    let sites = ["site_c".to_owned(), "site_b".to_owned()];
    let narrow = catalog.create_limited_key(&sites, "", &limits).await;
    let narrow = narrow.expect("a key");
    let answer = service
        .send(Method::GET, "/api/websites", Some(&narrow))
        .await;
    let expected = json!({"websites": [b, c], "complete": true, "formats": ["csv", "parquet"]});
    assert_eq!(listed(&answer), expected);
    for key in [None, Some("spk_selfhosted_0")] {
        let answer = service.send(Method::GET, "/api/websites", key).await;
        assert_eq!(answer.status, 401);
    }
    let asked = service.get("/api/websites?limit=1").await;
    assert_eq!(
        (asked.status.as_u16(), &asked.error()["field"]),
        (400, &"limit".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_long_says_so() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let many = "INSERT INTO websites (id, name, timezone) SELECT concat('site_', leftPad(toString(number), 6, '0')), 'x', 'UTC' FROM numbers(10001)";
    database
        .client
        .query_raw(many)
        .execute()
        .await
        .expect("websites");
    let service = TestService::start(&database.config).await;
    let answer = listed(&service.get("/api/websites").await);
    assert_eq!(answer["complete"], false);
    let websites = answer["websites"].as_array().expect("a list");
    assert_eq!(websites.len(), 10_000);
    assert_eq!(websites[9_999]["id"], "site_009999");
}
