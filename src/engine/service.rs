//! One request, from its head to its response.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::access::Access;
use super::body::{ResponseBody, ResultBody};
use super::exception::{Exception, code};
use super::format::Framing;
use super::insert::{self, Piece, Write};
use super::library::Progress;
use super::queries::{Client, Queries};
use super::read::{self, Part, Read};
use super::request::{Input, Parameters, next_piece, read_form};
use super::session::{DEFAULT_MAX_WHOLE_BYTES, Sessions, push_literal};
use super::statement::{InsertRows, Kill, Kind, Statement, Text};

/// The format of a result when neither statement nor request names one.
const DEFAULT_FORMAT: &str = "TabSeparated";
/// Most bytes of a body that are read and thrown away after its insert has failed, so that a client which sends it
/// whole before it listens can read the answer.
const MAX_DISCARDED_BYTES: usize = 64 << 20;
/// Most bytes of a result that waits for its end (`wait_end_of_query`).
const MAX_WAITING_BYTES: usize = 1 << 30;

/// What every request shares.
pub(crate) struct Service {
    pub(crate) access: Access,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) queries: Arc<Queries>,
    /// Name that `X-ClickHouse-Server-Display-Name` carries.
    pub(crate) display_name: HeaderValue,
}

/// What the response's head says about the query.
struct Head {
    query_id: String,
    format: String,
    tag: String,
}

