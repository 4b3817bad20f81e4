//! Sessions and what runs in them.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use super::chunk::{Chunk, Progress};
use super::{Library, RawConnection, SUCCESS, text};
use crate::engine::exception::Exception;

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
    /// Of a handle that came from the library, which this owns from now on.
    pub(super) fn new(library: Arc<Library>, handle: NonNull<RawConnection>) -> Self {
        Self { library, handle }
    }

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
        let result = unsafe { (library.functions.fetch)(self.connection.raw(), self.handle.raw()) };
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
                    self.handle.raw(),
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
