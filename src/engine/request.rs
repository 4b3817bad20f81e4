//! A request of ClickHouse's HTTP interface: what the URL, the headers and a multipart body say.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method};

use super::decompress::{Compression, Decompressed};
use super::exception::{Exception, code};
use super::session::{DEFAULT_MAX_WHOLE_BYTES, SessionOptions};

/// Most bytes of a statement, without the rows of an `INSERT`. The library's own limit (`max_query_size`, 256 KiB)
/// comes first unless the request raises it.
pub(crate) const MAX_STATEMENT_BYTES: usize = 16 << 20;
/// Most bytes of a body that are read and thrown away after a failure, so that a client which sends it
/// whole before it listens can read the answer.
pub(crate) const MAX_DISCARDED_BYTES: usize = 64 << 20;
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
    /// How the result is compressed, if the client wants that.
    pub(crate) compression: Option<Compression>,
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

    /// Takes one parameter of the URL or the form.
    pub(crate) fn set(&mut self, name: &str, value: String) {
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

    /// Takes the client's `Accept-Encoding`, if its settings allow that: a result that waits for its end is not compressed.
    pub(crate) fn accept(&mut self, headers: &HeaderMap) {
        let allowed = matches!(self.setting("enable_http_compression"), Some("1" | "true"));
        if allowed && !self.wait_end_of_query {
            self.compression = Compression::accepted(headers);
        }
    }

    /// Bounds a result that is formatted whole, unless the request has a bound of its own.
    pub(crate) fn limit_result(&mut self) {
        if self.setting("max_result_bytes").is_none() {
            let limit = DEFAULT_MAX_WHOLE_BYTES.to_string();
            self.session
                .settings
                .push(("max_result_bytes".into(), limit));
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
    /// 344.
    pub(crate) fn check(&self) -> Result<(), Exception> {
        match self.unsupported {
            None => Ok(()),
            Some(what) => Err(Exception::new(
                code::SUPPORT_IS_DISABLED,
                "SUPPORT_IS_DISABLED",
                what,
            )),
        }
    }
}

/// A request's body, as its pieces come.
pub(crate) enum RequestBody {
    /// As it was sent.
    Plain(Incoming),
    /// Behind a decoder.
    Decompressed(Decompressed),
}

impl RequestBody {
    /// Reads `Content-Encoding`, and a body accordingly.
    ///
    /// # Errors
    ///
    /// The encoding is not known, or no thread can be started.
    pub(crate) fn new(headers: &HeaderMap, body: Incoming) -> Result<Self, Exception> {
        Ok(match Compression::of(headers)? {
            None => Self::Plain(body),
            Some(compression) => Self::Decompressed(Decompressed::new(compression, body)?),
        })
    }

    /// Whether there is none, as far as the head of the request says.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Plain(body) if body.is_end_stream())
    }

    /// The next piece, or `None` at the proven end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The client broke off, or what came cannot be decompressed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Exception> {
        match self {
            Self::Plain(body) => read_piece(body).await,
            Self::Decompressed(body) => body.next().await,
        }
    }

    /// Reads on, within bounds, so that the client sees the answer instead of a reset.
    pub(crate) async fn discard(&mut self) {
        let mut discarded = 0;
        while discarded < MAX_DISCARDED_BYTES
            && let Ok(Some(bytes)) = self.next().await
        {
            discarded += bytes.len();
        }
    }
}

/// A request's body, read as far as its statement goes.
pub(crate) struct Input {
    /// The beginning of the body, not yet used.
    pub(crate) head: Bytes,
    /// The rest, if there is more.
    pub(crate) rest: Option<RequestBody>,
}

impl Input {
    /// Reads a body's first [`HEAD_BYTES`], or all of it.
    ///
    /// # Errors
    ///
    /// The client broke off.
    pub(crate) async fn begin(mut body: RequestBody) -> Result<Self, Exception> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES {
            match body.next().await? {
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
        while let Some(piece) = rest.next().await? {
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

/// The next piece of what was sent, or `None` at its proven end. Cancel-safe.
///
/// # Errors
///
/// The client broke off.
pub(crate) async fn read_piece(body: &mut Incoming) -> Result<Option<Bytes>, Exception> {
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
