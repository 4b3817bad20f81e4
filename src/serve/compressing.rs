//! What an export knows of the compressor behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long an export's chunks were compressed, which is work of its own while it waits for that; and why that ended early.
#[derive(Clone, Default)]
pub(super) struct Compressing(Arc<Known>);

#[derive(Default)]
struct Known {
    nanoseconds: AtomicU64,
    gave_up: Mutex<Option<GaveUp>>,
}

/// Why a compressor takes no more.
pub(super) enum GaveUp {
    /// The client took nothing for too long.
    Stalled,
    /// It cannot compress.
    Failed(Error),
}

impl Compressing {
    /// Counts work since then.
    pub(super) fn add(&self, since: Instant) {
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed))
    }

    /// Says why, which has to come before the export can see that nobody takes its chunks.
    pub(super) fn give_up(&self, why: GaveUp) {
        *self.lock() = Some(why);
    }

    /// Why it gave up, if it did. Said once.
    pub(super) fn gave_up(&self) -> Option<GaveUp> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<GaveUp>> {
        let gave_up = self.0.gave_up.lock();
        gave_up.unwrap_or_else(PoisonError::into_inner)
    }
}
