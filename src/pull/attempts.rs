//! Another attempt at what failed: whether one is worth it, when, and how many.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::random;

/// The pause in front of the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause, unless the service asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause that a service may ask for: it might be an hour's, and the next run comes.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long a service may have no place for an export, from the first time that it said so.
const BUSY: Duration = Duration::from_secs(900);

/// What came of one attempt.
pub(super) type Attempt<T> = Result<T, Failure>;

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// The least time until another attempt may help; `None` where none will.
    wait: Option<Duration>,
    /// Whether the service only had no place for it.
    busy: bool,
}

impl Failure {
    /// Another attempt may help.
    pub(super) fn again(error: Error) -> Self {
        Self {
            error,
            wait: Some(Duration::ZERO),
            busy: false,
        }
    }

    /// None will.
    pub(super) fn last(error: Error) -> Self {
        Self {
            error,
            wait: None,
            busy: false,
        }
    }

    /// The service only has no place for it: that is waited for, and counts for no attempt.
    pub(super) fn busy(self) -> Self {
        Self { busy: true, ..self }
    }

    /// The service asked for so much time.
    pub(super) fn not_before(self, wait: Duration) -> Self {
        Self {
            wait: self.wait.map(|known| known.max(wait)),
            ..self
        }
    }
}

impl From<Error> for Failure {
    /// What goes wrong on this machine goes wrong again.
    fn from(error: Error) -> Self {
        Self::last(error)
    }
}

/// Attempts until one succeeds, or `retries` further ones failed; where the service has no place, for [`BUSY`] at most. `told`
/// hears of each failure and the pause behind it.
///
/// # Errors
///
/// The last attempt's.
pub(super) async fn insist<T, F: Future<Output = Attempt<T>>>(
    retries: u32,
    mut attempt: impl FnMut() -> F,
    mut told: impl FnMut(&Error, Duration),
) -> Result<T> {
    let (mut failed, mut refused) = (0, None);
    loop {
        let Failure { error, wait, busy } = match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let waits = busy && refused.get_or_insert_with(Instant::now).elapsed() < BUSY;
        let Some(wait) = wait.filter(|_| waits || failed < retries) else {
            return Err(error);
        };
        let pause = pause(failed)?.max(wait.min(LONGEST_WAIT));
        if !waits {
            failed += 1;
        }
        told(&error, pause);
        tokio::time::sleep(pause).await;
    }
}

/// The pause behind so many failures: doubled with each, and somewhat shorter at random, so that many do not come at once.
fn pause(failed: u32) -> Result<Duration> {
    let whole = FIRST_PAUSE
        .saturating_mul(1 << failed.min(16))
        .min(LONGEST_PAUSE);
    let [random] = random::bytes::<1>()?;
    Ok(whole.mul_f32(0.5 + f32::from(random) / 512.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use std::cell::Cell;

    use super::*;

    async fn attempts(retries: u32, fails: u32, failure: fn() -> Failure) -> (bool, u32) {
        let made = Cell::new(0);
        let attempt = || async {
            made.set(made.get() + 1);
            if made.get() <= fails {
                Err(failure())
            } else {
                Ok(())
            }
        };
        let done = insist(retries, attempt, |_, _| {}).await;
        (done.is_ok(), made.get())
    }

    #[tokio::test]
    async fn what_may_help_is_tried_again_so_often_and_what_will_not_is_not() {
        let again = || Failure::again(Error::internal("x"));
        let last = || Failure::last(Error::internal("x"));
        assert_eq!(attempts(1, 1, again).await, (true, 2));
        assert_eq!(attempts(1, 5, again).await, (false, 2));
        assert_eq!(attempts(0, 5, again).await, (false, 1));
        assert_eq!(attempts(9, 5, last).await, (false, 1));
        // Who has no place only waits.
        let busy = || Failure::again(Error::internal("x")).busy();
        assert_eq!(attempts(0, 2, busy).await, (true, 3));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        for failed in 0..100 {
            let pause = pause(failed).unwrap();
            assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE);
        }
        assert!(pause(10).unwrap() >= LONGEST_PAUSE / 2);
    }
}
