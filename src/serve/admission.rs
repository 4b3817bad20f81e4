//! Who may export now: so many at once, so many of one key, and a queue with a bound and a patience for the rest.
//!
//! A key's exports count from the moment they wait, so no key can fill the queue; and they count by key and not by connection,
//! so a second connection gives nobody more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::metrics::{self, Limit};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// Lets exports in.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    by_key: Arc<Mutex<HashMap<String, usize>>>,
    max_per_key: usize,
    waiting: Arc<AtomicUsize>,
    max_queued: usize,
    patience: Duration,
}

/// The right to run one export; given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _of_key: OfKey,
}

/// One export of a key, waiting or running.
struct OfKey {
    by_key: Arc<Mutex<HashMap<String, usize>>>,
    key: String,
}

/// One export in the queue.
struct Waiting(Arc<AtomicUsize>);

impl Admission {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.max_exports)),
            by_key: Arc::default(),
            max_per_key: config.max_exports_per_key,
            waiting: Arc::default(),
            max_queued: config.max_queued,
            patience: config.queue,
        }
    }

    /// A place for an export of a key, at once or after waiting in the order of arrival. Cancel-safe: a client that leaves the
    /// queue gives up its turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RateLimited`] where the key has enough exports, [`ErrorKind::Unavailable`] where the queue is full, the
    /// patience has ended or the service is shutting down.
    pub(super) async fn enter(&self, key: &str) -> Result<Place> {
        let of_key = self.count(key)?;
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(shutting_down()),
            Err(TryAcquireError::NoPermits) => self.wait().await?,
        };
        Ok(Place {
            _permit: permit,
            _of_key: of_key,
        })
    }

    /// Lets nobody in any more; who waits is told so.
    pub(super) fn close(&self) {
        self.places.close();
    }

    fn count(&self, key: &str) -> Result<OfKey> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let exports = by_key.entry(key.to_owned()).or_insert(0);
        if *exports >= self.max_per_key {
            metrics::limit_hit(Limit::ExportsPerKey);
            return Err(Error::new(
                ErrorKind::RateLimited,
                format!(
                    "this key has {exports} exports running or waiting: try again when one has ended, or raise \
                     max_exports_per_key"
                ),
            )
            .with_retry_after(super::respond::RETRY_AFTER_SECONDS));
        }
        *exports += 1;
        Ok(OfKey {
            by_key: self.by_key.clone(),
            key: key.to_owned(),
        })
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit> {
        let _waiting = Waiting::begin(&self.waiting, self.max_queued).ok_or_else(|| {
            metrics::limit_hit(Limit::Queued);
            Error::new(
                ErrorKind::Unavailable,
                "too many exports run and wait now: try again in some seconds",
            )
        })?;
        let turn = self.places.clone().acquire_owned();
        match tokio::time::timeout(self.patience, turn).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(shutting_down()),
            Err(_) => {
                metrics::limit_hit(Limit::QueueSeconds);
                Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "too many exports run now, and none ended within {} s: try again in some seconds",
                        self.patience.as_secs()
                    ),
                ))
            }
        }
    }
}

impl Waiting {
    fn begin(waiting: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < most).then_some(waiting + 1)
            })
            .ok()?;
        metrics::queued(1.0);
        Some(Self(waiting.clone()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::queued(-1.0);
    }
}

impl Drop for OfKey {
    fn drop(&mut self) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exports) = by_key.get_mut(&self.key) {
            *exports -= 1;
            if *exports == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}

/// What is said of new exports while those in flight finish.
pub(super) fn shutting_down() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the service is shutting down: try again in some seconds",
    )
}
