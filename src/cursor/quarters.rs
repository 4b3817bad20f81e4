//! Rows by quarter of an hour, and the digest of a window's rows: what is there without reading events.
//!
//! A digest is the number of rows and the sum of their hashes. It says nothing of rows that come later; an export that is
//! told apart by one is read up to the newest row that the digest has ([`Fence::up_to`]), so that rows which become visible
//! meanwhile stay outside, and the digest is asked for again at the end.

use std::sync::Arc;
use std::time::Duration;

use clickhouse::query::Query;
use serde::Deserialize;

use super::kill::Kill;
use super::replicas::Replica;
use super::{Server, failure};
use crate::error::Result;
use crate::pushdown::{self, Counting, Fence};
use crate::request::ExportRequest;

/// What the server counts in one slot.
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
    /// Counts a request's rows on the first replica that can, as `ask` does it.
    ///
    /// # Errors
    ///
    /// None answers, or has the table of events as it must be, or the question's own.
    async fn first_that_counts<T, F>(&self, ask: impl Fn(Arc<Replica>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            let replica = self.replicas.first();
            let answer = match self.check_table(&replica).await {
                Ok(()) => ask(replica.clone()).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if failure::is_of_the_server(&error) => {
                    replica.failed(&error);
                    if self.replicas.rested().next().is_none() {
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

    /// Counts a request's rows in slots that reach over none of `edges` and gives them in order to a tally that `begin` makes,
    /// perhaps more than once. Says whether they were hashed. Where the projection does not serve, events are read.
    ///
    /// # Errors
    ///
    /// The server's, that it took longer than `limit`, or the tally's.
    pub async fn tally<T: Tally>(
        &self,
        request: &ExportRequest,
        edges: impl Iterator<Item = i64> + Clone + Send + Sync,
        fence: Fence,
        limit: Duration,
        query_id: &str,
        begin: impl Fn() -> T + Send + Sync,
    ) -> Result<(T, bool)> {
        let (edges, begin) = (&edges, &begin);
        self.first_that_counts(|replica| async move {
            let kept = is_counted(&replica, request);
            let counting = Counting::of(&request.window, edges.clone(), kept);
            let ask = Ask {
                replica: &replica,
                request,
                fence,
                limit,
            };
            let tally = self.tally_on(ask, counting, query_id, begin).await?;
            Ok((tally, counting.is_hashed()))
        })
        .await
    }

    /// The digest of a request's rows on the first replica that answers, if rows are hashed.
    ///
    /// # Errors
    ///
    /// As [`Server::digest`].
    pub async fn first_digest(
        &self,
        request: &ExportRequest,
        fence: Fence,
        query_id: &str,
    ) -> Result<Option<Digest>> {
        self.first_that_counts(|replica| async move {
            let digest = self.digest(&replica, request, fence, query_id).await?;
            Ok(digest.map(|(digest, _)| digest))
        })
        .await
    }

    /// Counts on one replica; from the events where there are rows that the fence leaves out.
    async fn tally_on<T: Tally>(
        &self,
        ask: Ask<'_>,
        counting: Counting,
        query_id: &str,
        begin: impl Fn() -> T,
    ) -> Result<T> {
        let mut tally = begin();
        let newest = self.count(ask, counting, query_id, &mut tally).await?;
        if newest.is_none_or(|newest| newest <= ask.fence.now()) {
            return Ok(tally);
        }
        let mut tally = begin();
        let (counting, query_id) = (counting.scanned(), format!("{query_id}-scan"));
        self.count(ask, counting, &query_id, &mut tally).await?;
        Ok(tally)
    }

    /// The digest of a request's rows, and the fence that keeps rows out which come later. `None` where rows are not hashed.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn digest(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        query_id: &str,
    ) -> Result<Option<(Digest, Fence)>> {
        let is_counted = is_counted(replica, request);
        let counting = Counting::of(&request.window, std::iter::empty(), is_counted);
        if !counting.is_hashed() {
            return Ok(None);
        }
        let ask = Ask {
            replica,
            request,
            fence,
            limit: self.max_query(),
        };
        let digested = self
            .tally_on(ask, counting, query_id, Digested::default)
            .await?;
        let fence = fence.up_to(digested.newest.unwrap_or(i64::MIN));
        Ok(Some((digested.digest, fence)))
    }

    /// Counts once. Gives the latest `ingested_at`.
    async fn count(
        &self,
        ask: Ask<'_>,
        counting: Counting,
        query_id: &str,
        tally: &mut impl Tally,
    ) -> Result<Option<i64>> {
        let Ask {
            replica,
            request,
            fence,
            limit,
        } = ask;
        let facts = replica.facts.get();
        let nullable = facts.map_or(&[] as &[_], |facts| &facts.nullable);
        let statement = pushdown::quarters(request, &self.table, fence, counting, nullable);
        let query = self
            .query(replica, statement, query_id)
            .with_setting("max_execution_time", limit.as_secs().max(1).to_string());
        let mut kill = Kill::new(replica.clone(), query_id.to_owned());
        let counted = read(query, replica, tally);
        let newest = tokio::time::timeout(limit + ANSWER, counted)
            .await
            .map_err(|_| failure::too_long())??;
        kill.disarm();
        Ok(newest)
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
fn is_counted(replica: &Replica, request: &ExportRequest) -> bool {
    let whole = request.filters.is_empty() && request.limit.is_none();
    whole && replica.facts.get().is_some_and(|facts| facts.is_counted)
}

/// How much longer than ClickHouse's own limit its answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);

async fn read(query: Query, replica: &Replica, tally: &mut impl Tally) -> Result<Option<i64>> {
    let failed = |error| failure::of_events(error, replica.url());
    let mut cursor = query.fetch::<Quarter>().map_err(failed)?;
    let mut newest = None;
    while let Some(quarter) = cursor.next().await.map_err(failed)? {
        newest = newest.max(Some(quarter.newest));
        tally.add(quarter)?;
    }
    Ok(newest)
}
