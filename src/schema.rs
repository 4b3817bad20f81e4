//! The tables, as the plain SQL of `schema/` has them, and the demo's traffic.

use crate::config::ClickHouse;
use crate::cursor::{Replicas, failure};
use crate::demo;
use crate::error::{Error, Result};
use crate::pushdown::COUNTS;
use crate::request::WebsiteId;

/// The statements that create the tables, for one server.
pub const TABLES: &str = include_str!("../schema/tables.sql");

/// The statements that create the tables on every server of a cluster that is called `rowspout`.
pub const CLUSTER_TABLES: &str = include_str!("../schema/cluster/tables.sql");

/// The statements that create the users that Rowspout runs as, with what they need and no more.
pub const USERS: &str = include_str!("../schema/users.sql");

/// The statement that makes the demo's traffic, with the parameters `site`, `events`, `start` and `end`.
pub const DEMO: &str = include_str!("../schema/demo.sql");

/// What [`apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether the database was missing and was created.
    pub database_created: bool,
    /// The tables that were missing and were created.
    pub created: Vec<String>,
    /// The tables that were there already.
    pub present: Vec<String>,
    /// Parts of `events` from before [`COUNTS`], which get them in the background now.
    pub uncounted: u64,
    /// Parts of `events` with rows that a DELETE marked, which lose those in the background now.
    pub masked: u64,
}

/// What a statement that only concerns [`COUNTS`] begins with.
const ALTER_EVENTS: &str = "ALTER TABLE events\n";

/// Creates what is missing of the database and its tables, on the first replica that answers. Can be repeated.
///
/// # Errors
///
/// The database's name is no identifier, ClickHouse cannot be reached, or it refuses a statement.
pub async fn apply(clickhouse: &ClickHouse) -> Result<Applied> {
    let clickhouse = &Replicas::that_answers(clickhouse).await?;
    let failed = |error| failure::from_clickhouse(error, &clickhouse.url);
    if !is_identifier(&clickhouse.database) {
        return Err(Error::usage(format!(
            "clickhouse_database `{}` is not a name: letters, digits and _ are allowed",
            clickhouse.database
        )));
    }
    let mut applied = Applied {
        database_created: create_database(clickhouse).await.map_err(failed)?,
        ..Applied::default()
    };
    let client = clickhouse.client();
    let before = client
        .query_raw("SELECT name FROM system.tables WHERE database = {database:String}")
        .param("database", clickhouse.database.as_str())
        .fetch_all::<String>()
        .await
        .map_err(failed)?;
    for statement in statements(TABLES) {
        if statement.contains(ALTER_EVENTS) && !is_counted(&client).await.map_err(failed)? {
            continue;
        }
        if statement.contains("APPLY DELETED MASK") {
            applied.masked = masked(&client).await.map_err(failed)?;
            if applied.masked == 0 {
                continue;
            }
        }
        if statement.contains("MATERIALIZE PROJECTION") {
            applied.uncounted = uncounted(&client).await.map_err(failed)?;
            if applied.uncounted == 0 {
                continue;
            }
        }
        client
            .query_raw(statement)
            .execute()
            .await
            .map_err(failed)?;
        let Some(table) = created_table(statement) else {
            continue;
        };
        if before.iter().any(|name| name == table) {
            applied.present.push(table.to_owned());
        } else {
            applied.created.push(table.to_owned());
        }
    }
    Ok(applied)
}

/// Whether `events` is a table that can have [`COUNTS`]: not so a view, one that only leads to other servers' tables, or one
/// that drops rows in merges.
async fn is_counted(client: &clickhouse::Client) -> Result<bool, clickhouse::error::Error> {
    let engine = client
        .query_raw(
            "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'events'",
        )
        .fetch_optional::<String>()
        .await?;
    let counted = ["MergeTree", "ReplicatedMergeTree", "SharedMergeTree"];
    Ok(engine.is_some_and(|engine| counted.contains(&engine.as_str())))
}

