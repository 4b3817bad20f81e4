//! The days of a zone as instants, or instants as they are, and the zone's offsets inside them.
//!
//! A day of a zone is the set of instants whose local date is that day. Mostly that is one interval; where clocks
//! went back over midnight (St. John's, one minute past) it is two, and where a date was skipped (Apia,
//! 2011-12-30) it is none. So a window is a list of intervals, and no row is lost or doubled between two
//! neighbouring windows in any zone.

use chrono::{DateTime, Days, NaiveDate, Offset as _, SecondsFormat, TimeZone as _};
use chrono_tz::Tz;

use crate::error::{Error, Result};

/// Most days of one export.
pub const MAX_DAYS: u64 = 90;

/// First and last year that the table's timestamps reach (`DateTime64(3)`).
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2299;

/// Last year whose changes of offset the zone database knows.
const LAST_ZONE_YEAR: i32 = 2099;

const MS_PER_SECOND: i64 = 1_000;
const MS_PER_HOUR: i64 = 3_600_000;

/// Offsets lie between these everywhere and always, in hours.
const MAX_OFFSET_HOURS: i64 = 26;

/// Instants in milliseconds since 1970-01-01T00:00:00Z, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first instant inside.
    pub from: i64,
    /// The first instant outside.
    pub until: i64,
}

/// The zone's offset from UTC over a window: one before the first transition, one after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Minutes east of UTC before the first transition.
    pub first: i16,
    /// For each transition its instant in milliseconds and the offset from then on, in order of time.
    pub transitions: Vec<(i64, i16)>,
}

/// Whole days of a zone, or the time between two instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first day; of instants the day that the first one lies in.
    pub start: NaiveDate,
    /// The last day, included; of instants the day that the last one inside lies in.
    pub end: NaiveDate,
    /// Whose days, and whose offsets.
    pub zone: Tz,
    /// The instants, where they were asked for instead of days.
    pub instants: Option<Interval>,
    /// The instants, in order of time, neither touching nor overlapping; empty where none of the days existed.
    pub intervals: Vec<Interval>,
    /// The offset of every instant inside.
    pub offsets: Offsets,
}

/// Those of no time, or of UTC.
const NO_OFFSETS: Offsets = Offsets {
    first: 0,
    transitions: Vec::new(),
};

/// A stretch of time with one offset.
struct Stretch {
    interval: Interval,
    offset_seconds: i64,
}

impl Window {
    /// The days from `start` to `end`, both included.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming `start_date`, `end_date` or `timezone`:
    /// the end lies before the start, more than [`MAX_DAYS`] days, years that the table or the zone database does
    /// not reach, or an offset that is not whole minutes and so cannot be written in RFC 3339.
    pub fn new(start: NaiveDate, end: NaiveDate, zone: Tz) -> Result<Self> {
        Self::of_days(start, end, zone, Some(MAX_DAYS))
    }

    /// The same of at most so many days, or of any number.
    pub(super) fn of_days(
        start: NaiveDate,
        end: NaiveDate,
        zone: Tz,
        most: Option<u64>,
    ) -> Result<Self> {
        use chrono::Datelike as _;

        if end < start {
            return Err(Error::validation(
                "end_date",
                format!("end_date {end} lies before start_date {start}: swap them"),
            ));
        }
        let days = (end - start).num_days().unsigned_abs() + 1;
        if let Some(most) = most.filter(|&most| days > most) {
            return Err(Error::validation(
                "end_date",
                format!(
                    "{start} to {end} is {days} days, more than the {most} of one export: ask for end_date {} or earlier, \
                     then for the rest",
                    start + Days::new(most - 1)
                ),
            ));
        }
        for (field, date) in [("start_date", start), ("end_date", end)] {
            if !YEARS.contains(&date.year()) {
                return Err(Error::validation(
                    field,
                    format!(
                        "{field} {date} is out of reach: the years {} to {} can be stored",
                        YEARS.start(),
                        YEARS.end()
                    ),
                ));
            }
            if !is_utc(zone) && date.year() > LAST_ZONE_YEAR {
                return Err(Error::validation(
                    field,
                    format!(
                        "{field} {date} in {zone}: the zone's changes are known up to {LAST_ZONE_YEAR}, so use UTC"
                    ),
                ));
            }
        }

        let stretches = stretches(
            midnight_ms(start) - MAX_OFFSET_HOURS * MS_PER_HOUR,
            midnight_ms(end) + (24 + MAX_OFFSET_HOURS) * MS_PER_HOUR,
            zone,
        );
        let local_from = midnight_ms(start);
        let local_until = midnight_ms(end) + 24 * MS_PER_HOUR;
        let mut intervals: Vec<Interval> = Vec::new();
        let mut inside: Vec<(Interval, i64)> = Vec::new();
        for stretch in stretches {
            let shift = stretch.offset_seconds * MS_PER_SECOND;
            let Some(interval) = stretch.within(local_from - shift, local_until - shift) else {
                continue;
            };
            inside.push((interval, stretch.offset_seconds));
            match intervals.last_mut() {
                Some(last) if last.until == interval.from => last.until = interval.until,
                _ => intervals.push(interval),
            }
        }
        Ok(Self {
            start,
            end,
            zone,
            instants: None,
            intervals,
            offsets: offsets(&inside, zone)?,
        })
    }

