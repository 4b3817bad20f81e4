//! A file's texts to the values of `timestamp`, `event_type` and `is_bot`.
//!
//! Errors are what is wrong and its remedy, as a part of a sentence; the reader adds where.

use chrono::NaiveDate;

use super::column::shortened;

/// 1900-01-01T00:00:00.000Z, the first instant of ClickHouse's `DateTime64(3)`, in milliseconds since 1970.
const FIRST_MS: i64 = -2_208_988_800_000;

/// 2299-12-31T23:59:59.999Z, its last one.
const LAST_MS: i64 = 10_413_791_999_999;

/// How a time is written.
const REMEDY: &str = "write it as 2026-03-03T10:15:00Z or 2026-03-03T11:15:00.250+01:00";

/// What a time that is too fine is told.
const TOO_FINE: &str = "is finer than a millisecond, which the table cannot hold: round it";

/// An RFC 3339 time, in milliseconds since 1970-01-01T00:00:00Z. A space may stand for the `T`.
pub(crate) fn timestamp(text: &[u8]) -> Result<i64, String> {
    let said = || format!("{:?}", shortened(&String::from_utf8_lossy(text)));
    let malformed = || format!("{} is not a time of RFC 3339: {REMEDY}", said());
    let shape = text.len() >= 19
        && text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    if !shape {
        return Err(malformed());
    }
    let number = |from: usize, len: usize| digits(&text[from..from + len]).ok_or_else(malformed);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if second == 60 {
        return Err(format!(
            "{} is a leap second, which the table cannot hold: write second 59",
            said()
        ));
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).unwrap_or(0), month, day)
        .filter(|_| hour < 24 && minute < 60 && second < 60)
        .ok_or_else(|| format!("{} is no time of the calendar: {REMEDY}", said()))?;

    let mut rest = &text[19..];
    let mut millisecond = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return Err(malformed());
        }
        let (kept, finer) = fraction[..len].split_at(len.min(3));
        if finer.iter().any(|b| *b != b'0') {
            return Err(format!("{} {TOO_FINE}", said()));
        }
        millisecond = digits(kept).ok_or_else(malformed)? * [100, 10, 1][kept.len() - 1];
        rest = &fraction[len..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [] => {
            return Err(format!(
                "{} has no zone, so it could be any of 27 hours: {REMEDY}",
                said()
            ));
        }
        [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
            let hours = digits(&[*a, *b]).filter(|hours| *hours < 24);
            let minutes = digits(&[*c, *d]).filter(|minutes| *minutes < 60);
            let (Some(hours), Some(minutes)) = (hours, minutes) else {
                return Err(malformed());
            };
            let minutes = i64::from(hours * 60 + minutes);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return Err(malformed()),
    };
    let days = i64::from(date.to_epoch_days());
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - offset * 60;
    in_range(seconds * 1_000 + i64::from(millisecond))
        .map_err(|message| format!("{} {message}", said()))
}

/// A count of units since 1970, in milliseconds, where a second has `per_second` of them.
pub(super) fn timestamp_of_units(value: i64, per_second: i64) -> Result<i64, String> {
    let milliseconds = if per_second < 1_000 {
        value.checked_mul(1_000 / per_second)
    } else {
        let units = per_second / 1_000;
        if value % units != 0 {
            return Err(format!("the time {TOO_FINE}"));
        }
        Some(value / units)
    };
    in_range(milliseconds.unwrap_or(i64::MAX)).map_err(|message| format!("the time {message}"))
}

fn in_range(milliseconds: i64) -> Result<i64, &'static str> {
    if (FIRST_MS..=LAST_MS).contains(&milliseconds) {
        Ok(milliseconds)
    } else {
        Err("is out of the table's reach, which is the years 1900 to 2299")
    }
}

/// The number of the wire's enum.
pub(super) fn event_type(text: &[u8]) -> Result<u8, String> {
    match text {
        b"pageview" => Ok(1),
        b"event" => Ok(2),
        _ => Err(format!(
            "{:?} is neither pageview nor event",
            shortened(&String::from_utf8_lossy(text))
        )),
    }
}

/// `0`, `1`, `true` or `false`.
pub(super) fn is_bot(text: &[u8]) -> Result<bool, String> {
    match text {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ if text.eq_ignore_ascii_case(b"false") => Ok(false),
        _ if text.eq_ignore_ascii_case(b"true") => Ok(true),
        _ => Err(format!(
            "{:?} is none of 0, 1, true and false",
            shortened(&String::from_utf8_lossy(text))
        )),
    }
}

