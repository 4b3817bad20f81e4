//! Websites and keys, as ClickHouse holds them. Keeps nothing itself.

mod keys;
mod limits;
mod websites;

pub(crate) use keys::KEY_PREFIX;
pub use keys::{KeyHash, KeyInfo, KeyRecord};
pub use limits::KeyLimits;
pub use websites::Website;

use crate::config::ClickHouse;
use crate::cursor::failure;
use crate::error::{Error, Result};

/// The websites and keys of one database.
#[derive(Clone)]
pub struct Catalog {
    client: clickhouse::Client,
    url: String,
}

impl Catalog {
    /// Over this ClickHouse. Sends nothing.
    pub fn new(clickhouse: &ClickHouse) -> Self {
        Self {
            client: clickhouse.client(),
            url: clickhouse.url.clone(),
        }
    }

    /// Whether ClickHouse answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn ping(&self) -> Result<()> {
        self.client
            .query_raw("SELECT 1")
            .fetch_one::<u8>()
            .await
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: clickhouse::error::Error) -> Error {
        or_old_tables(failure::from_clickhouse(error, &self.url))
    }
}

/// ClickHouse's codes for a column that a table does not have.
const UNKNOWN_COLUMN: [u32; 2] = [16, 47];

/// The error, with its remedy where the tables are those of an earlier version.
fn or_old_tables(error: Error) -> Error {
    match error.clickhouse_code() {
        Some(code) if UNKNOWN_COLUMN.contains(&code) => {
            Error::internal("a table is that of an earlier version: run `rowspout schema apply`")
                .with_source(error)
        }
        _ => error,
    }
}

/// A name stands in one line of a list, so it is one line.
fn check_name(name: &str) -> Result<()> {
    if name.chars().any(char::is_control) {
        return Err(Error::usage(
            "--name holds a line break, a tab or another control character: leave it out",
        ));
    }
    Ok(())
}
