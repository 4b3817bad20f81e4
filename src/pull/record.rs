//! What a pull that is not complete has done so far: lines of JSON, each on the disk before what it speaks of counts.
//!
//! The folder beside it holds the fetched files that have no place yet. A process that is killed leaves a last line without
//! its end at most; it counts as not written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk;
use super::pulled::{Pulled, Request};
use crate::error::{Error, Result};
use crate::random;

/// The record's name in its folder.
const NAME: &str = "record.jsonl";

/// The lock's.
const LOCK: &str = "lock";

/// A file in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    #[serde(flatten)]
    pub(super) file: Pulled,
    /// The name of the fetched file that is to be moved there, if it was not there before.
    pub(super) staged: Option<String>,
    /// Whether an earlier pull, which became complete, put it there.
    pub(super) earlier: bool,
}

/// A file of what arrived, that is about to get its name and to be told in the manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arrived {
    /// Where it is to be.
    pub(super) path: String,
    /// Its path is its name in the folder of the record.
    pub(super) file: Pulled,
    /// The watermark in front of it.
    pub(super) since: String,
    /// The watermark behind it.
    pub(super) next_since: String,
    /// Rows that earlier files lack, as they became visible too late.
    pub(super) late_rows: u64,
    /// Such rows that pulls before found and did not come to tell.
    #[serde(default)]
    pub(super) untold: u64,
}

/// The files of each day.
pub(super) type Days = BTreeMap<String, Vec<Placed>>;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first.
    Request(Request),
    /// A file came whole; its path is its name in the folder of the record.
    Fetched(Pulled),
    /// From now on a day has these files and no others: what is not moved and removed yet will be.
    Day { day: String, files: Vec<Placed> },
    /// A file of what arrived came whole; the manifest is to tell it.
    Arrived(Arrived),
}

/// An open record, in a folder that nobody else uses.
pub(super) struct Record {
    folder: PathBuf,
    lines: Option<File>,
    _lock: File,
}

/// What a record said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) request: Option<Request>,
    pub(super) fetched: Vec<Pulled>,
    pub(super) days: Days,
    /// Files that days had and have no more.
    pub(super) left: BTreeSet<String>,
    pub(super) arrived: Option<Arrived>,
}

impl Record {
    /// Takes a folder for a record; `place` is what it is of, in words.
    ///
    /// # Errors
    ///
    /// Another pull is at work there, or the folder cannot be written.
    pub(super) fn open(folder: PathBuf, place: &Path) -> Result<Self> {
        disk::folder(&folder)?;
        let lock = disk::lock(&folder.join(LOCK), place)?;
        Ok(Self {
            folder,
            lines: None,
            _lock: lock,
        })
    }

