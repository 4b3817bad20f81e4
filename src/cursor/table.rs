//! Whether the table or view of events can be read as it is.

use serde::Deserialize;

use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, Result};
use crate::pushdown::COUNTS;
use crate::pushdown::columns::TEXT_COLUMNS;

/// What statements need to know of the table.
#[derive(Debug, Default)]
pub(super) struct TableFacts {
    /// The text columns that may hold NULL.
    pub(super) nullable: Vec<&'static str>,
    /// Whether its rows lie in parts that can be told apart.
    pub(super) has_parts: bool,
    /// Whether its rows are counted and hashed by a projection, and in all columns as that does.
    pub(super) is_counted: bool,
}

#[derive(clickhouse::Row, Deserialize)]
struct Described {
    name: String,
    column_type: String,
    engine: String,
}

/// Whether a table has the projection, or the one that it leads to on every server of a cluster, whose database and name stand
/// between the second and third pairs of quotes.
const COUNTED: &str = "WITH splitByString(char(39), (SELECT any(engine_full) FROM system.tables \
    WHERE database = {database:String} AND name = {name:String} AND engine = 'Distributed')) AS words \
    SELECT count() FROM system.tables WHERE position(create_table_query, {projection:String}) > 0 \
    AND ((database = {database:String} AND name = {name:String}) OR (database = words[4] AND name = words[6]))";

/// A column, whether a type serves, and what to say where it doesn't.
type Wanted = (&'static str, fn(&str) -> bool, &'static str);

/// The columns whose types matter to the statement.
const WANTED: [Wanted; 6] = [
    ("website_id", |found| is_text(found), "String"),
    (
        "timestamp",
        // Finer times would lie between two keys, coarser ones have no milliseconds to compare.
        |found| found == "DateTime64(3)" || found.starts_with("DateTime64(3,"),
        "DateTime64(3, 'UTC')",
    ),
    (
        "event_id",
        |found| matches!(found, "UInt8" | "UInt16" | "UInt32" | "UInt64"),
        "UInt64",
    ),
    (
        "event_type",
        |found| found.starts_with("Enum") || is_text(found),
        "Enum8('pageview' = 1, 'event' = 2)",
    ),
    (
        "is_bot",
        |found| {
            matches!(
                found,
                "Bool" | "UInt8" | "Nullable(Bool)" | "Nullable(UInt8)"
            )
        },
        "Bool",
    ),
    (
        "ingested_at",
        |found| found.starts_with("DateTime"),
        "DateTime64(3, 'UTC')",
    ),
];

fn is_text(found: &str) -> bool {
    matches!(
        found,
        "String"
            | "LowCardinality(String)"
            | "Nullable(String)"
            | "LowCardinality(Nullable(String))"
    )
}

impl Server {
    /// Looks at the types of a replica's table, once in a process.
    ///
    /// # Errors
    ///
    /// There is no such table, or a column is missing or of a type that would be read wrongly.
    pub(super) async fn check_table(&self, replica: &Replica) -> Result<()> {
        replica
            .facts
            .get_or_try_init(|| self.look_at_table(replica))
            .await
            .map(drop)
    }

    async fn look_at_table(&self, replica: &Replica) -> Result<TableFacts> {
        let (database, name) = self
            .table
            .split_once('.')
            .unwrap_or((&self.database, &self.table));
        let query = replica
            .client
            .query_raw(
                "SELECT name, type AS column_type, ifNull((SELECT any(engine) FROM system.tables \
                 WHERE database = {database:String} AND name = {name:String}), '') AS engine \
                 FROM system.columns WHERE database = {database:String} AND table = {name:String}",
            )
            .param("database", database)
            .param("name", name);
        let counts = replica
            .client
            .query_raw(COUNTED)
            .param("database", database)
            .param("name", name)
            .param("projection", format!("PROJECTION {COUNTS}"));
        let described = failure::in_time(query.fetch_all::<Described>(), replica.url()).await?;
        let Some(first) = described.first() else {
            return Err(Error::internal(format!(
                "there is no table {database}.{name}: create the tables with `rowspout schema apply`, or name another with \
                 events_table"
            )));
        };
        let has_parts = first.engine.ends_with("MergeTree");
        let text = TEXT_COLUMNS.map(|name| -> Wanted { (name, is_text, "String") });
        let mut nullable = Vec::new();
        for (column, serves, wanted) in WANTED.into_iter().chain(text) {
            let found = described
                .iter()
                .find(|described| described.name == column)
                .map_or("missing", |described| described.column_type.as_str());
            if found.contains("Nullable") && TEXT_COLUMNS.contains(&column) {
                nullable.push(column);
            }
            if !serves(found) {
                return Err(Error::internal(format!(
                    "the column {column} of {database}.{name} is {found}, and exports need {wanted}: a view can convert it, \
                     as schema/README.md shows"
                )));
            }
        }
        let is = |column: &str, served: &[&str]| {
            let column = described.iter().find(|found| found.name == column);
            column.is_some_and(|found| served.contains(&found.column_type.as_str()))
        };
        let alike = nullable.is_empty()
            && is("is_bot", &["Bool", "UInt8"])
            // Finer moments than the fence's would lie between two of them.
            && is("ingested_at", &["DateTime64(3)", "DateTime64(3, 'UTC')"]);
        let counted = failure::in_time(counts.fetch_one::<u64>(), replica.url()).await?;
        Ok(TableFacts {
            nullable,
            has_parts,
            is_counted: alike && counted > 0,
        })
    }
}
