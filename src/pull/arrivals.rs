//! What arrived since the last pull, one more file with each: `since/000001.parquet`, as an export by arrival has it.
//!
//! The watermark is kept in the manifest, which is written behind the file. Before a file gets its name the record says what it is, so
//! a pull that is killed in between is brought to its end by the next one: a file that was seen once never changes, and no row
//! is in two of them. Files may be taken away once they are in the manifest; their numbers are not used again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::attempts::{Attempt, Failure};
use super::client::Client;
use super::directory::{MANIFEST, RECORD};
use super::disk;
use super::fetch::{Wanted, fetch};
use super::planned::options;
use super::pulled::{Asked, Manifest, Pulled, Request};
use super::record::{Arrived, Days, Record};
use crate::error::{Error, Result};
use crate::request::ExportRequest;

/// The folder of the files.
const FOLDER: &str = "since";

/// Where a chain begins.
const BEGINNING: &str = "beginning";

/// Longest watermark, in characters.
const MAX_WATERMARK: usize = 512;

/// A folder of a chain of exports by arrival.
pub(super) struct Arrivals {
    folder: PathBuf,
    record: Record,
    request: Request,
    extension: &'static str,
    manifest: Option<Manifest>,
    /// Rows that were found to be late and that no pull had the time to tell.
    untold: u64,
}

impl Arrivals {
    /// Takes a folder, and brings to its end what a pull that was killed had not told in the manifest.
    ///
    /// # Errors
    ///
    /// It is another request's, or of days, another pull is at work there, or it cannot be written.
    pub(super) fn open(folder: &Path, export: &ExportRequest, service: &str) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            return Err(Error::usage(format!(
                "-o {} is a file, and --since adds files to a folder: name one",
                folder.display()
            )));
        }
        disk::folder(folder)?;
        let record = Record::open(folder.join(RECORD), folder)?;
        let request = Request::of(export);
        let manifest = Manifest::read(&folder.join(MANIFEST))?;
        let said = record.read()?.unwrap_or_default();
        let known = said.request.as_ref();
        if let Some(there) = known.or(manifest.as_ref().map(|manifest| &manifest.request)) {
            request.same_as(there, folder)?;
        }
        let by_day = |manifest: &Manifest| manifest.next_since.is_none();
        if manifest.as_ref().is_some_and(by_day) || !said.days.is_empty() {
            return Err(Error::usage(format!(
                "{} was pulled by days: name another folder for --since",
                folder.display()
            )));
        }
        let mut arrivals = Self {
            folder: folder.to_owned(),
            record,
            request,
            extension: export.format.extension(),
            manifest,
            untold: 0,
        };
        // As long as the line is there, nobody was told of its late rows.
        let told = match said.arrived {
            Some(arrived) if arrivals.next_since() == Some(arrived.next_since.as_str()) => {
                Some(arrived)
            }
            Some(arrived) => arrivals.show(service, &arrived)?.then_some(arrived),
            None => None,
        };
        arrivals.record.keep_only(&BTreeSet::new())?;
        arrivals
            .record
            .begin(&arrivals.request, &Days::new(), &[])?;
        if let Some(arrived) = told {
            arrivals.untold = arrived.late_rows.saturating_add(arrived.untold);
            if arrivals.untold > 0 {
                // This pull may fail before it tells them.
                arrivals.record.arrived(&arrived)?;
            }
        }
        Ok(arrivals)
    }

    fn next_since(&self) -> Option<&str> {
        self.manifest.as_ref()?.next_since.as_deref()
    }

    /// The watermark that the next export begins at.
    pub(super) fn since(&self) -> &str {
        self.next_since().unwrap_or(BEGINNING)
    }

    /// Rows that were too late for any file of the chain, as far as the manifest knows.
    fn late_rows(&self) -> u64 {
        let manifest = self.manifest.as_ref();
        manifest
            .and_then(|manifest| manifest.late_rows)
            .unwrap_or(0)
    }

    /// Late rows that earlier pulls found and did not come to tell, as they were killed.
    pub(super) fn untold(&self) -> u64 {
        self.untold
    }

    /// A name for a file that is fetched, and where that is.
    ///
    /// # Errors
    ///
    /// Those of [`Record::new_name`].
    pub(super) fn staging(&self) -> Result<(String, PathBuf)> {
        let name = self.record.new_name()?;
        let path = self.record.staged(&name);
        Ok((name, path))
    }

    /// Takes what was fetched under a name: a file, unless it has no rows, and the manifest with the next watermark.
    ///
    /// # Errors
    ///
    /// A file in the way that no pull made, or a disk that takes no more.
    pub(super) fn take(&mut self, service: &str, arrived: Arrived) -> Result<()> {
        let files = self.manifest.iter().flat_map(|manifest| &manifest.files);
        let numbers = files.filter_map(|file| number(&file.path));
        let path = format!(
            "{FOLDER}/{:06}.{}",
            numbers.max().unwrap_or(0).saturating_add(1),
            self.extension
        );
        if self.folder.join(&path).symlink_metadata().is_ok() {
            return Err(Error::usage(format!(
                "{} is there, and no pull put it there: move it away, or name another folder with -o",
                self.folder.join(&path).display()
            )));
        }
        let arrived = Arrived {
            path,
            since: self.since().to_owned(),
            untold: self.untold,
            ..arrived
        };
        self.record.arrived(&arrived)?;
        if self.show(service, &arrived)? {
            return Ok(());
        }
        Err(Error::internal(format!(
            "{} is not there any more: pull again, which goes on from the same watermark",
            self.record.staged(&arrived.file.path).display()
        )))
    }

    /// The files that the manifest names, their rows and their bytes.
    pub(super) fn told(&self) -> (usize, u64, u64) {
        let manifest = self.manifest.as_ref();
        manifest.map_or((0, 0, 0), |manifest| {
            (manifest.files.len(), manifest.rows, manifest.bytes)
        })
    }

    /// Nothing is under way any more.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub(super) fn end(self) -> Result<()> {
        self.record.end()
    }

    /// Gives a file its name, then tells it in the manifest. False where it is neither among the fetched ones nor in its place: then
    /// nothing was told of it, and the same watermark is to be asked again.
    fn show(&mut self, service: &str, arrived: &Arrived) -> Result<bool> {
        let Arrived {
            path,
            file,
            since,
            next_since,
            late_rows,
            ..
        } = arrived;
        if since != self.since() {
            return Err(Error::usage(format!(
                "{} is not what the record beside it goes on from: put that one back, or name another folder with -o",
                self.folder.join(MANIFEST).display()
            )));
        }
        if number(path).is_none() {
            return Err(Error::usage(format!(
                "the record of {} speaks of {path:?}, which no pull puts there: name another folder with -o",
                self.folder.display()
            )));
        }
        let late_rows = self.late_rows().saturating_add(*late_rows);
        let files = self.manifest.as_ref().map(|manifest| &manifest.files);
        let mut files = files.cloned().unwrap_or_default();
        let staged = self.record.staged(&file.path);
        if file.rows > 0 {
            let to = self.folder.join(path);
            if staged.exists() {
                disk::folder(&self.folder.join(FOLDER))?;
                disk::rename(&staged, &to)?;
            } else if !file.is_at(&to, true)? {
                return Ok(false);
            }
            files.push(Pulled {
                path: path.clone(),
                ..file.clone()
            });
        }
        let manifest = Manifest::of(
            service,
            self.request.clone(),
            Asked::default(),
            None,
            files,
            Vec::new(),
        );
        let manifest = Manifest {
            next_since: Some(next_since.clone()),
            late_rows: Some(late_rows),
            ..manifest
        };
        manifest.write(&self.folder.join(MANIFEST))?;
        self.manifest = Some(manifest);
        Ok(true)
    }
}

