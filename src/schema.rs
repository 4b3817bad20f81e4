//! The tables, as the plain SQL of `schema/` has them, and the demo's traffic.

use crate::config::ClickHouse;
use crate::cursor::failure;
use crate::error::{Error, Result};
use crate::request::WebsiteId;

/// The statements that create the tables.
pub const TABLES: &str = include_str!("../schema/tables.sql");

/// The statement that makes the demo's traffic, with the parameters `site` and `events`.
const DEMO: &str = include_str!("../schema/demo.sql");

/// Creates what is missing of the database and its tables. Can be repeated.
///
/// # Errors
///
/// ClickHouse cannot be reached or refuses a statement.
pub async fn apply(clickhouse: &ClickHouse) -> Result<()> {
    let failed = |error| failure::from_clickhouse(error, &clickhouse.url);
    if !is_identifier(&clickhouse.database) {
        return Err(Error::usage(format!(
            "clickhouse_database `{}` is not a name: letters, digits and _ are allowed",
            clickhouse.database
        )));
    }
    // The database cannot be the default one of the query that creates it.
    let outside = ClickHouse {
        database: "default".into(),
        ..clickhouse.clone()
    };
    outside
        .client()
        .query_raw(&format!("CREATE DATABASE IF NOT EXISTS `{}`", clickhouse.database))
        .execute()
        .await
        .map_err(failed)?;
    let client = clickhouse.client();
    for statement in statements(TABLES) {
        client.query_raw(statement).execute().await.map_err(failed)?;
    }
    Ok(())
}

/// The statements of a file: each ends with a semicolon at the end of a line.
pub fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| {
        statement
            .lines()
            .any(|line| !line.is_empty() && !line.starts_with("--"))
    })
}

/// Makes `events` events of synthetic traffic in a website, inside ClickHouse.
///
/// # Errors
///
/// ClickHouse cannot be reached or has no tables.
pub async fn make_demo_events(clickhouse: &ClickHouse, site: &WebsiteId, events: u64) -> Result<()> {
    clickhouse
        .client()
        .query_raw(DEMO)
        .param("site", site.as_str())
        .param("events", events)
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