    /// The time from the instant `from` up to the instant `to`, which is outside, in milliseconds since
    /// 1970-01-01T00:00:00Z. Windows that meet share no row and miss none. The zone is that of timestamps.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming `from`, `to` or `timezone`: nothing lies
    /// between the instants, or more than [`MAX_DAYS`] times 24 hours, or the rest as in [`Window::new`].
    pub fn between(from: i64, to: i64, zone: Tz) -> Result<Self> {
        Self::between_within(from, to, zone, Some(MAX_DAYS))
    }

    /// The same of at most so many days, or of any number.
    pub(super) fn between_within(
        from: i64,
        to: i64,
        zone: Tz,
        most_days: Option<u64>,
    ) -> Result<Self> {
        use chrono::Datelike as _;

        let (first, last) = (instant_text(from), instant_text(to));
        if to <= from {
            return Err(Error::validation(
                "to",
                format!(
                    "to {last} is not behind from {first}: give the first instant that is outside"
                ),
            ));
        }
        let most = most_days.map(|days| (days as i64 * 24 * MS_PER_HOUR, days));
        if let Some((most, days)) = most.filter(|&(most, _)| to.saturating_sub(from) > most) {
            return Err(Error::validation(
                "to",
                format!(
                    "{first} to {last} is more than the {days} days of 24 hours of one export: ask for to={} or earlier, \
                     then for the rest",
                    instant_text(from.saturating_add(most))
                ),
            ));
        }
        for (field, instant, text) in [("from", from, &first), ("to", to - 1, &last)] {
            let year = DateTime::from_timestamp_millis(instant).map_or(i32::MAX, |at| at.year());
            if !YEARS.contains(&year) {
                return Err(Error::validation(
                    field,
                    format!(
                        "{field} {text} is out of reach: the years {} to {} can be stored",
                        YEARS.start(),
                        YEARS.end()
                    ),
                ));
            }
        }
        let (start, end) = (local_date(zone, from), local_date(zone, to - 1));
        for (field, date, text) in [("from", start, &first), ("to", end, &last)] {
            if !is_utc(zone) && date.year() > LAST_ZONE_YEAR {
                return Err(Error::validation(
                    field,
                    format!(
                        "{field} {text} in {zone}: the zone's changes are known up to {LAST_ZONE_YEAR}, so use UTC"
                    ),
                ));
            }
        }
        let hour = from.div_euclid(MS_PER_HOUR) * MS_PER_HOUR;
        let stretches = stretches(hour, to, zone);
        let inside: Vec<_> = stretches
            .iter()
            .filter_map(|stretch| Some((stretch.within(from, to)?, stretch.offset_seconds)))
            .collect();
        let whole = Interval { from, until: to };
        Ok(Self {
            start,
            end,
            zone,
            instants: Some(whole),
            intervals: vec![whole],
            offsets: offsets(&inside, zone)?,
        })
    }

    /// All that the table can hold, in UTC.
    pub(super) fn all() -> Self {
        let at = |year| {
            let day = NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default();
            (day, midnight_ms(day))
        };
        let (first, behind) = (at(*YEARS.start()), at(YEARS.end() + 1));
        Self {
            start: first.0,
            end: behind.0 - Days::new(1),
            zone: Tz::UTC,
            instants: None,
            intervals: vec![Interval {
                from: first.1,
                until: behind.1,
            }],
            offsets: NO_OFFSETS,
        }
    }

    /// The days around the instants from `from` up to `until`, of which only what lies between those is inside.
    ///
    /// # Errors
    ///
    /// As [`Window::between`], of any number of days.
    pub(super) fn around(Interval { from, until }: Interval, zone: Tz) -> Result<Self> {
        let window = Self::between_within(from, until, zone, None)?;
        Ok(Self {
            instants: None,
            ..window
        })
    }

    /// No instant at all.
    pub(super) fn empty(zone: Tz) -> Self {
        Self {
            start: NaiveDate::default(),
            end: NaiveDate::default(),
            zone,
            instants: None,
            intervals: Vec::new(),
            offsets: NO_OFFSETS,
        }
    }

    /// Where it begins and ends as they were asked for: days as `YYYY-MM-DD`, the last one included, or instants in
    /// RFC 3339 and UTC, the last one not included.
    pub fn ends(&self) -> (String, String) {
        match self.instants {
            Some(instants) => (instant_text(instants.from), instant_text(instants.until)),
            None => (self.start.to_string(), self.end.to_string()),
        }
    }

    /// The same for a file's name, as in `2026-03-01` or `20260301T101500Z`.
    pub fn ends_in_name(&self) -> (String, String) {
        let (first, last) = self.ends();
        match self.instants {
            Some(_) => (first.replace(['-', ':'], ""), last.replace(['-', ':'], "")),
            None => (first, last),
        }
    }

    /// Whether timestamps end in `Z`: the zone is UTC by one of its names, not merely at offset zero.
    pub fn is_utc(&self) -> bool {
        is_utc(self.zone)
    }
}

