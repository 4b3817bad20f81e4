//! From a request's parts to a statement that can run.

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;

use super::access::Access;
use super::exception::{Exception, code};
use super::form::read_form;
use super::format::Framing;
use super::request::{Input, Parameters, RequestBody};
use super::response::{Head, random_uuid};
use super::statement::{InsertRows, Kind, Statement, VALUES, WHOLE_SETTINGS};

/// A request whose statement may run: the statement's text is `parameters.query`.
pub(crate) struct Understood {
    pub(crate) parameters: Parameters,
    pub(crate) statement: Statement,
    /// The rows of an `INSERT` that has some in the body.
    pub(crate) input: Input,
}

/// Reads a request as far as its statement goes, and refuses what must not run.
///
/// # Errors
///
/// Whatever is wrong with the request.
pub(crate) async fn understand(
    access: &Access,
    request: Request<Incoming>,
    head: &mut Head,
) -> Result<Understood, Exception> {
    let (parts, body) = request.into_parts();
    let mut parameters = Parameters::read(parts.uri.query().unwrap_or_default(), &parts.headers);
    access.check_password(&parts.headers, parameters.password.as_deref())?;
    parameters.check()?;
    let body = RequestBody::new(&parts.headers, body)?;
    let body = read_form(&parts.headers, body, &mut parameters).await?;
    parameters.restrict(&parts.method);
    parameters.accept(&parts.headers);
    head.query_id = parameters.query_id.clone().unwrap_or_else(random_uuid);

    let mut statement = Statement::read(&parameters.query);
    let mut input = Input {
        head: Bytes::new(),
        rest: None,
    };
    // Values that are all in the URL may have parameters in them.
    if let Some(body) = body.filter(|body| !body.is_none()) {
        let rows_in_body = matches!(statement.kind, Kind::InsertRows(_));
        if rows_in_body {
            input.rest = Some(body);
        } else {
            input = Input::begin(body).await?;
            (parameters.query, statement, input) =
                join_body(parameters.query, statement, input).await?;
        }
    }
    if let Some(format) = statement
        .format
        .clone()
        .or(parameters.default_format.clone())
    {
        head.format = format;
    }
    check_statement(&statement)?;
    Ok(Understood {
        parameters,
        statement,
        input,
    })
}

/// Puts the statement's beginning from the URL and its rest from the body together, as ClickHouse does.
async fn join_body(
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
fn check_statement(statement: &Statement) -> Result<(), Exception> {
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
