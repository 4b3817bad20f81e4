//! Where counts come from: the projection, and where it does not serve, the events.

use rowspout::pushdown::{self, COUNTS, Counting, Fence, TextTypes, Value as Bound};
use rowspout::request::{ExportRequest, WebsiteId};
use rowspout::schema;

use super::*;
use crate::support::clickhouse;
use crate::support::service::config;

const ALL: &str = "start_date=2026-01-01&end_date=2026-03-31&part_rows=1000";

async fn plan_of(service: &TestService, query: &str) -> Value {
    let path = format!("/api/websites/site_demo/export/plan?{query}");
    let answer = service.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// The parts without their tags.
fn untagged(plan: &Value) -> Vec<Value> {
    let untagged = |part: &Value| {
        let mut part = part.clone();
        part["etag"].take();
        part
    };
    parts(plan).iter().map(untagged).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projection_answers_for_what_it_knows() {
    let database = traffic(50_000).await;
    let website = WebsiteId::parse("site_demo").expect("an id");
    for (window, reads_events) in [
        ("start_date=2026-01-05&end_date=2026-02-03", false),
        (
            "from=2026-01-05T00:15:00Z&to=2026-02-03T00:30:00Z&event_type=event",
            false,
        ),
        (
            "from=2026-01-05T00:10:00Z&to=2026-02-03T00:30:00.001Z&include_bots=true",
            true,
        ),
    ] {
        let request = ExportRequest::from_query(website.clone(), window).expect("a request");
        let counting = Counting::of(&request.window, std::iter::empty(), true);
        assert_eq!(counting, Counting::Kept);
        let statement = pushdown::quarters(
            &request,
            "events",
            Fence::at(0),
            counting,
            &TextTypes::default(),
        );
        let mut query = database
            .client
            .query_raw(&format!("EXPLAIN {}", statement.text));
        for (name, value) in &statement.parameters {
            query = match value {
                Bound::Int(value) => query.param(name, value),
                Bound::Unsigned(value) => query.param(name, value),
                Bound::Text(value) => query.param(name, value.as_str()),
                #[allow(unreachable_patterns)] // more kinds may come
                _ => query,
            };
        }
        let plan = query
            .fetch_all::<String>()
            .await
            .expect("a plan")
            .join("\n");
        assert!(
            plan.contains(&format!("ReadFromMergeTree ({COUNTS})")),
            "{plan}"
        );
        assert_eq!(plan.contains("events)"), reads_events, "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_the_projection_are_counted_all_the_same_until_the_schema_is_applied() {
    let database = traffic(20_000).await;
    let service = TestService::start(&database.config).await;
    let counted = plan_of(&service, ALL).await;
    assert!(parts(&counted).iter().all(|part| part["etag"].is_string()));

    run(
        &database,
        "ALTER TABLE events DROP PROJECTION quarter_hours SETTINGS mutations_sync = 2",
    )
    .await;
    let plain = TestService::start(&database.config).await;
    let scanned = plan_of(&plain, ALL).await;
    assert!(parts(&scanned).iter().all(|part| part["etag"].is_null()));
    assert_eq!(untagged(&scanned), untagged(&counted));
    let answer = plain
        .get(parts(&scanned)[0]["url"].as_str().expect("a URL"))
        .await;
    assert!(tag(&answer).is_none() && answer.headers["cache-control"] == "no-store");
    // One that knew it from before is not led astray.
    assert_eq!(parts(&plan_of(&service, ALL).await), parts(&counted));

    let applied = schema::apply(&database.config).await.expect("applied");
    assert!(applied.uncounted > 0);
    let again = TestService::start(&database.config).await;
    assert_eq!(parts(&plan_of(&again, ALL).await), parts(&counted));
    let waiting = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active AND NOT has(projections, 'quarter_hours')";
    let begun = std::time::Instant::now();
    while database
        .client
        .query_raw(waiting)
        .fetch_one::<u64>()
        .await
        .expect("a count")
        > 0
    {
        assert!(begun.elapsed().as_secs() < 60, "the parts are not counted");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        schema::apply(&database.config)
            .await
            .expect("applied")
            .uncounted,
        0
    );
    assert_eq!(parts(&plan_of(&again, ALL).await), parts(&counted));
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_other_filters_are_scanned_and_have_no_tags() {
    let database = traffic(20_000).await;
    run(
        &database,
        "CREATE VIEW seen AS SELECT * FROM events WHERE url != '/'",
    )
    .await;
    let mut settings = config(&database.config);
    settings.events_table = "seen".into();
    let view = TestService::start_with(settings).await;
    let table = TestService::start(&database.config).await;
    let seen = plan_of(&view, ALL).await;
    let filtered = plan_of(&table, &format!("{ALL}&url=!/")).await;
    assert!(parts(&filtered).iter().all(|part| part["etag"].is_null()));
    let rows = |plan: &Value| -> Vec<Value> {
        parts(plan)
            .iter()
            .map(|part| part["rows"].clone())
            .collect()
    };
    assert_eq!(rows(&seen), rows(&filtered));
    let sql =
        "SELECT count() FROM events WHERE website_id = 'site_demo' AND NOT is_bot AND url != '/'";
    let count = database
        .client
        .query_raw(sql)
        .fetch_one::<u64>()
        .await
        .expect("a count");
    assert!(count > 1_000);
    assert_eq!(seen["rows"], count);
    // The parts of the filtered export are filtered, too.
    let (mut joined, query) = (Vec::new(), format!("{ALL}&url=!/&format=ndjson"));
    for part in parts(&plan_of(&table, &query).await) {
        let answer = table.get(part["url"].as_str().expect("a URL")).await;
        joined.extend_from_slice(&answer.body.expect("whole"));
    }
    let whole = query.replace("&part_rows=1000", "");
    assert!(joined == table.export("site_demo", &whole).await.body.expect("whole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_leads_to_others_is_counted_and_has_no_tags() {
    let database = traffic(5_000).await;
    let table = TestService::start(&database.config).await;
    run(
        &database,
        "CREATE TABLE leading AS events ENGINE = Merge(currentDatabase(), '^events$')",
    )
    .await;
    let mut settings = config(&database.config);
    settings.events_table = "leading".into();
    let leading = TestService::start_with(settings).await;
    let (counted, led) = (plan_of(&table, ALL).await, plan_of(&leading, ALL).await);
    assert_eq!(untagged(&counted), untagged(&led));
    for part in parts(&led) {
        assert!(part["etag"].is_null());
        let answer = leading.get(part["url"].as_str().expect("a URL")).await;
        assert!(tag(&answer).is_none() && answer.body.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_marked_as_deleted_are_in_no_count_once_the_schema_is_applied() {
    let database = clickhouse().await;
    // As an operator may have it: another column, wide parts, and deletions from before the projection.
    let create = schema::statements(schema::TABLES)
        .find(|statement| statement.contains("CREATE TABLE IF NOT EXISTS events"))
        .expect("the table");
    let (columns, rest) = create
        .split_once(",\n    PROJECTION")
        .expect("a projection");
    let (_, rest) = rest.split_once("\n)\nENGINE").expect("an engine");
    let (engine, _) = rest.split_once("SETTINGS").expect("settings");
    let create = format!(
        "{columns},\n    extra String\n)\nENGINE{engine}SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
    );
    run(&database, &create).await;
    let insert = format!(
        "INSERT INTO events (website_id, timestamp, event_id, extra, ingested_at) SELECT '{SITE}', \
         fromUnixTimestamp64Milli({START} + toInt64(number) * 10000), number, 'x', now64(3) - INTERVAL 1 HOUR FROM numbers(20000)"
    );
    run(&database, &insert).await;
    run(&database, "DELETE FROM events WHERE event_id % 10 = 3").await;
    let applied = schema::apply(&database.config).await.expect("applied");
    assert!(applied.masked > 0 && applied.uncounted > 0, "{applied:?}");
    materialized(&database).await;
    insert::website(&database, SITE).await;
    let service = TestService::start(&database.config).await;
    let planned = plan(
        &service,
        "start_date=2026-03-27&end_date=2026-03-31&part_rows=1000",
    )
    .await;
    assert_eq!(planned["rows"], 18_000);
    for planned in parts(&planned) {
        let count = found(&database, "count()", &condition(planned, "")).await;
        assert_eq!(planned["rows"].to_string(), count, "{planned}");
        let answer = part(&service, planned).await;
        assert_eq!(tag(&answer), planned["etag"].as_str());
        assert_eq!(
            answer.text().lines().count() as u64,
            planned["rows"].as_u64().expect("a number") + 1
        );
    }

    // Where another hand made the projection over them, no file ends well under a tag, and the log says what to do.
    for statement in [
        "ALTER TABLE events CLEAR PROJECTION quarter_hours SETTINGS mutations_sync = 2",
        "DELETE FROM events WHERE event_id % 10 = 4",
        "ALTER TABLE events MATERIALIZE PROJECTION quarter_hours SETTINGS mutations_sync = 2",
    ] {
        run(&database, statement).await;
    }
    let window = "from=2026-03-27T00:00:00Z&to=2026-03-30T00:00:00Z&include_bots=true";
    let broken = service.export(SITE, window).await;
    assert!(
        broken.status != StatusCode::OK || broken.body.is_err(),
        "{broken:?}"
    );
    let applied = schema::apply(&database.config).await.expect("applied");
    assert!(applied.masked > 0, "{applied:?}");
    materialized(&database).await;
    let whole = service.export(SITE, window).await;
    assert!(tag(&whole).is_some());
    assert_eq!(whole.text().lines().count(), 16_001);
}

/// Waits until no mutation of the table is left.
async fn materialized(database: &TestDatabase) {
    let left = "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND table = 'events' AND NOT is_done";
    let begun = std::time::Instant::now();
    loop {
        let left = database.client.query_raw(left).fetch_one::<u64>().await;
        if left.expect("a count") == 0 {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "the parts are not counted");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_about_those_of_the_files() {
    let database = traffic(100_000).await;
    let service = TestService::start(&database.config).await;
    for format in [
        "csv",
        "json",
        "ndjson",
        "parquet",
        "parquet&compression=snappy",
        "parquet&compression=none",
        "csv&fields=url,timestamp",
        "ndjson&fields=event_data,event_type",
        "csv&fields=event_type",
        "arrow",
    ] {
        let query = format!("start_date=2026-01-01&end_date=2026-03-31&format={format}");
        let estimate = plan_of(&service, &query).await["bytes_estimate"]
            .as_u64()
            .expect("a number");
        let size = service
            .export("site_demo", &query)
            .await
            .body
            .expect("whole")
            .len() as u64;
        assert!(
            estimate * 4 > size * 3 && estimate * 3 < size * 4,
            "{format}: {estimate} for {size}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_as_its_export_would_be() {
    let database = database().await;
    insert::website(&database, SITE).await;
    run(&database, "CREATE VIEW slow AS SELECT * REPLACE (if(sleepEachRow(1) = 0, url, '') AS url) FROM events").await;
    insert(
        &database,
        &(0..30)
            .map(|id| Event::at(START + id, id as u64))
            .collect::<Vec<_>>(),
    )
    .await;
    let mut settings = config(&database.config);
    settings.plan = std::time::Duration::from_secs(1);
    settings.events_table = "slow".into();
    settings.max_uri_bytes = 1_000;
    let service = TestService::start_with(settings).await;
    let range = "start_date=2026-03-27&end_date=2026-03-27";
    for (query, status, field) in [
        (String::new(), 400, Some("start_date")),
        (format!("{range}&part_rows=0"), 400, Some("part_rows")),
        (format!("{range}&part_rows=-1"), 400, Some("part_rows")),
        (format!("{range}&part_rows=1e6"), 400, Some("part_rows")),
        (
            format!("{range}&part_rows=1&part_rows=1"),
            400,
            Some("part_rows"),
        ),
        (format!("{range}&limit=1"), 400, Some("limit")),
        (format!("{range}&part_row=1"), 400, Some("part_row")),
        (format!("{range}&format=xml"), 400, Some("format")),
        (
            "start_date=2026-03-27&end_date=2026-03-26".into(),
            400,
            Some("end_date"),
        ),
        // Three bytes for each parenthesis in the URL of a part.
        (
            format!("{range}&city=b&data.a=1&browser={}", "(".repeat(300)),
            400,
            Some("browser"),
        ),
        (range.to_owned(), 504, None),
    ] {
        let path = format!("/api/websites/{SITE}/export/plan?{query}");
        let answer = service.get(&path).await;
        let error = answer.error();
        assert_eq!(
            (answer.status.as_u16(), error["field"].as_str()),
            (status, field),
            "{query}: {error}"
        );
        assert!(
            status != 504
                || error["message"]
                    .as_str()
                    .expect("a message")
                    .contains("plan_seconds")
        );
        // HEAD counts nothing.
        let head = service.send(Method::HEAD, &path, Some(&service.key)).await;
        assert_eq!(
            head.status.as_u16(),
            if status == 504 { 200 } else { status },
            "{query}"
        );
        assert!(head.body.expect("an end").is_empty());
    }
    let part_rows = service.export(SITE, &format!("{range}&part_rows=1")).await;
    assert_eq!(part_rows.error()["field"], "part_rows");
    let nobody = service
        .send(
            Method::GET,
            &format!("/api/websites/{SITE}/export/plan?{range}"),
            None,
        )
        .await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let nowhere = service
        .get(&format!("/api/websites/site_x/export/plan?{range}"))
        .await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}
