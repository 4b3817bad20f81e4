//! What of the engine needs no library, for the fuzz targets: from a connection's bytes to a statement and its rows.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::access::Access;
use super::body::ResponseBody;
use super::exception::Exception;
use super::prepare::{Understood, framing, runs_whole, understand};
use super::response::{Head, failed};
use super::statement::{Kind, Statement};
use super::tokens::Tokens;

/// Most bytes of rows that an answer repeats.
const MAX_ROWS_BYTES: usize = 4 << 20;

/// The tokens of a statement: where each begins, its text, and how deep it stands.
pub fn tokens(sql: &str) -> Vec<(usize, &str, usize)> {
    let tokens = Tokens::new(sql);
    tokens.map(|t| (t.start, t.text, t.depth)).collect()
}

/// What was read of a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// `select`, `insert`, `kill` or `other`.
    pub kind: &'static str,
    /// The format that the statement names, and the one of its rows.
    pub formats: [Option<String>; 2],
    /// Whether it names a client's file, runs whole, is empty, is several.
    pub is: [bool; 4],
    /// Where its rows begin.
    pub rows_at: Option<usize>,
    /// The id to kill and whether to wait for that.
    pub kill: Option<String>,
}

/// Reads a statement.
pub fn read(sql: &str) -> Read {
    let statement = Statement::read(sql);
    let mut read = Read {
        kind: "other",
        formats: [statement.format, None],
        is: [
            statement.client_file,
            statement.whole,
            statement.empty,
            statement.several,
        ],
        rows_at: None,
        kill: None,
    };
    match statement.kind {
        Kind::Select => read.kind = "select",
        Kind::InsertRows(rows) => {
            read.kind = "insert";
            read.formats[1] = Some(rows.format);
            read.rows_at = Some(rows.rows_at);
        }
        Kind::Kill(kill) => {
            read.kind = "kill";
            read.kill = Some(format!("{kill:?}"));
        }
        Kind::Other => {}
    }
    read
}

/// Serves a connection without a library: the answer says what would run, and repeats the rows behind an empty line.
///
/// # Errors
///
/// What came is no HTTP, or broke off.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), hyper::Error> {
    let answer = service_fn(|request| async move {
        let answer = answer(request).await;
        Ok::<_, Infallible>(answer.unwrap_or_else(|exception| failed(&exception)))
    });
    // An end behind a request is not one of its answer here: there is nobody to leave.
    http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer(request: Request<Incoming>) -> Result<Response<ResponseBody>, Exception> {
    let mut head = Head::new();
    let access = Access::new(None, true);
    let Understood {
        parameters,
        statement,
        input,
    } = understand(&access, request, &mut head).await?;
    let framing = framing(&statement, &parameters, &head.format);
    let mut rows = BytesMut::new();
    let mut sql = parameters.query.clone();
    if let Kind::InsertRows(insert) = &statement.kind
        && !runs_whole(insert, &input)
    {
        rows.extend_from_slice(
            Bytes::from(parameters.query.clone())
                .slice(insert.rows_at..)
                .as_ref(),
        );
        sql.clone_from(&insert.sql);
    }
    rows.extend_from_slice(&input.head);
    let mut rest = input.rest;
    while let Some(body) = &mut rest
        && let Some(piece) = body.next().await?
    {
        if rows.len() + piece.len() > MAX_ROWS_BYTES {
            body.discard().await;
            return Err(Exception::internal("The rows are too many to be repeated"));
        }
        rows.extend_from_slice(&piece);
    }
    let text = format!(
        "{:?} {sql:?} {} {framing:?} {:?} {:?} {:?}\n\n",
        statement.kind,
        head.format,
        parameters.query_parameters,
        parameters.session,
        parameters.compression
    );
    let mut answer = BytesMut::from(text.as_bytes());
    answer.extend_from_slice(&rows);
    let mut response = Response::new(ResponseBody::text(answer.freeze()));
    head.describe(response.headers_mut());
    Ok(response)
}
