//! How often and how long an export that was interrupted is taken up again.

use std::time::{Duration, Instant};

use crate::config::Config;

/// Longest pause between two attempts, however many there were.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The patience of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts one after the other that may bring no row.
    attempts: u32,
    /// Before the first of them; it doubles.
    pause: Duration,
    /// All the time that one export may spend without rows.
    total: Duration,
}

impl Patience {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            attempts: config.resume_attempts,
            pause: config.resume_pause,
            total: config.resume,
        }
    }

    /// An export that was not interrupted yet.
    pub fn begin(self) -> Interruptions {
        Interruptions {
            patience: self,
            attempts: 0,
            since: None,
            spent: Duration::ZERO,
        }
    }
}

/// What one export has used up of it.
#[derive(Debug)]
pub struct Interruptions {
    patience: Patience,
    /// Since rows came last.
    attempts: u32,
    since: Option<Instant>,
    /// In interruptions that are over.
    spent: Duration,
}

impl Interruptions {
    /// How long to wait before the next attempt; `None` where there is none left.
    pub fn next_pause(&mut self) -> Option<Duration> {
        let begun = *self.since.get_or_insert_with(Instant::now);
        let left = self
            .patience
            .total
            .checked_sub(self.spent + begun.elapsed())?;
        if self.attempts == self.patience.attempts {
            return None;
        }
        let doubled = 2u32.saturating_pow(self.attempts);
        self.attempts += 1;
        let pause = self.patience.pause.saturating_mul(doubled);
        Some(pause.min(LONGEST_PAUSE).min(left))
    }

    /// Whether none was made since rows came last.
    pub fn is_first(&self) -> bool {
        self.attempts == 0
    }

    /// Rows came.
    pub fn over(&mut self) {
        self.attempts = 0;
        if let Some(begun) = self.since.take() {
            self.spent += begun.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn begin(attempts: u32, total: Duration) -> Interruptions {
        let pause = SECOND;
        let patience = Patience {
            attempts,
            pause,
            total,
        };
        patience.begin()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_rows_begin_them_anew() {
        let mut interruptions = begin(6, 1_000 * SECOND);
        let pauses: Vec<_> = (0..7).map(|_| interruptions.next_pause()).collect();
        let seconds = [1, 2, 4, 8, 10, 10].map(|seconds| Some(seconds * SECOND));
        assert_eq!(pauses[..6], seconds);
        assert_eq!(pauses[6], None);
        interruptions.over();
        assert_eq!(interruptions.next_pause(), Some(SECOND));
    }

    #[test]
    fn the_total_counts_interruptions_that_are_over_too() {
        let mut interruptions = begin(6, 20 * SECOND);
        interruptions.since = Instant::now().checked_sub(15 * SECOND);
        assert!(interruptions.next_pause().is_some());
        interruptions.over();
        interruptions.since = Instant::now().checked_sub(6 * SECOND);
        assert_eq!(interruptions.next_pause(), None);
    }
}
