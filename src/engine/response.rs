//! The heads of answers.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::ResponseBody;
use super::exception::Exception;
use super::library::Progress;

/// The format of a result when neither statement nor request names one.
const DEFAULT_FORMAT: &str = "TabSeparated";

/// What the response's head says about the query.
pub(crate) struct Head {
    pub(crate) query_id: String,
    pub(crate) format: String,
    /// Announces the frame of an exception in the body.
    pub(crate) tag: String,
}

impl Head {
    /// Of a query that nothing is known about yet.
    pub(crate) fn new() -> Self {
        Self {
            query_id: String::new(),
            format: DEFAULT_FORMAT.into(),
            tag: random_hexadecimal(8),
        }
    }

    /// The headers that every answer to a query has.
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        let mut set = |name: &'static str, value: &str| {
            // Ids and formats come from the client; what cannot be a header's value is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("x-clickhouse-query-id", &self.query_id);
        set("x-clickhouse-format", &self.format);
        set("x-clickhouse-timezone", "UTC");
        set("x-clickhouse-exception-tag", &self.tag);
        if !headers.contains_key(CONTENT_TYPE) {
            let value = HeaderValue::from_static(content_type(&self.format));
            headers.insert(CONTENT_TYPE, value);
        }
        let name = HeaderName::from_static("x-clickhouse-server-display-name");
        headers.insert(name, HeaderValue::from_static("rowspout-engine"));
    }
}

pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The answer to a query that failed before its first block.
pub(crate) fn failed(exception: &Exception) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(format!("{exception}\n")));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    headers.insert(CONTENT_TYPE, plain);
    let name = HeaderName::from_static("x-clickhouse-exception-code");
    headers.insert(name, HeaderValue::from(exception.code()));
    response
}

pub(crate) fn summarize(headers: &mut HeaderMap, progress: &Progress) {
    let summary = format!(
        "{{\"read_rows\":\"{}\",\"read_bytes\":\"{}\",\"written_rows\":\"{}\",\"written_bytes\":\"{}\"}}",
        progress.read_rows, progress.read_bytes, progress.written_rows, progress.written_bytes
    );
    if let Ok(value) = HeaderValue::from_str(&summary) {
        headers.insert(HeaderName::from_static("x-clickhouse-summary"), value);
    }
}

pub(crate) fn content_type(format: &str) -> &'static str {
    let format = format.to_ascii_lowercase();
    if format.starts_with("csv") {
        "text/csv; charset=UTF-8"
    } else if format.starts_with("tabseparated") || format.starts_with("tsv") {
        "text/tab-separated-values; charset=UTF-8"
    } else if format.starts_with("jsoneachrow") || format == "ndjson" || format == "jsonlines" {
        "application/x-ndjson; charset=UTF-8"
    } else if format.starts_with("json") {
        "application/json; charset=UTF-8"
    } else if format.starts_with("pretty") || format == "vertical" || format == "values" {
        "text/plain; charset=UTF-8"
    } else {
        "application/octet-stream"
    }
}

/// Random hexadecimal digits, two for each byte.
pub(crate) fn random_hexadecimal(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // Names need to differ, not to be secret; without randomness the clock tells them apart.
    if getrandom::fill(&mut random).is_err() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        for (byte, clock) in random.iter_mut().zip(now.to_le_bytes()) {
            *byte = clock;
        }
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name for a query that came without one, in the form of a UUID.
pub(crate) fn random_uuid() -> String {
    let digits = random_hexadecimal(16);
    format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    )
}
