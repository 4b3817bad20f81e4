//! A request as the query of a URL.

use std::fmt::Write as _;

use chrono_tz::Tz;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::window::instant_text;
use super::{ExportRequest, Interval};

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
        query
    }
}
