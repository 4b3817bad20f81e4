//! Whether the table or view of events can be read as it is.

use serde::Deserialize;

use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, Result};
use crate::pushdown::columns::TEXT_COLUMNS;
use crate::pushdown::{COUNTS, TextTypes};

/// What statements need to know of the table.
#[derive(Debug, Default)]
pub(super) struct TableFacts {
    pub(super) types: TextTypes,
    /// Whether its rows lie in parts that can be told apart.
    pub(super) has_parts: bool,
    /// Whether its rows are counted and hashed by a projection, and in all columns as that does.
    pub(super) is_counted: bool,
}

/// A column of a table as ClickHouse describes it, with the table's engine.
#[derive(clickhouse::Row, Deserialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) column_type: String,
    pub(crate) engine: String,
}

/// The columns of a table, none where there is no such table or the user may not see it.
///
/// # Errors
///
/// ClickHouse's own, or that it did not answer in time.
pub(crate) async fn describe(
    client: &clickhouse::Client,
    url: &str,
    database: &str,
    name: &str,
) -> Result<Vec<Described>> {
    let question = || {
        client
            .query_raw(
                "SELECT name, type AS column_type, ifNull((SELECT any(engine) FROM system.tables \
             WHERE database = {database:String} AND name = {name:String}), '') AS engine \
             FROM system.columns WHERE database = {database:String} AND table = {name:String}",
            )
            .param("database", database)
            .param("name", name)
            .fetch_all::<Described>()
    };
    failure::in_time_again(question, url).await
}

/// A column that would be read wrongly.
pub(crate) struct Misfit {
    pub(crate) column: &'static str,
    /// Its type, or `missing`.
    pub(crate) found: String,
    /// The type that exports need.
    pub(crate) wanted: &'static str,
}

/// The columns of events that are missing or of a type that would be read wrongly.
pub(crate) fn misfits(described: &[Described]) -> impl Iterator<Item = Misfit> {
    let text = TEXT_COLUMNS.map(|name| -> Wanted { (name, is_text, "String") });
    let columns = WANTED.into_iter().chain(text);
    columns.filter_map(|(column, serves, wanted)| {
        let found = column_type(described, column);
        (!serves(found)).then(|| Misfit {
            column,
            found: found.to_owned(),
            wanted,
        })
    })
}

fn column_type<'d>(described: &'d [Described], column: &str) -> &'d str {
    described
        .iter()
        .find(|described| described.name == column)
        .map_or("missing", |described| described.column_type.as_str())
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
        let described = describe(&replica.client, replica.url(), database, name).await?;
        let Some(first) = described.first() else {
            return Err(Error::internal(format!(
                "there is no table {database}.{name}: create the tables with `rowspout schema apply`, or name another with \
                 events_table"
            )));
        };
        if let Some(misfit) = misfits(&described).next() {
            let Misfit {
                column,
                found,
                wanted,
            } = misfit;
            return Err(Error::internal(format!(
                "the column {column} of {database}.{name} is {found}, and exports need {wanted}: a view can convert it, \
                 as schema/README.md shows"
            )));
        }
        let of_type = |word: &str| {
            let columns = TEXT_COLUMNS.into_iter();
            columns
                .filter(|column| column_type(&described, column).contains(word))
                .collect()
        };
        let types = TextTypes {
            nullable: of_type("Nullable"),
            low_cardinality: of_type("LowCardinality"),
        };
        let is = |column: &str, served: &[&str]| served.contains(&column_type(&described, column));
        let alike = types.nullable.is_empty()
            && is("is_bot", &["Bool", "UInt8"])
            // Finer moments than the fence's would lie between two of them.
            && is("ingested_at", &["DateTime64(3)", "DateTime64(3, 'UTC')"]);
        Ok(TableFacts {
            types,
            has_parts: first.engine.ends_with("MergeTree"),
            is_counted: alike && has_counts(&replica.client, replica.url(), database, name).await?,
        })
    }
}

/// Whether a projection counts and hashes the rows of a table.
///
/// # Errors
///
/// ClickHouse's own, or that it did not answer in time.
pub(crate) async fn has_counts(
    client: &clickhouse::Client,
    url: &str,
    database: &str,
    name: &str,
) -> Result<bool> {
    let counts = client
        .query_raw(COUNTED)
        .param("database", database)
        .param("name", name)
        .param("projection", format!("PROJECTION {COUNTS}"));
    Ok(failure::in_time(counts.fetch_one::<u64>(), url).await? > 0)
}
