//! The parameters of an export.

use std::num::NonZeroU64;
use std::time::Duration;

use chrono_tz::Tz;

use super::filter::{self, DATA_PREFIX, FILTERS, Filter};
use super::since::{Arrived, SINCE, SinceRequest};
use super::values;
use super::{Compression, Fields, Format, MAX_DAYS, WebsiteId, Window};
use crate::catalog::KEY_PREFIX;
use crate::decode::EventType;
use crate::error::{Error, Result};

/// The names that a request may use once each, beside those of [`FILTERS`], which may be repeated.
pub(crate) const PARAMETERS: [&str; 14] = [
    "start_date",
    "end_date",
    "from",
    "to",
    SINCE,
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

/// What every download ticket begins with.
pub(crate) const TICKET_PREFIX: &str = "ticket_";

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
    /// Only what arrived behind a watermark; then the window is that of what was counted.
    pub arrived: Option<Arrived>,
}

/// What a query asks for: rows by when they happened, or by when they arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Those of a window.
    Window(ExportRequest),
    /// Those that arrived since an earlier export.
    Since(SinceRequest),
}

impl Asked {
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
        parse(website, pairs, Some(MAX_DAYS))
    }

    /// What is known of the export before anything is counted; not its window, where it is asked for by arrival.
    pub fn request(&self) -> &ExportRequest {
        match self {
            Self::Window(request) => request,
            Self::Since(request) => request.whole(),
        }
    }

    /// How much time of events is asked for; a day where nobody knows before they are looked for.
    pub fn span(&self) -> Duration {
        const DAY_MS: i64 = 86_400_000;
        let ms = match self {
            Self::Window(request) => {
                let intervals = request.window.intervals.iter();
                intervals.map(|time| time.until - time.from).sum()
            }
            Self::Since(_) => DAY_MS,
        };
        Duration::from_millis(ms.unsigned_abs())
    }
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
        match parse(website, pairs, most_days)? {
            Asked::Window(request) => Ok(request),
            Asked::Since(_) => Err(Error::validation(
                SINCE,
                "since is for an export, whose window is known only when its rows were counted: give days or instants",
            )),
        }
    }

    /// The file's name, safe in a header and on every file system.
    pub fn file_name(&self) -> String {
        let (start, end) = match &self.arrived {
            Some(arrived) => arrived.ends_in_name(),
            None => self.window.ends_in_name(),
        };
        let (site, extension) = (&self.website, self.format.extension());
        // Beside the whole file, and not in its place.
        let part = self
            .limit
            .map_or_else(String::new, |limit| format!("_first-{limit}"));
        let arrived = if self.arrived.is_some() {
            "arrived_"
        } else {
            ""
        };
        format!("events_{site}_{arrived}{start}_{end}{part}.{extension}")
    }
}

/// Validates names and values of a window of at most so many days, or of any number, or of arrivals.
fn parse(
    website: WebsiteId,
    pairs: impl IntoIterator<Item = (String, String)>,
    most_days: Option<u64>,
) -> Result<Asked> {
    let mut given: [Option<String>; PARAMETERS.len()] = Default::default();
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
        if given[index].replace(value).is_some() {
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
        since,
        format,
        zone,
        event_type,
        include_bots,
        fields,
        limit,
        compression,
        event_data,
        spreadsheet,
    ] = given;

    let format = format.map_or(Ok(Format::Csv), |name| {
        Format::from_name(&name).ok_or_else(|| {
            Error::validation(
                "format",
                format!(
                    "format `{}` is not one of {}",
                    quoted(&name),
                    Format::names()
                ),
            )
        })
    })?;
    let zone = zone.map_or(Ok(Tz::UTC), |name| values::time_zone(&name))?;
    let event_type = event_type
        .map(|name| values::event_type_of(&name))
        .transpose()?;
    let include_bots = values::truth("include_bots", include_bots)?;
    let limit = limit.map(|limit| values::limit_of(&limit)).transpose()?;
    let window = match &since {
        Some(_) => values::no_window([start, end], [from, to])?,
        None => values::window([start, end], [from, to], zone, most_days)?,
    };
    let request = ExportRequest {
        website,
        limit,
        compression: values::compression_of(compression, format)?,
        data_as_string: values::data_as_string(event_data)?,
        spreadsheet: values::spreadsheet_of(spreadsheet, format)?,
        window,
        format,
        event_type,
        include_bots,
        filters,
        fields: fields.map_or_else(|| Ok(Fields::default()), |names| Fields::parse(&names))?,
        arrived: None,
    };
    match since {
        Some(since) => SinceRequest::new(request, &since, zone).map(Asked::Since),
        None => Ok(Asked::Window(request)),
    }
}

/// The names and values of a URL's query, decoded.
///
/// # Errors
///
/// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the one that is not UTF-8.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>> {
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

/// A text of a client's as it may stand in a message, which the log repeats: short, without control characters, and no key
/// or ticket, though some send it where it does not belong.
pub(crate) fn quoted(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if lower.contains(KEY_PREFIX) || lower.contains(TICKET_PREFIX) {
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