    /// What was written so far; `None` where nothing was.
    ///
    /// # Errors
    ///
    /// A line but the last cannot be read.
    pub(super) fn read(&self) -> Result<Option<Said>> {
        let path = self.folder.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(&path).with_source(error)),
        };
        let mut said = Said::default();
        // What stands behind the last line's end is a line that was not written to its end.
        let whole = text
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        for line in text[..whole]
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: Line =
                serde_json::from_slice(line).map_err(|error| damaged(&path).with_source(error))?;
            if !line.names().all(is_name) {
                return Err(damaged(&path));
            }
            match line {
                Line::Request(request) => said.request = Some(request),
                Line::Fetched(file) => said.fetched.push(file),
                Line::Arrived(arrived) => said.arrived = Some(arrived),
                Line::Day { day, files } => {
                    let before = said.days.insert(day, files).unwrap_or_default();
                    let before = before.into_iter().map(|placed| placed.file.path);
                    said.left.extend(before);
                }
            }
        }
        for placed in said.days.values().flatten() {
            said.left.remove(&placed.file.path);
        }
        Ok(Some(said))
    }

    /// Begins it anew with what is known.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn begin(
        &mut self,
        request: &Request,
        days: &Days,
        fetched: &[Pulled],
    ) -> Result<()> {
        let mut text = Vec::new();
        put(&mut text, &Line::Request(request.clone()))?;
        for (day, files) in days {
            let (day, files) = (day.clone(), files.clone());
            put(&mut text, &Line::Day { day, files })?;
        }
        for file in fetched {
            put(&mut text, &Line::Fetched(file.clone()))?;
        }
        let path = self.folder.join(NAME);
        disk::replace(&path, &text)?;
        let lines = File::options().append(true).open(&path);
        self.lines = Some(lines.map_err(|error| disk::unwritable(&path, error))?);
        Ok(())
    }

    /// A file came whole, and is in the folder.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn fetched(&self, file: &Pulled) -> Result<()> {
        disk::sync_folder_of(&self.staged(&file.path))?;
        self.add(&Line::Fetched(file.clone()))
    }

    /// A file of what arrived came whole.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn arrived(&self, arrived: &Arrived) -> Result<()> {
        disk::sync_folder_of(&self.staged(&arrived.file.path))?;
        self.add(&Line::Arrived(arrived.clone()))
    }

    /// A day will have these files.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn day(&self, day: &str, files: &[Placed]) -> Result<()> {
        let (day, files) = (day.to_owned(), files.to_vec());
        self.add(&Line::Day { day, files })
    }

    fn add(&self, line: &Line) -> Result<()> {
        let mut text = Vec::new();
        put(&mut text, line)?;
        let path = self.folder.join(NAME);
        let Some(mut lines) = self.lines.as_ref() else {
            return Err(Error::internal("a record that was not begun is written"));
        };
        lines
            .write_all(&text)
            .and_then(|()| lines.sync_data())
            .map_err(|error| disk::unwritable(&path, error))
    }

    /// A name for the next file. One that was told of is never written again, or its record would speak of another one.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub(super) fn new_name(&self) -> Result<String> {
        Ok(random::hex(&random::bytes::<8>()?))
    }

    /// Where a file of that name in the folder is.
    pub(super) fn staged(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes the fetched files in the folder besides those of these names. What no pull made stays.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn keep_only(&self, names: &BTreeSet<&str>) -> Result<()> {
        let failed = |error| disk::unwritable(&self.folder, error);
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let is_left = |name: &str| is_name(name) && !names.contains(name);
            if name.to_str().is_some_and(is_left) {
                disk::remove(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// The pull is complete.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub(super) fn end(self) -> Result<()> {
        self.keep_only(&BTreeSet::new())?;
        disk::remove(&self.folder.join(NAME))
    }

    /// The same, and the folder is not needed any more.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub(super) fn end_and_leave(self) -> Result<()> {
        self.keep_only(&BTreeSet::new())?;
        disk::remove(&self.folder.join(NAME))?;
        disk::remove(&self.folder.join(LOCK))?;
        // Somebody may be waiting in it already.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}

impl Line {
    /// The names of fetched files that it speaks of.
    fn names(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Request(_) => (None, &[][..]),
            Self::Fetched(file) => (Some(file.path.as_str()), &[][..]),
            Self::Arrived(arrived) => (Some(arrived.file.path.as_str()), &[][..]),
            Self::Day { files, .. } => (None, &files[..]),
        };
        let several = several.iter().filter_map(|placed| placed.staged.as_deref());
        one.into_iter().chain(several)
    }
}

/// Whether a name is one of [`Record::new_name`].
fn is_name(name: &str) -> bool {
    name.len() == 16
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn put(text: &mut Vec<u8>, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *text, line)
        .map_err(|error| Error::internal("the record cannot be written").with_source(error))?;
    text.push(b'\n');
    Ok(())
}

fn damaged(path: &Path) -> Error {
    Error::usage(format!(
        "{} is no record of this version of rowspout pull: name another place with -o, or remove the files there and pull again",
        path.display()
    ))
}
