//! From a request's parts to a statement that can run.

use bytes::Bytes;

use super::exception::{Exception, code};
use super::format::Framing;
use super::request::{Input, Parameters};
use super::statement::{InsertRows, Kind, Statement, VALUES, WHOLE_SETTINGS};

/// Puts the statement's beginning from the URL and its rest from the body together, as ClickHouse does.
pub(crate) async fn join_body(
    query: String,
    statement: Statement,
    input: Input,
) -> Result<(String, Statement, Input), Exception> {
    if input.head.is_empty() {
        return Ok((query, statement, input));
    }
    let prefix = if query.is_empty() {
        query
    } else {
        query + "\n"
    };
    // Rows need not be UTF-8; a statement must be, and it is in front.
    let valid = input
        .head
        .utf8_chunks()
        .next()
        .map_or("", |chunk| chunk.valid());
    let joined = format!("{prefix}{valid}");
    let statement = Statement::read(&joined);
    if let Kind::InsertRows(rows) = &statement.kind
        && rows.rows_at >= prefix.len()
        && !(rows.format == VALUES && input.rest.is_none() && valid.len() == input.head.len())
    {
        let used = rows.rows_at - prefix.len();
        let input = Input {
            head: input.head.slice(used..),
            rest: input.rest,
        };
        let end = rows.rows_at;
        return Ok((joined[..end].to_owned(), statement, input));
    }
    let all = input.all().await?;
    let text = std::str::from_utf8(&all).map_err(|_| {
        Exception::new(
            code::BAD_ARGUMENTS,
            "BAD_ARGUMENTS",
            "The statement is not UTF-8",
        )
    })?;
    let joined = format!("{prefix}{text}");
    let statement = Statement::read(&joined);
    let nothing = Input {
        head: Bytes::new(),
        rest: None,
    };
    Ok((joined, statement, nothing))
}

/// Whether an `INSERT … VALUES` is all here: then the library reads the values as part of the statement, with
/// expressions and parameters.
pub(crate) fn runs_whole(rows: &InsertRows, input: &Input) -> bool {
    rows.format == VALUES && input.head.is_empty() && input.rest.is_none()
}

/// Refuses what the library would do and a server would not.
pub(crate) fn check_statement(statement: &Statement) -> Result<(), Exception> {
    if statement.client_file {
        return Err(Exception::new(
            code::INTO_OUTFILE_NOT_ALLOWED,
            "INTO_OUTFILE_NOT_ALLOWED",
            "INTO OUTFILE and FROM INFILE are not allowed: the files would be the engine's, not the client's",
        ));
    }
    let refused = if statement.empty {
        "Syntax error: Empty query"
    } else if statement.several {
        "Syntax error (Multi-statements are not allowed)"
    } else {
        return Ok(());
    };
    Err(Exception::new(code::SYNTAX_ERROR, "SYNTAX_ERROR", refused))
}

/// How a result in this format is put together.
pub(crate) fn framing(statement: &Statement, parameters: &Parameters, format: &str) -> Framing {
    let is_on = |name| !matches!(parameters.setting(name), None | Some("0" | "false"));
    let special = statement.whole || WHOLE_SETTINGS.into_iter().any(is_on);
    if statement.kind == Kind::Select && !special {
        Framing::of(format)
    } else {
        Framing::Whole
    }
}
