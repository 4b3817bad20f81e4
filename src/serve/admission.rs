//! Who may export now: so many at once, so many of one key, and a queue with a bound and a patience for the rest.
//!
//! A place that becomes free goes to the waiting key with the fewest exports running, among equal ones to the one that had
//! places for the shortest time lately, and then to who came first: whoever asks for little is not behind those who ask for
//! much, or take it slowly. Where the queue is full, the one that would be last is refused, be it the new one or another. A key's exports count from the moment
//! they wait, so no key can fill the queue; and they count by key and not by connection, so a second connection gives
//! nobody more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::claim::{Claim, Had};
use super::metrics::{self, Limit};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// Keys that are remembered before some are forgotten.
const MANY_KEYS: usize = 1_024;

/// Lets exports in.
pub(super) struct Admission {
    places: Arc<Places>,
    max_per_key: usize,
    max_queued: usize,
    patience: Duration,
}

/// The right to run one export; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    key: String,
    since: Instant,
}

/// The places, and who waits for one.
struct Places(Mutex<State>);

struct State {
    /// Places that nobody has. Where there is one, nobody waits.
    free: usize,
    by_key: HashMap<String, OfKey>,
    /// In the order of arrival.
    queue: VecDeque<Turn>,
    /// What the next one in the queue is known by.
    next: u64,
    closed: bool,
}

/// The exports of one key, until it has none and what it had is forgotten.
#[derive(Default)]
struct OfKey {
    running: usize,
    waiting: usize,
    had: Had,
}

/// One export in the queue.
struct Turn {
    key: String,
    number: u64,
    told: oneshot::Sender<Result<Place>>,
}

/// Leaves the queue when dropped, if it is not its turn before.
struct Waiting<'a> {
    places: &'a Places,
    number: u64,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            places: Places::new(config.max_exports),
            max_per_key: config.max_exports_per_key,
            max_queued: config.max_queued,
            patience: config.queue,
        }
    }

    /// A place for an export of a key, at once or after waiting. Cancel-safe: a client that leaves the queue gives up its
    /// turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RateLimited`] where the key has enough exports, [`ErrorKind::Unavailable`] where the queue is full, the
    /// patience has ended or the service is shutting down.
    pub(super) async fn enter(&self, key: &str) -> Result<Place> {
        let (number, turn) = {
            let mut state = self.places.lock();
            if state.closed {
                return Err(shutting_down());
            }
            self.check_key(&state, key)?;
            if state.free > 0 {
                state.free -= 1;
                state.of_key(key).running += 1;
                return Ok(self.places.place(key));
            }
            if state.queue.len() >= self.max_queued && !state.make_room(key) {
                return Err(queue_full());
            }
            state.wait(key)
        };
        let waiting = Waiting {
            places: &self.places,
            number,
        };
        let turn = tokio::time::timeout(self.patience, turn).await;
        drop(waiting);
        match turn {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => Err(shutting_down()),
            Err(_) => {
                metrics::limit_hit(Limit::QueueSeconds);
                Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "too many exports run now, and no place became free within {} s: try again in some seconds",
                        self.patience.as_secs()
                    ),
                )
                .with_retry_after(super::respond::RETRY_AFTER_SECONDS))
            }
        }
    }

    /// Lets nobody in any more; who waits is told so.
    pub(super) fn close(&self) {
        let mut state = self.places.lock();
        state.closed = true;
        while let Some(turn) = state.queue.pop_front() {
            state.leave_queue(&turn.key);
        }
    }

    fn check_key(&self, state: &State, key: &str) -> Result<()> {
        let exports = state
            .by_key
            .get(key)
            .map_or(0, |of_key| of_key.running + of_key.waiting);
        if exports < self.max_per_key {
            return Ok(());
        }
        metrics::limit_hit(Limit::ExportsPerKey);
        Err(Error::new(
            ErrorKind::RateLimited,
            format!(
                "this key has {exports} exports running or waiting: try again when one has ended, or raise \
                 max_exports_per_key"
            ),
        )
        .with_retry_after(super::respond::RETRY_AFTER_SECONDS))
    }
}

impl Places {
    /// So many, which nobody has.
    fn new(free: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free,
            by_key: HashMap::new(),
            queue: VecDeque::new(),
            next: 0,
            closed: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, key: &str) -> Place {
        Place {
            places: self.clone(),
            key: key.to_owned(),
            since: Instant::now(),
        }
    }
}

