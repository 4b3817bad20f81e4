//! ClickHouse's exceptions: their code, the HTTP status that goes with it, and the frame that ends a broken body.

use std::fmt;

use bytes::Bytes;
use hyper::StatusCode;

/// Codes that this interface raises itself; the names are ClickHouse's.
pub(crate) mod code {
    pub(crate) const CANNOT_READ_ALL_DATA: u32 = 33;
    pub(crate) const BAD_ARGUMENTS: u32 = 36;
    pub(crate) const SYNTAX_ERROR: u32 = 62;
    pub(crate) const UNKNOWN_COMPRESSION_METHOD: u32 = 89;
    pub(crate) const UNKNOWN_SETTING: u32 = 115;
    pub(crate) const READONLY: u32 = 164;
    pub(crate) const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
    pub(crate) const QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: u32 = 216;
    pub(crate) const QUERY_IS_TOO_LARGE: u32 = 229;
    pub(crate) const CANNOT_DECOMPRESS: u32 = 271;
    pub(crate) const SUPPORT_IS_DISABLED: u32 = 344;
    pub(crate) const INTO_OUTFILE_NOT_ALLOWED: u32 = 358;
    pub(crate) const QUERY_WAS_CANCELLED: u32 = 394;
    pub(crate) const UNKNOWN_QUERY_PARAMETER: u32 = 456;
    pub(crate) const AUTHENTICATION_FAILED: u32 = 516;
    pub(crate) const UNKNOWN_EXCEPTION: u32 = 1002;
}

/// Version that ClickHouse's messages end in, asked of the library once at the start.
static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Remembers the version that messages end in.
pub(crate) fn set_version(version: String) {
    // The first engine of a process is its only one.
    let _ = VERSION.set(version);
}

/// An exception as ClickHouse words it: `Code: N. DB::Exception: … (NAME) (version …)`.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    code: u32,
    text: String,
}

impl Exception {
    /// An exception of this interface. `message` is a sentence without its full stop.
    pub(crate) fn new(code: u32, name: &str, message: impl fmt::Display) -> Self {
        Self {
            code,
            text: format!("Code: {code}. DB::Exception: {message}. ({name})"),
        }
    }

    /// A fault of this interface or of the library.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(code::UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", message)
    }

    /// The query was killed, or its client is gone.
    pub(crate) fn cancelled() -> Self {
        Self::new(
            code::QUERY_WAS_CANCELLED,
            "QUERY_WAS_CANCELLED",
            "Query was cancelled",
        )
    }

    /// Reads the library's message.
    pub(crate) fn parse(message: &str) -> Self {
        let code = message
            .find("Code: ")
            .map(|at| &message[at + "Code: ".len()..])
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse().ok());
        match code {
            Some(code) => Self {
                code,
                text: message.trim_end().to_owned(),
            },
            None => Self::internal(message),
        }
    }

    /// ClickHouse's number for what went wrong.
    pub(crate) fn code(&self) -> u32 {
        self.code
    }

    /// Whether the library refused to stream a statement, before it did anything else with it.
    pub(crate) fn is_not_streamable(&self) -> bool {
        self.code == code::BAD_ARGUMENTS && self.text.contains("Streaming query is not supported")
    }

    /// The HTTP status that a ClickHouse server sends for it, after its `exceptionCodeToHTTPStatus`.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
            6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167
            | 168 | 223 | 321 | 376 | 427 | 441 | 675 | 676 => StatusCode::BAD_REQUEST,
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 511 => {
                StatusCode::NOT_FOUND
            }
            229 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
            381 => StatusCode::LENGTH_REQUIRED,
            159 => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The frame that ends a body which cannot be completed, in the dialect of ClickHouse 25.11 and later:
    /// `\r\n__exception__\r\n<tag>\r\n<message>\n<length> <tag>\r\n__exception__\r\n`, where the length counts the
    /// message and its line feed.
    pub(crate) fn frame(&self, tag: &str) -> Bytes {
        let message = format!("{self}\n");
        Bytes::from(format!(
            "\r\n__exception__\r\n{tag}\r\n{message}{} {tag}\r\n__exception__\r\n",
            message.len()
        ))
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match VERSION.get() {
            Some(version) if !self.text.ends_with(&format!("(version {version})")) => {
                write!(f, " (version {version})")
            }
            _ => Ok(()),
        }
    }
}
