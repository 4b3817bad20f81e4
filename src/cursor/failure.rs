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
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
    answer
        .unwrap_or(Err(ClientError::TimedOut))
        .map_err(|error| from_clickhouse(error, url))
}

/// A query that is given up.
pub fn too_long() -> Error {
    Error::new(ErrorKind::QueryTimeout, TOO_LONG)
}

/// The error of a query, told apart by ClickHouse's own code where it sent one.
pub fn from_clickhouse(error: ClientError, url: &str) -> Error {
    match error {
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
        ClientError::Decompression(source) => Error::new(
            ErrorKind::Damaged,
            "ClickHouse's answer was damaged on its way: try again",
        )
        .with_detail(format!("from {url}"))
        .with_source(source),
        other => Error::internal("ClickHouse's answer could not be used").with_source(other),
    }
}

/// As [`from_clickhouse`], for queries that read events. Of ClickHouse's text only the code is kept: where a value cannot be
/// used, the text quotes it, and it may even be a visitor's, who wrote something that looks like an error.
pub fn of_events(error: ClientError, url: &str) -> Error {
    match error {
        ClientError::BadResponse(text) => {
            let error = from_text(&text);
            let code =
                code(&text).map_or_else(|| "no code".to_owned(), |code| format!("Code: {code}."));
            error.with_detail(format!(
                "{code} What ClickHouse said may quote events: its system.query_log has it under the export's id"
            ))
        }
        other => from_clickhouse(other, url),
    }
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
    Error::new(kind, message).with_detail(text.trim().chars().take(2_000).collect::<String>())
}

/// The number in ClickHouse's `Code: N.`
fn code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
