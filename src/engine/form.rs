//! Statements in `multipart/form-data`, as the `clickhouse` crate sends them when there are parameters.

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::exception::{Exception, code};
use super::request::{MAX_STATEMENT_BYTES, Parameters, RequestBody};

/// Reads a `multipart/form-data` body into the parameters, if it is one; else gives it back.
///
/// # Errors
///
/// The form cannot be read, is too large, or holds a file: external tables are not supported.
pub(crate) async fn read_form(
    headers: &HeaderMap,
    body: RequestBody,
    parameters: &mut Parameters,
) -> Result<Option<RequestBody>, Exception> {
    let boundary = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| multer::parse_boundary(value).ok());
    let Some(boundary) = boundary else {
        return Ok(Some(body));
    };
    let malformed = |error: multer::Error| {
        Exception::new(
            code::BAD_ARGUMENTS,
            "BAD_ARGUMENTS",
            format_args!("The multipart form cannot be read: {error}"),
        )
    };
    let stream = futures_util::stream::unfold(body, |mut body| async move {
        let piece = body.next().await.transpose()?;
        Some((
            piece.map_err(|e| std::io::Error::other(e.to_string())),
            body,
        ))
    });
    let limit = multer::SizeLimit::new().whole_stream(MAX_STATEMENT_BYTES as u64);
    let constraints = multer::Constraints::new().size_limit(limit);
    let mut form = multer::Multipart::with_constraints(stream, boundary, constraints);
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        if field.file_name().is_some() {
            return Err(Exception::new(
                code::SUPPORT_IS_DISABLED,
                "SUPPORT_IS_DISABLED",
                "External tables are not supported by the embedded engine",
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        // Not its text: that would lose a byte order mark in front, which may be a part of a value.
        let value = field.bytes().await.map_err(malformed)?;
        let value = String::from_utf8(value.into()).map_err(|_| {
            Exception::new(
                code::BAD_ARGUMENTS,
                "BAD_ARGUMENTS",
                format_args!("A field of the multipart form is not UTF-8"),
            )
        })?;
        parameters.set(&name, value);
    }
    Ok(None)
}
