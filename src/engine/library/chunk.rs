//! Parts of results.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Library, RawResult};

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
    /// Of a result that came from the library, which this owns from now on.
    pub(super) fn new(library: Arc<Library>, result: NonNull<c_void>) -> Self {
        Self { library, result }
    }

    /// The result itself, alive as long as this.
    pub(super) fn raw(&self) -> RawResult {
        self.result.as_ptr()
    }

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
