//! Download tickets: one export, once, within a minute, for who has no key at hand.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::{Catalog, KeyLimits};
use rowspout::config::{Config, Secret};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::support::TestDatabase;
use crate::support::insert::{self, traffic};
use crate::support::process::Process;
use crate::support::service::{Answer, TestService, config};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31";
const SECRET: &str = "a secret of more than thirty-two bytes";

fn shared(database: &TestDatabase) -> Config {
    let mut settings = config(&database.config);
    settings.ticket_secret = Some(Secret::new(SECRET).expect("long enough"));
    settings
}

async fn issue(service: &TestService, key: &str, query: &str) -> Answer {
    let path = format!("/api/websites/site_demo/export/tickets?{query}");
    service.send(Method::POST, &path, Some(key)).await
}

/// A ticket of the service's own key: its URL and the export's id.
async fn ticket(service: &TestService, query: &str) -> (String, String) {
    let answer = issue(service, &service.key, query).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json: Value = serde_json::from_str(&answer.text()).expect("JSON");
    let text = |name: &str| json[name].as_str().expect(name).to_owned();
    (text("url"), text("export_id"))
}

async fn fetch(service: &TestService, method: Method, url: &str) -> Answer {
    service.send(method, url, None).await
}

/// Fails where an answer is not a 401 that says so.
fn assert_refused(answer: &Answer, says: &str) {
    assert_eq!(answer.status, 401, "{answer:?}");
    let error = answer.error();
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{message}");
}

/// What a whole file and its headers are known by.
fn same(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for own in ["x-export-id", "date"] {
        headers.remove(own);
    }
    headers
}