impl Service {
    /// Answers a request. Dropping the future cancels the request's query.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if let Err(reason) = self.access.check_source(request.headers()) {
            return text(StatusCode::FORBIDDEN, reason);
        }
        let method = request.method();
        if ![Method::GET, Method::HEAD, Method::POST].contains(method) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or POST\n");
            let allowed = HeaderValue::from_static("GET, HEAD, POST");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match request.uri().path() {
            "/ping" => text(StatusCode::OK, "Ok.\n"),
            "/" if method != Method::POST && request.uri().query().is_none() => {
                text(StatusCode::OK, "Ok.\n")
            }
            "/" => {
                let mut head = Head {
                    query_id: String::new(),
                    format: DEFAULT_FORMAT.into(),
                    tag: random_hexadecimal(8),
                };
                let mut response = self
                    .query(request, &mut head)
                    .await
                    .unwrap_or_else(|exception| failed(&exception));
                self.describe(response.headers_mut(), &head);
                response
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "There is nothing here but / and /ping\n",
            ),
        }
    }

    async fn query(
        &self,
        request: Request<Incoming>,
        head: &mut Head,
    ) -> Result<Response<ResponseBody>, Exception> {
        let (parts, body) = request.into_parts();
        let mut parameters =
            Parameters::read(parts.uri.query().unwrap_or_default(), &parts.headers);
        self.access
            .check_password(&parts.headers, parameters.password.as_deref())?;
        parameters.check(&parts.headers)?;
        let body = read_form(&parts.headers, body, &mut parameters).await?;
        parameters.restrict(&parts.method);
        head.query_id = parameters.query_id.clone().unwrap_or_else(random_uuid);

        let mut statement = Statement::read(&parameters.query);
        let mut input = Input {
            head: Bytes::new(),
            rest: None,
        };
        if let Some(body) = body {
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
        match statement.kind {
            Kind::InsertRows(ref rows) if !runs_whole(rows, &input) => {
                let rows = rows.clone();
                self.insert(parameters, rows, input, head).await
            }
            Kind::Kill(kill) => self.kill(parameters, kill, head).await,
            _ => {
                let framing = framing(&statement, &parameters, &head.format);
                self.read(parameters, framing, head).await
            }
        }
    }

    /// Runs a statement and streams what it returns. The status waits for the first block or the end.
    async fn read(
        &self,
        mut parameters: Parameters,
        framing: Framing,
        head: &Head,
    ) -> Result<Response<ResponseBody>, Exception> {
        let entered = self
            .queries
            .enter(head.query_id.clone(), &parameters.query)?;
        let client = entered.client();
        if framing == Framing::Whole && parameters.setting("max_result_bytes").is_none() {
            let limit = (
                "max_result_bytes".into(),
                DEFAULT_MAX_WHOLE_BYTES.to_string(),
            );
            // In front, because `readonly` may follow.
            parameters.session.settings.insert(0, limit);
        }
        let read = Read {
            sql: parameters.query,
            format: head.format.clone(),
            parameters: parameters.query_parameters,
            session: parameters.session,
            framing,
        };
        let mut parts = read::start(Arc::clone(&self.sessions), read, entered)?;
        let mut waiting = Vec::new();
        loop {
            return match parts.recv().await {
                Some(Part::Data(bytes)) if parameters.wait_end_of_query => {
                    if waiting.len() + bytes.len() > MAX_WAITING_BYTES {
                        return Err(Exception::new(
                            code::SUPPORT_IS_DISABLED,
                            "SUPPORT_IS_DISABLED",
                            format_args!(
                                "wait_end_of_query holds at most {MAX_WAITING_BYTES} bytes in the embedded engine"
                            ),
                        ));
                    }
                    waiting.extend_from_slice(&bytes);
                    continue;
                }
                Some(Part::Data(bytes)) => {
                    let body = ResultBody::new(bytes, parts, client, head.tag.clone());
                    Ok(Response::new(ResponseBody::Stream(Box::new(body))))
                }
                Some(Part::End(progress)) => {
                    let mut response = Response::new(ResponseBody::text(waiting));
                    summarize(response.headers_mut(), &progress);
                    Ok(response)
                }
                Some(Part::Failed(exception)) => Err(exception),
                None => Err(Exception::internal("The query's thread is gone")),
            };
        }
    }

    /// Feeds the body to an insert. The answer comes when the rows are written.
    async fn insert(
        &self,
        parameters: Parameters,
        rows: InsertRows,
        input: Input,
        head: &Head,
    ) -> Result<Response<ResponseBody>, Exception> {
        let entered = self
            .queries
            .enter(head.query_id.clone(), &parameters.query)?;
        let client = entered.client();
        let in_statement = Bytes::from(parameters.query).slice(rows.rows_at..);
        let write = Write {
            sql: rows.sql,
            format: rows.format,
            parameters: parameters.query_parameters,
            session: parameters.session,
        };
        let insert::Running { pieces, outcome } =
            insert::start(Arc::clone(&self.sessions), write, entered)?;
        let mut rest = input.rest;
        let fed = feed(&client, &pieces, [in_statement, input.head], rest.as_mut()).await;
        // Without the end among the pieces, this cancels the insert.
        drop(pieces);
        let progress = match (outcome_of(outcome).await, fed) {
            (Ok(progress), Ok(())) => progress,
            (_, Err(exception)) => return Err(exception),
            (Err(exception), Ok(())) => {
                if let Some(rest) = &mut rest {
                    discard(rest).await;
                }
                return Err(exception);
            }
        };
        drop(client);
        let mut response = Response::new(ResponseBody::text(Bytes::new()));
        summarize(response.headers_mut(), &progress);
        Ok(response)
    }

    /// Cancels a query by the id that its client gave it, and answers as ClickHouse does, in any format.
    async fn kill(
        &self,
        mut parameters: Parameters,
        kill: Kill,
        head: &Head,
    ) -> Result<Response<ResponseBody>, Exception> {
        if parameters.is_readonly() {
            return Err(Exception::new(
                code::READONLY,
                "READONLY",
                "Cannot execute query in readonly mode",
            ));
        }
        let id = match kill.query_id {
            Text::Literal(id) => id,
            Text::Parameter(name) => match parameters.query_parameter(&name) {
                Some(value) => value.to_owned(),
                None => {
                    return Err(Exception::new(
                        456,
                        "UNKNOWN_QUERY_PARAMETER",
                        format_args!("Substitution `{name}` is not set"),
                    ));
                }
            },
        };
        let found = self.queries.find(&id);
        let mut sql = String::from("SELECT ");
        let status = if kill.wait { "finished" } else { "waiting" };
        let (id, text) = found.as_ref().map_or(("", ""), |q| (&q.id, &q.sql));
        for (value, name) in [
            (status, "kill_status"),
            (id, "query_id"),
            ("default", "user"),
            (text, "query"),
        ] {
            push_literal(&mut sql, value);
            sql.push_str(&format!(" AS {name}, "));
        }
        sql.truncate(sql.len() - 2);
        match found {
            Some(query) => {
                self.queries.cancel(&query);
                if kill.wait {
                    query.done().await;
                }
            }
            None => sql.push_str(" WHERE 0"),
        }
        parameters.query = sql;
        let framing = Framing::of(&head.format);
        self.read(parameters, framing, head).await
    }

    /// The headers that every answer to a query has.
    fn describe(&self, headers: &mut HeaderMap, head: &Head) {
        let mut set = |name: &'static str, value: &str| {
            // Ids and formats come from the client; what cannot be a header's value is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("x-clickhouse-query-id", &head.query_id);
        set("x-clickhouse-format", &head.format);
        set("x-clickhouse-timezone", "UTC");
        set("x-clickhouse-exception-tag", &head.tag);
        if !headers.contains_key(CONTENT_TYPE) {
            let value = HeaderValue::from_static(content_type(&head.format));
            headers.insert(CONTENT_TYPE, value);
        }
        let name = HeaderName::from_static("x-clickhouse-server-display-name");
        headers.insert(name, self.display_name.clone());
    }
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
        && !(rows.format == "Values" && input.rest.is_none() && valid.len() == input.head.len())
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
fn runs_whole(rows: &InsertRows, input: &Input) -> bool {
    rows.format == "Values" && input.head.is_empty() && input.rest.is_none()
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
fn framing(statement: &Statement, parameters: &Parameters, format: &str) -> Framing {
    let on = |name| !matches!(parameters.setting(name), None | Some("0" | "false"));
    let special = statement.totals
        || on("extremes")
        || on("output_format_json_array_of_rows")
        || on("output_format_binary_encode_types_in_binary_format");
    if statement.kind == Kind::Select && !special {
        Framing::of(format)
    } else {
        Framing::Whole
    }
}

/// Sends the rows to the insert, and their end once the body has proved it.
///
/// # Errors
///
/// The body broke off, or the insert was killed. An insert that fails by itself is no error here.
async fn feed(
    client: &Client,
    pieces: &tokio::sync::mpsc::Sender<Piece>,
    ready: [Bytes; 2],
    mut rest: Option<&mut Incoming>,
) -> Result<(), Exception> {
    let feeding = async {
        for bytes in ready.into_iter().filter(|bytes| !bytes.is_empty()) {
            if pieces.send(Piece::Data(bytes)).await.is_err() {
                return Ok(());
            }
        }
        if let Some(rest) = &mut rest {
            while let Some(bytes) = next_piece(rest).await? {
                if pieces.send(Piece::Data(bytes)).await.is_err() {
                    return Ok(());
                }
            }
        }
        // The insert's outcome says whether this was in time.
        let _ = pieces.send(Piece::End).await;
        Ok(())
    };
    tokio::select! {
        fed = feeding => fed,
        () = client.query().cancelled() => Err(Exception::cancelled()),
    }
}

async fn outcome_of(
    outcome: oneshot::Receiver<Result<Progress, Exception>>,
) -> Result<Progress, Exception> {
    outcome
        .await
        .unwrap_or_else(|_| Err(Exception::internal("The insert's thread is gone")))
}

/// Reads on, within bounds, so that the client sees the answer instead of a reset.
async fn discard(rest: &mut Incoming) {
    let mut discarded = 0;
    while discarded < MAX_DISCARDED_BYTES {
        match next_piece(rest).await {
            Ok(Some(bytes)) => discarded += bytes.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The answer to a query that failed before its first block.
fn failed(exception: &Exception) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(format!("{exception}\n")));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    headers.insert(CONTENT_TYPE, plain);
    let name = HeaderName::from_static("x-clickhouse-exception-code");
    headers.insert(name, HeaderValue::from(exception.code()));
    response
}

fn summarize(headers: &mut HeaderMap, progress: &Progress) {
    let summary = format!(
        "{{\"read_rows\":\"{}\",\"read_bytes\":\"{}\",\"written_rows\":\"{}\",\"written_bytes\":\"{}\"}}",
        progress.read_rows, progress.read_bytes, progress.written_rows, progress.written_bytes
    );
    if let Ok(value) = HeaderValue::from_str(&summary) {
        headers.insert(HeaderName::from_static("x-clickhouse-summary"), value);
    }
}

fn content_type(format: &str) -> &'static str {
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
fn random_hexadecimal(bytes: usize) -> String {
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
fn random_uuid() -> String {
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
