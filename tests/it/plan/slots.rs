//! What divides an export and proves its ranges: counts by slot, of the projection and of the events, against plain SQL.

use std::sync::Arc;

use rowspout::cursor::{Counts, Plan, Server};
use rowspout::pushdown::{Fence, Parts, Range};
use rowspout::request::{ExportRequest, Interval, WebsiteId};

use super::*;
use crate::support::service::config;

/// What an export of `site_demo` would be divided by, with all that came so far settled, and where its window lies.
async fn slots(database: &TestDatabase, query: &str) -> (Plan, Interval) {
    let website = WebsiteId::parse("site_demo").expect("an id");
    let request = ExportRequest::from_query(website, query).expect("a request");
    let whole = Range::whole(&request.window).interval;
    let server = Server::new(&config(&database.config));
    let now = database
        .client
        .query_raw("SELECT toUnixTimestamp64Milli(now64(3))");
    let fence = Fence::settling(now.fetch_one::<i64>().await.expect("now"), 0);
    let request = Arc::new(request);
    let chosen = server.choose(&request, fence, "slots-count").await;
    let replica = chosen.expect("a replica").replica;
    let mut planning = server.plan(&replica, &request, fence, "slots-plan");
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
            assert_eq!(plan.expected(stretch), Some(counts));
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
async fn nothing_is_expected_of_rows_that_may_become_more_unless_they_were_counted_one_by_one() {
    let database = traffic(30_000).await;
    let fresh = "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id, now64(3) + INTERVAL 1 HOUR AS ingested_at) \
         FROM events WHERE timestamp >= '2026-02-10' AND timestamp < '2026-02-12'";
    run(&database, fresh).await;
    let query = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
    let (plan, whole) = slots(&database, query).await;
    assert!(plan.is_kept());
    let days = 1_770_681_600_000..1_770_854_400_000; // 2026-02-10 and 11
    let (mut expected, mut unknown) = (0, 0);
    for stretch in stretches(&plan, whole, 300) {
        let rows = rows(&database, stretch, "ingested_at < now64(3)").await;
        if stretch.from < days.end && stretch.until > days.start {
            assert_eq!(plan.expected(stretch), None, "{stretch:?}");
            assert!(!plan.counts(stretch).are_settled());
            unknown += 1;
        } else {
            let counts = plan.expected(stretch).expect("counts");
            assert_eq!((counts.rows, counts.settled), (rows, rows), "{stretch:?}");
            expected += 1;
        }
    }
    assert!(expected > 10 && unknown > 1, "{expected} {unknown}");

    // The file has what came before it, whichever way its ranges are proved.
    let service = TestService::start(&database.config).await;
    let file = service.export("site_demo", query).await.text();
    assert_eq!(file.lines().count(), 30_001);

    let drop = "ALTER TABLE events DROP PROJECTION quarter_hours SETTINGS mutations_sync = 2";
    run(&database, drop).await;
    let (plan, _) = slots(&database, query).await;
    assert!(!plan.is_kept());
    let counts = plan.expected(whole).expect("counts");
    assert_eq!((counts.rows, counts.settled), (30_000, 30_000));
    assert_eq!(service.export("site_demo", query).await.text(), file);
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
