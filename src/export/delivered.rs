//! What has been delivered of a range, and whether what ClickHouse counts agrees with it.

use crate::cursor::{Counts, Proof};
use crate::decode::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::Key;

/// What went into the encoder of one range so far, over all of its cursors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    pub(super) rows: u64,
    pub(super) settled_rows: u64,
    pub(super) last: Option<Key>,
    /// How many of the rows have the last key.
    at_last: u64,
}

impl Delivered {
    pub(super) fn add(&mut self, batch: &Batch<'_>) {
        self.rows += batch.rows() as u64;
        self.settled_rows += batch.settled_rows;
        let keys = batch.timestamps.iter().zip(batch.event_ids);
        let keys = keys.map(|(&timestamp, &event_id)| Key {
            timestamp,
            event_id,
        });
        let Some(last) = keys.clone().next_back() else {
            return;
        };
        let at_last = keys.clone().rev().take_while(|key| *key == last).count();
        let continues = at_last == batch.rows() && self.last == Some(last);
        self.at_last = at_last as u64 + if continues { self.at_last } else { 0 };
        self.last = Some(last);
    }

    /// Whether these are the rows that were counted, all of them settled: fresh ones that became visible meanwhile could
    /// stand for others that are missing.
    pub(super) fn meets(&self, expected: Counts) -> bool {
        let counted = Counts {
            rows: self.rows,
            settled: self.settled_rows,
        };
        counted == expected && self.rows == self.settled_rows
    }

    /// Whether a replica of several counts up to the last row what was delivered, and perhaps fresh rows that became visible
    /// too late. Where a limit ended the rows, it may have done so between some of one key.
    ///
    /// # Errors
    ///
    /// It has fewer: then it lags, if another one has them. Or it has settled rows that were not delivered: then the rows
    /// changed.
    pub(super) fn agrees(&self, proof: &Proof, replicated: bool, limited: bool) -> Result<()> {
        let fewer =
            proof.settled < self.settled_rows || proof.up_to < self.rows || proof.at < self.at_last;
        let beyond = if limited {
            proof.at.saturating_sub(self.at_last)
        } else {
            0
        };
        let differ = if fewer && replicated {
            lags()
        } else if fewer || proof.settled > self.settled_rows + beyond {
            changed()
        } else if proof.at > self.at_last + beyond {
            return Err(inseparable(proof.at, self.last));
        } else {
            return Ok(());
        };
        Err(differ.with_detail(format!(
            "{} rows were delivered, {} of them settled, but ClickHouse counts {} and {}",
            self.rows, self.settled_rows, proof.up_to, proof.settled
        )))
    }
}

/// Settled rows that one replica has and another one lacks.
pub(super) fn lags() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "a replica of ClickHouse lags behind what was delivered from another one",
    )
}

/// Ranges are read one after the other, so a change between them would make a file of several moments.
pub(super) fn changed() -> Error {
    Error::internal("the rows changed while they were exported")
}

/// Rows that have one key have no order among them, so nothing can go on between them.
pub(super) fn inseparable(rows: u64, key: Option<Key>) -> Error {
    Error::internal("the export was interrupted between rows that cannot be told apart")
        .with_detail(format!("{rows} rows have the key {key:?}"))
}
