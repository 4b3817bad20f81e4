//! An ETag changes exactly when its rows, its request or the encoder does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rowspout::export::{Export, ExportId};
use rowspout::pushdown::Fence;
use rowspout::request::{ExportRequest, WebsiteId};

use super::*;
use crate::support::service::config;

const ALL: &str = "start_date=2026-03-26&end_date=2026-03-31";

/// Each part's tag, and its rows as plain SQL has them.
async fn state(
    database: &TestDatabase,
    service: &TestService,
    query: &str,
) -> BTreeMap<i64, (String, String)> {
    let plan = plan(service, query).await;
    let mut state = BTreeMap::new();
    for part in parts(&plan) {
        let rows =
            "arraySort(groupArray((timestamp, event_id, event_type, url, event_data, city)))";
        let rows = found(database, rows, &condition(part, query)).await;
        let tag = part["etag"].as_str().expect("a tag").to_owned();
        state.insert(ms(&part["from"]), (tag, rows));
    }
    state
}

/// Something that happens to a table.
async fn happen(database: &TestDatabase, random: &mut Random) -> String {
    let (k, n) = random.value((0_u64..5, 2_u64..7));
    let some = format!("cityHash64(event_id) % {n} = {}", k % n);
    let sync = "SETTINGS mutations_sync = 2";
    let sql = match random.value(0..8) {
        0 | 1 => {
            let events = random.value(prop::collection::vec(event(), 1..4));
            insert(database, &events).await;
            return format!("{} more", events.len());
        }
        2 => format!("DELETE FROM events WHERE {some} AND url LIKE 'a%'"),
        3 => format!("ALTER TABLE events DELETE WHERE {some} AND url LIKE 'b%' {sync}"),
        4 => format!("ALTER TABLE events UPDATE city = concat(city, 'x') WHERE {some} {sync}"),
        5 => format!("ALTER TABLE events UPDATE is_bot = NOT is_bot WHERE {some} {sync}"),
        6 => format!(
            "ALTER TABLE events UPDATE ingested_at = ingested_at - 1000 WHERE {some} {sync}"
        ),
        _ => "OPTIMIZE TABLE events FINAL".to_owned(),
    };
    run(database, &sql).await;
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_changes_exactly_when_its_rows_do_whatever_happens() {
    let mut random = Random::new();
    let database = database().await;
    insert::website(&database, SITE).await;
    insert(
        &database,
        &random.value(prop::collection::vec(event(), 100..101)),
    )
    .await;
    let service = TestService::start(&database.config).await;
    // Parts of whole days, so that edges stay where they are.
    let queries = [
        "",
        "&include_bots=true",
        "&event_type=event&timezone=Asia/Kathmandu",
    ];
    let queries = queries.map(|options| format!("{ALL}{options}"));
    let (mut changed, mut kept) = (0, 0);
    for _ in 0..25 {
        let mut before = Vec::new();
        for query in &queries {
            before.push(state(&database, &service, query).await);
        }
        let what = happen(&database, &mut random).await;
        for (query, before) in queries.iter().zip(before) {
            let after = state(&database, &service, query).await;
            assert_eq!(
                before.keys().collect::<Vec<_>>(),
                after.keys().collect::<Vec<_>>()
            );
            for (from, (tag, rows)) in &after {
                let (tag_before, rows_before) = &before[from];
                assert_eq!(
                    tag == tag_before,
                    rows == rows_before,
                    "{what}, {query}, {}",
                    instant(*from)
                );
                if tag == tag_before {
                    kept += 1
                } else {
                    changed += 1
                }
            }
        }
    }
    assert!(changed > 50 && kept > 50, "{changed} {kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_that_of_its_request_alone_and_known_ones_get_304() {
    let database = database().await;
    insert::website(&database, SITE).await;
    insert::website(&database, "site_b").await;
    let events: Vec<_> = (0..20).map(|id| Event::at(START + id, id as u64)).collect();
    for site in [SITE, "site_b"] {
        insert::events(&database, site, &events).await;
    }
    let service = TestService::start(&database.config).await;
    let window = "from=2026-03-27T00:00:00Z&to=2026-03-28T00:00:00Z";
    let longer = "from=2026-03-27T00:00:00Z&to=2026-03-28T00:00:00.001Z";
    let mut asked = vec![
        format!("site_b/export?{window}"),
        format!("{SITE}/export?{longer}"),
    ];
    for format in [
        "csv",
        "csv&spreadsheet=true",
        "json",
        "json&event_data=string",
        "ndjson",
        "ndjson&fields=url",
        "ndjson&fields=url,timestamp",
        "parquet",
        "parquet&compression=snappy",
        "parquet&compression=none",
        "arrow",
    ] {
        for rest in [
            "",
            "&timezone=Europe/Berlin",
            "&include_bots=true&event_type=pageview",
        ] {
            asked.push(format!("{SITE}/export?{window}&format={format}{rest}"));
        }
    }
    let mut tags = BTreeSet::new();
    for path in &asked {
        let path = Value::from(format!("/api/websites/{path}"));
        let answer = service.get(path.as_str().expect("a path")).await;
        let tag = tag(&answer).expect("a tag").to_owned();
        for (method, known) in [
            (Method::GET, tag.clone()),
            (Method::HEAD, format!("\"x\", W/{tag}")),
            (Method::GET, "*".to_owned()),
        ] {
            let answer = unless(&service, method, &path, &known).await;
            assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
            assert_eq!(super::tag(&answer), Some(tag.as_str()));
            assert_eq!(answer.headers["cache-control"], "private, no-cache");
            assert!(answer.body.expect("an end").is_empty());
        }
        let answer = unless(&service, Method::GET, &path, "\"x\"").await;
        assert_eq!(answer.status, StatusCode::OK);
        tags.insert(tag);
    }
    assert_eq!(tags.len(), asked.len());
    // Parameters in another order, and defaults that are written out, are the same request.
    let one = service.export(SITE, window).await;
    let other = format!("format=csv&include_bots=false&timezone=UTC&{window}");
    assert_eq!(tag(&one), tag(&service.export(SITE, &other).await));
    // Nor has a limit, or another filter.
    for rest in ["&limit=5", "&limit=100", "&country="] {
        let answer = service.export(SITE, &format!("{window}{rest}")).await;
        assert!(tag(&answer).is_none() && answer.body.is_ok(), "{rest}");
    }
    // Days have no tag, and nothing is looked at there.
    let path = Value::from(format!(
        "/api/websites/{SITE}/export?start_date=2026-03-27&end_date=2026-03-27"
    ));
    let days = unless(&service, Method::GET, &path, "*").await;
    assert_eq!(days.status, StatusCode::OK);
    assert!(tag(&days).is_none() && days.headers["cache-control"] == "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_windows_without_fresh_rows_have_tags() {
    let database = database().await;
    insert::website(&database, SITE).await;
    let events: Vec<_> = (0..40)
        .map(|id| Event::at(START + id * 20 * MINUTE, id as u64))
        .collect();
    insert(&database, &events).await;
    let service = TestService::start(&database.config).await;
    let query = format!("{ALL}&part_rows=3");
    let before = plan(&service, &query).await;
    assert!(parts(&before).iter().all(|part| part["etag"].is_string()));
    let fresh = ms(&parts(&before)[3]["from"]);
    let insert = |stamp: &str, id: u64| {
        format!(
            "INSERT INTO events (website_id, timestamp, event_id, ingested_at) VALUES \
             ('{SITE}', fromUnixTimestamp64Milli({fresh}), {id}, {stamp})"
        )
    };
    // Rows that are not exported yet may be in a plan's counts, and such that are may become more.
    for (number, stamp) in ["now64(3) + INTERVAL 1 DAY", "now64(3)"]
        .into_iter()
        .enumerate()
    {
        run(&database, &insert(stamp, 1_000 + number as u64)).await;
        let after = plan(&service, &query).await;
        let mut untagged = 0;
        for planned in parts(&after) {
            let answer = part(&service, planned).await;
            assert_eq!(tag(&answer), planned["etag"].as_str(), "{planned}");
            let rows = answer.text().lines().count() as u64 - 1;
            if planned["etag"].is_null() {
                untagged += 1;
                assert_eq!(answer.headers["cache-control"], "no-store");
                for method in [Method::GET, Method::HEAD] {
                    let answer = unless(&service, method, &planned["url"], "*").await;
                    assert_eq!(answer.status, StatusCode::OK);
                }
                assert!(planned["rows"].as_u64() > Some(rows), "{planned} {rows}");
            } else {
                assert_eq!(planned["rows"], rows, "{planned}");
            }
        }
        assert_eq!(untagged, 1, "{stamp}");
    }
    // They are settled once they are old.
    run(&database, "ALTER TABLE events UPDATE ingested_at = ingested_at - INTERVAL 2 DAY WHERE 1 SETTINGS mutations_sync = 2").await;
    let after = plan(&service, &query).await;
    for planned in parts(&after) {
        assert!(planned["etag"].is_string(), "{planned}");
        assert_eq!(
            tag(&part(&service, planned).await),
            planned["etag"].as_str()
        );
    }
}

/// An export of `site_demo` that is begun with a digest.
async fn begun(database: &TestDatabase) -> Export {
    let website = WebsiteId::parse("site_demo").expect("an id");
    let query = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
    let request = ExportRequest::from_query(website, query).expect("a request");
    let server = rowspout::cursor::Server::new(&config(&database.config));
    let now = "SELECT toUnixTimestamp64Milli(now64(3))";
    let now = database
        .client
        .query_raw(now)
        .fetch_one::<i64>()
        .await
        .expect("now");
    let id = ExportId::random().expect("an id");
    let (request, fence) = (Arc::new(request), Fence::at(now));
    let told = server.tell_apart(&request, fence, id.as_str());
    let told = told.await.expect("told");
    let begun = Export::begin_told(id, request, server, fence, told).await;
    begun.expect("begun")
}

async fn rest(export: &mut Export) -> rowspout::error::Result<Bytes> {
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await? {
        file.extend_from_slice(&chunk);
    }
    Ok(file.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_the_rows_of_its_tag_or_no_end() {
    let database = traffic(20_000).await;
    let count = |condition: &'static str| {
        let sql = format!(
            "SELECT count() FROM events WHERE website_id = 'site_demo' AND timestamp < '2026-02-01' AND NOT is_bot {condition}"
        );
        let database = &database;
        async move {
            database
                .client
                .query_raw(&sql)
                .fetch_one::<u64>()
                .await
                .expect("a count")
        }
    };
    // What is inserted behind the digest is left to the next export.
    let rows = count("").await;
    let mut export = begun(&database).await;
    let now = "INSERT INTO events (website_id, timestamp, event_id, ingested_at) \
               VALUES ('site_demo', '2026-01-01 00:00:00', 1099511627776, now64(3))";
    run(&database, now).await;
    assert_eq!(count("").await, rows + 1);
    let file = rest(&mut export).await.expect("a whole file");
    let lines = file.iter().filter(|&&b| b == b'\n').count() as u64;
    assert_eq!((export.rows(), lines), (rows, rows + 1));
    assert_eq!(export.digest().expect("a digest").rows, rows);

    run(
        &database,
        "DELETE FROM events WHERE event_id = 1099511627776",
    )
    .await;

    // What only came to be seen, and what changed, is not.
    let late = "INSERT INTO events (website_id, timestamp, event_id, ingested_at) \
                VALUES ('site_demo', '2026-01-31 23:59:59', 1099511627777, '2026-01-01 00:00:00')";
    for happened in [
        late,
        "ALTER TABLE events UPDATE url = concat(url, 'x') WHERE event_id = 77 SETTINGS mutations_sync = 2",
        "DELETE FROM events WHERE event_id = 1099511627777",
        "DELETE FROM events WHERE event_id = 79",
    ] {
        let mut export = begun(&database).await;
        run(&database, happened).await;
        let error = rest(&mut export).await.expect_err(happened);
        assert!(error.message().contains("changed"), "{happened}: {error}");
        let mut export = begun(&database).await;
        rest(&mut export).await.expect("nothing happens");
    }
}
