//! Responses: the headers that every one carries, and errors as JSON.

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use crate::error::{Error, ErrorKind};
use crate::export::ExportId;

/// Names the export (or the refused request) of a response.
pub(super) const X_EXPORT_ID: HeaderName = HeaderName::from_static("x-export-id");

/// Seconds after which a client that was refused may try again, where nothing better is known.
pub(super) const RETRY_AFTER_SECONDS: u32 = 5;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorJson<'a>,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    code: &'static str,
    message: &'a str,
    field: Option<&'a str>,
}

/// The status and the code of an error, as the contract's table has them.
fn status_and_code(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Validation => (StatusCode::BAD_REQUEST, "validation_error"),
        ErrorKind::BadRequest(status) => (
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            "bad_request",
        ),
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ErrorKind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        ErrorKind::Cancelled => (StatusCode::CONFLICT, "cancelled"),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        ErrorKind::Unavailable | ErrorKind::Damaged => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        ErrorKind::QueryTimeout => (StatusCode::GATEWAY_TIMEOUT, "query_timeout"),
        ErrorKind::Usage
        | ErrorKind::Data
        | ErrorKind::BrokenOff
        | ErrorKind::Late
        | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// The code that an error is answered with.
pub(super) fn code(error: &Error) -> &'static str {
    status_and_code(error.kind()).1
}

/// The status that an error is answered with.
pub(super) fn status(error: &Error) -> StatusCode {
    status_and_code(error.kind()).0
}

/// An error as a response. What is not the client's business is replaced by the export's id.
pub(super) fn error(error: &Error, id: &ExportId) -> Response<Body> {
    let (status, code) = status_and_code(error.kind());
    let hidden;
    let message = if code == "internal" {
        hidden = format!("the export failed; the log says why under {id}");
        &hidden
    } else {
        error.message()
    };
    let json = error_json(code, message, error.field());
    let mut response = self::json(json);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match error.kind() {
        ErrorKind::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Damaged => {
            headers.insert(RETRY_AFTER, retry_after(error).into());
        }
        ErrorKind::BadRequest(_) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    common(response, id)
}

/// JSON at hand.
pub(super) fn json(json: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(json));
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Seconds after which a client that was refused for load may try again.
fn retry_after(error: &Error) -> u32 {
    error.retry_after().unwrap_or(RETRY_AFTER_SECONDS)
}

/// Adds what every response carries; one that says how it may be kept keeps that.
pub(super) fn common(mut response: Response<Body>, id: &ExportId) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_EXPORT_ID, id);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An error as the bytes of a whole HTTP/1.1 response that ends the connection.
pub(super) fn raw_error(error: &Error) -> Bytes {
    let (status, code) = status_and_code(error.kind());
    let body = error_json(code, error.message(), error.field());
    let id = ExportId::random().map_or_else(|_| String::new(), |id| id.to_string());
    let retry = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Damaged => {
            format!("retry-after: {}\r\n", retry_after(error))
        }
        _ => String::new(),
    };
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\n{retry}content-type: application/json\r\nx-export-id: {id}\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes.into()
}

fn error_json(code: &'static str, message: &str, field: Option<&str>) -> Bytes {
    let body = ErrorBody {
        error: ErrorJson {
            code,
            message,
            field,
        },
    };
    // Text alone always serialises.
    serde_json::to_vec(&body).unwrap_or_default().into()
}
