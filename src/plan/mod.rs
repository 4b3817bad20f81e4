//! What an export would be, before it is: rows, days and parts.
//!
//! In: a window's [`stretches`] and the rows of each slot, in order of time. Out: a [`Plan`], whose parts follow each other
//! and are the window exactly. A part ends where its day does, and where the next slot would make it larger than it
//! is meant to be; a slot is never divided, so one that is larger is a part by itself. A stretch without rows is a part, too:
//! rows may come. Parts of one day do not depend on other days, so what comes late moves the edges of its own day alone.
//!
//! Costs nothing beside the counting. Holds 96 bytes a part, of at most [`MAX_PARTS`]. No I/O.

mod days;
mod estimate;
mod tag;

use chrono::NaiveDate;

pub use days::{Stretch, edges, stretches};
pub use estimate::estimate;
pub use tag::etag;

use crate::cursor::{Digest, Quarter, Tally};
use crate::error::{Error, Result};
use crate::request::Interval;

/// Most parts of one plan: a day each from 1900 to 2299, and some.
pub const MAX_PARTS: usize = 150_000;

/// A window of a plan that is an export of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The date that it lies in.
    pub day: NaiveDate,
    /// The instants.
    pub interval: Interval,
    /// Its rows; their hash is 0 where they are not hashed.
    pub digest: Digest,
    /// Bytes of their texts.
    pub bytes: u64,
    /// The latest `ingested_at` of them, in milliseconds, if there are any.
    pub newest: Option<i64>,
}

/// All parts of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order of time.
    pub parts: Vec<Part>,
    /// The rows of all.
    pub rows: u64,
    /// Bytes of all their texts.
    pub bytes: u64,
}

impl Plan {
    /// Each day in order of time with its rows; one that comes twice in the window is put together.
    pub fn days(&self) -> Vec<(NaiveDate, u64)> {
        let mut days = std::collections::BTreeMap::new();
        for part in &self.parts {
            *days.entry(part.day).or_insert(0) += part.digest.rows;
        }
        days.into_iter().collect()
    }
}

/// A plan in the making.
pub struct Planner<'a> {
    stretches: &'a [Stretch],
    /// How many of them have ended.
    ended: usize,
    part_rows: u64,
    open: Option<Part>,
    parts: Vec<Part>,
}

impl<'a> Planner<'a> {
    /// Of stretches in order of time, in parts of about so many rows.
    pub fn new(stretches: &'a [Stretch], part_rows: u64) -> Self {
        Self {
            stretches,
            ended: 0,
            part_rows,
            open: stretches.first().map(|stretch| opened(*stretch)),
            parts: Vec::new(),
        }
    }

    /// The plan, when all slots were added.
    ///
    /// # Errors
    ///
    /// It has more than [`MAX_PARTS`] parts.
    pub fn finish(mut self) -> Result<Plan> {
        while self.open.is_some() {
            self.end_stretch()?;
        }
        let sum = |of: fn(&Part) -> u64| self.parts.iter().map(of).sum();
        Ok(Plan {
            rows: sum(|part| part.digest.rows),
            bytes: sum(|part| part.bytes),
            parts: self.parts,
        })
    }

    /// Ends the part that is open, with its stretch, and opens one in the next.
    fn end_stretch(&mut self) -> Result<()> {
        if let Some(part) = self.open.take() {
            self.push(part)?;
        }
        self.ended += 1;
        self.open = self.stretches.get(self.ended).map(|next| opened(*next));
        Ok(())
    }

    fn push(&mut self, part: Part) -> Result<()> {
        if self.parts.len() == MAX_PARTS {
            return Err(Error::validation(
                "part_rows",
                format!(
                    "the plan has more than {MAX_PARTS} parts: raise part_rows, or ask for less time"
                ),
            ));
        }
        self.parts.push(part);
        Ok(())
    }
}

