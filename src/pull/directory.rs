//! A folder of files, one a part: `date=2026-03-01/part-000.parquet`, as Hive has it.
//!
//! A day changes when all of its new parts are fetched: the record says what it will have, then files that it has no more go,
//! then the new ones come. So no row is ever there twice, and a process that is killed in between has the rest done by the next
//! one. The manifest goes before anything changes and comes back when everything is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::disk;
use super::planned::{Planned, PlannedPart};
use super::pulled::{Asked, Manifest, Pulled, Request};
use super::record::{Days, Placed, Record, Said};
use super::staged::{Staged, holds};
use crate::error::{Error, Result};
use crate::request::ExportRequest;

/// The manifest's name. Programs that read folders pass over names that begin so.
pub const MANIFEST: &str = "_manifest.json";

/// The folder of the record, in the one that is pulled into. They pass over such names, too.
pub(super) const RECORD: &str = ".rowspout";

/// A folder that is pulled into.
pub(super) struct Directory {
    folder: PathBuf,
    pub(super) record: Record,
    request: Request,
    extension: &'static str,
    /// What is there.
    days: Days,
    staged: Staged,
    /// What each day is to have, by the plan, and how much of it is not fetched yet.
    wanted: BTreeMap<String, Day>,
    /// Where the files of the plan's missing parts are to be.
    slots: HashMap<usize, Slot>,
    /// Whether the manifest may be there.
    manifest: bool,
}

/// A day that is to have these files.
#[derive(Default)]
struct Day {
    files: Vec<Option<Placed>>,
    missing: usize,
}

/// Where the file of a part is to be: its day, and which of that day's.
type Slot = (String, usize);

