//! How many rows lie where in a window: asked beside the first rows, used to divide the rest and to prove each range.

use std::sync::Arc;

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::kill::Kill;
use super::quarters::is_counted;
use super::replicas::Replica;
use super::{Server, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{self, Fence, Parts, Slots, Statement};
use crate::request::{ExportRequest, Interval};

/// Most rows of a slot that whole quarters of an hour may have, where narrower slots would divide them better.
const MAX_QUARTER_ROWS: u64 = 32_768;

/// What the server counts in one slot.
#[derive(Clone, Copy, Debug, clickhouse::Row, Deserialize)]
struct Slot {
    slot: i64,
    rows: u64,
    settled: u64,
    /// Whether the rows lie in several parts.
    overlaps: u8,
}

/// Rows of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that were visible.
    pub rows: u64,
    /// Those that no insert can still add to.
    pub settled: u64,
}

impl Counts {
    /// Whether no insert can still add to any of them.
    pub fn are_settled(self) -> bool {
        self.rows == self.settled
    }
}

/// The counts of a window, slot by slot. Holds 32 bytes for each slot that has rows, of 16,384 at most.
#[derive(Debug)]
pub struct Plan {
    slots: Slots,
    /// Whether they came from the projection, if that served. All rows are settled then.
    kept: bool,
    /// Whether parts could be told apart.
    has_parts: bool,
    /// For each slot that has rows what lies up to its end.
    sums: Vec<Sum>,
}

/// The rows from the window's beginning to the end of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    slot: i64,
    counts: Counts,
    /// Those that lie in slots of several parts.
    overlapping: u64,
}

impl Plan {
    /// `None` where the counts cannot be: garbled on their way, they would count and divide wrongly.
    fn new(slots: Slots, kept: bool, has_parts: bool, counted: &[Slot]) -> Option<Self> {
        let mut sums: Vec<Sum> = Vec::with_capacity(counted.len());
        for slot in counted {
            let before = sums.last().copied();
            let behind = before.map_or(0, |before| before.slot + 1);
            let end = slot.slot.checked_add(1)?.checked_mul(slots.width)?;
            slots.from.checked_add(end)?;
            if slot.slot < behind || slot.settled > slot.rows || slot.overlaps > 1 {
                return None;
            }
            let mut sum = before.unwrap_or_default();
            sum.slot = slot.slot;
            sum.counts.rows = sum.counts.rows.checked_add(slot.rows)?;
            sum.counts.settled += slot.settled;
            sum.overlapping += slot.rows * u64::from(slot.overlaps);
            sums.push(sum);
        }
        Some(Self {
            slots,
            kept,
            has_parts,
            sums,
        })
    }

    /// Whether the counts came from the projection, if that served.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Where its slots lie.
    pub(super) fn slots(&self) -> Slots {
        self.slots
    }

    /// The rows of an interval whose ends are ends of slots, or of the window.
    pub fn counts(&self, interval: Interval) -> Counts {
        let (before, behind) = self.around(interval);
        Counts {
            rows: behind.counts.rows - before.counts.rows,
            settled: behind.counts.settled - before.counts.settled,
        }
    }

    /// How the rows of such an interval lie in parts.
    pub fn parts(&self, interval: Interval) -> Parts {
        if !self.has_parts {
            return Parts::Untold;
        }
        let (before, behind) = self.around(interval);
        let overlapping = behind.overlapping - before.overlapping;
        if overlapping * 2 > behind.counts.rows - before.counts.rows {
            Parts::Overlapping
        } else {
            Parts::Disjoint
        }
    }

    /// What lies before an interval, and what lies before its end.
    fn around(&self, interval: Interval) -> (Sum, Sum) {
        (self.before(interval.from), self.before(interval.until))
    }

    /// The rows in slots that begin before an instant.
    fn before(&self, instant: i64) -> Sum {
        let begins = |sum: &Sum| self.slots.from + sum.slot * self.slots.width;
        match self.sums.partition_point(|sum| begins(sum) < instant) {
            0 => Sum::default(),
            slots => self.sums[slots - 1],
        }
    }

    /// The first end of a slot with at least so many rows between it and `from`, or `None` where there are not so many.
    pub fn cut(&self, from: i64, rows: u64) -> Option<i64> {
        let wanted = self.before(from).counts.rows + rows;
        let at = self.sums.partition_point(|sum| sum.counts.rows < wanted);
        let slot = self.sums.get(at)?.slot;
        Some(self.slots.from + (slot + 1) * self.slots.width)
    }
}

/// A plan that is being asked for. Dropped before it is there, it kills the query.
pub struct Planning(JoinHandle<Result<Plan>>);

impl Planning {
    /// Whether the plan, or the reason why there is none, is there.
    pub fn is_ready(&self) -> bool {
        self.0.is_finished()
    }

