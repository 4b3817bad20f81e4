//! Instants as RFC 3339 text.
//!
//! The calendar is the proleptic Gregorian one; days to dates by Howard Hinnant's `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>). Rows come in order of time, so the date and the
//! offset are rendered once and kept while they don't change.

use super::output::Output;
use crate::decode::Batch;
use crate::error::{Error, ErrorKind, Position, Result};

/// Room that a text is copied with, in bytes: the longest one has 29, `2026-03-03T11:15:00.250+01:00`.
pub(super) const ROOM: usize = 32;

const MS_A_DAY: i64 = 86_400_000;
const MS_A_MINUTE: i64 = 60_000;

/// The two digits of 0 to 99.
const DIGITS: [[u8; 2]; 100] = {
    let mut digits = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        digits[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    digits
};

/// The point and three digits of 0 to 999.
const MILLISECONDS: [[u8; 4]; 1000] = {
    let mut texts = [[b'.'; 4]; 1000];
    let mut i = 0;
    while i < 1000 {
        let [d1, d2] = DIGITS[i % 100];
        texts[i] = [b'.', b'0' + (i / 100) as u8, d1, d2];
        i += 1;
    }
    texts
};

/// Renders instants of one zone. What is rendered stays as long as the instants are of one minute: rows come in order.
#[derive(Debug)]
pub(super) struct TimestampText {
    /// Whether the offset zero is written `Z`.
    utc: bool,
    /// Date, hour and minute, up to the colon in front of the second.
    text: [u8; 16],
    /// The minute and the day that the text is of: their first milliseconds, local time.
    minute_start: i64,
    day_start: i64,
    /// In minutes, once there was one.
    offset: Option<i16>,
    /// Up to six letters, and behind them nothing.
    zone: [u8; 8],
    zone_len: usize,
}

impl TimestampText {
    pub(super) fn new(utc: bool) -> Self {
        Self {
            utc,
            text: *b"1970-01-01T00:00",
            minute_start: 0,
            day_start: 0,
            offset: None,
            zone: [0; 8],
            zone_len: 0,
        }
    }

    /// The text of an instant, in the first bytes of the array, and its length. `ms` counts from
    /// 1970-01-01T00:00:00Z, `offset` is in minutes east of UTC. `None` where RFC 3339 has no text for it: the local
    /// year is not one of 0000 to 9999, or the offset is a day or more.
    #[inline(always)]
    pub(super) fn render(&mut self, ms: i64, offset: i16) -> Option<([u8; ROOM], usize)> {
        let local = ms.checked_add(i64::from(offset) * MS_A_MINUTE)?;
        if self.offset != Some(offset) {
            self.render_zone(offset)?;
        }
        let mut ms_of_minute = local.wrapping_sub(self.minute_start) as u64;
        if ms_of_minute >= MS_A_MINUTE as u64 {
            self.render_minute(local)?;
            ms_of_minute = (local - self.minute_start) as u64;
        }
        let ms_of_minute = ms_of_minute as u32;
        let second = u64::from(u16::from_le_bytes(DIGITS[(ms_of_minute / 1000) as usize]));
        let zone = u64::from_le_bytes(self.zone);
        // In registers: what is written to memory in pieces cannot be read from there at once as a whole.
        let colon = u64::from(b':') | second << 8;
        let millisecond = ms_of_minute % 1000;
        let (low, high, len) = if millisecond == 0 {
            (colon | zone << 24, zone >> 40, 19)
        } else {
            let point = u64::from(u32::from_le_bytes(MILLISECONDS[millisecond as usize]));
            (colon | point << 24 | zone << 56, zone >> 8, 23)
        };
        let mut text = [0; ROOM];
        text[..16].copy_from_slice(&self.text);
        text[16..24].copy_from_slice(&low.to_le_bytes());
        text[24..].copy_from_slice(&high.to_le_bytes());
        Some((text, len + self.zone_len))
    }

    /// Writes the time of a row that was rendered before. Its text is not kept for that: rows written in one go would then have
    /// theirs in memory for nothing.
    pub(super) fn put_again(&mut self, batch: &Batch<'_>, row: usize, output: &mut Output) {
        let time = self.render(batch.timestamps[row], batch.offsets[row]);
        debug_assert!(time.is_some(), "the time had a text");
        if let Some((text, len)) = time {
            output.put(&text[..len]);
        }
    }

    #[inline(never)]
    fn render_minute(&mut self, local: i64) -> Option<()> {
        if !(self.day_start..self.day_start + MS_A_DAY).contains(&local) {
            self.render_date(local.div_euclid(MS_A_DAY))?;
        }
        let minute = (local - self.day_start) / MS_A_MINUTE;
        let [h0, h1] = DIGITS[minute as usize / 60];
        let [m0, m1] = DIGITS[minute as usize % 60];
        self.text[11..].copy_from_slice(&[h0, h1, b':', m0, m1]);
        self.minute_start = self.day_start + minute * MS_A_MINUTE;
        Some(())
    }

    #[cold]
    fn render_zone(&mut self, offset: i16) -> Option<()> {
        let minutes = usize::from(offset.unsigned_abs());
        if minutes >= 24 * 60 {
            return None;
        }
        self.offset = Some(offset);
        if offset == 0 && self.utc {
            self.zone = [b'Z', 0, 0, 0, 0, 0, 0, 0];
            self.zone_len = 1;
            return Some(());
        }
        let [h0, h1] = DIGITS[minutes / 60];
        let [m0, m1] = DIGITS[minutes % 60];
        let sign = if offset < 0 { b'-' } else { b'+' };
        self.zone = [sign, h0, h1, b':', m0, m1, 0, 0];
        self.zone_len = 6;
        Some(())
    }

    #[cold]
    fn render_date(&mut self, day: i64) -> Option<()> {
        let (year, month, day_of_month) = civil_from_days(day);
        if !(0..=9999).contains(&year) {
            return None;
        }
        self.day_start = day * MS_A_DAY;
        let [y0, y1] = DIGITS[year as usize / 100];
        let [y2, y3] = DIGITS[year as usize % 100];
        let [m0, m1] = DIGITS[month];
        let [d0, d1] = DIGITS[day_of_month];
        self.text[..11].copy_from_slice(&[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T']);
        Some(())
    }
}

/// Year, month and day of month of a day counted from 1970-01-01.
fn civil_from_days(day: i64) -> (i64, usize, usize) {
    // Years that begin in March, so that the leap day is the last one; eras of 400 years.
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as usize, day_of_month as usize)
}

/// Whether RFC 3339 has a text for an instant, see [`TimestampText::render`].
#[inline]
pub(super) fn has_text(ms: i64, offset: i16) -> bool {
    const FIRST: i64 = -719_528 * MS_A_DAY; // 0000-01-01
    const LAST: i64 = 2_932_897 * MS_A_DAY - 1; // 9999-12-31
    let local = ms.saturating_add(i64::from(offset) * 60_000);
    (FIRST..=LAST).contains(&local) && offset.unsigned_abs() < 24 * 60
}

/// Whether all rows of a batch were written: else the error for the one behind them, whose time has no text. `rows` are those
/// of the file so far, with these.
pub(super) fn all_written(batch: &Batch<'_>, written: usize, rows: u64) -> Result<()> {
    if written == batch.rows() {
        return Ok(());
    }
    let (ms, offset) = (batch.timestamps[written], batch.offsets[written]);
    Err(no_text(rows + 1, ms, offset))
}

/// The error for an instant that has no text; `row` counts from 1.
#[cold]
pub(super) fn no_text(row: u64, ms: i64, offset: i16) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the time of row {row} is outside the years 0000 to 9999: correct it in the table"),
    )
    .at(Position {
        row: Some(row),
        column: Some("timestamp"),
        ..Position::default()
    })
    .with_detail(format!("{ms} ms, offset {offset} minutes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use chrono::{DateTime, FixedOffset, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    fn render(text: &mut TimestampText, ms: i64, offset: i16) -> Option<String> {
        text.render(ms, offset)
            .map(|(bytes, len)| String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    fn oracle(ms: i64, offset: i16, utc: bool) -> String {
        let zone = FixedOffset::east_opt(i32::from(offset) * 60).unwrap();
        let time = DateTime::from_timestamp_millis(ms)
            .unwrap()
            .with_timezone(&zone);
        let format = if ms.rem_euclid(1000) == 0 {
            SecondsFormat::Secs
        } else {
            SecondsFormat::Millis
        };
        time.to_rfc3339_opts(format, utc)
    }

    #[test]
    fn known_instants_have_their_text() {
        for (ms, offset, utc, text) in [
            (1_772_532_900_000, 0, true, "2026-03-03T10:15:00Z"),
            (1_772_532_900_250, 0, true, "2026-03-03T10:15:00.250Z"),
            (1_772_532_900_000, 60, false, "2026-03-03T11:15:00+01:00"),
            (
                1_772_532_900_007,
                -210,
                false,
                "2026-03-03T06:45:00.007-03:30",
            ),
            (1_772_532_900_000, 0, false, "2026-03-03T10:15:00+00:00"),
            (1_772_532_900_000, 60, true, "2026-03-03T11:15:00+01:00"),
            (-1, 0, true, "1969-12-31T23:59:59.999Z"),
            (-1, 1, false, "1970-01-01T00:00:59.999+00:01"),
            (-62_167_219_200_000, 0, true, "0000-01-01T00:00:00Z"),
            (253_402_300_799_999, 0, true, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                render(&mut TimestampText::new(utc), ms, offset).as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn an_instant_without_text_is_refused_and_the_next_one_is_right() {
        let mut text = TimestampText::new(false);
        for (ms, offset) in [
            (-62_167_219_200_001, 0),
            (-62_167_219_200_000, -1),
            (253_402_300_800_000, 0),
            (253_402_300_799_999, 1),
            (i64::MAX, 840),
            (i64::MIN, -840),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, 1440),
            (0, -1440),
            (0, i16::MIN),
        ] {
            assert_eq!(render(&mut text, ms, offset), None, "{ms} {offset}");
            assert!(!has_text(ms, offset), "{ms} {offset}");
            assert_eq!(
                render(&mut text, 0, 60).as_deref(),
                Some("1970-01-01T01:00:00+01:00")
            );
        }
        assert_eq!(
            render(&mut text, 253_402_300_800_000, -1).as_deref(),
            Some("9999-12-31T23:59:00-00:01")
        );
    }

    #[test]
    fn an_offset_that_has_no_text_is_refused_from_the_first_row_on() {
        for offset in [1440, -1440, i16::MAX, i16::MIN] {
            assert_eq!(render(&mut TimestampText::new(false), 0, offset), None);
        }
    }

    #[test]
    fn the_first_instant_of_a_day_is_in_it() {
        let mut text = TimestampText::new(true);
        for (ms, expected) in [
            (86_399_999, "1970-01-01T23:59:59.999Z"),
            (86_400_000, "1970-01-02T00:00:00Z"),
            (86_399_999, "1970-01-01T23:59:59.999Z"),
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(render(&mut text, ms, 0).as_deref(), Some(expected));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_instant_is_what_chrono_writes(
            start in -62_135_000_000_000i64..253_402_000_000_000,
            steps in proptest::collection::vec((prop_oneof![
                Just(0i64), Just(1), Just(1000), 0i64..2000, -100_000_000i64..100_000_000
            ], -840i16..=840, any::<bool>()), 1..20),
            utc: bool,
        ) {
            let mut text = TimestampText::new(utc);
            let (mut ms, mut offset) = (start, 0);
            for (step, other, change) in steps {
                ms += step;
                if change { offset = other; }
                prop_assert_eq!(render(&mut text, ms, offset), Some(oracle(ms, offset, utc)));
                prop_assert!(has_text(ms, offset));
            }
        }
    }
}