impl Tally for Planner<'_> {
    fn add(&mut self, quarter: Quarter) -> Result<()> {
        loop {
            let Some(open) = &mut self.open else {
                return Err(Error::internal(
                    "rows lie behind the window that was counted",
                ));
            };
            // The first slot may begin before the window.
            let begins = quarter.begins.max(open.interval.from);
            if begins >= open.interval.until {
                self.end_stretch()?;
                continue;
            }
            let full = open.digest.rows > 0 && open.digest.rows + quarter.rows > self.part_rows;
            if full {
                let next = Part {
                    interval: Interval {
                        from: begins,
                        ..open.interval
                    },
                    digest: Digest::default(),
                    bytes: 0,
                    newest: None,
                    ..*open
                };
                let mut part = std::mem::replace(open, next);
                part.interval.until = begins;
                self.push(part)?;
                continue;
            }
            open.digest.add(&quarter);
            open.bytes += quarter.bytes;
            open.newest = open.newest.max(Some(quarter.newest));
            return Ok(());
        }
    }
}

/// A part that reaches over a whole stretch.
fn opened(stretch: Stretch) -> Part {
    Part {
        day: stretch.day,
        interval: stretch.interval,
        digest: Digest::default(),
        bytes: 0,
        newest: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use proptest::prelude::*;

    use super::*;

    const QUARTER: i64 = 900_000;
    const DAY: i64 = 96 * QUARTER;

    fn stretch(day: i64) -> Stretch {
        Stretch {
            day: NaiveDate::from_epoch_days(day as i32).unwrap(),
            interval: Interval {
                from: day * DAY,
                until: (day + 1) * DAY,
            },
        }
    }

    proptest! {
        #[test]
        fn parts_are_the_window_and_their_rows_its_rows(
            rows in prop::collection::btree_map(0_i64..5 * 96, 1_u64..100, 0..60),
            part_rows in 1_u64..400,
            cut in 0_i64..QUARTER,
        ) {
            let mut stretches: Vec<_> = (0..5).map(stretch).collect();
            stretches[0].interval.from += cut;
            let mut planner = Planner::new(&stretches, part_rows);
            for (&slot, &rows) in &rows {
                let quarter = Quarter { begins: slot * QUARTER, rows, hash: rows ^ slot as u64, newest: 0, bytes: 2 * rows };
                planner.add(quarter).unwrap();
            }
            let plan = planner.finish().unwrap();
            prop_assert_eq!(plan.parts[0].interval.from, cut);
            prop_assert_eq!(plan.parts.last().unwrap().interval.until, 5 * DAY);
            for pair in plan.parts.windows(2) {
                prop_assert_eq!(pair[0].interval.until, pair[1].interval.from);
                // They could not have been one.
                let first = rows.range(pair[1].interval.from / QUARTER..).next().map_or(0, |(_, &rows)| rows);
                prop_assert!(pair[0].day != pair[1].day || pair[0].digest.rows + first > part_rows);
            }
            for part in &plan.parts {
                let Interval { from, until } = part.interval;
                prop_assert!(from < until);
                prop_assert_eq!(from / DAY, (until - 1) / DAY);
                let inside: Vec<_> = rows.range(from / QUARTER..(until + QUARTER - 1) / QUARTER).collect();
                prop_assert_eq!(part.digest.rows, inside.iter().map(|&(_, &rows)| rows).sum::<u64>());
                prop_assert!(part.digest.rows <= part_rows || inside.len() == 1);
            }
            prop_assert_eq!(plan.rows, rows.values().sum::<u64>());
            prop_assert_eq!(plan.bytes, 2 * plan.rows);
            prop_assert_eq!(plan.days().len(), 5);
        }
    }

    #[test]
    fn a_plan_of_too_many_parts_names_what_to_change() {
        let stretches: Vec<_> = (0..=MAX_PARTS as i64).map(stretch).collect();
        let error = Planner::new(&stretches, 1).finish().unwrap_err();
        assert_eq!(error.field(), Some("part_rows"));
        assert!(Planner::new(&stretches[1..], 1).finish().is_ok());
    }
}
