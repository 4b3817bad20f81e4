//! Who may export now: so many at once, so many of one key, and a queue with a bound and a patience for the rest.
//!
//! A place that becomes free goes to the waiting key with the fewest exports running, and among equal ones to who came first. There,
//! whoever had places lately counts as having come as much later, and so does, by some seconds, whoever asks for many days: who
//! wants little is not behind those who want much. Where the queue is full, the one that would be last is refused, be it the new
//! one or another. A key's exports count from the moment they wait, so no key can fill the queue; and they count by key and not by
//! connection, so a second connection gives nobody more.
//!
//! Places count work. An export that waits for its client lends its place, and takes one again when it has work to do: of
//! those that become free, new exports and such ones get one in turn. All that are open, with a place or without, have a bound of
//! their own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::claim::{self, Claim, Had};
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

/// The right to run one export, with a place unless it is lent; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    key: String,
    /// Since when it is had; none while it is lent.
    since: Option<Instant>,
}

/// The places, and who waits for one.
struct Places(Mutex<State>);

struct State {
    /// Places that nobody has. Where there is one, only those wait that would be too many.
    free: usize,
    /// How many more exports may be open.
    openable: usize,
    by_key: HashMap<String, OfKey>,
    /// New exports, in the order of arrival.
    queue: VecDeque<Turn>,
    /// Open ones that lent their place and have work to do, in the order of their wish.
    returning: VecDeque<Return>,
    /// Whether the last place went to one of these.
    returned: bool,
    /// What the next one that waits is known by.
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
    due: Instant,
    told: oneshot::Sender<Result<Place>>,
}

/// One export that wants its place again.
struct Return {
    number: u64,
    told: oneshot::Sender<()>,
}

/// Whom a place was given.
enum Given {
    New(Turn),
    Again(Return),
}

/// Leaves the queue when dropped, if it is not its turn before.
struct Waiting<'a> {
    places: &'a Places,
    number: u64,
}

/// Has its place again when dropped, if it was its turn, and wants it no longer if not.
struct Returning<'a> {
    place: &'a mut Place,
    number: u64,
}

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            places: Places::new(config.max_exports, config.max_open_exports),
            max_per_key: config.max_exports_per_key,
            max_queued: config.max_queued,
            patience: config.queue,
        }
    }

    /// A place for an export of a key that asks for the events of such a time, at once or after waiting. Cancel-safe: a client
    /// that leaves the queue gives up its turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RateLimited`] where the key has enough exports, [`ErrorKind::Unavailable`] where the queue is full, the
    /// patience has ended or the service is shutting down.
    pub(super) async fn enter(&self, key: &str, asked: Duration) -> Result<Place> {
        let (number, turn) = {
            let due = claim::due(Instant::now(), asked);
            let mut state = self.places.lock();
            if state.closed {
                return Err(shutting_down());
            }
            self.check_key(&state, key)?;
            if state.free > 0 && state.openable > 0 {
                state.free -= 1;
                state.openable -= 1;
                state.of_key(key).running += 1;
                return Ok(self.places.place(key));
            }
            if state.queue.len() >= self.max_queued && !state.make_room(key, due) {
                return Err(queue_full());
            }
            state.wait(key, due)
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
    /// So many, which nobody has, for so many exports.
    fn new(free: usize, openable: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free,
            openable,
            by_key: HashMap::new(),
            queue: VecDeque::new(),
            returning: VecDeque::new(),
            returned: false,
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
            since: Some(Instant::now()),
        }
    }

    /// Tells those to whom places went, without the lock: who has left meanwhile gives the place back, by dropping it.
    fn tell(self: &Arc<Self>, given: Vec<Given>) {
        for given in given {
            match given {
                Given::New(turn) => {
                    let _ = turn.told.send(Ok(self.place(&turn.key)));
                }
                // Who does not listen any more sees that it is its turn.
                Given::Again(turn) => {
                    let _ = turn.told.send(());
                }
            }
        }
    }
}

impl Place {
    /// Gives the place to those who wait, while the export waits for its client.
    pub(super) fn lend(&mut self) {
        let Some(since) = self.since.take() else {
            return;
        };
        metrics::lent(1.0);
        let given = {
            let mut state = self.places.lock();
            let now = Instant::now();
            state.of_key(&self.key).had.add(since.elapsed(), now);
            state.free += 1;
            state.give()
        };
        self.places.tell(given);
    }

