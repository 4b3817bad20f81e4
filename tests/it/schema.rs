//! The tables that `schema apply` makes, and the traffic that is made in them.

use rowspout::catalog::{Catalog, KeyHash};
use rowspout::request::{Format, WebsiteId};
use rowspout::schema;

use crate::support::clickhouse;
use crate::support::insert::{self, database};

const TABLES: [&str; 5] = ["websites", "events", "api_keys", "loads", "export_log"];

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_schema_again_changes_nothing() {
    let database = clickhouse().await;
    let first = schema::apply(&database.config).await.expect("applied");
    assert_eq!(first.created, TABLES);
    assert!(first.present.is_empty());
    insert::website(&database, "site_a").await;
    let look = "SELECT groupArray(create_table_query) FROM \
                (SELECT * FROM system.tables WHERE database = currentDatabase() ORDER BY name)";
    let before = database
        .client
        .query_raw(look)
        .fetch_one::<Vec<String>>()
        .await
        .expect("tables");
    let second = schema::apply(&database.config)
        .await
        .expect("applied again");
    assert!(second.created.is_empty() && !second.database_created);
    assert_eq!(second.uncounted, 0);
    assert_eq!(second.present, TABLES);
    let after = database
        .client
        .query_raw(look)
        .fetch_one::<Vec<String>>()
        .await
        .expect("tables");
    assert_eq!(before, after);
    let kept = "SELECT count() FROM websites";
    assert_eq!(
        database
            .client
            .query_raw(kept)
            .fetch_one::<u64>()
            .await
            .expect("a count"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_is_created_and_a_name_that_is_none_is_refused() {
    let mut config = clickhouse().await.config;
    config.database.push_str("_new");
    assert!(
        schema::apply(&config)
            .await
            .expect("applied")
            .database_created
    );
    config.database = "a`; DROP TABLE events; --".into();
    let error = schema::apply(&config).await.expect_err("no name");
    assert!(error.message().contains("clickhouse_database"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_says_what_it_means() {
    let database = database().await;
    let silent = database
        .client
        .query_raw("SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() AND comment = ''")
        .fetch_all::<String>()
        .await
        .expect("columns");
    assert!(silent.is_empty(), "{silent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_statements_are_sql_with_the_same_columns() {
    let database = clickhouse().await;
    let mut clustered = Vec::new();
    for statement in schema::statements(schema::CLUSTER_TABLES) {
        let parsed = database
            .client
            .query_raw(&format!("EXPLAIN AST {statement}"));
        parsed.fetch_all::<String>().await.expect(statement);
        clustered.extend(columns(statement));
    }
    let single: Vec<_> = schema::statements(schema::TABLES)
        .flat_map(columns)
        .collect();
    assert!(single.len() > 50);
    assert_eq!(single, clustered);
}

/// The lines between a statement's outer parentheses.
fn columns(statement: &str) -> Vec<&str> {
    let lines = statement.lines().skip_while(|line| *line != "(").skip(1);
    lines.take_while(|line| *line != ")").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_traffic_is_the_same_each_time_and_in_order() {
    #[derive(Debug, PartialEq, clickhouse::Row, serde::Deserialize)]
    struct Traffic {
        rows: u64,
        hash: u64,
        disordered: u64,
        broken_json: u64,
        bots: u64,
        custom: u64,
        shared_instants: bool,
        milliseconds: bool,
        months: u64,
    }
    let database = database().await;
    let mut seen = Vec::new();
    for id in ["site_one", "site_two"] {
        let site = WebsiteId::parse(id).expect("an id");
        schema::make_demo_events(&database.config, &site, 100_000)
            .await
            .expect("traffic");
        assert_eq!(
            schema::count_events(&database.config, &site)
                .await
                .expect("a count"),
            100_000
        );
        let traffic = database
            .client
            .query_raw(
                "SELECT count() AS rows, sum(cityHash64(* EXCEPT (website_id, ingested_at, before))) AS hash, \
                 countIf(timestamp < before) AS disordered, \
                 countIf(event_data != '' AND NOT isValidJSON(event_data)) AS broken_json, \
                 countIf(is_bot) AS bots, countIf(event_type = 'event') AS custom, \
                 uniqExact(timestamp) < rows AS shared_instants, \
                 max(toUnixTimestamp64Milli(timestamp) % 1000) > 0 AS milliseconds, uniqExact(toYYYYMM(timestamp)) AS months \
                 FROM (SELECT *, lagInFrame(timestamp) OVER (ORDER BY event_id) AS before FROM events WHERE website_id = {site:String})",
            )
            .param("site", id)
            .fetch_one::<Traffic>()
            .await
            .expect("figures");
        seen.push(traffic);
    }
    assert_eq!(seen[0], seen[1]);
    let traffic = &seen[0];
    assert_eq!(
        (traffic.disordered, traffic.broken_json, traffic.months),
        (0, 0, 3)
    );
    assert!(traffic.shared_instants && traffic.milliseconds);
    assert!((10_000..20_000).contains(&traffic.bots), "{traffic:?}");
    assert!((25_000..35_000).contains(&traffic.custom), "{traffic:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_view_over_a_foreign_table_can_be_read_through_its_primary_key() {
    let database = clickhouse().await;
    let readme = include_str!("../../schema/README.md");
    let (_, rest) = readme.split_once("```sql\n").expect("an example");
    let (sql, _) = rest.split_once("```").expect("its end");
    for statement in schema::statements(sql) {
        database
            .client
            .query_raw(statement)
            .execute()
            .await
            .expect(statement);
    }
    let fill = "INSERT INTO hits (site, at, serial, kind, location, iso) \
                SELECT 'site_a', toDateTime64('2026-03-01 00:00:00', 3, 'UTC') + number, number, \
                if(number % 2, 'page', 'signup'), '/?utm_source=news', NULL FROM numbers(100000)";
    database
        .client
        .query_raw(fill)
        .execute()
        .await
        .expect("rows");

    // Types as an export wants them.
    let ours = "SELECT toTypeName(timestamp), toTypeName(event_id), toTypeName(event_type), toTypeName(is_bot), \
                toTypeName(ingested_at) FROM hits_for_rowspout LIMIT 1";
    let types = database
        .client
        .query_raw(ours)
        .fetch_one::<(String, String, String, String, String)>()
        .await
        .expect("types");
    assert_eq!(types.0, "DateTime64(3, 'UTC')");
    assert_eq!(types.1, "UInt64");
    assert_eq!(types.2, "Enum8('pageview' = 1, 'event' = 2)");
    assert_eq!(types.4, "DateTime64(3, 'UTC')");
    let explain = "EXPLAIN indexes = 1 SELECT url FROM hits_for_rowspout WHERE website_id = 'site_a' \
                   AND timestamp < toDateTime64('2026-03-01 00:10:00', 3, 'UTC') ORDER BY timestamp, event_id";
    let plan = database
        .client
        .query_raw(explain)
        .fetch_all::<String>()
        .await
        .expect("a plan");
    assert!(
        plan.iter().any(|line| line.contains("Granules: 1/")),
        "{plan:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_earlier_version_get_the_columns_that_they_lack_and_keep_their_rows() {
    let database = clickhouse().await;
    for statement in schema::statements(EARLIER_TABLES) {
        let create = database.client.query_raw(statement);
        create.execute().await.expect(statement);
    }
    let catalog = Catalog::new(&database.config);
    let hash = KeyHash::of("old");
    let error = catalog.find_key(&hash).await.expect_err("an old table");
    assert!(error.message().contains("rowspout schema apply"), "{error}");
    for _ in 0..2 {
        schema::apply(&database.config).await.expect("applied");
    }
    let fresh = self::database().await;
    let look = "SELECT table, name, type, default_expression, comment FROM system.columns \
                WHERE database = currentDatabase() ORDER BY table, name";
    let columns = |client: &clickhouse::Client| {
        client
            .query_raw(look)
            .fetch_all::<(String, String, String, String, String)>()
    };
    let (upgraded, fresh) = (
        columns(&database.client).await.expect("columns"),
        columns(&fresh.client).await.expect("columns"),
    );
    assert!(upgraded.len() > 50);
    assert_eq!(upgraded, fresh);
    let kept = "SELECT export_id, rows, sha256, resumes FROM export_log";
    let kept: (String, u64, String, u32) = database
        .client
        .query_raw(kept)
        .fetch_one()
        .await
        .expect("the row");
    assert_eq!(kept, ("exp_old".to_owned(), 7, String::new(), 0));
    let key = catalog.find_key(&hash).await.expect("an answer");
    let key = key.expect("the key still opens what it did");
    assert!(key.opens("site_a") && !key.opens("site_b") && key.may_write(Format::Parquet));
}

/// Tables as version 0.1 made them.
const EARLIER_TABLES: &str = "
CREATE TABLE export_log
(
    export_id    String                          COMMENT 'the response''s X-Export-Id',
    key_id       LowCardinality(String)          COMMENT 'api_keys.id',
    website_id   LowCardinality(String)          COMMENT 'websites.id',
    format       LowCardinality(String)          COMMENT 'csv, json, ndjson or parquet',
    timezone     LowCardinality(String)          COMMENT 'IANA name',
    start_date   Date32                          COMMENT 'first day',
    end_date     Date32                          COMMENT 'last day',
    event_type   LowCardinality(String)          COMMENT 'pageview or event; empty means all',
    include_bots Bool                            COMMENT 'whether rows with is_bot are in it',
    status       LowCardinality(String)          COMMENT 'running, complete or aborted',
    reason       String                          COMMENT 'why it was aborted',
    rows         UInt64                          COMMENT 'rows in the file',
    bytes        UInt64                          COMMENT 'bytes of the file, before any Content-Encoding',
    started_at   DateTime64(3, 'UTC')            COMMENT 'when the request came',
    finished_at  DateTime64(3, 'UTC')            COMMENT 'when the last byte went; 1970 while it runs',
    version      UInt32                          COMMENT 'counts the rows of one export'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(started_at)
ORDER BY export_id;
INSERT INTO export_log (export_id, rows) SELECT 'exp_old', 7;
CREATE TABLE api_keys
(
    id         String                            COMMENT 'names the key in lists and logs; no secret',
    hash       String                            COMMENT 'SHA-256 of the key, lower-case hexadecimal; the key itself is nowhere',
    name       String                            COMMENT 'for people',
    sites      Array(String)                     COMMENT 'websites that it opens; empty means all',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was made',
    revoked    Bool DEFAULT false                COMMENT 'whether it opens nothing any more',
    version    UInt32 DEFAULT 0                  COMMENT 'counts the rows of one key'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (hash, id);
INSERT INTO api_keys (id, hash, sites) SELECT 'key_old', lower(hex(SHA256('old'))), ['site_a'];
";

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_that_are_told_of_each_table_are_those_that_clickhouse_has() {
    let database = database().await;
    for table in TABLES {
        let columns = database
            .client
            .query_raw("SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position")
            .param("table", table)
            .fetch_all::<(String, String)>();
        let columns = columns.await.expect("columns");
        let told = schema::columns(table).into_iter();
        let told: Vec<_> = told
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect();
        assert_eq!(told, columns, "{table}");
    }
}