    /// The plan. Cancel-safe, but not to be asked again.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn plan(&mut self) -> Result<Plan> {
        (&mut self.0)
            .await
            .unwrap_or_else(|error| Err(Error::internal("the planning stopped").with_source(error)))
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Asks a replica for the plan of a request, in a task of its own.
    pub fn plan(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        query_id: &str,
    ) -> Planning {
        let kept = is_counted(replica, request)
            .then(|| pushdown::kept_slots(request, &self.table, fence, replica.has_parts()))
            .flatten();
        let (server, replica, request) = (self.clone(), replica.clone(), request.clone());
        let query_id = query_id.to_owned();
        Planning(tokio::spawn(async move {
            let slots = Slots::of(&request.window);
            if let Some((quarters, statement)) = kept {
                let query_id = format!("{query_id}-kept");
                let serves = |slot: &Slot| {
                    let divides = quarters.width <= slots.width || slot.rows <= MAX_QUARTER_ROWS;
                    divides && slot.rows == slot.settled
                };
                match server.count_slots(&replica, statement, &query_id).await {
                    Ok(counted) if counted.iter().all(serves) => {
                        return Plan::new(quarters, true, replica.has_parts(), &counted)
                            .ok_or_else(failure::damaged);
                    }
                    // Counted at two moments, some of them would be those of other rows.
                    Ok(_) => {}
                    Err(error)
                        if failure::is_of_the_server(&error)
                            || error.kind() == ErrorKind::QueryTimeout =>
                    {
                        return Err(error);
                    }
                    // A question that this server does not take.
                    Err(error) => {
                        tracing::debug!(query_id, %error, "the projection does not count slots");
                    }
                }
            }
            server
                .scan(&replica, &request, fence, slots, &query_id)
                .await
        }))
    }

    /// The plan of a request, counted among the events.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub(super) async fn scan(
        &self,
        replica: &Arc<Replica>,
        request: &ExportRequest,
        fence: Fence,
        slots: Slots,
        query_id: &str,
    ) -> Result<Plan> {
        let statement = pushdown::slots(request, &self.table, fence, slots, replica.has_parts());
        let counted = self.count_slots(replica, statement, query_id).await?;
        Plan::new(slots, false, replica.has_parts(), &counted).ok_or_else(failure::damaged)
    }

    async fn count_slots(
        &self,
        replica: &Arc<Replica>,
        statement: Statement,
        query_id: &str,
    ) -> Result<Vec<Slot>> {
        let query = self.query(replica, statement, query_id);
        let mut kill = Kill::new(replica.clone(), query_id.to_owned());
        let counted = tokio::time::timeout(self.longest(), query.fetch_all::<Slot>())
            .await
            .map_err(|_| failure::too_long())?
            .map_err(|error| failure::of_events(error, replica.url()))?;
        kill.disarm();
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // a test that cannot go on fails

    use super::*;

    fn plan() -> Plan {
        let slot = |slot, rows| Slot {
            slot,
            rows,
            settled: rows / 2,
            overlaps: u8::from(slot > 0),
        };
        let slots = Slots {
            from: 1_000,
            width: 10,
        };
        Plan::new(slots, false, true, &[slot(0, 10), slot(3, 20), slot(4, 2)]).expect("a plan")
    }

    #[test]
    fn intervals_that_meet_share_no_row_and_miss_none() {
        let plan = plan();
        let counts = |from, until| plan.counts(Interval { from, until });
        assert_eq!(
            counts(1_000, 1_055),
            Counts {
                rows: 32,
                settled: 16
            }
        );
        for middle in [1_000, 1_010, 1_020, 1_030, 1_040, 1_050, 1_055] {
            let (before, behind) = (counts(1_000, middle), counts(middle, 1_055));
            assert_eq!(before.rows + behind.rows, 32, "{middle}");
            assert_eq!(before.settled + behind.settled, 16, "{middle}");
        }
        assert_eq!(counts(1_010, 1_040).rows, 20);
        assert_eq!(counts(1_040, 1_050).rows, 2);
    }

    #[test]
    fn counts_that_cannot_be_make_no_plan() {
        let slots = Slots {
            from: 1_000,
            width: 10,
        };
        let good = Slot {
            slot: 3,
            rows: 20,
            settled: 10,
            overlaps: 0,
        };
        assert!(Plan::new(slots, false, true, &[good]).is_some());
        for bad in [
            Slot { slot: -1, ..good },
            Slot { slot: 3, ..good },
            Slot { slot: 2, ..good },
            Slot {
                slot: i64::MAX,
                ..good
            },
            Slot {
                slot: i64::MAX / 10,
                ..good
            },
            Slot {
                slot: 1 << 61,
                ..good
            },
            Slot {
                slot: 4,
                settled: 21,
                ..good
            },
            Slot {
                slot: 4,
                overlaps: 0x21,
                ..good
            },
            Slot {
                slot: 4,
                rows: u64::MAX,
                ..good
            },
        ] {
            assert!(
                Plan::new(slots, false, true, &[good, bad]).is_none(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_interval_overlaps_where_most_of_its_rows_do() {
        let plan = plan();
        let parts = |from, until| plan.parts(Interval { from, until });
        assert_eq!(parts(1_000, 1_010), Parts::Disjoint);
        assert_eq!(parts(1_000, 1_040), Parts::Overlapping);
        assert_eq!(parts(1_010, 1_050), Parts::Overlapping);
        assert_eq!(parts(1_010, 1_020), Parts::Disjoint);
    }

    #[test]
    fn a_cut_has_as_many_rows_in_front_as_are_asked_for() {
        let plan = plan();
        assert_eq!(plan.cut(1_000, 1), Some(1_010));
        assert_eq!(plan.cut(1_000, 10), Some(1_010));
        assert_eq!(plan.cut(1_000, 11), Some(1_040));
        assert_eq!(plan.cut(1_010, 21), Some(1_050));
        assert_eq!(plan.cut(1_010, 23), None);
        assert_eq!(plan.cut(1_050, 1), None);
    }
}