impl State {
    fn of_key(&mut self, key: &str) -> &mut OfKey {
        self.by_key.entry(key.to_owned()).or_default()
    }

    /// Forgets keys that have nothing and had nothing lately.
    fn forget_idle(&mut self) {
        let now = Instant::now();
        self.by_key.retain(|_, of_key| {
            of_key.running + of_key.waiting > 0 || !of_key.had.is_forgotten(now)
        });
    }

    fn wait(&mut self, key: &str) -> (u64, oneshot::Receiver<Result<Place>>) {
        let (told, turn) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.of_key(key).waiting += 1;
        self.queue.push_back(Turn {
            key: key.to_owned(),
            number,
            told,
        });
        metrics::queued(1.0);
        (number, turn)
    }

    /// One of a key waits no longer.
    fn leave_queue(&mut self, key: &str) {
        self.of_key(key).waiting -= 1;
        metrics::queued(-1.0);
    }

    /// Whose turn it is: of the key with the smallest claim, the one that came first.
    fn next_turn(&mut self) -> Option<Turn> {
        let now = Instant::now();
        let claims = self.queue.iter().map(|turn| self.claim(&turn.key, now));
        let (at, _) = claims.enumerate().min_by(|(_, a), (_, b)| a.cmp(b))?;
        let turn = self.queue.remove(at)?;
        self.of_key(&turn.key).running += 1;
        self.leave_queue(&turn.key);
        Some(turn)
    }

    /// Refuses the one that waits with the largest claim, if an export of this key has a smaller one.
    fn make_room(&mut self, key: &str) -> bool {
        let now = Instant::now();
        let claims = self.queue.iter().map(|turn| self.claim(&turn.key, now));
        let last = claims.enumerate().max_by(|(_, a), (_, b)| a.cmp(b));
        let Some((at, _)) = last.filter(|(_, claim)| self.claim(key, now).cmp(claim).is_lt())
        else {
            return false;
        };
        if let Some(turn) = self.queue.remove(at) {
            self.leave_queue(&turn.key);
            // It may just have left.
            let _ = turn.told.send(Err(queue_full()));
        }
        true
    }

