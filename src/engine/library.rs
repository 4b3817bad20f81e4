//! libchdb behind safe types: the only file of the crate that talks C.
//!
//! A [`Library`] is loaded once and never unloaded. A [`Connection`] is a session: its settings, its database and
//! one statement at a time. A [`Rows`] is a result that is fetched block by block, an [`Insert`] a table that is fed
//! piece by piece; both borrow their connection, so the compiler keeps the rule of one statement at a time.
//!
//! Every call blocks. Signatures are those of `chdb.h` of chDB 26.7.

#![allow(unsafe_code)] // a C library; every block carries its proof

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use super::exception::Exception;
use crate::error::{Error, Result};

/// `chdb_connection`: an opaque handle, held by the library behind one more pointer.
type RawConnection = *mut c_void;
/// `chdb_result *`.
type RawResult = *mut c_void;
/// `chdb_insert_stream`.
type RawInsert = *mut c_void;

/// `chdb_state`: 0 is success.
const SUCCESS: c_int = 0;

macro_rules! functions {
    ($($name:ident: $symbol:literal fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The library's functions, looked up once.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Looks every function up, or names the one that is missing.
            fn load(library: &libloading::Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $(
                        // SAFETY: the signature is the one that chdb.h declares for this symbol.
                        $name: *unsafe { library.get($symbol)? },
                    )*
                })
            }
        }
    };
}

functions! {
    version: b"chdb_version\0" fn() -> *const c_char;
    set_signal_handlers_enabled: b"chdb_set_signal_handlers_enabled\0" fn(c_int);
    shutdown: b"chdb_shutdown\0" fn() -> c_int;
    connect: b"chdb_connect\0" fn(c_int, *mut *mut c_char) -> *mut RawConnection;
    close: b"chdb_close_conn\0" fn(*mut RawConnection);
    query: b"chdb_query_with_params_n\0" fn(
        RawConnection, *const u8, usize, *const u8, usize,
        *const *const u8, *const usize, *const *const u8, *const usize, usize
    ) -> RawResult;
    stream: b"chdb_stream_query_with_params_n\0" fn(
        RawConnection, *const u8, usize, *const u8, usize,
        *const *const u8, *const usize, *const *const u8, *const usize, usize
    ) -> RawResult;
    fetch: b"chdb_stream_fetch_result\0" fn(RawConnection, RawResult) -> RawResult;
    cancel_stream: b"chdb_stream_cancel_query\0" fn(RawConnection, RawResult);
    destroy_result: b"chdb_destroy_query_result\0" fn(RawResult);
    result_buffer: b"chdb_result_buffer\0" fn(RawResult) -> *const u8;
    result_length: b"chdb_result_length\0" fn(RawResult) -> usize;
    result_error: b"chdb_result_error\0" fn(RawResult) -> *const c_char;
    storage_rows_read: b"chdb_result_storage_rows_read\0" fn(RawResult) -> u64;
    storage_bytes_read: b"chdb_result_storage_bytes_read\0" fn(RawResult) -> u64;
    rows_written: b"chdb_result_rows_written\0" fn(RawResult) -> u64;
    bytes_written: b"chdb_result_bytes_written\0" fn(RawResult) -> u64;
    insert: b"chdb_stream_insert_with_params_n\0" fn(
        RawConnection, *const u8, usize, *const u8, usize,
        *const *const u8, *const usize, *const *const u8, *const usize, usize
    ) -> RawInsert;
    append: b"chdb_stream_append\0" fn(RawInsert, *const u8, usize) -> c_int;
    finish_insert: b"chdb_stream_done\0" fn(RawInsert) -> RawResult;
    insert_error: b"chdb_stream_insert_error\0" fn(RawInsert) -> *const c_char;
    destroy_insert: b"chdb_destroy_insert_stream\0" fn(RawInsert);
}

/// libchdb, loaded.
pub(crate) struct Library {
    functions: Functions,
}

