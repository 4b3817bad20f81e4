//! What arrived since an earlier export, counted before it is read: the window that it happened in, and the next watermark.
//!
//! All of it is settled, so an export has to deliver exactly what was counted, or it is no file. The replica that counts is one
//! that lacks no settled row which another one has.

use std::sync::Arc;

use serde::Deserialize;

use super::census::lags;
use super::kill::Kill;
use super::quarters::{ANSWER, Told};
use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{self, Fence};
use crate::request::{ArrivalBounds, Arrivals, ExportRequest, Interval, SinceRequest};

/// An export by arrival, ready to be read.
pub struct Arriving {
    /// What to export.
    pub request: Arc<ExportRequest>,
    /// Up to where.
    pub fence: Fence,
    /// From where, and how many rows.
    pub told: Told,
}

/// What the server counts.
#[derive(Clone, Copy, Debug, clickhouse::Row, Deserialize)]
struct Counted {
    first: i64,
    last: i64,
    rows: u64,
    recounted: u64,
    counted: u64,
}

impl Server {
    /// Counts what arrived.
    ///
    /// # Errors
    ///
    /// None of the replicas answers, or has the table of events as it must be; the watermark lies ahead of the clock; the
    /// zone's offset cannot be written.
    pub async fn arriving(
        &self,
        request: &SinceRequest,
        fence: Fence,
        query_id: &str,
    ) -> Result<Arriving> {
        let bounds = request.bounds(fence)?;
        let fence = fence.up_to(bounds.up_to);
        let whole = Arc::new(request.whole().clone());
        let count = |replica, query_id: String| {
            let whole = whole.clone();
            async move {
                let counted = self.count_arrivals(&replica, &whole, fence, bounds, &query_id);
                counted.await
            }
        };
        let counted = self.first_that_counts(&whole, fence, query_id, count);
        let (mut chosen, arrivals) = counted.await?;
        if let Some(most) = chosen.settled.filter(|&most| arrivals.rows < most) {
            return Err(lags(arrivals.rows, most));
        }
        chosen.settled = Some(arrivals.rows);
        let resolving = request.clone();
        // The zone's changes over centuries take a while.
        let resolved =
            tokio::task::spawn_blocking(move || resolving.resolve(bounds, arrivals)).await;
        let resolved = resolved.map_err(failure::stopped)??;
        Ok(Arriving {
            request: Arc::new(resolved),
            fence,
            told: Told {
                chosen,
                digest: None,
                rows: Some(arrivals.rows),
            },
        })
    }

    async fn count_arrivals(
        &self,
        replica: &Arc<Replica>,
        whole: &ExportRequest,
        fence: Fence,
        bounds: ArrivalBounds,
        query_id: &str,
    ) -> Result<Arrivals> {
        let statement = pushdown::arrivals(whole, &self.table, fence, bounds);
        // Nothing of an answer comes before it is whole. One that takes long is no failure of the replica, so it ends first.
        let limit = self.silence.min(self.max_query());
        let query = self
            .query(replica, statement, query_id)
            .with_setting("max_execution_time", limit.as_secs().max(1).to_string());
        let mut kill = Kill::new(replica.clone(), query_id.to_owned());
        // One row; all are asked for so that the answer is read to its checksum.
        let counted = failure::within(limit + ANSWER, query.fetch_all::<Counted>()).await;
        let counted = counted.map_err(|error| failure::of_events(error, replica.url()));
        let counted = counted.map_err(|error| match error.kind() {
            ErrorKind::QueryTimeout => Error::new(
                ErrorKind::QueryTimeout,
                format!(
                    "what arrived was not counted within {} s: raise silence_seconds and max_query_seconds, or leave filters out",
                    limit.as_secs()
                ),
            )
            .with_source(error),
            _ => error,
        })?;
        kill.disarm();
        let [counted] = counted[..] else {
            return Err(failure::damaged());
        };
        arrivals(counted).ok_or_else(failure::damaged)
    }
}

/// `None` where the counts cannot be.
fn arrivals(counted: Counted) -> Option<Arrivals> {
    let Counted {
        first,
        last,
        rows,
        recounted,
        counted,
    } = counted;
    let happened = Interval {
        from: first,
        until: last.checked_add(1)?,
    };
    if (rows > 0 && first > last) || counted > rows.checked_add(recounted)? {
        return None;
    }
    Some(Arrivals {
        happened: (rows > 0).then_some(happened),
        rows,
        recounted,
        counted,
    })
}
