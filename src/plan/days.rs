//! The stretches of a window that have one date each.

use chrono::{DateTime, NaiveDate};

use crate::request::{Interval, Window};

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_DAY: i64 = 86_400_000;

/// Time without a gap that has one local date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The date.
    pub day: NaiveDate,
    /// The instants.
    pub interval: Interval,
}

/// A window's stretches in order of time. Mostly one for each day; a day has two where clocks went back over midnight.
pub fn stretches(window: &Window) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let transitions = &window.offsets.transitions;
    for &interval in &window.intervals {
        let mut from = interval.from;
        while from < interval.until {
            let passed = transitions.partition_point(|&(instant, _)| instant <= from);
            let offset = match passed {
                0 => window.offsets.first,
                passed => transitions[passed - 1].1,
            };
            let shift = i64::from(offset) * MS_PER_MINUTE;
            let day = (from + shift).div_euclid(MS_PER_DAY);
            let midnight = (day + 1) * MS_PER_DAY - shift;
            let next = transitions.get(passed).map_or(i64::MAX, |&(at, _)| at);
            let until = midnight.min(next).min(interval.until);
            let date = DateTime::from_timestamp_millis(day * MS_PER_DAY).unwrap_or_default();
            let stretch = Stretch {
                day: date.date_naive(),
                interval: Interval { from, until },
            };
            match stretches.last_mut() {
                Some(last) if last.day == stretch.day && last.interval.until == from => {
                    last.interval.until = until;
                }
                _ => stretches.push(stretch),
            }
            from = until;
        }
    }
    stretches
}

/// Where stretches meet, or would if nothing lay between them: the instants that a slot must not reach over.
pub fn edges(stretches: &[Stretch]) -> impl Iterator<Item = i64> + Clone {
    stretches
        .windows(2)
        .flat_map(|pair| [pair[0].interval.until, pair[1].interval.from])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    fn of(start: &str, end: &str, zone: &str) -> Vec<Stretch> {
        let date = |text: &str| text.parse().unwrap();
        let window = Window::new(date(start), date(end), zone.parse().unwrap()).unwrap();
        let stretches = stretches(&window);
        // Together they are the window.
        let mut joined: Vec<Interval> = Vec::new();
        for stretch in &stretches {
            match joined.last_mut() {
                Some(last) if last.until == stretch.interval.from => {
                    last.until = stretch.interval.until;
                }
                _ => joined.push(stretch.interval),
            }
        }
        assert_eq!(joined, window.intervals);
        stretches
    }

    fn days(stretches: &[Stretch]) -> Vec<(String, i64)> {
        let minutes = |interval: Interval| (interval.until - interval.from) / MS_PER_MINUTE;
        stretches
            .iter()
            .map(|stretch| (stretch.day.to_string(), minutes(stretch.interval)))
            .collect()
    }

    #[test]
    fn a_day_is_as_long_as_its_zone_has_it() {
        let day = |day: &str, minutes| (day.to_owned(), minutes);
        assert_eq!(
            days(&of("2026-03-28", "2026-03-30", "Europe/Berlin")),
            [
                day("2026-03-28", 1_440),
                day("2026-03-29", 1_380),
                day("2026-03-30", 1_440)
            ]
        );
        // Clocks went back from 00:01 to 23:01 of the day before.
        assert_eq!(
            days(&of("2006-10-28", "2006-10-29", "America/St_Johns")),
            [
                day("2006-10-28", 1_440),
                day("2006-10-29", 1),
                day("2006-10-28", 59),
                day("2006-10-29", 1_440)
            ]
        );
        // A day that was skipped.
        assert_eq!(
            days(&of("2011-12-29", "2011-12-31", "Pacific/Apia")),
            [day("2011-12-29", 1_440), day("2011-12-31", 1_440)]
        );
        assert!(of("2011-12-30", "2011-12-30", "Pacific/Apia").is_empty());
    }

    #[test]
    fn days_begin_on_quarters_of_an_hour_since_1980_but_where_clocks_went_back_past_midnight() {
        for zone in chrono_tz::TZ_VARIANTS {
            for year in (1980..2031).step_by(2) {
                let (start, end) = (format!("{year}-01-01"), format!("{year}-03-31"));
                let date = |text: &str| text.parse().unwrap();
                let Ok(window) = Window::new(date(&start), date(&end), zone) else {
                    continue;
                };
                for edge in edges(&stretches(&window)) {
                    assert_eq!(edge % 900_000, 0, "{zone} {edge}");
                }
            }
        }
    }
}
