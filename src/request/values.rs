//! The values of single parameters.

use std::num::NonZeroU64;
use std::str::FromStr as _;

use chrono::NaiveDate;
use chrono_tz::{TZ_VARIANTS, Tz};

use super::parameters::quoted;
use super::since::SINCE;
use super::{Compression, Format, Window};
use crate::decode::EventType;
use crate::error::{Error, Result};

/// The window of two days or of two instants.
pub(super) fn window(
    days: [Option<String>; 2],
    instants: [Option<String>; 2],
    zone: Tz,
    most_days: Option<u64>,
) -> Result<Window> {
    let asks = |ends: &[Option<String>; 2], names: [&'static str; 2]| {
        let given = ends.iter().zip(names).find(|(end, _)| end.is_some());
        given.map(|(_, name)| name)
    };
    let day = asks(&days, ["start_date", "end_date"]);
    let instant = asks(&instants, ["from", "to"]);
    if let (Some(day), Some(instant)) = (day, instant) {
        return Err(Error::validation(
            instant,
            format!(
                "{instant} does not go together with {day}: give start_date and end_date, or from and to"
            ),
        ));
    }
    if instant.is_some() {
        let [from, to] = instants;
        let (from, to) = (instant_of("from", from)?, instant_of("to", to)?);
        return Window::between_within(from, to, zone, most_days);
    }
    let [start, end] = days;
    let or = if day.is_none() {
        ", or give the instants from and to, or since"
    } else {
        ""
    };
    Window::of_days(
        date("start_date", start, or)?,
        date("end_date", end, or)?,
        zone,
        most_days,
    )
}

/// All of time, where neither days nor instants were asked for.
pub(super) fn no_window(
    days: [Option<String>; 2],
    instants: [Option<String>; 2],
) -> Result<Window> {
    let names = ["start_date", "end_date", "from", "to"];
    let mut given = days.iter().chain(&instants).zip(names);
    match given.find(|(end, _)| end.is_some()) {
        Some((_, name)) => Err(Error::validation(
            SINCE,
            format!(
                "{SINCE} does not go together with {name}: it is of all events that arrived since, whenever they happened"
            ),
        )),
        None => Ok(Window::all()),
    }
}

/// An instant in RFC 3339, in milliseconds since 1970-01-01T00:00:00Z.
fn instant_of(field: &'static str, value: Option<String>) -> Result<i64> {
    let Some(text) = value else {
        return Err(Error::validation(
            field,
            format!("{field} is missing: give an instant as 2026-03-03T10:15:00Z"),
        ));
    };
    crate::load::timestamp(text.as_bytes()).map_err(|_| {
        // What is wrong, of the text as it may be quoted.
        let text = quoted(&text);
        let wrong = crate::load::timestamp(text.as_bytes())
            .err()
            .unwrap_or_default();
        let plus = if text.get(11..).is_some_and(|time| time.contains(' ')) {
            ", a plus sign as %2B"
        } else {
            ""
        };
        Error::validation(field, format!("{field} {wrong}{plus}"))
    })
}

fn date(field: &'static str, value: Option<String>, or: &str) -> Result<NaiveDate> {
    let Some(text) = value else {
        return Err(Error::validation(
            field,
            format!("{field} is missing: give a day as YYYY-MM-DD{or}"),
        ));
    };
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    if !shaped {
        return Err(Error::validation(
            field,
            format!(
                "{field} `{}` is not a day written as YYYY-MM-DD",
                quoted(&text)
            ),
        ));
    }
    NaiveDate::parse_from_str(&text, "%Y-%m-%d").map_err(|_| {
        Error::validation(
            field,
            format!("{field} {text} is not a day of the calendar"),
        )
    })
}

pub(super) fn truth(field: &'static str, value: Option<String>) -> Result<bool> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::validation(
            field,
            format!("{field} `{}` is neither true nor false", quoted(other)),
        )),
    }
}

pub(super) fn data_as_string(value: Option<String>) -> Result<bool> {
    match value.as_deref() {
        None => Ok(false),
        Some("string") => Ok(true),
        Some(other) => Err(Error::validation(
            "event_data",
            format!(
                "event_data `{}` is not string, the only other form there is: leave it out to have it as JSON in JSON, and to \
                 filter by a key use data.KEY",
                quoted(other)
            ),
        )),
    }
}

pub(super) fn spreadsheet_of(value: Option<String>, format: Format) -> Result<bool> {
    let spreadsheet = truth("spreadsheet", value)?;
    if spreadsheet && format != Format::Csv {
        return Err(Error::validation(
            "spreadsheet",
            format!(
                "spreadsheet=true is a form of CSV, not of {format}: ask for format=csv, or leave it out"
            ),
        ));
    }
    Ok(spreadsheet)
}

pub(super) fn compression_of(name: Option<String>, format: Format) -> Result<Compression> {
    let Some(name) = name else {
        return Ok(Compression::default());
    };
    let known = Compression::ALL.into_iter();
    let found = known.clone().find(|known| known.as_str() == name);
    let Some(found) = found else {
        let names: Vec<_> = known.map(Compression::as_str).collect();
        return Err(Error::validation(
            "compression",
            format!(
                "compression `{}` is not one of {}",
                quoted(&name),
                names.join(", ")
            ),
        ));
    };
    if format != Format::Parquet {
        return Err(Error::validation(
            "compression",
            format!(
                "compression is that of Parquet, not of {format}: ask for format=parquet, or over HTTP leave it out and name a \
                 coding in Accept-Encoding"
            ),
        ));
    }
    Ok(found)
}

/// Digits and nothing else: Rust takes a plus sign as well.
pub(super) fn limit_of(text: &str) -> Result<NonZeroU64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|_| digits);
    limit.ok_or_else(|| {
        Error::validation(
            "limit",
            format!(
                "limit `{}` is not a number of rows from 1 on: leave it out for all of them",
                quoted(text)
            ),
        )
    })
}

pub(super) fn event_type_of(name: &str) -> Result<EventType> {
    [EventType::Pageview, EventType::Event]
        .into_iter()
        .find(|event_type| event_type.as_str() == name)
        .ok_or_else(|| {
            Error::validation(
                "event_type",
                format!(
                    "event_type `{}` is neither pageview nor event",
                    quoted(name)
                ),
            )
        })
}

pub(super) fn time_zone(name: &str) -> Result<Tz> {
    Tz::from_str(name).map_err(|_| {
        let meant = TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(name));
        let remedy = match meant {
            Some(zone) => format!("write it {zone}"),
            None if name.contains(' ') => {
                "write it without spaces, and a plus sign as %2B".to_owned()
            }
            None => "use an IANA name such as Europe/Berlin".to_owned(),
        };
        Error::validation(
            "timezone",
            format!("timezone `{}` is not known: {remedy}", quoted(name)),
        )
    })
}
