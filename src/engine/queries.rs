//! The queries that run, by the ids that clients know, and their cancelling.
//!
//! The library names its queries itself and cancels one only between two blocks. A query here carries a mark in a
//! setting that does nothing for it, and `KILL QUERY` on that mark from a session of its own reaches it in the
//! middle of a sort as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::watch;

use super::exception::{Exception, code};
use super::library::Connection;
use crate::error::{Error, Result};

/// The setting that carries a query's mark. It names entries of the query cache, which such a query then shares with
/// no other.
pub(crate) const MARK_SETTING: &str = "query_cache_tag";
/// First pause before a query that could not be killed yet is looked for again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The queries that run.
pub(crate) struct Queries {
    running: Mutex<HashMap<String, Arc<Query>>>,
    next_mark: AtomicU64,
    limit: usize,
    killer: mpsc::Sender<Arc<Query>>,
}

/// Whether a query may be one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// As any query.
    Limited,
    /// Not if it kills others.
    Always,
}

/// One query, from before it starts until its thread is done with it.
pub(crate) struct Query {
    /// The id that the client knows.
    pub(crate) id: String,
    /// The statement's beginning, for `KILL QUERY`'s answer.
    pub(crate) sql: String,
    /// What [`MARK_SETTING`] holds for it.
    pub(crate) mark: String,
    cancelled: AtomicBool,
    cancelled_signal: watch::Sender<bool>,
    done: watch::Sender<bool>,
}

impl Query {
    /// Whether somebody asked for its end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Resolves once somebody asks for its end. Cancel-safe.
    pub(crate) async fn cancelled(&self) {
        // The sender lives as long as this query.
        let _ = self.cancelled_signal.subscribe().wait_for(|&c| c).await;
    }

    /// Resolves once its thread is done. Cancel-safe.
    pub(crate) async fn done(&self) {
        let _ = self.done.subscribe().wait_for(|&d| d).await;
    }
}

impl Queries {
    /// With room for `limit` queries at once. `control` is the session that kills, on a thread of its own; it also
    /// keeps the engine from stopping between two queries.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(crate) fn new(limit: usize, control: Connection) -> Result<(Arc<Self>, KillerThread)> {
        let (killer, requests) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("kill".into())
            .stack_size(super::STACK_BYTES)
            .spawn(move || kill_loop(control, &requests))
            .map_err(|error| Error::internal("a thread cannot be started").with_source(error))?;
        let queries = Arc::new(Self {
            running: Mutex::new(HashMap::new()),
            next_mark: AtomicU64::new(1),
            limit,
            killer,
        });
        Ok((queries, KillerThread(thread)))
    }

    /// Enters a query.
    ///
    /// # Errors
    ///
    /// Too many run (202), unless this one is to make room; or one of this id does (216).
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: String,
        sql: &str,
        room: Room,
    ) -> Result<Entered, Exception> {
        let mut running = self.lock();
        if running.len() >= self.limit && room == Room::Limited {
            return Err(Exception::new(
                code::TOO_MANY_SIMULTANEOUS_QUERIES,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                format_args!("Too many simultaneous queries. Maximum: {}", self.limit),
            ));
        }
        if running.contains_key(&id) {
            return Err(Exception::new(
                code::QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
                format_args!("Query with id = {id} is already running"),
            ));
        }
        let mark = self.next_mark.fetch_add(1, Ordering::Relaxed);
        let query = Arc::new(Query {
            id: id.clone(),
            sql: sql.chars().take(1_000).collect(),
            mark: format!("rowspout-{}-{mark}", std::process::id()),
            cancelled: AtomicBool::new(false),
            cancelled_signal: watch::Sender::new(false),
            done: watch::Sender::new(false),
        });
        running.insert(id, Arc::clone(&query));
        Ok(Entered {
            queries: Arc::clone(self),
            query,
        })
    }

    /// The running query of this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Query>> {
        self.lock().get(id).cloned()
    }

    /// Asks for a query's end and returns at once.
    pub(crate) fn cancel(&self, query: &Arc<Query>) {
        if !query.cancelled.swap(true, Ordering::AcqRel) {
            query.cancelled_signal.send_replace(true);
            // Without the thread the engine is stopping, and every session with it.
            let _ = self.killer.send(Arc::clone(query));
        }
    }

    /// Asks for the end of all.
    pub(crate) fn cancel_all(&self) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for query in &all {
            self.cancel(query);
        }
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Query>>> {
        // No code panics while it holds the lock; a poisoned map is as good as any.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query's place among the running ones, held by the thread that runs it.
pub(crate) struct Entered {
    queries: Arc<Queries>,
    query: Arc<Query>,
}

impl Entered {
    /// The query.
    pub(crate) fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// A handle that cancels the query when it is dropped.
    pub(crate) fn client(&self) -> Client {
        Client {
            queries: Arc::clone(&self.queries),
            query: Arc::clone(&self.query),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.queries.lock().remove(&self.query.id);
        self.query.done.send_replace(true);
    }
}

/// The client's interest in its query: dropped with the request or the response's body, it cancels the query, which
/// does nothing to one that is done.
pub(crate) struct Client {
    queries: Arc<Queries>,
    query: Arc<Query>,
}

impl Client {
    /// The query.
    pub(crate) fn query(&self) -> &Arc<Query> {
        &self.query
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !*self.query.done.borrow() {
            self.queries.cancel(&self.query);
        }
    }
}

/// The thread that kills; it ends once [`Queries`] is gone.
pub(crate) struct KillerThread(std::thread::JoinHandle<()>);

impl KillerThread {
    /// Waits for its end. Drop every [`Queries`] before.
    pub(crate) fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that kills queries had panicked");
        }
    }
}

/// Kills what is asked for, and again until it is gone: a query may be on its way into the library's list.
fn kill_loop(mut control: Connection, requests: &mpsc::Receiver<Arc<Query>>) {
    let mut waiting: Vec<Arc<Query>> = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let request = if waiting.is_empty() {
            requests
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            requests.recv_timeout(pause)
        };
        match request {
            Ok(query) => {
                waiting.push(query);
                // Many clients may leave at once.
                waiting.extend(requests.try_iter());
                pause = FIRST_PAUSE;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|query| !*query.done.borrow());
        if waiting.is_empty() {
            continue;
        }
        // Marks are made of letters, digits and hyphens. One statement for all: where much runs, each takes its time.
        let marks: Vec<_> = waiting
            .iter()
            .map(|query| format!("'{}'", query.mark))
            .collect();
        let sql = format!(
            "KILL QUERY WHERE Settings['{MARK_SETTING}'] IN ({}) ASYNC",
            marks.join(", ")
        );
        if let Err(exception) = control.query(&sql, "TabSeparated", &[]) {
            tracing::warn!(%exception, "queries could not be killed; trying again");
        }
    }
}
