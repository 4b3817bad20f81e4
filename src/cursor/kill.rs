//! Ending queries that nobody waits for any more.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::watch;

use super::replicas::Replica;

/// When a query is killed, counted from the time before: the second time reaches one that was on its way the first time.
/// Where a replica does not take the order, it is given again at the other times.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// Orders that were taken, after which a query is gone.
const ENOUGH: u32 = 2;

/// How long a replica may take for one order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process that ends waits for first orders to be taken.
const CLOSING: Duration = Duration::from_secs(1);

/// Queries that no order was taken for yet.
static WAITING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Waits until every query that was given up has been told so once, at most a second: before a process ends.
pub async fn orders_taken() {
    let mut waiting = WAITING.subscribe();
    // Whoever holds the sender lives as long as the process.
    let _ = tokio::time::timeout(CLOSING, waiting.wait_for(|waiting| *waiting == 0)).await;
}

/// Kills a query when dropped while armed: a closed connection alone does not stop one that still sorts.
pub(super) struct Kill {
    replica: Arc<Replica>,
    query_id: String,
    armed: bool,
}

impl Kill {
    /// Armed from the beginning, for a query on this replica.
    pub(super) fn new(replica: Arc<Replica>, query_id: String) -> Self {
        Self {
            replica,
            query_id,
            armed: true,
        }
    }

    /// Says that the query has ended by itself.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let query_id = std::mem::take(&mut self.query_id);
        runtime.spawn(kill(self.replica.clone(), query_id, Waiting::begin()));
    }
}

/// Counts a query among those that no order was taken for, as long as it lives.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        WAITING.send_modify(|waiting| *waiting += 1);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.send_modify(|waiting| *waiting -= 1);
    }
}

async fn kill(replica: Arc<Replica>, query_id: String, waiting: Waiting) {
    let mut waiting = Some(waiting);
    let mut taken = 0;
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        let order = replica
            .client
            .query_raw("KILL QUERY WHERE query_id = {query_id:String} ASYNC")
            .param("query_id", query_id.as_str())
            .execute();
        let error = match tokio::time::timeout(ORDER_TIMEOUT, order).await {
            Ok(Ok(())) => {
                waiting = None;
                taken += 1;
                if taken == ENOUGH {
                    return;
                }
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => clickhouse::error::Error::TimedOut,
        };
        tracing::debug!(query_id, replica = replica.url(), %error, "the query could not be killed yet");
    }
    drop(waiting);
    if taken == 0 {
        tracing::warn!(
            query_id,
            replica = replica.url(),
            "the query could not be killed"
        );
    }
}