/// Parts of `events` that have no [`COUNTS`]. Giving them to parts that have theirs would only copy those.
async fn uncounted(client: &clickhouse::Client) -> Result<u64, clickhouse::error::Error> {
    client
        .query_raw(
            "SELECT countIf(NOT has(projections, {counts:String})) FROM system.parts \
             WHERE database = currentDatabase() AND table = 'events' AND active",
        )
        .param("counts", COUNTS)
        .fetch_one::<u64>()
        .await
}

/// Parts of `events` with rows that are only marked as deleted.
async fn masked(client: &clickhouse::Client) -> Result<u64, clickhouse::error::Error> {
    client
        .query_raw(
            "SELECT countIf(has_lightweight_delete) FROM system.parts \
             WHERE database = currentDatabase() AND table = 'events' AND active",
        )
        .fetch_one::<u64>()
        .await
}

/// Creates the database unless it is there. A user who may not create databases can so use one that exists.
async fn create_database(clickhouse: &ClickHouse) -> Result<bool, clickhouse::error::Error> {
    // The database cannot be the default one of the queries that look for it and create it.
    let outside = ClickHouse {
        database: "default".into(),
        ..clickhouse.clone()
    };
    let client = outside.client();
    let there = client
        .query_raw("SELECT count() FROM system.databases WHERE name = {database:String}")
        .param("database", clickhouse.database.as_str())
        .fetch_one::<u64>()
        .await?;
    if there == 0 {
        // An identifier cannot be a parameter here; this one was checked.
        let create = format!("CREATE DATABASE IF NOT EXISTS `{}`", clickhouse.database);
        client.query_raw(&create).execute().await?;
    }
    Ok(there == 0)
}

/// The statements of a file: each ends with a semicolon at the end of a line.
pub fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| {
        statement
            .lines()
            .any(|line| !line.is_empty() && !line.starts_with("--"))
    })
}

/// The columns that a table of [`TABLES`] has, name and type; none where it is not one of them.
pub fn columns(table: &str) -> Vec<(&'static str, &'static str)> {
    let statement = statements(TABLES).find(|statement| created_table(statement) == Some(table));
    let lines = statement.unwrap_or_default().lines();
    lines
        .skip_while(|line| *line != "(")
        .skip(1)
        // Behind the columns come what is none, or the end.
        .take_while(|line| {
            !["    INDEX ", "    PROJECTION ", ")"]
                .iter()
                .any(|end| line.starts_with(end))
        })
        .filter_map(|line| line.trim_start().split_once(' '))
        .map(|(name, rest)| {
            let end = [" DEFAULT ", " COMMENT "].map(|word| rest.find(word).unwrap_or(rest.len()));
            (name, rest[..end[0].min(end[1])].trim())
        })
        .collect()
}

/// The table that a statement creates.
fn created_table(statement: &str) -> Option<&str> {
    let (_, rest) = statement.split_once("CREATE TABLE IF NOT EXISTS ")?;
    rest.split_whitespace().next()
}

/// Makes `events` events of synthetic traffic in a website, inside ClickHouse, over the days [`demo::START`] to
/// [`demo::END`]. A million take one or two seconds.
///
/// # Errors
///
/// ClickHouse cannot be reached or has no tables.
pub async fn make_demo_events(
    clickhouse: &ClickHouse,
    site: &WebsiteId,
    events: u64,
) -> Result<()> {
    let clickhouse = Replicas::that_answers(clickhouse).await?;
    clickhouse
        .client()
        .query_raw(DEMO)
        .param("site", site.as_str())
        .param("events", events)
        .param("start", demo::START)
        .param("end", demo::END)
        .execute()
        .await
        .map_err(|error| failure::from_clickhouse(error, &clickhouse.url))
}

/// How many events a website holds.
///
/// # Errors
///
/// ClickHouse cannot be reached or has no tables.
pub async fn count_events(clickhouse: &ClickHouse, site: &WebsiteId) -> Result<u64> {
    let clickhouse = Replicas::that_answers(clickhouse).await?;
    clickhouse
        .client()
        .query_raw("SELECT count() FROM events WHERE website_id = {site:String}")
        .param("site", site.as_str())
        .fetch_one::<u64>()
        .await
        .map_err(|error| failure::from_clickhouse(error, &clickhouse.url))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.as_bytes()[0].is_ascii_digit()
}
