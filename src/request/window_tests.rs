#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;

use super::*;

/// Where a zone's offset changes, as one finds it who looks every hour.
fn changes_by_the_hour(interval: Interval, zone: Tz) -> Vec<(i64, i64)> {
    let hours = (interval.from..interval.until).step_by(MS_PER_HOUR as usize);
    let offsets: Vec<_> = hours
        .map(|hour| (hour, offset_seconds(zone, hour)))
        .collect();
    let pairs = offsets.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    pairs.map(|pair| (pair[1].0, pair[1].1)).collect()
}

/// Every change is found, at its very second.
fn stretches_are_those_of_hours(day: NaiveDate, zone: Tz) -> Result<(), TestCaseError> {
    let from = midnight_ms(day);
    let until = from + MAX_DAYS as i64 * 24 * MS_PER_HOUR;
    let stretches = stretches(from, until, zone);
    // Whoever looks every hour looks then for the last time.
    let last = until - MS_PER_HOUR;
    let inside = |stretch: &&Stretch| stretch.interval.from <= last;
    let found: Vec<_> = stretches.iter().skip(1).filter(inside).collect();
    let expected = changes_by_the_hour(Interval { from, until }, zone);
    prop_assert_eq!(found.len(), expected.len(), "{} from {}", zone, day);
    for (stretch, (by, offset)) in found.into_iter().zip(expected) {
        let at = stretch.interval.from;
        prop_assert!((by - MS_PER_HOUR + 1..=by).contains(&at), "{at}");
        prop_assert_eq!(stretch.offset_seconds, offset);
        prop_assert_eq!(offset_seconds(zone, at), offset);
        prop_assert_ne!(offset_seconds(zone, at - MS_PER_SECOND), offset);
    }
    Ok(())
}

#[test]
fn no_change_is_passed_over_where_two_are_near_each_other() {
    for (name, year, month, day) in [
        ("America/Noronha", 2000, 9, 1),
        ("America/Boa_Vista", 2000, 9, 1),
        ("Asia/Gaza", 2040, 9, 1),
        ("Asia/Hebron", 2054, 3, 1),
        ("Africa/Tunis", 1943, 3, 1),
        ("Europe/Simferopol", 1944, 3, 1),
        // In the last hour that is looked at.
        ("Asia/Jerusalem", 2026, 7, 27),
    ] {
        let first = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let zone: Tz = name.parse().unwrap();
        // Whichever day of several the changes lie between.
        for day in 0..8 {
            stretches_are_those_of_hours(first + Days::new(day), zone).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn stretches_of_any_zone_are_those_that_one_finds_who_looks_every_hour(
        zone in prop::sample::select(&TZ_VARIANTS[..]),
        day in 0u64..200 * 365,
    ) {
        let first = NaiveDate::from_ymd_opt(*YEARS.start(), 1, 1).unwrap();
        stretches_are_those_of_hours(first + Days::new(day), zone)?;
    }
}

#[test]
fn utc_by_any_of_its_names_reaches_beyond_the_zone_database() {
    let day = NaiveDate::from_ymd_opt(2299, 12, 31).unwrap();
    for name in ["UTC", "Etc/UTC", "UCT", "Universal", "Etc/Zulu"] {
        let window = Window::new(day, day, name.parse().unwrap()).unwrap();
        let from = midnight_ms(day);
        let until = from + 24 * MS_PER_HOUR;
        assert_eq!(window.intervals, [Interval { from, until }], "{name}");
    }
    for name in ["GMT", "Etc/GMT", "Africa/Abidjan"] {
        let error = Window::new(day, day, name.parse().unwrap()).unwrap_err();
        assert_eq!(error.field(), Some("start_date"), "{name}");
    }
}
