//! ClickHouse's bytes: the only stage that talks to it while an export runs.
//!
//! In: an [`ExportRequest`](crate::request::ExportRequest). Out: chunks of the wire as they arrive, cut anywhere, range
//! after range. Costs what the network costs. Holds some MiB that are read ahead ([`Ranges`]); what ClickHouse sends
//! beyond waits in the socket, and behind it ClickHouse itself waits.

mod arrivals;
mod census;
mod clickhouse;
mod compression;
pub mod failure;
mod kill;
mod patience;
mod plan;
mod quarters;
mod ranges;
mod rehearsal;
mod replay;
mod replicas;
mod rows;
pub(crate) mod table;
mod unhex;

pub use self::clickhouse::{How, Proof, Server};
pub use arrivals::Arriving;
pub use census::Chosen;
pub use compression::WireCompression;
pub use kill::orders_taken;
pub use patience::{Interruptions, Patience};
pub use plan::{Counts, Plan, Planning};
pub use quarters::{Counted, Digest, Quarter, Tally, Told};
pub use ranges::{Ranges, Remedy};
pub use replay::Replay;
pub use replicas::{REPLICA_FAILURES, Replica, Replicas};
pub use rows::RowCursor;
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
