//! libchdb behind safe types: the only folder of the crate that talks C.
//!
//! A [`Library`] is loaded once and never unloaded. A [`Connection`] is a session: its settings, its database and
//! one statement at a time. A [`Rows`] is a result that is fetched block by block, an [`Insert`] a table that is fed
//! piece by piece; both borrow their connection, so the compiler keeps the rule of one statement at a time.
//!
//! Every call blocks. Signatures are those of `chdb.h` of chDB 26.7.

#![allow(unsafe_code)] // a C library; every block carries its proof

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

mod chunk;
mod connection;

pub(crate) use self::chunk::{Chunk, Progress};
pub(crate) use self::connection::Connection;
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
    /// ClickHouse's configuration file, absolute, if it is started with one.
    server_config: Option<PathBuf>,
}

impl Library {
    /// Loads the library and keeps it from taking the process's signals over.
    ///
    /// The process's time zone becomes UTC, because the library reads `TZ` when it starts and offers no other way.
    ///
    /// # Errors
    ///
    /// The file is not a libchdb of this platform, or one without a function that is needed.
    pub(crate) fn open(path: &Path, server_config: Option<PathBuf>) -> Result<Arc<Self>> {
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
        Ok(Arc::new(Self {
            functions,
            server_config,
        }))
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
        if let Some(file) = &self.server_config {
            arguments.push(format!("--config-file={}", file.display()));
        }
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
        Ok(Connection::new(Arc::clone(self), handle))
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
        let chunk = Chunk::new(Arc::clone(self), result);
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
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as this function's caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(text.to_string_lossy().into_owned())
}
