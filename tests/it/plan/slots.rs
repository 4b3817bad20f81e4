//! What divides an export and proves its ranges: counts by slot, of the projection and of the events, against plain SQL.

use std::sync::Arc;

use rowspout::cursor::{Counts, Plan, Server};
use rowspout::export::{Export, ExportId};
use rowspout::pushdown::{Fence, Parts, Range};
use rowspout::request::{ExportRequest, Interval, WebsiteId};
use rowspout::schema;

use super::*;
use crate::support::service::config;

/// What an export of `site_demo` would be divided by, and where its window lies. What came in the last minutes is not settled.
async fn slots(database: &TestDatabase, query: &str) -> (Plan, Interval) {
    slots_of(database, "events", query).await
}

/// The same of a table.
async fn slots_of(database: &TestDatabase, table: &str, query: &str) -> (Plan, Interval) {
    let website = WebsiteId::parse("site_demo").expect("an id");
    let request = ExportRequest::from_query(website, query).expect("a request");
    let whole = Range::whole(&request.window).interval;
    let mut config = config(&database.config);
    config.events_table = table.into();
    let server = Server::new(&config);
    let now = database
        .client
        .query_raw("SELECT toUnixTimestamp64Milli(now64(3))");
    let fence = Fence::at(now.fetch_one::<i64>().await.expect("now"));
    let request = Arc::new(request);
    // Other tests ask the same engine.
    let id = ExportId::random().expect("an id");
    let chosen = server.choose(&request, fence, &format!("{id}-count")).await;
    let replica = chosen.expect("a replica").replica;
    let mut planning = server.plan(&replica, &request, fence, &format!("{id}-plan"));
    (planning.plan().await.expect("a plan"), whole)
}

/// Stretches of so many rows at least, which make up the window.
fn stretches(plan: &Plan, whole: Interval, rows: u64) -> Vec<Interval> {
    let mut stretches = Vec::new();
    let mut from = whole.from;
    while from < whole.until {
        let until = plan.cut(from, rows).unwrap_or(whole.until).min(whole.until);
        stretches.push(Interval { from, until });
        from = until;
    }
    stretches
}

