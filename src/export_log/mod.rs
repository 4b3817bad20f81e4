//! The table `export_log`: who exported what, when, how much and with which result.
//!
//! In: the state of exports that begin, go on and end. Out: rows, inserted by one task in batches, so that no export ever waits
//! for them, and the receipt of any export, whichever instance made it. Holds the last state of at most
//! [`MAX_PENDING`] exports that are not written yet.

mod table;
mod writer;

pub use table::{ExportLog, Found};
pub use writer::{LogWriter, MAX_PENDING, WriterTask};

use crate::receipt::Receipt;

/// How often an export that runs says that it still does, in seconds.
pub const DEFAULT_HEARTBEAT_SECONDS: u64 = 10;

/// Heartbeats after whose absence an export is taken for lost.
pub const LOST_AFTER_HEARTBEATS: u32 = 3;

/// One row of the table: the state of an export at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The export and its figures.
    pub receipt: Receipt,
    /// Whose key asked, `key_…`.
    pub key_id: String,
    /// Counts the states of one export; the highest one holds.
    pub version: u32,
}