impl Library {
    /// Loads the library and keeps it from taking the process's signals over.
    ///
    /// The process's time zone becomes UTC, because the library reads `TZ` when it starts and offers no other way.
    ///
    /// # Errors
    ///
    /// The file is not a libchdb of this platform, or one without a function that is needed.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        // SAFETY: the engine is a process of its own, and this runs before it starts its first thread, so nothing
        // reads the environment meanwhile.
        unsafe { std::env::set_var("TZ", "UTC") };
        let refused = |error: libloading::Error| {
            Error::usage(format!(
                "{} is not a libchdb that can be loaded here: set ROWSPOUT_LIBCHDB to one, or remove the file so that \
                 it is fetched again",
                path.display()
            ))
            .with_source(error)
        };
        // SAFETY: libchdb's initialisers register its functions and formats; they have no precondition.
        let library = unsafe { libloading::Library::new(path) }.map_err(refused)?;
        let functions = Functions::load(&library).map_err(refused)?;
        // Its threads may run until the process ends, so its code must stay mapped that long.
        std::mem::forget(library);
        // SAFETY: the function takes a flag; called before the first connection, as chdb.h asks.
        unsafe { (functions.set_signal_handlers_enabled)(0) };
        Ok(Arc::new(Self { functions }))
    }

    /// The version of the library, as in `26.7.3`.
    pub(crate) fn version(&self) -> String {
        // SAFETY: the function takes nothing and returns a static string that ends in a zero byte.
        unsafe { CStr::from_ptr((self.functions.version)()) }
            .to_string_lossy()
            .into_owned()
    }

    /// Opens a session on the database in `path`, with settings of its own. The first session starts the engine.
    ///
    /// # Errors
    ///
    /// The engine cannot start, or a setting's value is not one. The library writes the reason to standard error.
    pub(crate) fn connect(
        self: &Arc<Self>,
        path: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Connection> {
        let mut arguments = vec!["rowspout".to_owned(), format!("--path={}", path.display())];
        arguments.extend(
            settings
                .iter()
                .map(|(name, value)| format!("--{name}={value}")),
        );
        let arguments = arguments
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                Error::usage("the engine's directory has a zero byte in its name")
                    .with_source(error)
            })?;
        let mut pointers: Vec<*mut c_char> =
            arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        // SAFETY: `pointers` holds `count` strings that end in a zero byte and outlive the call, which copies them.
        let handle = unsafe { (self.functions.connect)(count, pointers.as_mut_ptr()) };
        let handle = NonNull::new(handle).ok_or_else(|| {
            Error::internal(format!(
                "the engine cannot open {}: look at the lines above, and at the directory's permissions",
                path.display()
            ))
        })?;
        Ok(Connection {
            library: Arc::clone(self),
            handle,
        })
    }

    /// Stops the engine's threads. Call it once every connection is closed. True if none is left.
    pub(crate) fn shutdown(&self) -> bool {
        // SAFETY: the function takes nothing, and refuses by itself while a connection is open.
        unsafe { (self.functions.shutdown)() == SUCCESS }
    }

    /// Turns a result into a chunk or the error that it holds.
    fn take(self: &Arc<Self>, result: RawResult) -> Result<Chunk, Exception> {
        let Some(result) = NonNull::new(result) else {
            return Err(Exception::internal("libchdb returned no result"));
        };
        let chunk = Chunk {
            library: Arc::clone(self),
            result,
        };
        // SAFETY: `result` is alive until `chunk` is dropped.
        match unsafe { text((self.functions.result_error)(result.as_ptr())) } {
            Some(message) => Err(Exception::parse(&message)),
            None => Ok(chunk),
        }
    }
}

/// Copies a C string, if there is one.
///
/// # Safety
///
/// `pointer` is null or a string that ends in a zero byte and lives for the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: as this function's caller promises.
    (!pointer.is_null()).then(|| {
        unsafe { CStr::from_ptr(pointer) }
            .to_string_lossy()
            .into_owned()
    })
}