/// The rows of a stretch by plain SQL.
async fn rows(database: &TestDatabase, stretch: Interval, filter: &str) -> u64 {
    let Interval { from, until } = stretch;
    let sql = format!(
        "SELECT count() FROM events WHERE website_id = 'site_demo' AND toUnixTimestamp64Milli(timestamp) >= {from} \
         AND toUnixTimestamp64Milli(timestamp) < {until} AND {filter} SETTINGS optimize_use_projections = 0"
    );
    let rows = database.client.query_raw(&sql).fetch_one::<u64>().await;
    rows.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_have_the_rows_and_parts_that_plain_sql_finds_wherever_they_come_from() {
    let database = traffic(30_000).await;
    run(&database, "SYSTEM STOP MERGES events").await;
    let twice = "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id) FROM events WHERE timestamp < '2026-01-20'";
    run(&database, twice).await;
    let overlap = 1_768_867_200_000; // 2026-01-20T00:00:00Z
    for (query, each, kept, filter) in [
        (
            "start_date=2026-01-01&end_date=2026-03-31",
            300,
            true,
            "NOT is_bot",
        ),
        (
            "start_date=2026-01-05&end_date=2026-02-20&timezone=Asia/Kathmandu&include_bots=true",
            300,
            true,
            "1",
        ),
        (
            "start_date=2026-01-19&end_date=2026-01-20&event_type=event",
            30,
            true,
            "NOT is_bot AND event_type = 'event'",
        ),
        (
            "from=2026-01-05T00:00:01Z&to=2026-02-20T00:00:00Z&include_bots=true",
            300,
            false,
            "1",
        ),
        (
            "start_date=2026-01-05&end_date=2026-02-20&include_bots=true&country=DE",
            100,
            false,
            "country = 'DE'",
        ),
    ] {
        let (plan, whole) = slots(&database, query).await;
        assert_eq!(plan.is_kept(), kept, "{query}");
        let stretches = stretches(&plan, whole, each);
        assert!(stretches.len() > 2, "{query}: {stretches:?}");
        for stretch in stretches {
            let rows = rows(&database, stretch, filter).await;
            let counts = Counts {
                rows,
                settled: rows,
            };
            assert_eq!(plan.counts(stretch), counts, "{query}: {stretch:?}");
            let parts = match stretch {
                _ if stretch.until <= overlap => Parts::Overlapping,
                _ if stretch.from >= overlap => Parts::Disjoint,
                _ => continue,
            };
            assert_eq!(plan.parts(stretch), parts, "{query}: {stretch:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_view_rows_are_counted_and_of_their_parts_nothing_can_be_told() {
    let database = traffic(30_000).await;
    run(&database, "CREATE VIEW seen AS SELECT * FROM events").await;
    let query = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
    let (plan, whole) = slots_of(&database, "seen", query).await;
    for stretch in stretches(&plan, whole, 300) {
        let rows = rows(&database, stretch, "1").await;
        assert_eq!(plan.counts(stretch).rows, rows, "{stretch:?}");
        assert_eq!(plan.parts(stretch), Parts::Untold, "{stretch:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fresh_rows_those_count_that_came_before_the_fence() {
    let database = traffic(30_000).await;
    for (id, came) in [
        (1_000_000_000, "now64(3)"),
        (2_000_000_000, "now64(3) + INTERVAL 1 HOUR"),
    ] {
        let fresh = format!(
            "INSERT INTO events SELECT * REPLACE (event_id + {id} AS event_id, {came} AS ingested_at) FROM \
             (SELECT * FROM events WHERE ingested_at < now64(3) - INTERVAL 30 MINUTE) \
             WHERE timestamp >= '2026-02-10' AND timestamp < '2026-02-12'"
        );
        run(&database, &fresh).await;
    }
    let query = "start_date=2026-02-01&end_date=2026-03-31&include_bots=true";
    let (plan, whole) = slots(&database, query).await;
    assert!(!plan.is_kept());
    let mut fresh = 0;
    for stretch in stretches(&plan, whole, 300) {
        let old = "ingested_at <= now64(3) - INTERVAL 30 MINUTE";
        let counts = Counts {
            rows: rows(&database, stretch, "ingested_at <= now64(3)").await,
            settled: rows(&database, stretch, old).await,
        };
        assert_eq!(plan.counts(stretch), counts, "{stretch:?}");
        fresh += u64::from(!counts.are_settled());
    }
    assert!(fresh > 1, "{fresh}");
    // Elsewhere they do not count.
    let query = "start_date=2026-01-01&end_date=2026-01-31&include_bots=true";
    assert!(slots(&database, query).await.0.is_kept());
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_narrower_than_the_projections_where_those_hold_too_many_rows() {
    let database = traffic(1).await;
    let dense = "INSERT INTO events (website_id, timestamp, event_id, url) \
         SELECT 'site_demo', toDateTime64('2026-01-02 10:00:00', 3, 'UTC') + number / 100, number, '/' FROM numbers(40000)";
    run(&database, dense).await;
    let (plan, whole) = slots(&database, "start_date=2026-01-02&end_date=2026-01-02").await;
    assert!(!plan.is_kept());
    assert_eq!(plan.counts(whole).rows, 40_000);
    let cut = plan.cut(whole.from, 1_000).expect("a cut");
    assert!(
        plan.counts(Interval {
            until: cut,
            ..whole
        })
        .rows
            < 3_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_between_two_ranges_make_no_file() {
    for kept in [true, false] {
        let database = traffic(700_000).await;
        let query = "start_date=2026-01-01&end_date=2026-03-31";
        if !kept {
            let fresh = "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id, now64(3) AS ingested_at) FROM events \
                 WHERE timestamp >= '2026-03-01' AND event_id % 50 = 0";
            run(&database, fresh).await;
        }
        assert_eq!(slots(&database, query).await.0.is_kept(), kept);
        let website = WebsiteId::parse("site_demo").expect("an id");
        let request = ExportRequest::from_query(website, query).expect("a request");
        let now = database
            .client
            .query_raw("SELECT toUnixTimestamp64Milli(now64(3))");
        let fence = Fence::at(now.fetch_one::<i64>().await.expect("now"));
        let id = ExportId::random().expect("an id");
        let server = Server::new(&config(&database.config));
        let mut export = Export::begin(id, request, server, fence)
            .await
            .expect("begun");
        // The first cursor is opened and the rows are counted meanwhile, and other cursors are not.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let delete = "ALTER TABLE events DELETE WHERE event_id % 2 = 0 SETTINGS mutations_sync = 2";
        run(&database, delete).await;
        let error = loop {
            match export.next_chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{} rows make a file, kept: {kept}", export.rows()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.message(), "the rows changed while they were exported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_projection_counts_rows_that_are_none_the_events_are_counted() {
    let database = database().await;
    let wide =
        "ALTER TABLE events MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0";
    run(&database, wide).await;
    // Where the projection has all columns, its maker sees what is deleted.
    run(&database, "ALTER TABLE events ADD COLUMN extra String").await;
    insert::website(&database, "site_demo").await;
    insert::fill(&database, 700_000).await;
    // The projection made by another hand, over rows that are only marked as deleted.
    let add = schema::statements(schema::TABLES).find(|sql| sql.contains("ADD PROJECTION"));
    for statement in [
        "ALTER TABLE events DROP PROJECTION quarter_hours SETTINGS mutations_sync = 2",
        "DELETE FROM events WHERE event_id % 10 = 4",
        add.expect("a statement"),
        "ALTER TABLE events MATERIALIZE PROJECTION quarter_hours SETTINGS mutations_sync = 2",
    ] {
        run(&database, statement).await;
    }
    let query = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
    let (plan, whole) = slots(&database, query).await;
    assert!(plan.is_kept());
    let there = rows(&database, whole, "1").await;
    assert!(there < plan.counts(whole).rows, "{there}");
    let service = TestService::start(&database.config).await;
    let file = service.export("site_demo", query).await.text();
    assert_eq!(file.lines().count() as u64, there + 1);
}
