//! Clocks: ClickHouse's beside this machine's, and those of several replicas beside each other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Verdict;

/// Clocks that are less apart than this agree, in milliseconds.
const AGREE_MS: u64 = 5_000;

/// Replicas whose clocks are this far apart put rows on the wrong side of an export's beginning, in milliseconds: a tenth of
/// the time after which rows count as settled.
const WRONG_MS: u64 = 60_000;

/// How far a clock is ahead of this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Milliseconds; less than 0 where it is behind.
    pub ahead_ms: i64,
    /// How wrong that may be, in milliseconds: half the time that asking took.
    pub unsure_ms: u64,
}

impl Skew {
    /// Of a clock that told `told` milliseconds since 1970 when it was asked at `asked` and the answer took `took`.
    pub(super) fn of(told: i64, asked: SystemTime, took: Duration) -> Self {
        let half = took / 2;
        let ours = asked + half;
        let ours = ours.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = i64::try_from(ours.as_millis()).unwrap_or(i64::MAX);
        Self {
            ahead_ms: told.saturating_sub(ours),
            unsure_ms: u64::try_from(half.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What to say of ClickHouse's clock: verdict, text and remedy.
pub fn beside_ours(skew: Skew) -> (Verdict, String, Option<String>) {
    let apart = skew.ahead_ms.unsigned_abs();
    let sure = apart.saturating_sub(skew.unsure_ms);
    if sure < AGREE_MS {
        return (Verdict::Ok, "agrees with this machine's".into(), None);
    }
    let way = if skew.ahead_ms < 0 {
        "behind"
    } else {
        "ahead of"
    };
    (
        Verdict::Warning,
        format!("is {} s {way} this machine's", apart / 1_000),
        Some(
            "let both follow the same time server: keys expire by ClickHouse's clock, and receipts tell this machine's".into(),
        ),
    )
}

/// What to say of the clocks of several replicas: verdict, text and remedy.
pub fn between(skews: &[Skew]) -> (Verdict, String, Option<String>) {
    let first = skews.iter().min_by_key(|skew| skew.ahead_ms);
    let last = skews.iter().max_by_key(|skew| skew.ahead_ms);
    let (apart, unsure) = match first.zip(last) {
        None => (0, 0),
        Some((first, last)) => (
            last.ahead_ms.abs_diff(first.ahead_ms),
            first.unsure_ms + last.unsure_ms,
        ),
    };
    let verdict = match apart.saturating_sub(unsure) {
        0..AGREE_MS => return (Verdict::Ok, "agree with each other".into(), None),
        AGREE_MS..WRONG_MS => Verdict::Warning,
        _ => Verdict::Failed,
    };
    (
        verdict,
        format!("are {} s apart", apart / 1_000),
        Some(
            "let all of them follow the same time server: an export reads what was inserted before it began, by the clock of one"
                .into(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(ahead_ms: i64, unsure_ms: u64) -> Skew {
        Skew {
            ahead_ms,
            unsure_ms,
        }
    }

    #[test]
    fn a_clock_is_measured_at_the_middle_of_the_question() {
        let asked = UNIX_EPOCH + Duration::from_millis(1_000_000);
        let measured = Skew::of(1_000_700, asked, Duration::from_millis(400));
        assert_eq!(measured, skew(500, 200));
    }

    #[test]
    fn a_clock_is_wrong_by_what_the_question_cannot_explain() {
        for (ahead, unsure, verdict, says) in [
            (0, 0, Verdict::Ok, "agrees"),
            (-4_999, 0, Verdict::Ok, "agrees"),
            (9_000, 5_000, Verdict::Ok, "agrees"),
            (9_000, 10, Verdict::Warning, "9 s ahead"),
            (-3_600_000, 10, Verdict::Warning, "3600 s behind"),
        ] {
            let (found, text, remedy) = beside_ours(skew(ahead, unsure));
            assert_eq!(found, verdict, "{text}");
            assert!(text.contains(says), "{text}");
            assert_eq!(remedy.is_some(), verdict != Verdict::Ok);
        }
    }

    #[test]
    fn replicas_are_held_against_each_other_and_not_against_this_machine() {
        for (ahead, verdict) in [
            ([3_600_000, 3_600_100, 3_599_000], Verdict::Ok),
            ([0, 10_000, 0], Verdict::Warning),
            ([-40_000, 0, 40_000], Verdict::Failed),
        ] {
            let skews = ahead.map(|ahead| skew(ahead, 10));
            assert_eq!(between(&skews).0, verdict, "{ahead:?}");
        }
    }
}
