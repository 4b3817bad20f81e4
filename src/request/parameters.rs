//! The parameters of an export.

use std::num::NonZeroU64;
use std::str::FromStr as _;

use chrono::NaiveDate;
use chrono_tz::{TZ_VARIANTS, Tz};

use super::filter::{self, DATA_PREFIX, FILTERS, Filter};
use super::{Compression, Fields, Format, MAX_DAYS, WebsiteId, Window};
use crate::catalog::KEY_PREFIX;
use crate::decode::EventType;
use crate::error::{Error, Result};

/// The names that a request may use once each, beside those of [`FILTERS`], which may be repeated.
pub(crate) const PARAMETERS: [&str; 13] = [
    "start_date",
    "end_date",
    "from",
    "to",
    "format",
    "timezone",
    "event_type",
    "include_bots",
    "fields",
    "limit",
    "compression",
    "event_data",
    "spreadsheet",
];

/// Longest value that is quoted back in an error, in characters.
const MAX_QUOTED: usize = 64;

/// What to export: validated, with the window's instants computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// Whose events.
    pub website: WebsiteId,
    /// Which days, or which time between two instants.
    pub window: Window,
    /// Written how.
    pub format: Format,
    /// Only this type, or both.
    pub event_type: Option<EventType>,
    /// Whether events of bots are exported too.
    pub include_bots: bool,
    /// What columns and keys of `event_data` must hold; all of them.
    pub filters: Vec<Filter>,
    /// Which columns the file has.
    pub fields: Fields,
    /// Most rows of the file, which is then the beginning of the whole one.
    pub limit: Option<NonZeroU64>,
    /// How Parquet is compressed.
    pub compression: Compression,
    /// Whether JSON has `event_data` as a string, and not as the value that it is.
    pub data_as_string: bool,
    /// Whether CSV is made for spreadsheets, which take cells for formulas.
    pub spreadsheet: bool,
}

impl ExportRequest {
    /// Validates the query of a URL, still percent-encoded, without its `?`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the parameter.
    pub fn from_query(website: WebsiteId, query: &str) -> Result<Self> {
        Self::from_pairs(website, pairs(query)?)
    }

    /// Validates names and values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the parameter.
    pub fn from_pairs(
        website: WebsiteId,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        Self::within(website, pairs, Some(MAX_DAYS))
    }

    /// The same of at most so many days, or of any number.
    pub(super) fn within(
        website: WebsiteId,
        pairs: impl IntoIterator<Item = (String, String)>,
        most_days: Option<u64>,
    ) -> Result<Self> {
        let mut values: [Option<String>; PARAMETERS.len()] = Default::default();
        let mut filters = Vec::new();
        for (name, value) in pairs {
            if filter::is_filter(&name) {
                filter::add(&mut filters, &name, &value)?;
                continue;
            }
            let Some(index) = PARAMETERS.iter().position(|known| *known == name) else {
                let name = quoted(&name);
                return Err(Error::validation(
                    name.clone(),
                    format!(
                        "there is no parameter `{name}`: use {}, {}, {DATA_PREFIX}KEY",
                        PARAMETERS.join(", "),
                        FILTERS.join(", ")
                    ),
                ));
            };
            if values[index].replace(value).is_some() {
                return Err(Error::validation(
                    name.clone(),
                    format!("{name} is given more than once: give it once"),
                ));
            }
        }
        let [
            start,
            end,
            from,
            to,
            format,
            zone,
            event_type,
            include_bots,
            fields,
            limit,
            compression,
            event_data,
            spreadsheet,
        ] = values;

        let format = format.map_or(Ok(Format::Csv), |name| {
            Format::from_name(&name).ok_or_else(|| {
                Error::validation(
                    "format",
                    format!(
                        "format `{}` is not one of csv, json, ndjson, parquet",
                        quoted(&name)
                    ),
                )
            })
        })?;
        let zone = zone.map_or(Ok(Tz::UTC), |name| time_zone(&name))?;
        let event_type = event_type.map(|name| event_type_of(&name)).transpose()?;
        let include_bots = truth("include_bots", include_bots)?;
        let limit = limit.map(|limit| limit_of(&limit)).transpose()?;
        Ok(Self {
            website,
            limit,
            compression: compression_of(compression, format)?,
            data_as_string: data_as_string(event_data)?,
            spreadsheet: spreadsheet_of(spreadsheet, format)?,
            window: window([start, end], [from, to], zone, most_days)?,
            format,
            event_type,
            include_bots,
            filters,
            fields: fields.map_or_else(|| Ok(Fields::default()), |names| Fields::parse(&names))?,
        })
    }

    /// The file's name, safe in a header and on every file system.
    pub fn file_name(&self) -> String {
        let (start, end) = self.window.ends_in_name();
        let (site, extension) = (&self.website, self.format.as_str());
        // Beside the whole file, and not in its place.
        let part = self
            .limit
            .map_or_else(String::new, |limit| format!("_first-{limit}"));
        format!("events_{site}_{start}_{end}{part}.{extension}")
    }
}

/// The names and values of a URL's query, decoded.
///
/// # Errors
///
/// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the one that is not UTF-8.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).map_err(|_| {
            Error::validation(
                quoted(name),
                format!(
                    "the parameter name `{}` is not UTF-8 behind its percent signs",
                    quoted(name)
                ),
            )
        })?;
        let value = decode(value).map_err(|_| {
            Error::validation(
                quoted(&name),
                format!("{} is not UTF-8 behind its percent signs", quoted(&name)),
            )
        })?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Percent-decoding as in an HTML form: `+` is a space.
fn decode(text: &str) -> Result<String, std::string::FromUtf8Error> {
    let spaced = text.replace('+', " ");
    String::from_utf8(percent_encoding::percent_decode_str(&spaced).collect())
}

/// A text of a client's as it may stand in a message, which the log repeats: short, without control characters, and no key,
/// though some send it where it does not belong.
pub(crate) fn quoted(text: &str) -> String {
    if text.to_ascii_lowercase().contains(KEY_PREFIX) {
        return "…".to_owned();
    }
    let mut short: String = text
        .chars()
        .take(MAX_QUOTED)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        short.push('…');
    }
    short
}

/// The window of two days or of two instants.
fn window(
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
        ", or give the instants from and to"
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

fn truth(field: &'static str, value: Option<String>) -> Result<bool> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::validation(
            field,
            format!("{field} `{}` is neither true nor false", quoted(other)),
        )),
    }
}

fn data_as_string(value: Option<String>) -> Result<bool> {
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

fn spreadsheet_of(value: Option<String>, format: Format) -> Result<bool> {
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

fn compression_of(name: Option<String>, format: Format) -> Result<Compression> {
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
fn limit_of(text: &str) -> Result<NonZeroU64> {
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

fn event_type_of(name: &str) -> Result<EventType> {
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

fn time_zone(name: &str) -> Result<Tz> {
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
