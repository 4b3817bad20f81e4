//! ClickHouse's bytes: the only stage that talks to it while an export runs.
//!
//! In: a [`Statement`](crate::pushdown::Statement). Out: chunks of RowBinary as they arrive, cut anywhere. Costs what
//! the network costs. Holds one chunk; what ClickHouse sends ahead waits in the socket, and behind it ClickHouse
//! itself waits.

mod clickhouse;
pub mod failure;
mod replay;
mod table;
mod unhex;

pub use self::clickhouse::{Proof, RowCursor, Server};
pub use replay::Replay;
pub use unhex::Unhex;

use bytes::Bytes;

use crate::error::Result;

/// Where a wire's bytes come from.
pub trait ByteSource: Send {
    /// The next chunk, or `None` at the stream's end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Whatever ended the stream before its end. The source must not be asked again after that.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}
