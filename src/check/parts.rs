//! Whether the parts of events lie beside each other in time, or over each other: then exports have to merge them.

use serde::Deserialize;

use super::session::Session;
use super::tables::Name;
use super::{Findings, said};
use crate::cursor::failure;

/// Parts that lie over each other as often as this, on average, are worth a word.
const DEEP: f64 = 1.5;

/// Partitions that are named.
const NAMED: usize = 5;

/// How deep the parts of a month lie over each other: the sum of the times that they reach over, by the time that all of them
/// reach over. Disjoint parts have 1 at most.
const DEPTHS: &str = "SELECT partition, count() AS parts, \
    sum(toInt64(toUnixTimestamp(max_time)) - toInt64(toUnixTimestamp(min_time))) \
    / greatest(1, toInt64(toUnixTimestamp(max(max_time))) - toInt64(toUnixTimestamp(min(min_time)))) AS depth \
    FROM system.parts WHERE active AND database = {database:String} AND table = {table:String} \
    GROUP BY partition ORDER BY depth DESC";

#[derive(clickhouse::Row, Deserialize)]
struct Partition {
    partition: String,
    parts: u64,
    depth: f64,
}

/// Looks at the active parts of a table with this engine.
pub(super) async fn lie(session: &Session, name: &Name, engine: &str, findings: &mut Findings) {
    let about = "parts";
    if !engine.ends_with("MergeTree") {
        return findings.ok(
            about,
            format!("{name} is a {engine}: those of the tables behind it were not looked at"),
        );
    }
    let asked = session
        .client
        .query_raw(DEPTHS)
        .param("database", name.database.as_str())
        .param("table", name.table.as_str())
        .fetch_all::<Partition>();
    let partitions = match failure::in_time(asked, &session.clickhouse.url).await {
        Ok(partitions) => partitions,
        Err(error) if error.clickhouse_code() == Some(497) => {
            return findings.warn(
                about,
                format!("{} may not look at them", session.user),
                format!(
                    "GRANT SELECT(database, table, active, partition, min_time, max_time) ON system.parts TO {}",
                    session.user
                ),
            );
        }
        Err(error) => {
            return findings.warn(about, said(&error), "look at ClickHouse's own log");
        }
    };
    let parts: u64 = partitions.iter().map(|partition| partition.parts).sum();
    let deep: Vec<_> = partitions
        .iter()
        .filter(|partition| partition.depth >= DEEP)
        .collect();
    let Some(deepest) = deep.first() else {
        return findings.ok(
            about,
            format!(
                "{parts} in {} partitions, beside each other in time",
                partitions.len()
            ),
        );
    };
    let told: Vec<_> = deep
        .iter()
        .take(NAMED)
        .map(|deep| {
            format!(
                "{} ({} parts, {:.1} deep)",
                deep.partition, deep.parts, deep.depth
            )
        })
        .collect();
    findings.warn(
        about,
        format!(
            "they lie over each other in {} of {} partitions: {}",
            deep.len(),
            partitions.len(),
            told.join(", ")
        ),
        format!(
            "leave it, where they are parts of different websites; else exports are slower until ClickHouse has merged them, \
             which OPTIMIZE TABLE {name} PARTITION {} FINAL does now",
            deepest.partition
        ),
    );
}