/// HMAC-SHA-256 by RFC 2104's own words, for secrets up to a block.
fn hmac(secret: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (byte, secret) in block.iter_mut().zip(secret) {
            *byte ^= secret;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// A ticket as its documentation has it, made without the service.
fn forged(
    secret: &str,
    key_id: &str,
    id: [u8; 16],
    expires: i64,
    pairs: &[(&str, &str)],
) -> String {
    use base64::Engine as _;
    let mut said = id.to_vec();
    said.extend(expires.to_be_bytes());
    said.extend(key_id.as_bytes());
    let mut signed = Vec::new();
    let texts = pairs.iter().flat_map(|(name, value)| [*name, *value]);
    let parts = [&b"rowspout download ticket 1"[..], b"site_demo", &said];
    for part in parts.into_iter().chain(texts.map(str::as_bytes)) {
        signed.extend((part.len() as u64).to_be_bytes());
        signed.extend(part);
    }
    said.extend(hmac(secret.as_bytes(), &signed));
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(said);
    let query: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = query.join("&");
    format!("/api/websites/site_demo/export?{query}&ticket=ticket_{text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_gives_the_file_of_the_key_once_under_the_id_that_was_told() {
    let database = traffic(5_000).await;
    let service = TestService::start(&database.config).await;
    for query in [
        RANGE.to_owned(),
        format!("{RANGE}&format=parquet&timezone=Europe/Berlin"),
        format!(
            "{RANGE}&format=json&limit=7&country=DE&country=AT&url=/*&data.a%26b=%2B+%27&fields=url,city"
        ),
        "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&format=ndjson".to_owned(),
    ] {
        let expected = service.export("site_demo", &query).await;
        assert_eq!(expected.status, 200);
        let (url, id) = ticket(&service, &query).await;
        // To look is not to use.
        for _ in 0..2 {
            let looked = fetch(&service, Method::HEAD, &url).await;
            assert_eq!(looked.status, 200, "{looked:?}");
            assert_ne!(looked.headers["x-export-id"], id);
        }
        let missing = service.get(&format!("/api/exports/{id}")).await;
        assert_eq!(missing.status, 404);
        let answer = fetch(&service, Method::GET, &url).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["x-export-id"], id);
        assert_eq!(same(&answer.headers), same(&expected.headers));
        assert_eq!(answer.body, expected.body);
        for method in [Method::GET, Method::HEAD] {
            let again = fetch(&service, method.clone(), &url).await;
            assert_eq!(again.status, 401);
            assert_ne!(again.headers["x-export-id"], id);
            if method == Method::GET {
                assert_refused(&again, "used before");
            }
        }
        // The receipt is the key's own.
        let receipt = service.get(&format!("/api/exports/{id}")).await;
        let receipt: Value = serde_json::from_str(&receipt.text()).expect("JSON");
        assert_eq!(receipt["status"], "complete");
        assert_eq!(receipt["bytes"], answer.body.expect("a file").len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_a_ticket_at_once_one_gets_the_file() {
    let database = traffic(2_000).await;
    let service = TestService::start(&database.config).await;
    let (url, id) = ticket(&service, RANGE).await;
    let mut tasks = JoinSet::new();
    for _ in 0..12 {
        let request = Request::get(format!("http://{}{url}", service.address));
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http();
        tasks.spawn(async move { client.request(request).await.expect("an answer") });
    }
    let answers = tasks.join_all().await;
    let served: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .collect();
    assert_eq!(served.len(), 1);
    assert_eq!(served[0].headers()["x-export-id"], id);
    let refused = answers.iter().filter(|answer| answer.status() == 401);
    assert_eq!(refused.count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_nothing_but_what_it_was_made_for() {
    let database = traffic(100).await;
    insert::website(&database, "site_other").await;
    let service = TestService::start(&database.config).await;
    let (url, _) = ticket(&service, &format!("{RANGE}&country=DE")).await;
    let token = url.rsplit_once("ticket=").expect("a ticket").1;
    for changed in [
        url.replace("site_demo", "site_other"),
        url.replace("03-31", "03-30"),
        url.replace("country=DE", "country=AT"),
        url.replace("&country=DE", ""),
        url.replace("&country=DE", "&country=DE&country=AT"),
        url.replace("&ticket=", "&include_bots=true&ticket="),
        format!("{url}&format=parquet"),
        url.replace(token, "ticket_"),
        url.replace(token, ""),
        url.replace(token, &service.key),
        url.replace(token, &token[..token.len() - 2]),
    ] {
        assert_ne!(changed, url);
        let answer = fetch(&service, Method::GET, &changed).await;
        assert_refused(&answer, "not of this service");
        assert!(!answer.text().contains(token) && !answer.text().contains(&service.key));
    }
    // Another spelling of the same parameters is the same request.
    let spelled = url.replace("country=DE", "%63ountry=%44E");
    assert_eq!(fetch(&service, Method::HEAD, &spelled).await.status, 200);
    let twice = fetch(&service, Method::GET, &format!("{url}&ticket={token}")).await;
    assert_eq!(
        (twice.status.as_u16(), &twice.error()["field"]),
        (400, &"ticket".into())
    );
    // A key beside it: one of them is not meant. A wrong key is told first.
    let both = service.get(&url).await;
    assert_eq!(
        (both.status.as_u16(), &both.error()["field"]),
        (400, &"ticket".into())
    );
    let wrong = service
        .send(Method::GET, &url, Some("spk_selfhosted_0"))
        .await;
    assert_eq!(wrong.status, 401);
    // It is of an export alone, and no key.
    let plan = url.replace("/export?", "/export/plan?");
    assert_eq!(fetch(&service, Method::GET, &plan).await.status, 401);
    let plan = service.get(&plan).await;
    assert_eq!(
        (plan.status.as_u16(), &plan.error()["field"]),
        (400, &"ticket".into())
    );
    let bearer = service
        .send(Method::GET, "/api/websites", Some(token))
        .await;
    assert_eq!(bearer.status, 401);
    // After all that it is still good.
    assert_eq!(fetch(&service, Method::GET, &url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_made_only_for_what_its_key_may_export() {
    let database = traffic(100).await;
    insert::website(&database, "site_other").await;
    let service = TestService::start(&database.config).await;
    let catalog = Catalog::new(&database.config);
    let limits = KeyLimits::parse(&["csv".into()], None).expect("limits");
    let sites = ["site_demo".to_owned()];
    let narrow = catalog.create_limited_key(&sites, "", &limits).await;
    let narrow = narrow.expect("a key");
    for (query, status, field) in [
        ("start_date=2026-01-01".to_owned(), 400, Some("end_date")),
        (format!("{RANGE}&format=xml"), 400, Some("format")),
        (format!("{RANGE}&ticket=a"), 400, Some("ticket")),
        (format!("{RANGE}&part_rows=1"), 400, Some("part_rows")),
        (format!("{RANGE}&format=parquet"), 403, None),
        (RANGE.to_owned(), 200, None),
    ] {
        let answer = issue(&service, &narrow, &query).await;
        assert_eq!(answer.status, status, "{query}");
        if status != 200 {
            assert_eq!(answer.error()["field"].as_str(), field);
        }
    }
    let path = |site: &str| format!("/api/websites/{site}/export/tickets?{RANGE}");
    for (site, key, status) in [
        ("site_other", Some(narrow.as_str()), 403),
        ("site_nowhere", Some(service.key.as_str()), 404),
        ("site_demo", Some("spk_selfhosted_0"), 401),
        ("site_demo", None, 401),
    ] {
        let answer = service.send(Method::POST, &path(site), key).await;
        assert_eq!(answer.status, status, "{site}");
    }
    let get = service.get(&path("site_demo")).await;
    assert_eq!(
        (get.status.as_u16(), &get.headers["allow"]),
        (405, &"POST".parse().unwrap())
    );
    // Parameters that somebody puts into a body would be left out.
    let request = Request::post(format!("http://{}{}", service.address, path("site_demo")))
        .header("authorization", format!("Bearer {}", service.key))
        .body(Full::<Bytes>::from("country=DE"))
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    // One whose URL the service itself would not take is not given.
    let long = "a".repeat(4_080);
    let query = format!("{RANGE}&city={long}&city=b{}", &long[..4_000]);
    let answer = issue(&service, &service.key, &query).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.error()["field"]),
        (400, &"city".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_or_limited_meanwhile_takes_its_tickets_along() {
    let database = traffic(100).await;
    let mut settings = config(&database.config);
    settings.requests_per_minute = 3.try_into().expect("not none");
    let service = TestService::start_with(settings).await;
    let catalog = Catalog::new(&database.config);
    let key = catalog.create_key(&[], "gone").await.expect("a key");
    let answer = issue(&service, &key, RANGE).await;
    let json: Value = serde_json::from_str(&answer.text()).expect("JSON");
    let keys = catalog.list_keys().await.expect("keys");
    let id = keys.iter().find(|key| key.name == "gone").expect("it");
    catalog.revoke_key(&id.id).await.expect("revoked");
    let refused = fetch(&service, Method::GET, json["url"].as_str().expect("a URL")).await;
    assert_refused(&refused, "was revoked");
    // Requests with tickets are requests of the key: one made the first ticket, two more may come.
    let (first, _) = ticket(&service, RANGE).await;
    let (second, _) = ticket(&service, RANGE).await;
    assert_eq!(fetch(&service, Method::GET, &first).await.status, 200);
    let limited = fetch(&service, Method::GET, &second).await;
    assert_eq!(limited.status, 429, "{limited:?}");
    assert!(limited.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_what_their_documentation_says_and_expire() {
    let database = traffic(100).await;
    let service = TestService::start_with(shared(&database)).await;
    let keys = Catalog::new(&database.config)
        .list_keys()
        .await
        .expect("keys");
    let key = &keys[0].id;
    let pairs = [("start_date", "2026-01-01"), ("end_date", "2026-01-02")];
    let now = chrono::Utc::now().timestamp_millis();
    let good = forged(SECRET, key, [1; 16], now + 30_000, &pairs);
    let answer = fetch(&service, Method::GET, &good).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.headers["x-export-id"],
        format!("exp_{}", "01".repeat(16))
    );
    let late = forged(SECRET, key, [2; 16], now, &pairs);
    assert_refused(&fetch(&service, Method::GET, &late).await, "has expired");
    assert_eq!(fetch(&service, Method::HEAD, &late).await.status, 401);
    let nobody = forged(SECRET, "key_none", [3; 16], now + 30_000, &pairs);
    assert_refused(&fetch(&service, Method::GET, &nobody).await, "was revoked");
    let other = forged(
        "another secret of thirty-two bytes or more",
        key,
        [4; 16],
        now + 30_000,
        &pairs,
    );
    assert_refused(
        &fetch(&service, Method::GET, &other).await,
        "not of this service",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_one_secret_take_each_others_tickets_once() {
    let database = traffic(1_000).await;
    let one = TestService::start_with(shared(&database)).await;
    let other = TestService::start_with(shared(&database)).await;
    let stranger = TestService::start(&database.config).await;
    let (url, id) = ticket(&one, RANGE).await;
    assert_refused(
        &fetch(&stranger, Method::GET, &url).await,
        "not of this service",
    );
    let answer = fetch(&other, Method::GET, &url).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-export-id"]),
        (200, &id.parse().unwrap())
    );
    assert!(answer.body.is_ok());
    // The log learns of it within moments.
    let begun = std::time::Instant::now();
    loop {
        let logged: u64 = database
            .client
            .query_raw("SELECT count() FROM export_log WHERE export_id = {id:String}")
            .param("id", &id)
            .fetch_one()
            .await
            .expect("a count");
        if logged > 0 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "the log never learns");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_refused(&fetch(&one, Method::GET, &url).await, "used before");
    assert_eq!(fetch(&one, Method::HEAD, &url).await.status, 401);
    // And one that was restarted has not forgotten it.
    let again = TestService::start_with(shared(&database)).await;
    assert_refused(&fetch(&again, Method::GET, &url).await, "used before");
    let (fresh, _) = ticket(&again, RANGE).await;
    assert_eq!(fetch(&one, Method::GET, &fresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_used_at_two_instances_at_once_breaks_the_file_of_neither() {
    let database = traffic(300_000).await;
    let one = TestService::start_with(shared(&database)).await;
    let other = TestService::start_with(shared(&database)).await;
    let query = format!("{RANGE}&include_bots=true&format=csv");
    let expected = one.export("site_demo", &query).await;
    let expected = expected.body.expect("a whole file");
    for _ in 0..3 {
        let (url, id) = ticket(&one, &query).await;
        let here = fetch(&one, Method::GET, &url);
        let (here, there) = tokio::join!(here, fetch(&other, Method::GET, &url));
        let mut files = 0;
        for answer in [here, there] {
            // The log may have learned of the first one in between.
            if answer.status == StatusCode::UNAUTHORIZED {
                assert_refused(&answer, "used before");
                continue;
            }
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.headers["x-export-id"], id.as_str());
            let file = answer.body.expect("a whole file");
            assert!(file == expected, "{} bytes", file.len());
            files += 1;
        }
        assert!(files > 0, "the ticket was used up for nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ticket_and_no_secret_is_in_the_log() {
    let database = traffic(100).await;
    let settings = [("RUST_LOG", "trace"), ("ROWSPOUT_TICKET_SECRET", SECRET)];
    let mut process = Process::serve(&database, &settings).await;
    let tickets = format!("/api/websites/site_demo/export/tickets?{RANGE}");
    let request = process.http.head("POST", &tickets, "");
    let answer = process.http.send(request.as_bytes()).await;
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let url = json["url"].as_str().expect("a URL").to_owned();
    let token = url.rsplit_once("ticket=").expect("a ticket").1.to_owned();
    let bare = crate::support::Http::new(&format!("http://{}", process.address), "");
    let misplaced = format!("/api/websites/site_demo/export?{RANGE}&format={token}");
    let named = format!("/api/websites/site_demo/export?{RANGE}&{token}=1");
    for target in [&url, &url, &format!("{url}&x=1"), &format!("/{token}")] {
        bare.get(target).await;
    }
    for target in [&misplaced, &named, &url] {
        process.http.get(target).await;
    }
    process.stop().await;
    let said = process.said();
    assert!(said.contains("a ticket was made") && said.contains("used before"));
    assert!(!said.contains(&token[8..40]), "the log holds a ticket");
    assert!(
        !said.contains(&token[token.len() - 20..]),
        "the log holds a signature"
    );
    assert!(!said.contains(SECRET));
}
