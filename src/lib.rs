//! Rowspout streams raw web-analytics events out of ClickHouse. One export is one straight walk:
//!
//! ```text
//! HTTP request ─ serve ─▶ request ─▶ pushdown ─▶ cursor ─▶ decode ─▶ encode ─▶ serve ─ HTTP body
//!                route    Export     SQL and     RowBinary  batches   CSV JSON   one chunk
//!                auth     Request    parameters  bytes      of rows,  NDJSON     per poll
//!                                                           borrowed  Parquet Arrow
//!                         └──────────── export.rs: the spine, the only file that names every stage
//! ```
//!
//! Nothing on that walk holds a whole result. Every buffer has a stated bound beside its declaration. A slow client
//! stops the reading of ClickHouse's socket, and ClickHouse itself, by back-pressure alone.
//!
//! Read [`export`] first, then one folder.

// The walk, in its own order.
pub mod serve;

pub mod request;

pub mod pushdown;

pub mod cursor;

pub mod decode;

pub mod encode;

pub mod export;

// What one would be.
pub mod plan;

// What is kept of an export when it is over.
pub mod receipt;

pub mod export_log;

// The other end of the connection: exports of any size, fetched part by part.
pub mod pull;

// What it stands on: websites and keys, tables, events from files, an engine on the same machine.
pub mod catalog;

pub mod schema;

pub mod check;

pub mod load;

pub mod engine;

pub mod demo;

// How it is started and what went wrong.
pub mod cli;

pub mod config;

pub mod shutdown;

pub mod allocator;

mod random;

pub mod error;
