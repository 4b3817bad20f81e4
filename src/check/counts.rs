//! Whether rows are counted beside the events, so that plans cost milliseconds and parts have ETags.

use super::session::Session;
use super::tables::Name;
use super::{Findings, said};
use crate::cursor::table::has_counts;
use crate::pushdown::COUNTS;

/// Looks for the projection of a table with this engine.
pub(super) async fn kept(session: &Session, name: &Name, engine: &str, findings: &mut Findings) {
    let about = "counts";
    if !engine.ends_with("MergeTree") {
        return findings.ok(
            about,
            format!(
                "{name} is a {engine}: plans may have to count its events, and parts have no ETags"
            ),
        );
    }
    let url = &session.clickhouse.url;
    match has_counts(&session.client, url, &name.database, &name.table).await {
        Ok(true) => findings.ok(about, format!("the projection {COUNTS} is there")),
        Ok(false) => findings.warn(
            about,
            format!(
                "there is no projection {COUNTS}: plans count the events, and parts have no ETags"
            ),
            "add it with `rowspout schema apply`, and start the service anew",
        ),
        Err(error) => findings.warn(about, said(&error), "look at ClickHouse's own log"),
    }
}
