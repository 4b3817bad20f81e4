//! Websites and keys, as ClickHouse holds them. Keeps nothing itself.

mod keys;
mod websites;

pub use keys::{KeyHash, KeyInfo, KeyRecord};
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
        failure::from_clickhouse(error, &self.url)
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
