//! Which replica an export is read from: one that lacks none of the settled rows that another one has.
//!
//! A replica that lags looks whole to itself: its own counts agree with its own rows. So where there are several, each is
//! asked how many settled rows of the window it has, before the first row is read, and again before it stands in for
//! another one. The most that any of them told is what an export has to deliver, or it is no file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{Fence, Range};
use crate::request::ExportRequest;

/// How much longer the slower ones may take, at least, when the first one has counted.
const SLOWER: Duration = Duration::from_secs(1);

/// A replica, and what an export has to deliver.
pub struct Chosen {
    /// Where rows are read.
    pub replica: Arc<Replica>,
    /// The settled rows of the window, or `None` where there is nobody to compare with.
    pub settled: Option<u64>,
}

impl Server {
    /// The first of the replicas that has all settled rows. A single one is taken without being asked.
    ///
    /// # Errors
    ///
    /// None of them answers, or has the table of events as it must be.
    pub async fn choose(
        &self,
        request: &Arc<ExportRequest>,
        fence: Fence,
        query_id: &str,
    ) -> Result<Chosen> {
        if !self.replicas.are_several() {
            let replica = self.replicas.first();
            self.check_table(&replica).await?;
            let settled = None;
            return Ok(Chosen { replica, settled });
        }
        let mut asked: Vec<_> = self.replicas.rested().cloned().collect();
        if asked.is_empty() {
            asked.push(self.replicas.first());
        }
        let counts = self.count_all(&asked, request, fence, query_id).await;
        let most = counts
            .iter()
            .filter_map(|count| count.as_ref().ok().copied())
            .max();
        let (mut chosen, mut first_error) = (None, None);
        for (replica, count) in asked.into_iter().zip(counts) {
            match count {
                Ok(count) if Some(count) == most => {
                    replica.answered();
                    chosen.get_or_insert(replica);
                }
                Ok(count) => replica.failed(&lags(count, most.unwrap_or(count))),
                Err(error) => {
                    // A question that takes long is no reason to stop comparing replicas.
                    if failure::is_of_the_server(&error) {
                        replica.failed(&error);
                    }
                    first_error.get_or_insert(error);
                }
            }
        }
        match (chosen, first_error) {
            (Some(replica), _) => Ok(Chosen {
                replica,
                settled: most,
            }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::internal("there is no replica")),
        }
    }

    /// Each one's settled rows, all asked at once.
    async fn count_all(
        &self,
        replicas: &[Arc<Replica>],
        request: &Arc<ExportRequest>,
        fence: Fence,
        query_id: &str,
    ) -> Vec<Result<u64>> {
        let mut counting = JoinSet::new();
        for (index, replica) in replicas.iter().cloned().enumerate() {
            let (server, request) = (self.clone(), request.clone());
            // Two addresses may be of one server, which takes a name once.
            let query_id = format!("{query_id}-{}", index + 1);
            counting.spawn(async move {
                let count = server.settled_rows(&replica, &request, fence, &query_id);
                (index, count.await)
            });
        }
        let silent = || {
            Err(Error::new(
                ErrorKind::Unavailable,
                "a replica did not count in time",
            ))
        };
        let mut counts: Vec<_> = replicas.iter().map(|_| silent()).collect();
        let begun = Instant::now();
        let mut patience = self.silence;
        while let Ok(Some(counted)) =
            tokio::time::timeout_at((begun + patience).into(), counting.join_next()).await
        {
            if let Ok((index, count)) = counted {
                if count.is_ok() {
                    patience = patience.min(SLOWER.max(begun.elapsed()) + begun.elapsed());
                }
                counts[index] = count;
            }
        }
        counts
    }

    /// How many settled rows of the window a replica has. Looks at its table, too: one of other types would be read
    /// wrongly.
    ///
    /// # Errors
    ///
    /// The replica's, or that its table cannot be read.
    pub async fn settled_rows(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        query_id: &str,
    ) -> Result<u64> {
        self.check_table(replica).await?;
        let whole = Range::whole(&request.window);
        let proof = self.proof(replica, request, fence.only_settled(), whole, query_id);
        Ok(proof.await?.behind)
    }
}

/// A replica that lacks settled rows.
pub(super) fn lags(has: u64, most: u64) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "a replica of ClickHouse lacks rows that another one has: it lags behind",
    )
    .with_detail(format!("{has} settled rows instead of {most}"))
}
