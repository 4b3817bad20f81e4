//! Whose turn it is: what a key has, and had lately, and how much is asked for.

use std::time::{Duration, Instant};

/// In this time half of what a key had is forgotten.
const HALF_FORGOTTEN: Duration = Duration::from_secs(60);

/// So much later than it came an export's turn is for each day of events that it asks for, in milliseconds: about what a day takes
/// on a busy machine. So a small one is not behind large ones that came just before it, and a large one of 90 days is overtaken
/// for a few seconds and no longer.
const LATER_PER_DAY_MS: u64 = 50;

/// Days beyond which it makes no difference, as one export has no more.
const MOST_DAYS: f64 = 90.0;

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

/// When the turn of an export would be that asks for the events of such a time, if nobody had more or less than others.
pub(super) fn due(came: Instant, asked: Duration) -> Instant {
    let days = asked.as_secs_f64() / 86_400.0;
    let later = Duration::from_millis(LATER_PER_DAY_MS).mul_f64(days.min(MOST_DAYS));
    came + later
}

/// What an export's key has already, and when it is due: the smaller, the sooner its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    // Compared in this order.
    running: usize,
    due: Instant,
}

impl Claim {
    /// That of a key with so many exports running. What it had makes it wait as long.
    pub(super) fn of(running: usize, had: Had, due: Instant, now: Instant) -> Self {
        let due = due + Duration::from_secs_f64(had.at(now));
        Self { running, due }
    }
}