impl Directory {
    /// Takes a folder, and brings to its end what a pull that was killed had begun to move.
    ///
    /// # Errors
    ///
    /// It is another request's, another pull is at work there, or it cannot be written.
    pub(super) fn open(folder: &Path, export: &ExportRequest) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(Error::usage(format!(
                "-o {} is a file, and parts are put into a folder: name one, or ask for one file with --join",
                folder.display()
            )));
        }
        disk::folder(folder)?;
        let mut record = Record::open(folder.join(RECORD), folder)?;
        let request = Request::of(export);
        let manifest = Manifest::read(&folder.join(MANIFEST))?;
        let said = record.read()?;
        let arrived = said.as_ref().is_some_and(|said| said.arrived.is_some());
        if arrived
            || manifest
                .as_ref()
                .is_some_and(|manifest| manifest.next_since.is_some())
        {
            return Err(Error::usage(format!(
                "{} was pulled with --since: name another folder with -o, or go on with --since",
                folder.display()
            )));
        }
        let there = said.as_ref().and_then(|said| said.request.as_ref());
        if let Some(there) = there.or(manifest.as_ref().map(|manifest| &manifest.request)) {
            request.same_as(there, folder)?;
        }
        let Said {
            fetched,
            mut days,
            left,
            ..
        } = match said {
            Some(said) => said,
            None => of_manifest(manifest.as_ref()),
        };
        let files = days.values().flatten().map(|placed| &placed.file.path);
        if let Some(path) = files.chain(&left).find(|path| !is_ours(path)) {
            return Err(Error::usage(format!(
                "the record of {} speaks of {path:?}, which no pull puts there: name another place with -o",
                folder.display()
            )));
        }
        finish_moves(folder, &record, &mut days, &left)?;
        if manifest.is_some() {
            // It comes last, so all that is there belongs to a pull that was complete.
            days.values_mut()
                .flatten()
                .for_each(|placed| placed.earlier = true);
        }
        let names = fetched.iter().map(|file| file.path.as_str()).collect();
        record.keep_only(&names)?;
        record.begin(&request, &days, &fetched)?;
        Ok(Self {
            folder: folder.to_owned(),
            record,
            request,
            extension: export.format.extension(),
            days,
            staged: Staged::of(fetched),
            wanted: BTreeMap::new(),
            slots: HashMap::new(),
            manifest: manifest.is_some(),
        })
    }

    /// Which parts of the plan have to be fetched, by their place in it. Those that were fetched already are put in place.
    ///
    /// # Errors
    ///
    /// Files in the way that no pull made, or days of which the plan has only a piece.
    pub(super) fn compare(&mut self, planned: &Planned, verify: bool) -> Result<Vec<usize>> {
        self.check_window(planned)?;
        let mut missing = Vec::new();
        let mut wanted: BTreeMap<String, Day> = BTreeMap::new();
        for (index, part) in planned.parts.iter().enumerate() {
            let day = wanted.entry(part.day.clone()).or_default();
            // A day without rows has no file: a folder of empty ones would only be read in vain.
            if part.rows == 0 {
                continue;
            }
            let slot = day.files.len();
            let path = format!("date={}/part-{slot:03}.{}", part.day, self.extension);
            let there = self.there(part, &path, verify)?;
            if there.is_none() {
                missing.push(index);
                self.slots.insert(index, (part.day.clone(), slot));
                day.missing += 1;
            }
            day.files.push(there);
        }
        self.wanted = wanted;
        let whole = self.wanted.iter().filter(|(_, day)| day.missing == 0);
        let whole: Vec<_> = whole.map(|(day, _)| day.clone()).collect();
        for day in whole {
            self.place(&day)?;
        }
        Ok(missing)
    }

    /// The file of a part, if it is there or fetched already.
    fn there(&self, part: &PlannedPart, path: &str, verify: bool) -> Result<Option<Placed>> {
        let days = self.days.get(&part.day);
        let known = days
            .into_iter()
            .flatten()
            .find(|placed| placed.file.path == path);
        let at = self.folder.join(path);
        let Some(placed) = known else {
            if at.symlink_metadata().is_ok() {
                return Err(Error::usage(format!(
                    "{} is there, and no pull put it there: move it away, or name another place with -o",
                    at.display()
                )));
            }
            return self.placed_before(part, path, verify);
        };
        if holds(&placed.file, part, placed.earlier) && placed.file.is_at(&at, verify)? {
            return Ok(Some(placed.clone()));
        }
        self.placed_before(part, path, verify)
    }

    fn placed_before(
        &self,
        part: &PlannedPart,
        path: &str,
        verify: bool,
    ) -> Result<Option<Placed>> {
        let found = self.staged.find(part, &self.record, verify)?;
        Ok(found.map(|file| placed(file.clone(), path.to_owned())))
    }

    /// Days are replaced as a whole, so none may reach beyond the plan.
    fn check_window(&self, planned: &Planned) -> Result<()> {
        let (Some(first), Some(last)) = (planned.parts.first(), planned.parts.last()) else {
            return Ok(());
        };
        for part in &planned.parts {
            let files = self.days.get(&part.day).into_iter().flatten();
            let beyond = files.map(|placed| &placed.file).find(|file| {
                file.from.is_some_and(|from| from < first.from)
                    || file.to.is_some_and(|to| to > last.to)
            });
            if let Some(file) = beyond {
                return Err(Error::usage(format!(
                    "{} has events of {} that the window does not reach: ask for the whole day, or name another place with -o",
                    self.folder.join(&file.path).display(),
                    part.day
                )));
            }
        }
        Ok(())
    }

    /// Takes a fetched file, and puts its day in place where it was the last one of it.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn take(&mut self, index: usize, file: Pulled) -> Result<()> {
        self.record.fetched(&file)?;
        let Some((day, slot)) = self.slots.remove(&index) else {
            return Err(Error::internal("a part came that was not missing"));
        };
        let path = format!("date={day}/part-{slot:03}.{}", self.extension);
        if let Some(wanted) = self.wanted.get_mut(&day)
            && let Some(place) = wanted.files.get_mut(slot)
        {
            *place = Some(placed(file, path));
            wanted.missing -= 1;
            if wanted.missing == 0 {
                self.place(&day)?;
            }
        }
        Ok(())
    }

    /// Gives a day its files.
    fn place(&mut self, day: &str) -> Result<()> {
        let Some(wanted) = self.wanted.get(day) else {
            return Ok(());
        };
        let files: Vec<_> = wanted.files.iter().flatten().cloned().collect();
        let before = self.days.get(day).map_or(&[][..], Vec::as_slice);
        if files == before {
            return Ok(());
        }
        if self.manifest {
            disk::remove(&self.folder.join(MANIFEST))?;
            self.manifest = false;
        }
        let mut left: BTreeSet<_> = before
            .iter()
            .map(|placed| placed.file.path.clone())
            .collect();
        for placed in &files {
            left.remove(&placed.file.path);
        }
        self.record.day(day, &files)?;
        let mut days = Days::from([(day.to_owned(), files)]);
        finish_moves(&self.folder, &self.record, &mut days, &left)?;
        self.days.append(&mut days);
        Ok(())
    }

    /// Says that everything is there.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn finish(
        self,
        service: &str,
        window: Asked,
        planned: &Planned,
    ) -> Result<Manifest> {
        if self.wanted.values().any(|day| day.missing > 0) {
            return Err(Error::internal(
                "a manifest was to be written before all files",
            ));
        }
        // The window's were looked at; those of other days may have been taken away since.
        let is_there = |day: &str, file: &Pulled| {
            self.wanted.contains_key(day) || self.folder.join(&file.path).symlink_metadata().is_ok()
        };
        let files = self.days.iter().flat_map(|(day, files)| {
            let files = files.iter().map(|placed| &placed.file);
            files.filter(|file| is_there(day, file)).cloned()
        });
        let files = files.collect();
        let as_of = Some(planned.as_of.clone());
        let manifest = Manifest::of(service, self.request, window, as_of, files, Vec::new());
        manifest.write(&self.folder.join(MANIFEST))?;
        self.record.end()?;
        Ok(manifest)
    }
}

