//! Rows by quarter of an hour, and the digest of a window's rows: what is there without reading events.
//!
//! A digest is the number of rows and the sum of their hashes. It tells the rows of a window from others where all of them are
//! settled: an export of those leaves out what comes meanwhile, and the digest is asked for again at its end. A window with
//! fresh rows has none, as more rows with their stamps may come to be seen.
//!
//! Where there are several replicas, one is asked that lacks no settled rows which another one has.

use std::sync::Arc;
use std::time::Duration;

use clickhouse::query::Query;
use serde::Deserialize;

use super::census::Chosen;
use super::kill::Kill;
use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{self, Counting, Fence};
use crate::request::ExportRequest;

/// What the server counts in one slot. No slot is without rows: such a one is the end of the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct Quarter {
    /// Where the slot begins, in milliseconds since 1970-01-01T00:00:00Z; perhaps before the window does.
    pub begins: i64,
    /// Its rows.
    pub rows: u64,
    /// The sum of their hashes; 0 where they are not hashed.
    pub hash: u64,
    /// The latest `ingested_at`, in milliseconds.
    pub newest: i64,
    /// Bytes of their texts.
    pub bytes: u64,
}

/// What tells the rows of a window from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many there are.
    pub rows: u64,
    /// The sum of their hashes.
    pub hash: u64,
}

impl Digest {
    /// That of these rows and those together.
    pub fn add(&mut self, quarter: &Quarter) {
        self.rows += quarter.rows;
        self.hash = self.hash.wrapping_add(quarter.hash);
    }
}

/// Takes slots in, in order.
pub trait Tally: Send {
    /// A slot.
    ///
    /// # Errors
    ///
    /// There is no room for more: the counting ends.
    fn add(&mut self, quarter: Quarter) -> Result<()>;
}

/// A request's rows as they were counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<T> {
    /// What took the slots in.
    pub tally: T,
    /// Whether the projection was asked, and not the events.
    pub kept: bool,
    /// Whether the hashes tell rows from others.
    pub told_apart: bool,
}

/// Where an export is read, and what tells its rows from others.
pub struct Told {
    /// The replica.
    pub chosen: Chosen,
    /// Of all rows of the window, if they are settled and hashed.
    pub digest: Option<Digest>,
    /// How many there are exactly, if they are settled and were counted.
    pub rows: Option<u64>,
}

/// A digest in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Digested {
    digest: Digest,
    newest: Option<i64>,
}

impl Tally for Digested {
    fn add(&mut self, quarter: Quarter) -> Result<()> {
        self.digest.add(&quarter);
        self.newest = self.newest.max(Some(quarter.newest));
        Ok(())
    }
}

