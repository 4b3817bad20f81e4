//! A request as the query of a URL.

use std::fmt::Write as _;

use chrono_tz::Tz;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::filter::{By, WITH_PREFIXES, Wanted};
use super::window::instant_text;
use super::{Compression, ExportRequest, Interval};

/// What is written with percent signs in a value: all but what RFC 3986 leaves as it is there, and a plus sign, which would be
/// read as a space.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b',');

impl ExportRequest {
    /// The query of the same request for a part of its window: one text for one request, defaults left out but the format.
    pub fn query_of(&self, part: Interval) -> String {
        let mut query = format!(
            "from={}&to={}&format={}",
            instant_text(part.from),
            instant_text(part.until),
            self.format
        );
        let mut push = |name: &str, value: &str| {
            let value = utf8_percent_encode(value, ENCODED);
            // Writing to a String cannot fail.
            let _ = write!(query, "&{name}={value}");
        };
        if self.window.zone != Tz::UTC {
            push("timezone", self.window.zone.name());
        }
        if let Some(event_type) = self.event_type {
            push("event_type", event_type.as_str());
        }
        if self.include_bots {
            push("include_bots", "true");
        }
        if !self.fields.is_all() {
            push("fields", &self.fields.names().collect::<Vec<_>>().join(","));
        }
        if let Some(limit) = self.limit {
            push("limit", &limit.to_string());
        }
        if self.compression != Compression::default() {
            push("compression", self.compression.as_str());
        }
        if self.data_as_string {
            push("event_data", "string");
        }
        if self.spreadsheet {
            push("spreadsheet", "true");
        }
        for filter in &self.filters {
            let name = utf8_percent_encode(&filter.name(), ENCODED).to_string();
            let is_url = filter.by == By::Column(WITH_PREFIXES);
            for wanted in &filter.any_of {
                push(&name, &value_of(wanted, is_url));
            }
            for wanted in &filter.none_of {
                push(&name, &format!("!{}", value_of(wanted, is_url)));
            }
        }
        query
    }
}

/// A filter's value as it stands in a parameter, its marks escaped.
fn value_of(wanted: &Wanted, may_be_prefix: bool) -> String {
    let (Wanted::Exact(text) | Wanted::Prefix(text)) = wanted;
    let mut value = text.replace('\\', "\\\\");
    if value.starts_with('!') {
        value.insert(0, '\\');
    }
    match wanted {
        Wanted::Prefix(_) => value.push('*'),
        Wanted::Exact(_) if may_be_prefix && value.ends_with('*') => {
            value.insert(value.len() - 1, '\\');
        }
        Wanted::Exact(_) => {}
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::request::{FILTERS, PARAMETERS, WebsiteId};

    #[test]
    fn the_query_of_a_request_asks_for_the_same_again() {
        let website = WebsiteId::parse("site_a").unwrap();
        let window = "from=2026-03-01T00:00:00Z&to=2026-03-01T00:15:00.250Z";
        let sheet = format!("{window}&format=csv&spreadsheet=true");
        let mut all = format!("{window}&format=parquet");
        for (name, value) in [
            ("fields", "url,timestamp"),
            ("limit", "7"),
            ("compression", "snappy"),
            ("event_data", "string"),
            ("timezone", "Etc/GMT%2B5"),
            ("event_type", "event"),
            ("include_bots", "true"),
            ("url", "/a*"),
            ("url", "/a%5C*"),
            ("url", "!*"),
            ("url", "!/b%5C%5C*"),
            ("city", "%5C!x"),
            ("city", "!!x"),
            ("city", "a*"),
            ("city", ""),
            ("city", "!"),
            ("data.a%26b%3D+%25", "%C3%BC%2B%26"),
            ("data.url", "x*"),
        ] {
            let _ = write!(all, "&{name}={value}");
        }
        for column in FILTERS {
            let _ = write!(all, "&{column}=%5C%5C%3F");
        }
        for query in [window, &all, &sheet] {
            let request = ExportRequest::from_query(website.clone(), query).unwrap();
            let again = request.query_of(request.window.instants.unwrap());
            let read = ExportRequest::from_query(website.clone(), &again).unwrap();
            assert_eq!(read, request, "{again}");
            assert_eq!(read.query_of(read.window.instants.unwrap()), again);
        }
        // What a query may hold and this one does not would not come back.
        for name in &PARAMETERS[5..] {
            let given = format!("&{name}=");
            assert!(all.contains(&given) || sheet.contains(&given), "{name}");
        }
    }
}
