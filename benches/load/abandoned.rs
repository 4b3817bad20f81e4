//! Queries whose clients left: how long ClickHouse still has them in its list.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rowspout::config::ClickHouse;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How often the list is read.
const PAUSE: Duration = Duration::from_millis(50);

/// A client left this export at this moment.
pub(crate) struct Leaving {
    pub(crate) id: String,
    pub(crate) at: Instant,
}

/// Watches the list until it is told to end.
pub(crate) struct Abandoned {
    leavings: mpsc::UnboundedSender<Leaving>,
    end: oneshot::Sender<()>,
    watching: JoinHandle<Remained>,
}

/// How long the queries of each export that was left were seen, in seconds after that.
pub(crate) struct Remained {
    pub(crate) seconds: Vec<f64>,
    /// Those that were there to the last.
    pub(crate) alive: Vec<String>,
}

impl Abandoned {
    pub(crate) fn watch(clickhouse: &ClickHouse) -> Self {
        let (leavings, mut left) = mpsc::unbounded_channel::<Leaving>();
        let (end, mut ended) = oneshot::channel();
        let client = clickhouse.client();
        let watching = tokio::spawn(async move {
            let mut exports = HashMap::new();
            loop {
                let is_last = ended.try_recv().is_ok();
                let asked = Instant::now();
                // Each query carries its name in this setting; the embedded engine's list has no other.
                let running = client
                    .query_raw(
                        "SELECT DISTINCT substring(Settings['log_comment'], 1, 36) FROM system.processes \
                         WHERE startsWith(Settings['log_comment'], 'exp_')",
                    )
                    .fetch_all::<String>()
                    .await
                    .expect("the list of queries");
                while let Ok(Leaving { id, at }) = left.try_recv() {
                    exports.insert(id, (at, at));
                }
                for id in &running {
                    if let Some((_, seen)) = exports.get_mut(id) {
                        *seen = asked.max(*seen);
                    }
                }
                if is_last {
                    let mut alive = running;
                    alive.retain(|id| exports.contains_key(id));
                    let seconds = exports
                        .values()
                        .map(|(left, seen)| (*seen - *left).as_secs_f64());
                    let seconds = seconds.collect();
                    return Remained { seconds, alive };
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self {
            leavings,
            end,
            watching,
        }
    }

    /// Where to say that a client left.
    pub(crate) fn leavings(&self) -> mpsc::UnboundedSender<Leaving> {
        self.leavings.clone()
    }

    /// Reads the list once more.
    pub(crate) async fn end(self) -> Remained {
        self.end.send(()).expect("it still watches");
        self.watching.await.expect("the list was read")
    }
}