impl Server {
    /// Counts a request's rows, as `ask` does it under the name that it is given, on the first replica that can and lacks no
    /// settled rows. Each replica may fail once, and the last one twice: a connection that was kept may be closed by the time
    /// that it is used again.
    ///
    /// # Errors
    ///
    /// None answers, or has the table of events as it must be, or the question's own.
    pub(super) async fn first_that_counts<T, F>(
        &self,
        request: &Arc<ExportRequest>,
        fence: Fence,
        query_id: &str,
        ask: impl Fn(Arc<Replica>, String) -> F,
    ) -> Result<(Chosen, T)>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            let query_id = format!("{query_id}-{tried}");
            let count_id = format!("{query_id}-count");
            let chosen = self.choose(request, fence, &count_id).await?;
            let replica = &chosen.replica;
            match ask(replica.clone(), query_id).await {
                Err(error) if failure::is_of_the_server(&error) => {
                    replica.failed(&error);
                    if tried > self.replicas.count() {
                        return Err(error);
                    }
                }
                answer => {
                    replica.answered();
                    return answer.map(|answer| (chosen, answer));
                }
            }
        }
    }

    /// Counts a request's rows in slots that reach over none of `edges` and gives them in order to a tally that `begin` makes,
    /// perhaps more than once. Where the projection does not serve, events are read up to the fence; the projection counts all
    /// rows, those that came since as well.
    ///
    /// # Errors
    ///
    /// The server's, that it took longer than `limit`, or the tally's.
    pub async fn tally<T: Tally>(
        &self,
        request: &Arc<ExportRequest>,
        edges: impl Iterator<Item = i64> + Clone + Send + Sync,
        fence: Fence,
        limit: Duration,
        query_id: &str,
        begin: impl Fn() -> T + Send + Sync,
    ) -> Result<Counted<T>> {
        let (edges, begin) = (&edges, &begin);
        let counted =
            self.first_that_counts(request, fence, query_id, |replica, query_id| async move {
                let kept = is_counted(&replica, request);
                let counting = Counting::of(&request.window, edges.clone(), kept);
                let ask = Ask {
                    replica: &replica,
                    request,
                    fence,
                    limit,
                };
                let mut tally = begin();
                self.count(ask, counting, &query_id, &mut tally).await?;
                Ok(Counted {
                    tally,
                    kept: counting == Counting::Kept,
                    told_apart: counting.is_hashed() && is_told_apart(&replica),
                })
            });
        Ok(counted.await?.1)
    }

    /// Where a request's rows are read, and their digest: `None` where rows are not hashed, where some are fresh, and where
    /// counting them took too long.
    ///
    /// # Errors
    ///
    /// None answers, or has the table of events as it must be.
    pub async fn tell_apart(
        &self,
        request: &Arc<ExportRequest>,
        fence: Fence,
        query_id: &str,
    ) -> Result<Told> {
        let digested = self.first_that_counts(
            request,
            fence,
            query_id,
            |replica, query_id| async move {
                let Some(counting) = hashing(&replica, request) else {
                    return Ok(None);
                };
                let digested = self.digest(&replica, request, fence, counting, &query_id);
                match digested.await {
                    Err(error) if error.kind() == ErrorKind::QueryTimeout => {
                        tracing::warn!(query_id, replica = replica.url(), %error, "rows were not hashed in time, so they have no ETag");
                        Ok(None)
                    }
                    digested => digested.map(Some),
                }
            },
        );
        let (chosen, digested) = digested.await?;
        let is_settled = |digested: &Digested| {
            let newest = digested.newest;
            newest.is_none_or(|newest| newest <= fence.settled())
                // As the events themselves were counted, where they were.
                && chosen.settled.is_none_or(|rows| rows == digested.digest.rows)
        };
        let digest = digested.filter(is_settled).map(|digested| digested.digest);
        Ok(Told {
            chosen,
            digest,
            rows: None,
        })
    }

    /// The digest of a request's rows once more; that of the events themselves up to the fence, if so wanted. `None` where rows
    /// are not hashed.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub(super) async fn digest_again(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        of_events: bool,
        query_id: &str,
    ) -> Result<Option<Digest>> {
        self.check_table(replica).await?;
        let Some(counting) = hashing(replica, request) else {
            return Ok(None);
        };
        let counting = if of_events {
            counting.scanned()
        } else {
            counting
        };
        let digested = self.digest(replica, request, fence, counting, query_id);
        Ok(Some(digested.await?.digest))
    }

    async fn digest(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        counting: Counting,
        query_id: &str,
    ) -> Result<Digested> {
        let ask = Ask {
            replica,
            request,
            fence,
            limit: self.max_query(),
        };
        let mut digested = Digested::default();
        self.count(ask, counting, query_id, &mut digested).await?;
        Ok(digested)
    }

    /// Counts once, for no longer than a replica may be silent: nothing of the counts comes before all are there.
    async fn count(
        &self,
        ask: Ask<'_>,
        counting: Counting,
        query_id: &str,
        tally: &mut impl Tally,
    ) -> Result<()> {
        let Ask {
            replica,
            request,
            fence,
            limit,
        } = ask;
        let shorter = self.silence < limit;
        let limit = limit.min(self.silence);
        let types = replica.text_types();
        let statement = pushdown::quarters(request, &self.table, fence, counting, types);
        let query = self
            .query(replica, statement, query_id)
            .with_setting("max_execution_time", limit.as_secs().max(1).to_string());
        let mut kill = Kill::new(replica.clone(), query_id.to_owned());
        let counted = tokio::time::timeout(limit + ANSWER, read(query, replica, tally)).await;
        let counted = counted.unwrap_or_else(|_| {
            Err(failure::from_clickhouse(
                clickhouse::error::Error::TimedOut,
                replica.url(),
            ))
        });
        counted.map_err(|error| match error.kind() {
            ErrorKind::QueryTimeout if shorter => Error::new(
                ErrorKind::QueryTimeout,
                format!(
                    "the rows were not counted within {} s: ask for less time, or raise silence_seconds",
                    limit.as_secs()
                ),
            )
            .with_source(error),
            _ => error,
        })?;
        kill.disarm();
        Ok(())
    }
}

/// What is counted where, and how long that may take.
#[derive(Clone, Copy)]
struct Ask<'a> {
    replica: &'a Arc<Replica>,
    request: &'a ExportRequest,
    fence: Fence,
    limit: Duration,
}

/// Whether the projection can answer for a request: it is there and knows the filters, and all rows are asked for.
pub(super) fn is_counted(replica: &Replica, request: &ExportRequest) -> bool {
    let whole = request.filters.is_empty() && request.limit.is_none();
    whole && replica.facts.get().is_some_and(|facts| facts.is_counted)
}

/// Whether the hashes of a replica's rows tell them from others. Behind a table that leads to other servers' tables, each
/// question may be answered by other replicas of a shard, and nobody compares those.
fn is_told_apart(replica: &Replica) -> bool {
    replica.has_parts()
}

/// How the digest of a request's rows is counted, if it can be.
fn hashing(replica: &Replica, request: &ExportRequest) -> Option<Counting> {
    let counted = is_counted(replica, request) && is_told_apart(replica);
    let counting = Counting::of(&request.window, std::iter::empty(), counted);
    counting.is_hashed().then_some(counting)
}

/// How much longer than ClickHouse's own limit its answer is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Reads the counts up to their end, which is told: a stream may end early as if it were whole.
async fn read(query: Query, replica: &Replica, tally: &mut impl Tally) -> Result<()> {
    let failed = |error| failure::of_events(error, replica.url());
    let mut cursor = query.fetch::<Quarter>().map_err(failed)?;
    let mut ended = false;
    let (mut rows, mut bytes) = (0u64, 0u64);
    while let Some(quarter) = cursor.next().await.map_err(failed)? {
        if ended {
            return Err(Error::internal("counts came behind their end"));
        }
        if quarter.rows == 0 {
            ended = true;
        } else {
            // No sum of some of them is larger than that of all.
            rows = rows
                .checked_add(quarter.rows)
                .ok_or_else(failure::damaged)?;
            bytes = bytes
                .checked_add(quarter.bytes)
                .ok_or_else(failure::damaged)?;
            tally.add(quarter)?;
        }
    }
    if !ended {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the counts from ClickHouse ended early: try again",
        ));
    }
    Ok(())
}
