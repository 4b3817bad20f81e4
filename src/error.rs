//! The one error type: what went wrong, where, what the client is told and what the log is told.

use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a class that decides the HTTP status and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A parameter is missing, malformed, unknown or repeated: 400, exit code 2.
    Validation,
    /// The request itself cannot be read, with the status that says why: 400, 408, 414, 431 or 505.
    BadRequest(u16),
    /// No key, or an unknown one: 401.
    Unauthorized,
    /// A key of another website: 403.
    Forbidden,
    /// No such website or path: 404.
    NotFound,
    /// Another method is needed: 405.
    MethodNotAllowed,
    /// Somebody with the export's own key ended it: 409.
    Cancelled,
    /// Too many requests from this key: 429.
    RateLimited,
    /// ClickHouse cannot be reached, or too many exports run: 503.
    Unavailable,
    /// ClickHouse's rows ended before their end, and those in front of it are whole: 500 where they cannot be gone on with.
    BrokenOff,
    /// What ClickHouse sent was damaged on its way, rows that were delivered perhaps too: 503, and nothing goes on from it.
    Damaged,
    /// The query's time limit passed: 504.
    QueryTimeout,
    /// The command line, the environment or the settings file is wrong: exit code 2.
    Usage,
    /// A file given to `load` holds something that cannot be loaded: exit code 1.
    Data,
    /// All was done, and rows that earlier pulls should have had are in no file: exit code 3.
    Late,
    /// Anything else: 500, exit code 1.
    Internal,
}

/// Where in the data an error lies. Counts start at 1; bytes at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Row of the result or record of the file, from 1.
    pub row: Option<u64>,
    /// Line of the file, from 1.
    pub line: Option<u64>,
    /// The column's name.
    pub column: Option<&'static str>,
    /// Byte offset in the stream or file, from 0.
    pub byte: Option<u64>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let result = write!(f, "{separator}{text}");
            separator = ", ";
            result
        };
        if let Some(line) = self.line {
            part(f, format_args!("line {line}"))?;
        }
        if let Some(row) = self.row {
            part(f, format_args!("row {row}"))?;
        }
        if let Some(column) = self.column {
            part(f, format_args!("column {column}"))?;
        }
        if let Some(byte) = self.byte {
            part(f, format_args!("byte {byte}"))?;
        }
        Ok(())
    }
}

/// An error with what the client may read ([`Error::message`]) and what only the log may ([`Error::detail`]).
///
/// The message names the bad thing and its remedy and never holds a key, visitor data or SQL.
#[derive(Debug)]
pub struct Error(Box<Inner>);

/// Boxed, so that a `Result` stays small where all goes well.
#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    detail: Option<String>,
    position: Option<Position>,
    retry_after: Option<u32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind with the message that the client reads.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            field: None,
            detail: None,
            position: None,
            retry_after: None,
            source: None,
        }))
    }

    /// A parameter that is missing, malformed, unknown or repeated.
    pub fn validation(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Validation, message);
        error.0.field = Some(field.into());
        error
    }

    /// A command line, environment or settings file that is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Anything that is nobody's mistake outside.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds what only the log may read.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds where in the data the error lies.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.0.position = Some(position);
        self
    }

    /// Adds after how many seconds the client may try again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Adds the error under this one.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What went wrong, as a class.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the client reads.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The parameter that is wrong, for [`ErrorKind::Validation`].
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What only the log reads.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Where in the data the error lies.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// After how many seconds the client may try again, where that is known.
    pub fn retry_after(&self) -> Option<u32> {
        self.0.retry_after
    }

    /// The number of ClickHouse's own error, where the details repeat one.
    pub fn clickhouse_code(&self) -> Option<u32> {
        let (_, rest) = self.detail()?.split_once("Code: ")?;
        let (code, _) = rest.split_once('.')?;
        code.parse().ok()
    }

    /// The process's exit code: 2 for wrong usage, 3 for rows that were late, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            ErrorKind::Usage | ErrorKind::Validation => 2,
            ErrorKind::Late => 3,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.0.position
            && position != Position::default()
        {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}
