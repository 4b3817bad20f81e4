//! The embedded engine: libchdb, which is ClickHouse as a C library, behind the part of ClickHouse's HTTP interface
//! that clients use. In come HTTP requests, out go results in ClickHouse's own formats.
//!
//! ```text
//! server ─▶ service ─▶ request    the statement, its parameters, settings and database
//!           access     statement  what must be known before the library runs it
//!                      read       a thread that fetches blocks ─▶ body ─▶ the client
//!                      insert     the body ─▶ a thread that appends to the insert
//!                      session    one connection a request; library: the C interface
//!                      queries    ids, limits, KILL QUERY, clients that go away
//! ```
//!
//! It is a process of its own (`process` starts it as a child), because the library takes over much of its host: it
//! has hundreds of threads, its own allocator, and ends the process when it finds itself broken.
//!
//! A result holds two or three blocks (65,409 rows each, unless the request sets `max_block_size`) between the
//! library and the socket; a slow client holds its query back. A format that cannot be streamed is formatted whole,
//! up to 256 MiB of columns. An insert holds four pieces of its body.
//!
//! What a ClickHouse server does and this does not: users (one password at most; `--server-config` gives all queries one user's rights),
//! `compress=1` and `decompress=1` (but `Content-Encoding` and, with `enable_http_compression=1`, `Accept-Encoding` lz4 and zstd),
//! sessions (`session_id` is accepted and forgotten), external tables, and query ids in `system.processes`, where the
//! library's own stand.

mod access;
mod body;
mod compress;
mod decompress;
mod exception;
mod form;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod insert;
pub mod install;
mod library;
mod prepare;
pub mod process;
mod queries;
mod read;
mod request;
mod response;
mod server;
mod service;
mod session;
mod statement;
mod tokens;

pub use server::{DEFAULT_MAX_QUERIES, EngineOptions, run};

/// Stack of a thread that calls the library, in bytes: what a main thread has, since its parser recurses.
const STACK_BYTES: usize = 8 << 20;

/// Starts a thread for one statement.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), exception::Exception> {
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK_BYTES)
        .spawn(run)
        .map(drop)
        .map_err(|error| {
            exception::Exception::internal(format_args!("A thread cannot be started: {error}"))
        })
}
