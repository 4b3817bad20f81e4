//! A request of ClickHouse's HTTP interface: what the URL, the headers and a multipart body say.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, Method};

use super::exception::{Exception, code};
use super::session::SessionOptions;

/// Most bytes of a statement, without the rows of an `INSERT`. The library's own limit (`max_query_size`, 256 KiB)
/// comes first unless the request raises it.
const MAX_STATEMENT_BYTES: usize = 16 << 20;
/// Bytes of a body that are read before the statement at its start is looked at; the rest may be rows.
const HEAD_BYTES: usize = 256 << 10;

/// What a request asks for, beside the statement.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// `query` in the URL or the form.
    pub(crate) query: String,
    /// The client's name for the query.
    pub(crate) query_id: Option<String>,
    /// The format of a result whose statement names none.
    pub(crate) default_format: Option<String>,
    /// The password, if it is in the URL.
    pub(crate) password: Option<String>,
    /// Whether the response waits for the query's end.
    pub(crate) wait_end_of_query: bool,
    /// `param_NAME` by `NAME`.
    pub(crate) query_parameters: Vec<(String, String)>,
    /// Database and settings.
    pub(crate) session: SessionOptions,
    /// What this interface cannot do, if that was asked for.
    unsupported: Option<&'static str>,
}

impl Parameters {
    /// Reads the URL's query string and ClickHouse's headers.
    pub(crate) fn read(query_string: &str, headers: &HeaderMap) -> Self {
        let mut parameters = Self::default();
        let header = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        parameters.session.database = header("x-clickhouse-database");
        parameters.default_format = header("x-clickhouse-format");
        for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
            parameters.set(&name, value.into_owned());
        }
        parameters
    }

    fn set(&mut self, name: &str, value: String) {
        let on = |value: &str| !matches!(value, "" | "0" | "false");
        match name {
            "query" => self.query = value,
            "query_id" => self.query_id = Some(value).filter(|id| !id.is_empty()),
            "database" => self.session.database = Some(value),
            "default_format" => self.default_format = Some(value),
            "password" => self.password = Some(value),
            "wait_end_of_query" => self.wait_end_of_query = on(&value),
            "compress" | "decompress" if on(&value) => {
                self.unsupported =
                    Some("compress and decompress: this interface sends plain bytes");
            }
            // Who asks, and how ClickHouse buffers and keeps sessions: nothing that changes a result.
            "user"
            | "quota_key"
            | "role"
            | "stacktrace"
            | "session_id"
            | "session_timeout"
            | "session_check"
            | "close_session"
            | "buffer_size"
            | "compress"
            | "decompress"
            | "client_protocol_version"
            | "framing" => {}
            _ => match name.strip_prefix("param_") {
                Some(name) => self.query_parameters.push((name.to_owned(), value)),
                None => self.session.settings.push((name.to_owned(), value)),
            },
        }
    }

    /// A setting's value, the last if it is there twice.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.session
            .settings
            .iter()
            .rfind(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A query parameter's value.
    pub(crate) fn query_parameter(&self, name: &str) -> Option<&str> {
        self.query_parameters
            .iter()
            .rfind(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Makes the session read-only for a method that must not change anything. As in ClickHouse, settings stay free.
    pub(crate) fn restrict(&mut self, method: &Method) {
        if method != Method::POST && self.setting("readonly") != Some("1") {
            self.session.settings.retain(|(name, _)| name != "readonly");
            self.session.settings.push(("readonly".into(), "2".into()));
        }
    }

    /// Whether the session may not write.
    pub(crate) fn is_readonly(&self) -> bool {
        !matches!(self.setting("readonly"), None | Some("" | "0"))
    }

    /// Refuses what this interface cannot do.
    ///
    /// # Errors
    ///
    /// 344, or 89 for a compressed body.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Exception> {
        if let Some(what) = self.unsupported {
            return Err(Exception::new(
                code::SUPPORT_IS_DISABLED,
                "SUPPORT_IS_DISABLED",
                what,
            ));
        }
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => Ok(()),
            Some(_) => Err(Exception::new(
                code::UNKNOWN_COMPRESSION_METHOD,
                "UNKNOWN_COMPRESSION_METHOD",
                "Compressed request bodies are not supported by the embedded engine: send the body without \
                 Content-Encoding",
            )),
        }
    }
}

/// A request's body, read as far as its statement goes.
pub(crate) struct Input {
    /// The beginning of the body, not yet used.
    pub(crate) head: Bytes,
    /// The rest, if there is more.
    pub(crate) rest: Option<Incoming>,
}

impl Input {
    /// Reads a body's first [`HEAD_BYTES`], or all of it.
    ///
    /// # Errors
    ///
    /// The client broke off.
    pub(crate) async fn begin(mut body: Incoming) -> Result<Self, Exception> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES {
            match next_piece(&mut body).await? {
                Some(piece) => head.extend_from_slice(&piece),
                None => {
                    return Ok(Self {
                        head: head.freeze(),
                        rest: None,
                    });
                }
            }
        }
        Ok(Self {
            head: head.freeze(),
            rest: Some(body),
        })
    }

    /// Reads all of a body that is a statement, up to [`MAX_STATEMENT_BYTES`].
    ///
    /// # Errors
    ///
    /// The client broke off, or the body is too large.
    pub(crate) async fn all(self) -> Result<Bytes, Exception> {
        let Some(mut rest) = self.rest else {
            return Ok(self.head);
        };
        let mut all = BytesMut::from(self.head);
        while let Some(piece) = next_piece(&mut rest).await? {
            if all.len() + piece.len() > MAX_STATEMENT_BYTES {
                return Err(too_large());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

fn too_large() -> Exception {
    Exception::new(
        code::QUERY_IS_TOO_LARGE,
        "QUERY_IS_TOO_LARGE",
        format_args!("The statement is larger than {MAX_STATEMENT_BYTES} bytes"),
    )
}

/// The body's next piece, or `None` at its proven end.
///
/// # Errors
///
/// The client broke off.
pub(crate) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Exception> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                return Err(Exception::new(
                    code::CANNOT_READ_ALL_DATA,
                    "CANNOT_READ_ALL_DATA",
                    format_args!("The request's body broke off: {error}"),
                ));
            }
        }
    }
}

/// Reads a `multipart/form-data` body into the parameters, if it is one; else gives it back.
///
/// # Errors
///
/// The form cannot be read, is too large, or holds a file: external tables are not supported.
pub(crate) async fn read_form(
    headers: &HeaderMap,
    body: Incoming,
    parameters: &mut Parameters,
) -> Result<Option<Incoming>, Exception> {
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
        let piece = next_piece(&mut body).await.transpose()?;
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
        let value = field.text().await.map_err(malformed)?;
        parameters.set(&name, value);
    }
    Ok(None)
}