    fn claim(&self, key: &str, now: Instant) -> Claim {
        let of_key = self.by_key.get(key);
        let (running, had) =
            of_key.map_or_else(Default::default, |of_key| (of_key.running, of_key.had));
        Claim::of(running, had, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.places.lock();
            let of_key = state.of_key(&self.key);
            of_key.running -= 1;
            of_key.had.add(self.since.elapsed(), Instant::now());
            if state.by_key.len() >= MANY_KEYS {
                state.forget_idle();
            }
            let next = state.next_turn();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(turn) = next {
            // Who has left meanwhile gives the place back, by dropping it.
            let _ = turn.told.send(Ok(self.places.place(&turn.key)));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let turn = state
            .queue
            .iter()
            .position(|turn| turn.number == self.number);
        if let Some(turn) = turn.and_then(|at| state.queue.remove(at)) {
            state.leave_queue(&turn.key);
        }
    }
}

/// What is said where too many wait.
fn queue_full() -> Error {
    metrics::limit_hit(Limit::Queued);
    Error::new(
        ErrorKind::Unavailable,
        "too many exports run and wait now: try again in some seconds",
    )
    .with_retry_after(super::respond::RETRY_AFTER_SECONDS)
}

/// What is said of new exports while those in flight finish.
pub(super) fn shutting_down() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the service is shutting down: try again in some seconds",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

    use super::*;

    fn admission(exports: usize, queued: usize) -> Arc<Admission> {
        Arc::new(Admission {
            places: Places::new(exports),
            max_per_key: 4,
            max_queued: queued,
            patience: Duration::from_secs(60),
        })
    }

    /// An export of a key that is in the queue when this returns.
    async fn wait(
        admission: &Arc<Admission>,
        key: &'static str,
    ) -> tokio::task::JoinHandle<Result<Place>> {
        let before = admission.places.lock().queue.len();
        let entering = admission.clone();
        let task = tokio::spawn(async move { entering.enter(key).await });
        while admission.places.lock().queue.len() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    fn in_queue(admission: &Admission) -> Vec<(u64, String)> {
        let state = admission.places.lock();
        let turns = state.queue.iter();
        turns.map(|turn| (turn.number, turn.key.clone())).collect()
    }

    #[tokio::test]
    async fn a_place_goes_to_the_key_with_the_fewest_exports_and_then_to_who_came_first() {
        let admission = admission(3, 10);
        let mut running = Vec::new();
        for key in ["many", "many", "one"] {
            running.push(admission.enter(key).await.unwrap());
        }
        let mut turns = Vec::new();
        for key in ["many", "many", "one", "none", "none"] {
            turns.push(wait(&admission, key).await);
        }
        assert!(
            admission
                .enter("many")
                .await
                .is_err_and(|error| error.kind() == ErrorKind::RateLimited)
        );
        let mut order = Vec::new();
        for _ in 0..5 {
            let before = in_queue(&admission);
            drop(running.remove(0));
            let after = in_queue(&admission);
            let at = (0..before.len())
                .find(|&at| after.get(at) != before.get(at))
                .unwrap();
            order.push(before[at].1.clone());
            running.push(turns.remove(at).await.unwrap().unwrap());
        }
        assert_eq!(order, ["none", "many", "one", "none", "many"]);
        drop(running);
        assert_has_nothing(&admission, 3);
    }

    fn assert_has_nothing(admission: &Admission, free: usize) {
        let state = admission.places.lock();
        assert_eq!(state.free, free);
        let mut of_keys = state.by_key.values();
        assert!(of_keys.all(|of_key| of_key.running + of_key.waiting == 0));
        assert!(state.queue.is_empty());
    }

    #[tokio::test]
    async fn of_keys_without_exports_the_one_that_had_least_lately_is_first() {
        let admission = admission(1, 10);
        let now = Instant::now();
        for (key, seconds, before) in [("slow", 100, 0), ("long ago", 100, 600), ("small", 5, 0)] {
            let then = now.checked_sub(Duration::from_secs(before)).unwrap();
            let mut state = admission.places.lock();
            let time = Duration::from_secs(seconds);
            state.of_key(key).had.add(time, then);
        }
        let place = admission.enter("other").await.unwrap();
        let mut turns = Vec::new();
        for key in ["slow", "small", "long ago"] {
            turns.push((key, wait(&admission, key).await));
        }
        drop(place);
        for key in ["long ago", "small", "slow"] {
            let at = turns.iter().position(|(of, _)| *of == key).unwrap();
            let (_, turn) = turns.remove(at);
            drop(turn.await.unwrap().unwrap());
        }
        assert_has_nothing(&admission, 1);
        // What was had long ago is forgotten.
        let mut state = admission.places.lock();
        let long_ago = now.checked_sub(Duration::from_secs(3_000)).unwrap();
        for of_key in state.by_key.values_mut() {
            of_key.had = Had::default();
            of_key.had.add(Duration::from_secs(100), long_ago);
        }
        state.forget_idle();
        assert!(state.by_key.is_empty());
    }

    #[tokio::test]
    async fn where_the_queue_is_full_the_one_that_would_be_last_is_refused() {
        let admission = admission(2, 2);
        let mut running = Vec::new();
        for key in ["many", "many"] {
            running.push(admission.enter(key).await.unwrap());
        }
        let one = wait(&admission, "one").await;
        let many = wait(&admission, "many").await;
        // Of a new one as of the last one in the queue, the new one is refused.
        assert!(
            admission
                .enter("many")
                .await
                .is_err_and(|error| error.retry_after().is_some())
        );
        let entering = admission.clone();
        let other = tokio::spawn(async move { entering.enter("other").await });
        let refused = many.await.unwrap();
        assert!(refused.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
        drop(running);
        for turn in [one, other] {
            drop(turn.await.unwrap().unwrap());
        }
        assert_has_nothing(&admission, 2);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_or_its_place_keeps_nothing() {
        let admission = admission(1, 1);
        let place = admission.enter("a").await.unwrap();
        let waiting = wait(&admission, "b").await;
        assert!(
            admission
                .enter("c")
                .await
                .is_err_and(|error| error.kind() == ErrorKind::Unavailable)
        );
        waiting.abort();
        assert!(waiting.await.is_err());
        assert!(in_queue(&admission).is_empty());
        // One whose turn comes while it leaves gives the place back.
        let (_, turn) = admission.places.lock().wait("b");
        drop(turn);
        drop(place);
        assert_has_nothing(&admission, 1);
        let place = admission.enter("a").await.unwrap();
        let waiting = wait(&admission, "b").await;
        admission.close();
        assert!(waiting.await.unwrap().is_err());
        assert!(admission.enter("a").await.is_err());
        drop(place);
        assert_has_nothing(&admission, 1);
    }
}