    /// Whether it is lent.
    pub(super) fn is_lent(&self) -> bool {
        self.since.is_none()
    }

    /// Takes a place again, if one is free or becomes so in that time. Cancel-safe.
    pub(super) async fn take_again(&mut self, patience: Duration) {
        let (number, turn) = {
            let mut state = self.places.lock();
            if !self.is_lent() {
                return;
            }
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return self.is_back();
            }
            let number = state.number();
            let (told, turn) = oneshot::channel();
            state.returning.push_back(Return { number, told });
            (number, turn)
        };
        let returning = Returning {
            place: self,
            number,
        };
        // Whether it was its turn is seen by those who wait.
        let _ = tokio::time::timeout(patience, turn).await;
        drop(returning);
    }

    fn is_back(&mut self) {
        self.since = Some(Instant::now());
        metrics::lent(-1.0);
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

    fn wait(&mut self, key: &str, due: Instant) -> (u64, oneshot::Receiver<Result<Place>>) {
        let (told, turn) = oneshot::channel();
        let number = self.number();
        self.of_key(key).waiting += 1;
        self.queue.push_back(Turn {
            key: key.to_owned(),
            number,
            due,
            told,
        });
        metrics::queued(1.0);
        (number, turn)
    }

    /// What one that waits is known by.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Gives free places to those who wait: to new exports and to those that lent theirs in turn.
    fn give(&mut self) -> Vec<Given> {
        let mut given = Vec::new();
        while self.free > 0 {
            let is_new = self.openable > 0 && !self.queue.is_empty();
            let is_its_turn = !is_new || !self.returned;
            let returns = is_its_turn && !self.returning.is_empty();
            let next = if returns {
                self.returning.pop_front().map(Given::Again)
            } else if is_new {
                self.next_turn().map(Given::New)
            } else {
                None
            };
            let Some(next) = next else {
                break;
            };
            self.returned = returns;
            self.free -= 1;
            given.push(next);
        }
        given
    }

    /// One of a key waits no longer.
    fn leave_queue(&mut self, key: &str) {
        self.of_key(key).waiting -= 1;
        metrics::queued(-1.0);
    }

    /// Whose turn it is: of those with the smallest claim, the one that came first.
    fn next_turn(&mut self) -> Option<Turn> {
        let now = Instant::now();
        let claims = self.queue.iter();
        let claims = claims.map(|turn| self.claim(&turn.key, turn.due, now));
        let (at, _) = claims.enumerate().min_by_key(|(_, claim)| *claim)?;
        let turn = self.queue.remove(at)?;
        self.openable -= 1;
        self.of_key(&turn.key).running += 1;
        self.leave_queue(&turn.key);
        Some(turn)
    }

    /// Refuses the one that waits with the largest claim, if an export of this key that is due then has a smaller one.
    fn make_room(&mut self, key: &str, due: Instant) -> bool {
        let now = Instant::now();
        let claims = self.queue.iter();
        let claims = claims.map(|turn| self.claim(&turn.key, turn.due, now));
        let last = claims.enumerate().max_by_key(|(_, claim)| *claim);
        let Some((at, _)) = last.filter(|(_, claim)| self.claim(key, due, now) < *claim) else {
            return false;
        };
        if let Some(turn) = self.queue.remove(at) {
            self.leave_queue(&turn.key);
            // It may just have left.
            let _ = turn.told.send(Err(queue_full()));
        }
        true
    }

    fn claim(&self, key: &str, due: Instant, now: Instant) -> Claim {
        let of_key = self.by_key.get(key);
        let (running, had) =
            of_key.map_or_else(Default::default, |of_key| (of_key.running, of_key.had));
        Claim::of(running, had, due, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let given = {
            let mut state = self.places.lock();
            let of_key = state.of_key(&self.key);
            of_key.running -= 1;
            match self.since {
                Some(since) => {
                    of_key.had.add(since.elapsed(), Instant::now());
                    state.free += 1;
                }
                None => metrics::lent(-1.0),
            }
            state.openable += 1;
            if state.by_key.len() >= MANY_KEYS {
                state.forget_idle();
            }
            state.give()
        };
        self.places.tell(given);
    }
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        let waits = {
            let mut state = self.place.places.lock();
            let mut waiting = state.returning.iter();
            let at = waiting.position(|turn| turn.number == self.number);
            at.and_then(|at| state.returning.remove(at)).is_some()
        };
        if !waits {
            self.place.is_back();
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
#[path = "admission_tests.rs"]
mod tests;
