//! Files that are fetched and have no place yet, and whether one is still what a plan speaks of.

use std::collections::HashMap;

use super::planned::PlannedPart;
use super::pulled::Pulled;
use super::record::Record;
use crate::error::Result;

/// Fetched files by the time that they are of.
pub(super) struct Staged(HashMap<(i64, i64), Pulled>);

impl Staged {
    /// The last one of a time counts.
    pub(super) fn of(fetched: Vec<Pulled>) -> Self {
        let known = fetched.into_iter().filter_map(|file| {
            let (from, to) = (file.from?.0, file.to?.0);
            Some(((from, to), file))
        });
        Self(known.collect())
    }

    /// Adds one.
    pub(super) fn add(&mut self, file: Pulled) {
        if let (Some(from), Some(to)) = (file.from, file.to) {
            self.0.insert((from.0, to.0), file);
        }
    }

    /// The last file of a part's time: where rows came since the plan was made, it has them as well.
    pub(super) fn of_time(&self, part: &PlannedPart) -> Option<&Pulled> {
        self.0.get(&(part.from.0, part.to.0))
    }

    /// The file of a part, if an unfinished pull fetched it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn find(
        &self,
        part: &PlannedPart,
        record: &Record,
        verify: bool,
    ) -> Result<Option<&Pulled>> {
        let found = self.0.get(&(part.from.0, part.to.0));
        let Some(file) = found.filter(|file| holds(file, part, false)) else {
            return Ok(None);
        };
        let path = record.staged(&file.path);
        Ok(file.is_at(&path, verify)?.then_some(file))
    }
}

/// Whether a file holds what the plan says of a part.
///
/// An ETag decides that. Where rows cannot be told from others (under filters, say), a file of this very pull counts while the
/// plan has as many rows, so that a pull which was stopped can go on; one of an `earlier` pull does not, since the same
/// number may be other rows.
pub(super) fn holds(file: &Pulled, part: &PlannedPart, earlier: bool) -> bool {
    if file.from != Some(part.from) || file.to != Some(part.to) {
        return false;
    }
    match (&file.etag, &part.etag) {
        (Some(there), Some(planned)) => there == planned,
        (None, None) => !earlier && file.rows == part.rows,
        _ => false,
    }
}
