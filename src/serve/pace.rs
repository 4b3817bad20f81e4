//! Whether an export waits for its client, or its client for it.
//!
//! Time in which the export waits counts up, time in which it works counts down, between nought and [`SLACK`]. At the top it is the
//! client that is slow: the export lends its place. At the bottom it has work to do all the time: it takes a place again.

use std::time::Duration;

use super::compressing::Compressing;

/// How much longer an export waits than it works before it lends its place, and works than it waits before it takes one again. Also how long
/// it waits for that one: then it does a piece of work without.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// What one export has waited more than worked.
pub(super) struct Pace {
    waited: Duration,
    /// Its compressor, if it has one.
    compressing: Option<Compressing>,
    /// What was compressed of that when it was looked at last.
    compressed: Duration,
}

impl Pace {
    /// One that has not waited yet.
    pub(super) fn new(compressing: Option<Compressing>) -> Self {
        Self {
            waited: Duration::ZERO,
            compressing,
            compressed: Duration::ZERO,
        }
    }

    /// It worked for so long.
    pub(super) fn worked(&mut self, time: Duration) {
        let compressed = self.all_compressed();
        let more = compressed - self.compressed;
        self.compressed = compressed;
        self.waited = self.waited.saturating_sub(time + more);
    }

    /// It waited for so long, and what was compressed meanwhile was work.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited = (self.waited + time).min(SLACK + self.uncounted());
        self.worked(Duration::ZERO);
    }

    /// How much longer it may wait, if it has waited for so long now.
    pub(super) fn slack(&self, now: Duration) -> Duration {
        (SLACK + self.uncounted()).saturating_sub(self.waited + now)
    }

    /// Whether it has work to do all the time.
    pub(super) fn is_busy(&self) -> bool {
        self.waited.is_zero()
    }

    fn uncounted(&self) -> Duration {
        self.all_compressed() - self.compressed
    }

    fn all_compressed(&self) -> Duration {
        let compressing = self.compressing.as_ref();
        compressing.map_or(Duration::ZERO, Compressing::total)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    #[test]
    fn who_waits_longer_than_it_works_is_slow_until_it_has_worked_as_long() {
        let mut pace = Pace::new(None);
        assert!(pace.is_busy());
        // A client that keeps up.
        for _ in 0..10 {
            pace.worked(STEP);
            pace.waited(STEP);
            assert_eq!(pace.slack(Duration::ZERO), SLACK - STEP);
        }
        pace.waited(STEP);
        assert_eq!(pace.slack(STEP / 4), STEP / 4);
        assert_eq!(pace.slack(STEP), Duration::ZERO);
        // However long it was slow.
        pace.waited(100 * STEP);
        assert_eq!(pace.slack(Duration::ZERO), Duration::ZERO);
        pace.worked(2 * STEP);
        assert!(!pace.is_busy());
        pace.worked(STEP / 2);
        assert!(pace.is_busy());
    }

    #[test]
    fn what_is_compressed_meanwhile_is_work() {
        let compressing = Compressing::default();
        let mut pace = Pace::new(Some(compressing.clone()));
        let begun = Instant::now();
        std::thread::sleep(STEP);
        compressing.add(begun);
        let compressed = compressing.total();
        assert_eq!(pace.slack(compressed), SLACK);
        pace.waited(compressed);
        assert!(pace.is_busy());
        pace.waited(STEP);
        assert_eq!(pace.slack(Duration::ZERO), SLACK - STEP);
    }
}
