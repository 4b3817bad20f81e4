//! Whether the table can take the rows as they go over the wire.

use serde::Deserialize;

use super::column::Column;
use crate::config::Config;
use crate::cursor::failure;
use crate::error::{Error, Result};
use crate::pushdown::columns::TEXT_COLUMNS;

#[derive(clickhouse::Row, Deserialize)]
struct Described {
    name: String,
    column_type: String,
}

/// Looks at the types of the table's columns: RowBinary says nothing of types, so that a table with others would take
/// one value's bytes for another's.
///
/// # Errors
///
/// There is no such table, it is a view, or a column is missing or has a type that is not the schema's.
pub(super) async fn check(config: &Config) -> Result<()> {
    let failed = |error| failure::from_clickhouse(error, &config.clickhouse.url);
    let table = config.events_table.as_str();
    let (database, name) = table
        .split_once('.')
        .unwrap_or((&config.clickhouse.database, table));
    let client = config.clickhouse.client();
    let engine = client
        .query_raw("SELECT engine FROM system.tables WHERE database = {database:String} AND name = {name:String}")
        .param("database", database)
        .param("name", name)
        .fetch_optional::<String>()
        .await
        .map_err(failed)?;
    match engine.as_deref() {
        None => {
            return Err(Error::usage(format!(
                "there is no table {database}.{name}: create the tables with `rowspout schema apply`"
            )));
        }
        Some("View" | "MaterializedView" | "LiveView" | "WindowView") => {
            return Err(Error::usage(format!(
                "{database}.{name} is a view, which can only be read: load into a table with --events-table NAME"
            )));
        }
        Some(_) => {}
    }
    let described = client
        .query_raw(
            "SELECT name, type AS column_type FROM system.columns \
             WHERE database = {database:String} AND table = {name:String}",
        )
        .param("database", database)
        .param("name", name)
        .fetch_all::<Described>()
        .await
        .map_err(failed)?;
    for (column, types) in wanted() {
        let found = described.iter().find(|found| found.name == column);
        let said = found.map_or("missing", |found| found.column_type.as_str());
        if !types.contains(&said) {
            return Err(Error::usage(format!(
                "the column {column} of {database}.{name} is {said}, and load needs {}: `rowspout schema print` shows \
                 the table that it needs",
                types[0]
            )));
        }
    }
    Ok(())
}

/// The types that each column's values fit into, the schema's first.
fn wanted() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    const TEXT: &[&str] = &["String", "LowCardinality(String)"];
    let fixed: [(&str, &[&str]); 5] = [
        ("website_id", TEXT),
        ("event_id", &["UInt64"]),
        (
            Column::Timestamp.name(),
            &["DateTime64(3, 'UTC')", "DateTime64(3)"],
        ),
        (
            Column::EventType.name(),
            &["Enum8('pageview' = 1, 'event' = 2)"],
        ),
        (Column::IsBot.name(), &["Bool", "UInt8"]),
    ];
    fixed
        .into_iter()
        .chain(TEXT_COLUMNS.into_iter().map(|name| (name, TEXT)))
}
