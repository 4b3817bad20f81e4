//! One request, from its head to its response.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use super::access::Access;
use super::body::{ResponseBody, ResultBody};
use super::exception::{Exception, code};
use super::format::Framing;
use super::insert::{self, Piece, Write};
use super::library::Progress;
use super::prepare::{Understood, framing, runs_whole, understand};
use super::queries::{Client, Queries, Query, Room};
use super::read::{self, Part, Read};
use super::request::{Input, Parameters, RequestBody};
use super::response::{Head, failed, summarize, text};
use super::session::{Sessions, push_literal};
use super::statement::{InsertRows, Kill, Kind, Text, unescape};

/// Most bytes of a result that waits for its end (`wait_end_of_query`).
const MAX_WAITING_BYTES: usize = 256 << 20;

/// What every request shares.
pub(crate) struct Service {
    pub(crate) access: Access,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) queries: Arc<Queries>,
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
                let mut head = Head::new();
                let mut response = self
                    .query(request, &mut head)
                    .await
                    .unwrap_or_else(|exception| failed(&exception));
                head.describe(response.headers_mut());
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
        let Understood {
            mut parameters,
            statement,
            input,
        } = understand(&self.access, request, head).await?;
        match statement.kind {
            Kind::InsertRows(ref rows) if !runs_whole(rows, &input) => {
                let rows = rows.clone();
                self.insert(parameters, rows, input, head).await
            }
            Kind::Kill(kill) => self.kill(parameters, kill, head).await,
            _ => {
                let framing = framing(&statement, &parameters, &head.format);
                if statement.kind == Kind::Select && framing == Framing::Whole {
                    parameters.limit_result();
                }
                self.read(parameters, framing, head, Room::Limited).await
            }
        }
    }

    /// Runs a statement and streams what it returns. The status waits for the first block or the end.
    async fn read(
        &self,
        parameters: Parameters,
        framing: Framing,
        head: &Head,
        room: Room,
    ) -> Result<Response<ResponseBody>, Exception> {
        let entered = self
            .queries
            .enter(head.query_id.clone(), &parameters.query, room)?;
        let client = entered.client();
        let read = Read {
            sql: parameters.query,
            format: head.format.clone(),
            parameters: parameters.query_parameters,
            session: parameters.session,
            framing,
            compression: parameters.compression,
            tag: head.tag.clone(),
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
                    let mut response = Response::new(ResponseBody::Stream(Box::new(body)));
                    if let Some(compression) = parameters.compression {
                        let headers = response.headers_mut();
                        headers.insert(CONTENT_ENCODING, compression.header());
                    }
                    Ok(response)
                }
                Some(Part::End(progress)) => {
                    let mut response = Response::new(ResponseBody::text(waiting));
                    summarize(response.headers_mut(), &progress);
                    Ok(response)
                }
                Some(Part::Failed(exception, _)) => Err(exception),
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
        let entered =
            self.queries
                .enter(head.query_id.clone(), &parameters.query, Room::Limited)?;
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
                    rest.discard().await;
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
                Some(value) => unescape(value),
                None => {
                    return Err(Exception::new(
                        code::UNKNOWN_QUERY_PARAMETER,
                        "UNKNOWN_QUERY_PARAMETER",
                        format_args!("Substitution `{name}` is not set"),
                    ));
                }
            },
        };
        let Some(query) = self.queries.find(&id) else {
            // It may be one of the library's own ids.
            return self
                .read(parameters, Framing::Whole, head, Room::Always)
                .await;
        };
        self.queries.cancel(&query);
        if kill.wait {
            query.done().await;
        }
        parameters.query = killed_statement(&query, kill.wait);
        let framing = Framing::of(&head.format);
        self.read(parameters, framing, head, Room::Always).await
    }
}

/// A statement that returns what `KILL QUERY` does, so that it comes in any format.
fn killed_statement(query: &Query, finished: bool) -> String {
    let status = if finished { "finished" } else { "waiting" };
    let mut sql = String::from("SELECT ");
    push_literal(&mut sql, status);
    sql.push_str(" AS kill_status, ");
    push_literal(&mut sql, &query.id);
    sql.push_str(" AS query_id, 'default' AS user, ");
    push_literal(&mut sql, &query.sql);
    sql.push_str(" AS query");
    sql
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
    mut rest: Option<&mut RequestBody>,
) -> Result<(), Exception> {
    let feeding = async {
        for bytes in ready.into_iter().filter(|bytes| !bytes.is_empty()) {
            if pieces.send(Piece::Data(bytes)).await.is_err() {
                return Ok(());
            }
        }
        if let Some(rest) = &mut rest {
            while let Some(bytes) = rest.next().await? {
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
