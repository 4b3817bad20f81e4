//! Whose turn it is: what a key has, and had lately.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// In this time half of what a key had is forgotten.
const HALF_FORGOTTEN: Duration = Duration::from_secs(60);

/// Less than that of a place's time is as good as none, in seconds.
const NOTHING_HAD: f64 = 0.01;

/// The time that a key had places for, in seconds, as it was at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Had(Option<(f64, Instant)>);

impl Had {
    /// What of it is not forgotten, in seconds.
    fn at(self, now: Instant) -> f64 {
        self.0.map_or(0.0, |(seconds, then)| {
            let halvings =
                now.saturating_duration_since(then).as_secs_f64() / HALF_FORGOTTEN.as_secs_f64();
            seconds * (-halvings).exp2()
        })
    }

    /// Whether all of it is forgotten.
    pub(super) fn is_forgotten(self, now: Instant) -> bool {
        self.at(now) < NOTHING_HAD
    }

    /// A place was had for so long.
    pub(super) fn add(&mut self, time: Duration, now: Instant) {
        self.0 = Some((self.at(now) + time.as_secs_f64(), now));
    }
}

/// What a key has already: the smaller it is, the sooner the key's turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    running: usize,
    had: f64,
}

impl Claim {
    /// That of a key with so many exports running.
    pub(super) fn of(running: usize, had: Had, now: Instant) -> Self {
        // Less than a second is as good as none.
        let had = had.at(now).floor();
        Self { running, had }
    }

    /// Fewer exports come first, then less time.
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        let running = self.running.cmp(&other.running);
        running.then(self.had.total_cmp(&other.had))
    }
}
