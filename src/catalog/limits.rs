//! What a key is limited to beside its websites.

use std::time::Duration;

use chrono::DateTime;

use crate::error::{Error, Result};
use crate::receipt::Moment;
use crate::request::Format;

/// Longest life of a key, in days: a hundred years.
const MAX_DAYS: u64 = 36_500;

/// Limits of a key that is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// The formats that it may export; none means all.
    pub formats: Vec<Format>,
    /// When it opens nothing any more; none means never.
    pub expires: Option<Moment>,
}

impl KeyLimits {
    /// Reads the formats' names and when the key expires: after `90m`, `12h`, `30d` or `4w`, or at an RFC 3339 instant.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) naming what cannot be read, or an instant that has passed.
    pub fn parse(formats: &[String], expires: Option<&str>) -> Result<Self> {
        let formats = formats.iter().map(|name| {
            Format::from_name(name).ok_or_else(|| {
                Error::usage(format!(
                    "--format `{name}` is not one of {}",
                    Format::names()
                ))
            })
        });
        Ok(Self {
            formats: formats.collect::<Result<_>>()?,
            expires: expires.map(expiry).transpose()?,
        })
    }
}

fn expiry(text: &str) -> Result<Moment> {
    let now = Moment::now();
    let unreadable = || {
        Error::usage(format!(
            "--expires `{text}` is neither a time such as 90m, 12h, 30d or 4w, at most {MAX_DAYS}d, nor an instant such as \
             2027-01-31T00:00:00Z"
        ))
    };
    let last = now.0 + millis(Duration::from_secs(MAX_DAYS * 24 * 3_600));
    let at = match DateTime::parse_from_rfc3339(text) {
        Ok(instant) => instant.timestamp_millis(),
        Err(_) => now.0 + millis(life(text).ok_or_else(unreadable)?),
    };
    if at > last {
        return Err(unreadable());
    }
    if at <= now.0 {
        return Err(Error::usage(format!(
            "--expires {text} has passed already: give a later instant"
        )));
    }
    Ok(Moment(at))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

/// A number with its unit.
fn life(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        'w' => 7 * 24 * 3_600,
        _ => return None,
    };
    let digits = text.get(..at)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    let seconds = number.checked_mul(seconds)?;
    (1..=MAX_DAYS * 24 * 3_600)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}
