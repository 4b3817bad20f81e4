//! What a failure of ClickHouse means to the client and to the log.

use std::time::Duration;

use clickhouse::error::Error as ClientError;

use crate::error::{Error, ErrorKind};

/// How long ClickHouse may take for what reads no events.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const TOO_LONG: &str =
    "the query took longer than its time limit: ask for fewer days, or raise max_query_seconds";

/// The answer to a query that reads no events, or why there is none.
///
/// # Errors
///
/// The query's own, or that ClickHouse did not answer in time.
pub async fn in_time<T>(
    answer: impl Future<Output = Result<T, ClientError>>,
    url: &str,
) -> Result<T, Error> {
    within(ANSWER_TIMEOUT, answer)
        .await
        .map_err(|error| from_clickhouse(error, url))
}

/// As [`in_time`], for a question that may be sent twice: a connection that was kept may be closed by the time that it is used
/// again.
///
/// # Errors
///
/// As [`in_time`].
pub async fn in_time_again<T, F>(question: impl Fn() -> F, url: &str) -> Result<T, Error>
where
    F: Future<Output = Result<T, ClientError>>,
{
    match within(ANSWER_TIMEOUT, question()).await {
        Err(ClientError::Network(_)) => in_time(question(), url).await,
        answer => answer.map_err(|error| from_clickhouse(error, url)),
    }
}

/// The answer to a query that comes in so much time, or why there is none.
///
/// # Errors
///
/// The query's own, or that ClickHouse did not answer in time.
pub async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or(Err(ClientError::TimedOut))
}

/// A task of our own that ended without its result.
pub fn stopped(error: tokio::task::JoinError) -> Error {
    Error::internal("a task stopped").with_source(error)
}

/// A query that is given up.
pub fn too_long() -> Error {
    Error::new(ErrorKind::QueryTimeout, TOO_LONG)
}

/// An answer that cannot be ClickHouse's.
pub fn damaged() -> Error {
    Error::new(
        ErrorKind::Damaged,
        "ClickHouse's answer was damaged on its way: try again",
    )
}

/// The error of a query, told apart by ClickHouse's own code where it sent one.
pub fn from_clickhouse(error: ClientError, url: &str) -> Error {
    match error {
        // ClickHouse's own errors have a code.
        ClientError::BadResponse(text) if code(&text).is_none() => Error::new(
            ErrorKind::Unavailable,
            "something else answered in ClickHouse's place",
        )
        .with_detail(format!("at {url}: {}", shortened(&text))),
        ClientError::BadResponse(text) => from_text(&text),
        ClientError::Network(source) => Error::new(
            ErrorKind::Unavailable,
            "ClickHouse cannot be reached, or the connection to it was cut",
        )
        .with_detail(format!("at {url}"))
        .with_source(source),
        ClientError::TimedOut => {
            Error::new(ErrorKind::Unavailable, "ClickHouse did not answer in time")
                .with_detail(format!("at {url}"))
        }
        // Only text may lead astray; what does not decompress was damaged, and rows before it may have been.
        ClientError::Decompression(source) => damaged()
            .with_detail(format!("from {url}"))
            .with_source(source),
        other => Error::internal("ClickHouse's answer could not be used").with_source(other),
    }
}

/// As [`from_clickhouse`], for queries that read events. Of ClickHouse's text only the code is kept: where a value cannot be
/// used, the text quotes it, and it may even be a visitor's, who wrote something that looks like an error.
pub fn of_events(error: ClientError, url: &str) -> Error {
    let code = match &error {
        ClientError::BadResponse(text) => code(text),
        _ => return from_clickhouse(error, url),
    };
    from_clickhouse(error, url).with_detail(match code {
        Some(code) => format!(
            "Code: {code}. What ClickHouse said may quote events: its system.query_log has it under the export's id"
        ),
        None => format!("at {url}: an answer without a code"),
    })
}

/// The error that a text of ClickHouse's tells of, wherever the text came from.
pub fn from_text(text: &str) -> Error {
    let (kind, message) = match code(text) {
        Some(159 | 160) => (ErrorKind::QueryTimeout, TOO_LONG),
        Some(202 | 209 | 210 | 236 | 279) => (
            ErrorKind::Unavailable,
            "ClickHouse has too much to do: try again in some seconds",
        ),
        Some(60 | 81) => (
            ErrorKind::Internal,
            "a table is missing: create the tables with `rowspout schema apply`",
        ),
        Some(192..=194 | 497 | 516) => (
            ErrorKind::Internal,
            "ClickHouse refused the user: check ROWSPOUT_CLICKHOUSE_USER, its password and its grants",
        ),
        Some(164) => (
            ErrorKind::Internal,
            "the ClickHouse user may not change settings: give it readonly=2 instead of 1",
        ),
        _ => (ErrorKind::Internal, "ClickHouse failed"),
    };
    Error::new(kind, message).with_detail(shortened(text))
}

/// ClickHouse's codes for what may be the fault of one server, so that the same query may do well on another one, or later:
/// files and memory that are missing, connections that broke, too much to do, a query that a server that stops cancelled,
/// tables and users that are not there yet.
const OF_A_SERVER: [u32; 33] = [
    32, 33, 40, 60, 74, 76, 81, 107, 173, 192, 193, 194, 202, 203, 209, 210, 225, 226, 228, 236,
    241, 242, 243, 279, 394, 425, 439, 497, 499, 516, 741, 745, 999,
];

/// Whether another replica, or the same one later, may do what this one did not.
pub fn is_of_the_server(error: &Error) -> bool {
    // A stream that broke off inside a row ends with a visitor's text, which is no error of ClickHouse.
    let is_text = |detail: &str| {
        let detail = detail.trim_start_matches("\\r\\n");
        detail.starts_with("Code: ") || detail.starts_with("__exception__")
    };
    let ends_in_a_row =
        error.kind() == ErrorKind::BrokenOff && !error.detail().is_some_and(is_text);
    match error.clickhouse_code() {
        Some(code) if !ends_in_a_row => OF_A_SERVER.contains(&code),
        _ => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::BrokenOff),
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(2_000).collect()
}

/// The number in ClickHouse's `Code: N.`
fn code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_replica_may_do_what_is_not_the_querys_own_fault() {
        let broken = |detail: &str| Error::new(ErrorKind::BrokenOff, "").with_detail(detail);
        for (error, expected) in [
            (from_text("Code: 241. DB::Exception: no memory"), true),
            (from_text("Code: 60. DB::Exception: no table"), true),
            (from_text("Code: 395. DB::Exception: on purpose"), false),
            (from_text("Code: 159. DB::Exception: too slow"), false),
            (
                from_clickhouse(ClientError::BadResponse("502 Bad Gateway".into()), "x"),
                true,
            ),
            (from_clickhouse(ClientError::TimedOut, "x"), true),
            (too_long(), false),
            (broken("Code: 241. DB::Exception: no memory"), true),
            (broken("Code: 395. DB::Exception: on purpose"), false),
            (
                broken("\\r\\n__exception__\\r\\ntag\\r\\nCode: 395. x"),
                false,
            ),
            // Cut before the number, and in the middle of a row with a visitor's text.
            (broken("\\r\\n__exc"), true),
            (broken("\\u{1}x/?q=Code: 395. DB::Exception: "), true),
        ] {
            assert_eq!(is_of_the_server(&error), expected, "{error:?}");
        }
    }
}