/// Query parameters, `{name:Type}` in the SQL; values are escaped as in TabSeparated.
pub(crate) type Parameters = [(String, String)];

/// The four arrays that the library takes parameters in; they borrow from the [`Parameters`].
struct ParameterArrays {
    names: Vec<*const u8>,
    name_lengths: Vec<usize>,
    values: Vec<*const u8>,
    value_lengths: Vec<usize>,
}

impl ParameterArrays {
    fn new(parameters: &Parameters) -> Self {
        Self {
            names: parameters.iter().map(|(name, _)| name.as_ptr()).collect(),
            name_lengths: parameters.iter().map(|(name, _)| name.len()).collect(),
            values: parameters.iter().map(|(_, value)| value.as_ptr()).collect(),
            value_lengths: parameters.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

/// A session: settings, a database, and one statement at a time.
pub(crate) struct Connection {
    library: Arc<Library>,
    handle: NonNull<RawConnection>,
}

// SAFETY: the library locks a mutex of the connection's in every call and keeps nothing in the calling thread, so a
// connection may move between threads. It is not `Sync`: one statement at a time is the caller's business.
unsafe impl Send for Connection {}

impl Connection {
    fn raw(&self) -> RawConnection {
        // SAFETY: the handle points to the connection until `drop` closes it.
        unsafe { *self.handle.as_ptr() }
    }

    /// Runs a statement and returns its whole result.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception.
    pub(crate) fn query(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &Parameters,
    ) -> Result<Chunk, Exception> {
        let arrays = ParameterArrays::new(parameters);
        // SAFETY: every pointer goes with its length and outlives the call, which copies what it needs.
        let result = unsafe {
            (self.library.functions.query)(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        self.library.take(result)
    }

    /// Starts a `SELECT` whose result is fetched block by block. The format is applied to each block by itself.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception; code 36 for a statement that is not a `SELECT`.
    pub(crate) fn stream(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &Parameters,
    ) -> Result<Rows<'_>, Exception> {
        let arrays = ParameterArrays::new(parameters);
        // SAFETY: as in `query`.
        let result = unsafe {
            (self.library.functions.stream)(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        let handle = self.library.take(result)?;
        Ok(Rows {
            connection: self,
            handle,
            ended: false,
        })
    }

    /// Starts an `INSERT` without its `FORMAT` clause; the rows follow piece by piece.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception.
    pub(crate) fn insert(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &Parameters,
    ) -> Result<Insert<'_>, Exception> {
        let arrays = ParameterArrays::new(parameters);
        // SAFETY: as in `query`.
        let handle = unsafe {
            (self.library.functions.insert)(
                self.raw(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                arrays.names.as_ptr(),
                arrays.name_lengths.as_ptr(),
                arrays.values.as_ptr(),
                arrays.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        let handle = NonNull::new(handle)
            .ok_or_else(|| Exception::internal("libchdb returned no insert"))?;
        let insert = Insert {
            connection: self,
            handle,
        };
        match insert.error() {
            Some(exception) => Err(exception),
            None => Ok(insert),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the handle came from `connect`, is closed once, and every result that needs it has borrowed it.
        unsafe { (self.library.functions.close)(self.handle.as_ptr()) };
    }
}

/// A part of a result, in the library's own memory.
pub(crate) struct Chunk {
    library: Arc<Library>,
    result: NonNull<c_void>,
}

// SAFETY: a result is plain memory that nothing writes to after it was returned, and may be freed by any thread.
unsafe impl Send for Chunk {}
// SAFETY: as above; reading through a shared reference changes nothing.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// What the statement has read and written so far.
    pub(crate) fn progress(&self) -> Progress {
        let functions = &self.library.functions;
        let result = self.result.as_ptr();
        // SAFETY: the result is alive; these functions read a number of it.
        unsafe {
            Progress {
                read_rows: (functions.storage_rows_read)(result),
                read_bytes: (functions.storage_bytes_read)(result),
                written_rows: (functions.rows_written)(result),
                written_bytes: (functions.bytes_written)(result),
            }
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        let functions = &self.library.functions;
        // SAFETY: the result is alive; both functions only read it.
        let (start, length) = unsafe {
            (
                (functions.result_buffer)(self.result.as_ptr()),
                (functions.result_length)(self.result.as_ptr()),
            )
        };
        if start.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: the library says that `length` bytes start there; they live as long as the result, which this
        // chunk owns, and nothing writes to them.
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the result came from the library and is destroyed once.
        unsafe { (self.library.functions.destroy_result)(self.result.as_ptr()) };
    }
}

/// Rows and bytes of a statement, as in `X-ClickHouse-Summary`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Rows read from tables.
    pub(crate) read_rows: u64,
    /// Bytes read from tables.
    pub(crate) read_bytes: u64,
    /// Rows written.
    pub(crate) written_rows: u64,
    /// Bytes written.
    pub(crate) written_bytes: u64,
}

impl std::ops::Add for Progress {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read_rows: self.read_rows + other.read_rows,
            read_bytes: self.read_bytes + other.read_bytes,
            written_rows: self.written_rows + other.written_rows,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

/// A result that is fetched block by block. Dropping it cancels the query.
pub(crate) struct Rows<'c> {
    connection: &'c mut Connection,
    handle: Chunk,
    ended: bool,
}

impl Rows<'_> {
    /// The next block in the format's bytes, or `None` at the proven end.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception; the result has then ended.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, Exception> {
        if self.ended {
            return Ok(None);
        }
        let library = &self.connection.library;
        // SAFETY: connection and handle are alive and used by one thread.
        let result = unsafe {
            (library.functions.fetch)(self.connection.raw(), self.handle.result.as_ptr())
        };
        let chunk = library.take(result).inspect_err(|_| self.ended = true)?;
        // The library's sign of the end is a result without bytes.
        self.ended = chunk.as_ref().is_empty();
        Ok((!self.ended).then_some(chunk))
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: connection and handle are alive; the handle is destroyed after this.
            unsafe {
                (self.connection.library.functions.cancel_stream)(
                    self.connection.raw(),
                    self.handle.result.as_ptr(),
                );
            }
        }
    }
}

/// A table that is fed piece by piece. Dropping it unfinished cancels the insert.
pub(crate) struct Insert<'c> {
    connection: &'c mut Connection,
    handle: NonNull<c_void>,
}

impl Insert<'_> {
    /// Hands bytes of the format over; blocks while the engine is behind. False once the insert has failed, with
    /// the reason in [`finish`](Self::finish).
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        // SAFETY: the handle is alive; the call copies `bytes`.
        unsafe {
            (self.connection.library.functions.append)(
                self.handle.as_ptr(),
                bytes.as_ptr(),
                bytes.len(),
            ) == SUCCESS
        }
    }

    /// Ends the data and commits.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception; blocks that were complete before it may have been written.
    pub(crate) fn finish(self) -> Result<Progress, Exception> {
        let library = &self.connection.library;
        // SAFETY: the handle is alive, and `self` ends here.
        let result = unsafe { (library.functions.finish_insert)(self.handle.as_ptr()) };
        library.take(result).map(|chunk| chunk.progress())
    }

    fn error(&self) -> Option<Exception> {
        // SAFETY: the handle is alive; the string belongs to it and is copied.
        unsafe {
            text((self.connection.library.functions.insert_error)(
                self.handle.as_ptr(),
            ))
        }
        .map(|message| Exception::parse(&message))
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from the library and is destroyed once; this cancels what was not finished.
        unsafe { (self.connection.library.functions.destroy_insert)(self.handle.as_ptr()) };
    }
}
