//! Plans, their parts and ETags: against plain SQL, over random inserts and windows.

mod broken;
mod changes;
mod parts;
mod slots;
mod sources;

use hyper::Method;
use hyper::StatusCode;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::TestDatabase;
use crate::support::insert::{self, Event, settled_traffic as traffic};
use crate::support::service::{Answer, TestService};

const SITE: &str = "site_a";

const MINUTE: i64 = 60_000;
const QUARTER: i64 = 15 * MINUTE;
const DAY: i64 = 96 * QUARTER;

/// 2026-03-27T00:00:00Z, two days before Berlin's clocks go forward.
const START: i64 = 1_774_569_600_000;

/// Days that random events lie in.
const DAYS: i64 = 4;

/// Zones whose days begin at other quarters, and change their length among the days of the events.
const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Chatham",
];

/// Values of a strategy, the same in each run.
struct Random(TestRunner);

impl Random {
    fn new() -> Self {
        Self(TestRunner::deterministic())
    }

    fn value<S: Strategy>(&mut self, strategy: S) -> S::Value {
        let tree = strategy.new_tree(&mut self.0);
        tree.expect("a value").current()
    }
}

/// An event of the days from [`START`] on; some lie on edges of slots, and many share theirs.
fn event() -> impl Strategy<Value = Event> {
    let at = prop_oneof![
        4 => 0..DAYS * DAY,
        2 => (0..DAYS * 96, -1_i64..2).prop_map(|(slot, near)| (slot * QUARTER + near).max(0)),
        3 => (0_i64..3, 0..QUARTER).prop_map(|(day, at)| day * DAY + 40 * QUARTER + at),
    ];
    let text = prop_oneof!["[a-c]{0,3}", "[\",\n\\\\é]{1,4}"];
    (at, any::<u64>(), 1_u8..3, text, prop::bool::weighted(0.2)).prop_map(
        |(at, id, event_type, text, is_bot)| {
            let event = Event::at(START + at, id).with("url", text.clone());
            let mut event = event.with(
                "event_data",
                format!("{{\"a\":{}}}", serde_json::json!(text)),
            );
            event.event_type = event_type;
            event.is_bot = is_bot;
            event
        },
    )
}

/// A window of whole days, or of instants.
fn window() -> impl Strategy<Value = String> {
    let day = |ms: i64| instant(ms)[..10].to_owned();
    let edge = || {
        prop_oneof![
            (-10..DAYS * 96 + 10).prop_map(|slot| slot * QUARTER),
            -DAY..(DAYS + 1) * DAY,
        ]
    };
    prop_oneof![
        (-1..DAYS, 0_i64..4).prop_map(move |(first, more)| {
            let (first, last) = (START + first * DAY, START + (first + more) * DAY);
            format!("start_date={}&end_date={}", day(first), day(last))
        }),
        (edge(), edge()).prop_map(|(a, b)| {
            let (from, to) = (a.min(b), a.max(b) + 1 - i64::from(a != b));
            format!("from={}&to={}", instant(START + from), instant(START + to))
        }),
    ]
}

/// The rest of a request that the projection knows.
fn options() -> impl Strategy<Value = String> {
    (
        prop::sample::select(&ZONES[..]),
        prop::sample::select(&["", "&event_type=pageview", "&event_type=event"][..]),
        prop::sample::select(&["", "&include_bots=true"][..]),
    )
        .prop_map(|(zone, event_type, bots)| format!("&timezone={zone}{event_type}{bots}"))
}

fn instant(ms: i64) -> String {
    let instant = chrono::DateTime::from_timestamp_millis(ms).expect("an instant");
    instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

fn ms(text: &Value) -> i64 {
    let instant = chrono::DateTime::parse_from_rfc3339(text.as_str().expect("a text"));
    instant.expect("an instant").timestamp_millis()
}

/// A database whose events come settled, unless an INSERT says otherwise: they have ETags.
async fn database() -> TestDatabase {
    let database = insert::database().await;
    insert::settled(&database).await;
    database
}

/// Inserts events in parts that overlap.
async fn insert(database: &TestDatabase, events: &[Event]) {
    for chunk in events.chunks(events.len().div_ceil(3).max(1)) {
        insert::events(database, SITE, chunk).await;
    }
}

async fn run(database: &TestDatabase, sql: &str) {
    let done = database.client.query_raw(sql).execute().await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// What plain SQL finds under a condition: text, so that anything can be compared.
async fn found(database: &TestDatabase, select: &str, condition: &str) -> String {
    let sql = format!(
        "SELECT toString({select}) FROM events WHERE website_id = '{SITE}' AND ({condition})"
    );
    let found = database.client.query_raw(&sql).fetch_one::<String>().await;
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A part as plain SQL has it, with the filters of a query.
fn condition(part: &Value, query: &str) -> String {
    let mut condition = format!(
        "toUnixTimestamp64Milli(timestamp) >= {} AND toUnixTimestamp64Milli(timestamp) < {}",
        ms(&part["from"]),
        ms(&part["to"])
    );
    if !query.contains("include_bots=true") {
        condition.push_str(" AND NOT is_bot");
    }
    for event_type in ["pageview", "event"] {
        if query.contains(&format!("event_type={event_type}")) {
            condition.push_str(&format!(" AND event_type = '{event_type}'"));
        }
    }
    condition
}

async fn plan(service: &TestService, query: &str) -> Value {
    let path = format!("/api/websites/{SITE}/export/plan?{query}");
    let answer = service.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// A part's own export.
async fn part(service: &TestService, part: &Value) -> Answer {
    let answer = service.get(part["url"].as_str().expect("a URL")).await;
    assert_eq!(answer.status, StatusCode::OK, "{part}");
    answer
}

/// A request for a path with `If-None-Match`.
async fn unless(service: &TestService, method: Method, path: &Value, tag: &str) -> Answer {
    let path = path.as_str().expect("a path");
    let request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", service.address))
        .header("authorization", format!("Bearer {}", service.key))
        .header("if-none-match", tag);
    let request = request.body(http_body_util::Empty::new());
    service.request(request.expect("a request")).await
}

fn tag(answer: &Answer) -> Option<&str> {
    let tag = answer.headers.get("etag")?;
    Some(tag.to_str().expect("text"))
}

fn parts(plan: &Value) -> &[Value] {
    plan["parts"].as_array().expect("parts")
}