/// A fetched file that is to be put at `path`.
fn placed(file: Pulled, path: String) -> Placed {
    Placed {
        staged: Some(file.path.clone()),
        file: Pulled { path, ..file },
        earlier: false,
    }
}

/// What a manifest without a record says.
fn of_manifest(manifest: Option<&Manifest>) -> Said {
    let mut said = Said::default();
    for file in manifest.into_iter().flat_map(|manifest| &manifest.files) {
        let day = file.day.clone().unwrap_or_default();
        said.days.entry(day).or_default().push(Placed {
            file: file.clone(),
            staged: None,
            earlier: true,
        });
    }
    said
}

/// Whether a path is one that [`Directory`] gives.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("date=")
        .and_then(|rest| rest.split_once("/part-"))
        .is_some_and(|(day, rest)| {
            day.len() == 10 && !day.contains(['/', '.']) && !rest.contains('/')
        })
}

/// Removes what is no longer there, then moves what was fetched: never a row twice.
fn finish_moves(
    folder: &Path,
    record: &Record,
    days: &mut Days,
    left: &BTreeSet<String>,
) -> Result<()> {
    let replaced = |placed: &Placed| placed.staged.is_some();
    for path in left {
        disk::remove(&folder.join(path))?;
    }
    for placed in days.values_mut().flatten() {
        let Some(name) = placed.staged.take_if(|name| record.staged(name).exists()) else {
            placed.staged = None;
            continue;
        };
        // Its rows may be in a later part of the new ones.
        let to = folder.join(&placed.file.path);
        disk::remove(&to)?;
        placed.staged = Some(name);
    }
    for placed in days
        .values_mut()
        .flatten()
        .filter(|placed| replaced(placed))
    {
        let Some(name) = placed.staged.take() else {
            continue;
        };
        let to = folder.join(&placed.file.path);
        if let Some(day) = to.parent() {
            disk::folder(day)?;
        }
        disk::rename(&record.staged(&name), &to)?;
    }
    // A day may have no file any more.
    for path in left {
        if let Some(day) = folder.join(path).parent() {
            // It stays where something else is in it.
            let _ = std::fs::remove_dir(day);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_paths_that_a_pull_gives_are_ever_touched() {
        assert!(is_ours("date=2026-03-01/part-000.parquet"));
        for other in [
            "date=2026-03-01/x.parquet",
            "../date=2026-03-01/part-000.csv",
            "date=2026-03-01/part-/../../../x",
            "date=../../../x/part-1",
            "/etc/part-0",
            "part-000.csv",
            "",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