/// Whether a zone is UTC by one of its names.
fn is_utc(zone: Tz) -> bool {
    matches!(
        zone,
        Tz::UTC
            | Tz::Etc__UTC
            | Tz::UCT
            | Tz::Etc__UCT
            | Tz::Universal
            | Tz::Etc__Universal
            | Tz::Zulu
            | Tz::Etc__Zulu
    )
}

impl Stretch {
    /// The part of it that lies between two instants.
    fn within(&self, from: i64, until: i64) -> Option<Interval> {
        let interval = Interval {
            from: self.interval.from.max(from),
            until: self.interval.until.min(until),
        };
        (interval.from < interval.until).then_some(interval)
    }
}

impl Offsets {
    /// Those inside an interval of the window: at its beginning, and from each transition on.
    pub(crate) fn within(&self, interval: Interval) -> Vec<(i64, i16)> {
        let passed = |&(instant, _): &(i64, i16)| instant <= interval.from;
        let passed = self.transitions.partition_point(passed);
        let at_first = match passed {
            0 => self.first,
            passed => self.transitions[passed - 1].1,
        };
        let inside = self.transitions[passed..].iter().copied();
        let inside = inside.take_while(|&(instant, _)| instant < interval.until);
        std::iter::once((interval.from, at_first))
            .chain(inside)
            .collect()
    }
}

/// An instant in RFC 3339 and UTC, its milliseconds where they are not zero.
pub(crate) fn instant_text(ms: i64) -> String {
    let format = if ms.rem_euclid(MS_PER_SECOND) == 0 {
        SecondsFormat::Secs
    } else {
        SecondsFormat::Millis
    };
    let instant = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    instant.to_rfc3339_opts(format, true)
}

/// The zone's date at an instant.
fn local_date(zone: Tz, instant_ms: i64) -> NaiveDate {
    let local = instant_ms + offset_seconds(zone, instant_ms) * MS_PER_SECOND;
    let local = DateTime::from_timestamp_millis(local).unwrap_or_default();
    local.date_naive()
}

/// Midnight of a date as if it were UTC, in milliseconds.
fn midnight_ms(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp_millis()
}

/// The offset at an instant, in seconds east of UTC.
fn offset_seconds(zone: Tz, instant_ms: i64) -> i64 {
    let utc = DateTime::from_timestamp_millis(instant_ms)
        .unwrap_or_default()
        .naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// How far apart offsets are looked up. No zone has changed twice within six days, from [`YEARS`]' first on and as far as
/// the zone database foresees (tzdata 2025b without backzone: within 6 days and 23 hours, as Noronha did in 2000).
const STEP_MS: i64 = 24 * MS_PER_HOUR;

/// Cuts the time between two instants, the first one a whole second, at the zone's transitions. A stretch may reach further.
///
/// The zone database has no list to read, so the offset is looked up every [`STEP_MS`], and where it differs from the
/// one before, the transition's second is found by halving.
fn stretches(from: i64, until: i64, zone: Tz) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut begin = from;
    let mut offset = offset_seconds(zone, from);
    let mut step = from;
    while step < until {
        let next = step + STEP_MS;
        let after = offset_seconds(zone, next);
        if after != offset {
            let (mut before, mut behind) = (step / MS_PER_SECOND, next / MS_PER_SECOND);
            while behind - before > 1 {
                let middle = before + (behind - before) / 2;
                if offset_seconds(zone, middle * MS_PER_SECOND) == offset {
                    before = middle;
                } else {
                    behind = middle;
                }
            }
            let transition = behind * MS_PER_SECOND;
            stretches.push(Stretch {
                interval: Interval {
                    from: begin,
                    until: transition,
                },
                offset_seconds: offset,
            });
            begin = transition;
            offset = after;
        }
        step = next;
    }
    stretches.push(Stretch {
        interval: Interval { from: begin, until },
        offset_seconds: offset,
    });
    stretches
}

/// The offsets of the stretches inside the window, in minutes.
fn offsets(inside: &[(Interval, i64)], zone: Tz) -> Result<Offsets> {
    let mut offsets: Option<Offsets> = None;
    let mut current = 0;
    for &(interval, seconds) in inside {
        let minutes = i16::try_from(seconds / 60)
            .ok()
            .filter(|_| seconds % 60 == 0);
        let Some(minutes) = minutes else {
            let instant = DateTime::from_timestamp_millis(interval.from).unwrap_or_default();
            return Err(Error::validation(
                "timezone",
                format!(
                    "{zone} was {seconds} seconds from UTC on {}, which is not whole minutes and cannot be written as an \
                     RFC 3339 offset: use UTC for that time",
                    instant.format("%Y-%m-%d")
                ),
            ));
        };
        match &mut offsets {
            None => {
                offsets = Some(Offsets {
                    first: minutes,
                    transitions: Vec::new(),
                });
            }
            Some(offsets) if minutes != current => {
                offsets.transitions.push((interval.from, minutes));
            }
            Some(_) => {}
        }
        current = minutes;
    }
    Ok(offsets.unwrap_or(NO_OFFSETS))
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
