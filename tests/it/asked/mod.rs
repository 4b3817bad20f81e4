//! What a request asks for is what the file holds: every parameter against plain SQL, over each format.

mod arrow;
mod compression;
mod fields;
mod filters;
mod forms;
mod instants;
mod limit;
mod oracle;
mod since;

use std::path::PathBuf;
use std::process::Command;

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, database};

/// The days of the real traffic.
const DAYS: &str = "start_date=2015-05-17&end_date=2015-05-20&include_bots=true";

const FORMATS: [&str; 5] = ["csv", "json", "ndjson", "parquet", "arrow"];

/// A database with ten thousand events of a real website in `site_a`, where they are at hand: beside the repository, not
/// in it.
async fn real_traffic() -> Option<TestDatabase> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = manifest
        .ancestors()
        .map(|folder| folder.join("shared/data/semicomplete-events.csv"))
        .find(|path| path.is_file());
    let Some(path) = path else {
        println!("left out: the real traffic is in no folder around the repository");
        return None;
    };
    let database = database().await;
    insert::website(&database, "site_a").await;
    let loaded = rowspout(&database.config)
        .arg("load")
        .arg(path)
        .args(["--site", "site_a"])
        .output()
        .expect("rowspout runs");
    assert!(loaded.status.success(), "{loaded:?}");
    Some(database)
}

/// A text as it may stand in a query.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `rowspout export` of `site_a`, from one day to another.
fn export_command(database: &TestDatabase, start: &str, end: &str) -> Command {
    let mut command = rowspout(&database.config);
    command.args(["export", "--site", "site_a", "--start", start, "--end", end]);
    command
}