/// Digits and nothing else.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |number, b| {
        b.is_ascii_digit()
            .then(|| number * 10 + u32::from(b - b'0'))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a failing test may panic
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339_are_read_to_the_millisecond() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01 00:00:00.5z", 500),
            ("1970-01-01t00:00:00.25Z", 250),
            ("2026-03-03T11:15:00.250000000+01:00", 1_772_532_900_250),
            ("2026-03-02T21:45:00-12:30", 1_772_532_900_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("1900-01-01T00:00:00Z", FIRST_MS),
            ("2299-12-31T23:59:59.999Z", LAST_MS),
            ("2299-12-31T22:59:59.999-01:00", LAST_MS),
            ("2024-02-29T23:59:59+00:00", 1_709_251_199_000),
        ] {
            assert_eq!(timestamp(text.as_bytes()), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn times_that_would_be_guessed_or_cut_are_refused_with_what_is_wrong() {
        for (text, says) in [
            ("", "RFC 3339"),
            ("1772532900", "RFC 3339"),
            ("2026-03-03", "RFC 3339"),
            ("03/03/2026 10:15:00 AM", "RFC 3339"),
            ("2026-03-03T10:15:00", "no zone"),
            ("2026-03-03 10:15:00.250", "no zone"),
            ("2026-03-03T10:15Z", "RFC 3339"),
            ("2026-03-03T10:15:00.Z", "RFC 3339"),
            ("2026-03-03T10:15:00,5Z", "RFC 3339"),
            ("2026-03-03T10:15:00+0100", "RFC 3339"),
            ("2026-03-03T10:15:00+24:00", "RFC 3339"),
            ("2026-03-03T10:15:00+01:60", "RFC 3339"),
            ("2026-03-03T10:15:00 UTC", "RFC 3339"),
            ("2026-03-03T10:15:00Z ", "RFC 3339"),
            ("+026-03-03T10:15:00Z", "RFC 3339"),
            ("2026-03-03T10:15:00.2501Z", "finer than a millisecond"),
            ("2026-03-03T10:15:00.000000001Z", "finer than a millisecond"),
            ("2026-02-29T10:15:00Z", "calendar"),
            ("2026-13-01T10:15:00Z", "calendar"),
            ("2026-03-03T24:00:00Z", "calendar"),
            ("2016-12-31T23:59:60Z", "leap second"),
            ("1899-12-31T23:59:59Z", "1900"),
            ("1900-01-01T00:30:00+01:00", "1900"),
            ("2300-01-01T00:00:00Z", "2299"),
        ] {
            match timestamp(text.as_bytes()) {
                Err(message) => assert!(message.contains(says), "{text}: {message}"),
                Ok(milliseconds) => panic!("{text} was taken for {milliseconds}"),
            }
        }
    }

    #[test]
    fn counted_units_become_milliseconds_or_are_refused() {
        assert_eq!(timestamp_of_units(2, 1), Ok(2_000));
        assert_eq!(timestamp_of_units(-1, 1_000), Ok(-1));
        assert_eq!(timestamp_of_units(-1_000, 1_000_000), Ok(-1));
        assert_eq!(timestamp_of_units(5_000_000, 1_000_000_000), Ok(5));
        assert!(
            timestamp_of_units(1, 1_000_000)
                .unwrap_err()
                .contains("finer")
        );
        assert!(
            timestamp_of_units(i64::MAX, 1)
                .unwrap_err()
                .contains("2299")
        );
        assert!(
            timestamp_of_units(i64::MIN, 1_000)
                .unwrap_err()
                .contains("1900")
        );
    }

    #[test]
    fn the_bots_flag_and_the_type_are_taken_only_as_they_are_documented() {
        assert_eq!(is_bot(b"1"), Ok(true));
        assert_eq!(is_bot(b"False"), Ok(false));
        assert!(is_bot(b"").is_err() && is_bot(b"2").is_err() && is_bot(b"yes").is_err());
        assert_eq!(
            (event_type(b"pageview"), event_type(b"event")),
            (Ok(1), Ok(2))
        );
        assert!(event_type(b"").is_err() && event_type(b"Event").is_err());
    }
}
