//! Websites and keys, as ClickHouse holds them. Keeps nothing itself.

mod keys;
mod limits;
mod websites;

pub(crate) use keys::KEY_PREFIX;
pub use keys::{KeyHash, KeyInfo, KeyRecord};
pub use limits::KeyLimits;
pub use websites::Website;

use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error as ClientError;

use crate::config::{ClickHouse, DEFAULT_REPLICA_PAUSE_SECONDS};
use crate::cursor::Replicas;
use crate::error::{Error, Result};

/// The websites and keys of one database.
#[derive(Clone)]
pub struct Catalog {
    replicas: Arc<Replicas>,
}

impl Catalog {
    /// Over this ClickHouse. Sends nothing.
    pub fn new(clickhouse: &ClickHouse) -> Self {
        let pause = Duration::from_secs(DEFAULT_REPLICA_PAUSE_SECONDS);
        Self::over(Replicas::new(clickhouse, pause))
    }

    /// Over these replicas, the first of which that answers is asked.
    pub fn over(replicas: Arc<Replicas>) -> Self {
        Self { replicas }
    }

    /// Whether any replica answers.
    ///
    /// # Errors
    ///
    /// None does.
    pub async fn ping(&self) -> Result<()> {
        self.replicas.ping().await
    }

    /// Asks one replica after the other until one answers. Whatever is asked may be asked of several: rows that are inserted
    /// twice are the same ones.
    async fn ask<T, F>(&self, question: impl Fn(Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.replicas.ask(question).await.map_err(or_old_tables)
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
