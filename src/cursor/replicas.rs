//! The replicas of one ClickHouse: which of them is asked, and which is left alone for a while.
//!
//! In: the addresses of the settings, in their order. Out: the first replica that did not fail lately. Holds an instant
//! for each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clickhouse::error::Error as ClientError;
use metrics::counter;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::failure;
use super::table::TableFacts;
use crate::config::{ClickHouse, DEFAULT_REPLICA_PAUSE_SECONDS};
use crate::error::{Error, Result};
use crate::pushdown::TextTypes;

/// Counts failures of each replica, by its host and port.
pub const REPLICA_FAILURES: &str = "rowspout_replica_failures_total";

/// How long a replica may take for what reads no events where another one can be asked.
const HASTE: Duration = Duration::from_secs(2);

/// One server that holds the rows.
pub struct Replica {
    /// How to reach it, and it alone.
    pub(super) clickhouse: ClickHouse,
    pub(super) client: clickhouse::Client,
    /// Known once its table was looked at.
    pub(super) facts: OnceCell<TableFacts>,
    /// Until when it is left alone, if it failed since it was last of use.
    left_until: Mutex<Option<Instant>>,
    pause: Duration,
}

impl Replica {
    /// Its address, for the log.
    pub fn url(&self) -> &str {
        &self.clickhouse.url
    }

    /// The types of its table's text columns, as far as they are known.
    pub(super) fn text_types(&self) -> &TextTypes {
        static UNKNOWN: TextTypes = TextTypes {
            nullable: Vec::new(),
            low_cardinality: Vec::new(),
        };
        self.facts.get().map_or(&UNKNOWN, |facts| &facts.types)
    }

    /// Whether the rows of its table lie in parts that can be told apart.
    pub(super) fn has_parts(&self) -> bool {
        self.facts.get().is_some_and(|facts| facts.has_parts)
    }

    /// Says that it was of use.
    pub(super) fn answered(&self) {
        *self.left_until() = None;
    }

    /// Says that it failed: it is left alone for a while.
    pub(super) fn failed(&self, error: &Error) {
        *self.left_until() = Some(Instant::now() + self.pause);
        self.count(1);
        tracing::warn!(replica = self.url(), %error, "a replica failed");
    }

    fn count(&self, failures: u64) {
        let (_, place) = self.url().split_once("://").unwrap_or_default();
        let place = place.split('/').next().unwrap_or_default();
        counter!(REPLICA_FAILURES, "replica" => place.to_owned()).increment(failures);
    }

    /// When it may be asked again; `None` where that is now.
    fn rests_until(&self) -> Option<Instant> {
        self.left_until().filter(|until| *until > Instant::now())
    }

    /// Lets one asker find out whether it is of use again: to others it is left alone until then.
    fn try_again(&self) {
        let mut left_until = self.left_until();
        if left_until.is_some() {
            *left_until = Some(Instant::now() + self.pause);
        }
    }

    fn left_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.left_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of them, in the order of the settings. The first that did not fail lately is used.
pub struct Replicas(Vec<Arc<Replica>>);

impl Replicas {
    /// Sends nothing. One that failed is left alone for `pause`.
    pub fn new(clickhouse: &ClickHouse, pause: Duration) -> Arc<Self> {
        let replica = |clickhouse: ClickHouse| {
            let replica = Replica {
                client: clickhouse.client(),
                clickhouse,
                facts: OnceCell::new(),
                left_until: Mutex::default(),
                pause,
            };
            // Its first failure is seen as an increase.
            replica.count(0);
            Arc::new(replica)
        };
        Arc::new(Self(clickhouse.replicas().map(replica).collect()))
    }

    /// Whether another one could stand in.
    pub(super) fn are_several(&self) -> bool {
        self.count() > 1
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The first that did not fail lately. Where all did, the one that may be asked again first.
    pub(super) fn first(&self) -> Arc<Replica> {
        let replica = self.in_order().swap_remove(0);
        replica.try_again();
        replica
    }

    /// Those that did not fail lately.
    pub(super) fn rested(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.0
            .iter()
            .filter(|replica| replica.rests_until().is_none())
    }

    /// All, those that failed lately last.
    fn in_order(&self) -> Vec<Arc<Replica>> {
        let mut order = self.0.clone();
        order.sort_by_key(|replica| replica.rests_until());
        order
    }

    /// Asks one after the other until one answers, and the last one twice if the connection breaks. So `question` may be sent
    /// several times, which must not matter.
    ///
    /// # Errors
    ///
    /// The question's own, or that none answered in time.
    pub async fn ask<T, F>(&self, question: impl Fn(clickhouse::Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let order = self.in_order();
        let mut tried = 0;
        loop {
            let replica = &order[tried];
            tried += 1;
            replica.try_again();
            let ask = || question(replica.client.clone());
            let answer = if tried < order.len() {
                failure::within(HASTE, ask())
                    .await
                    .map_err(|error| failure::from_clickhouse(error, replica.url()))
            } else {
                failure::in_time_again(ask, replica.url()).await
            };
            match answer {
                Err(error) if failure::is_of_the_server(&error) => {
                    replica.failed(&error);
                    if tried == order.len() {
                        return Err(error);
                    }
                }
                answer => {
                    replica.answered();
                    return answer;
                }
            }
        }
    }

    /// Whether any of them answers, all asked at once.
    ///
    /// # Errors
    ///
    /// None does.
    pub async fn ping(&self) -> Result<()> {
        let mut pings = JoinSet::new();
        for replica in self.0.iter().cloned() {
            pings.spawn(async move {
                let answer = replica.client.query_raw("SELECT 1").fetch_one::<u8>();
                failure::in_time(answer, replica.url()).await.map(drop)
            });
        }
        let mut last = Err(Error::internal("there is no replica"));
        while let Some(pinged) = pings.join_next().await {
            last = pinged.unwrap_or_else(|error| {
                Err(Error::internal("a question to ClickHouse stopped").with_source(error))
            });
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// How to reach the first that answers, for work that should see what it did itself before.
    ///
    /// # Errors
    ///
    /// None answers.
    pub async fn that_answers(clickhouse: &ClickHouse) -> Result<ClickHouse> {
        let replicas = Self::new(
            clickhouse,
            Duration::from_secs(DEFAULT_REPLICA_PAUSE_SECONDS),
        );
        if !replicas.are_several() {
            return Ok(clickhouse.clone());
        }
        replicas
            .ask(|client| async move { client.query_raw("SELECT 1").fetch_one::<u8>().await })
            .await?;
        Ok(replicas.first().clickhouse.clone())
    }
}