/// The number in a file's path, if it is one of a chain.
fn number(path: &str) -> Option<u64> {
    let (number, _) = path
        .strip_prefix(FOLDER)?
        .strip_prefix('/')?
        .split_once('.')?;
    let is_one = number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit());
    number
        .parse()
        .ok()
        .filter(|_| is_one && path.matches('/').count() == 1)
}

/// Fetches what arrived since a watermark into `file`. Each attempt has what the failed one would have had, and what arrived
/// meanwhile.
///
/// # Errors
///
/// Those of [`fetch`], and a service that says no watermark.
pub(super) async fn fetch_since(
    client: &Client,
    export: &ExportRequest,
    since: &str,
    (name, file): (&str, &Path),
    progress: impl Fn(u64),
) -> Attempt<Arrived> {
    let url = format!(
        "/api/websites/{}/export?since={}&{}",
        export.website,
        utf8_percent_encode(since, NON_ALPHANUMERIC),
        options(export)
    );
    let wanted = Wanted {
        url: &url,
        website: export.website.as_str(),
        format: export.format,
    };
    let fetched = fetch(client, &wanted, file, progress).await?;
    let header = |name: &str| fetched.headers.get(name)?.to_str().ok();
    let next = header("x-export-next-since")
        .filter(|next| !next.is_empty() && next.len() <= MAX_WATERMARK);
    let late = header("x-export-late-rows").and_then(|rows| rows.parse().ok());
    let (Some(next), Some(late_rows)) = (next, late) else {
        return Err(Failure::last(Error::internal(
            "the service says no next watermark: is it an earlier version of Rowspout?",
        )));
    };
    Ok(Arrived {
        path: String::new(),
        since: since.to_owned(),
        untold: 0,
        next_since: next.to_owned(),
        late_rows,
        file: fetched.pulled(name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn files_of_a_chain_are_known_by_their_numbers() {
        assert_eq!(number("since/000001.parquet"), Some(1));
        assert_eq!(number("since/1000000.csv"), Some(1_000_000));
        for other in [
            "since/1.csv",
            "since/000001",
            "../since/000001.csv",
            "since/000001.x/../../y",
            "date=2026-03-01/part-000.csv",
            "since/+00001.csv",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
