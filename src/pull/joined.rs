//! One file of all parts: the very bytes of an unbroken export.
//!
//! Parts are fetched beside it and joined when all are there. Takes the disk twice for that time. What was joined is known by its
//! manifest, `events.csv.manifest.json`; where a part changed, all are fetched again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::disk;
use super::planned::{Planned, PlannedPart};
use super::pulled::{Asked, Manifest, Pulled, Request};
use super::record::{Days, Record, Said};
use super::staged::{Staged, holds};
use crate::error::{Error, Result};
use crate::random;
use crate::request::{ExportRequest, Format};

/// Size of the buffers that are read and written with, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// What stands between two rows of a JSON array.
const BETWEEN: &[u8] = b",\n";

/// A file that is pulled into.
pub(super) struct Joined {
    file: PathBuf,
    pub(super) record: Record,
    request: Request,
    format: Format,
    staged: Staged,
    manifest: Option<Manifest>,
    /// The parts of the plan that the file is joined from.
    parts: Vec<PlannedPart>,
    /// Whether the file is that already.
    done: bool,
}

impl Joined {
    /// Takes the name of a file.
    ///
    /// # Errors
    ///
    /// The format's files cannot be joined, another pull is at work there, or the folder cannot be written.
    pub(super) fn open(file: &Path, export: &ExportRequest) -> Result<Self> {
        let format = export.format;
        if !format.is_text() {
            return Err(Error::usage(format!(
                "{format} files cannot be joined: leave --join out and name a folder with -o, which readers take for one table; \
                 or ask for csv, json or ndjson"
            )));
        }
        let Some(name) = file.file_name().filter(|_| !file.is_dir()) else {
            return Err(Error::usage(format!(
                "-o {} is a folder, and --join makes one file: give a file's name in it",
                file.display()
            )));
        };
        let name = name.to_string_lossy();
        let request = Request::of(export);
        let read = || {
            let manifest = Manifest::read(&manifest_of(file))?;
            if let Some(manifest) = &manifest {
                request.same_as(&manifest.request, file)?;
            }
            Ok::<_, Error>(manifest)
        };
        // Refused, it leaves no folder behind.
        read()?;
        let mut record = Record::open(file.with_file_name(format!(".{name}.rowspout")), file)?;
        let manifest = read()?;
        let said = record.read()?;
        if let Some(there) = said.as_ref().and_then(|said| said.request.as_ref()) {
            request.same_as(there, file)?;
        }
        let Said { fetched, .. } = said.unwrap_or_default();
        let names = fetched.iter().map(|file| file.path.as_str()).collect();
        record.keep_only(&names)?;
        record.begin(&request, &Days::new(), &fetched)?;
        Ok(Self {
            file: file.to_owned(),
            record,
            request,
            format,
            staged: Staged::of(fetched),
            manifest,
            parts: Vec::new(),
            done: false,
        })
    }

    /// Which parts of the plan have to be fetched, by their place in it.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub(super) fn compare(&mut self, planned: &Planned, verify: bool) -> Result<Vec<usize>> {
        let with_rows = |&(_, part): &(usize, &PlannedPart)| part.rows > 0;
        let mut parts: Vec<_> = planned.parts.iter().enumerate().filter(with_rows).collect();
        if parts.is_empty() {
            // What an export without rows is, one of its parts is.
            parts.extend(planned.parts.iter().enumerate().next());
        }
        if parts.is_empty() {
            return Err(Error::usage(
                "there is no time in the window: its only day was skipped in that zone; ask for other days",
            ));
        }
        self.parts = parts.iter().map(|&(_, part)| part.clone()).collect();
        if let Some(manifest) = &self.manifest
            && let [file] = &manifest.files[..]
        {
            let before = &manifest.parts;
            let same = before.len() == parts.len()
                && parts
                    .iter()
                    .zip(before)
                    .all(|(&(_, part), before)| holds(before, part, true));
            self.done = same && file.is_at(&self.file, verify)?;
        }
        let mut missing = Vec::new();
        for (index, part) in parts {
            if !self.done && self.staged.find(part, &self.record, verify)?.is_none() {
                missing.push(index);
            }
        }
        Ok(missing)
    }

    /// Takes a fetched part.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn take(&mut self, file: Pulled) -> Result<()> {
        self.record.fetched(&file)?;
        self.staged.add(file);
        Ok(())
    }

    /// Joins the parts, and says that everything is there.
    ///
    /// # Errors
    ///
    /// A part is not there, or the disk takes no more.
    pub(super) fn finish(
        self,
        service: &str,
        window: Asked,
        planned: &Planned,
    ) -> Result<Manifest> {
        let manifest_path = manifest_of(&self.file);
        let as_of = Some(planned.as_of.clone());
        let (files, parts) = match self.manifest {
            Some(manifest) if self.done => (manifest.files, manifest.parts),
            _ => {
                let mut parts = Vec::with_capacity(self.parts.len());
                for part in &self.parts {
                    let found = self.staged.of_time(part);
                    parts.push(found.cloned().ok_or_else(|| {
                        Error::internal("a file was to be joined before all of its parts")
                    })?);
                }
                let new = disk::unfinished(&self.file);
                let (bytes, sha256) = join(self.format, &parts, &self.record, &new)?;
                disk::remove(&manifest_path)?;
                disk::rename(&new, &self.file)?;
                let name = self.file.file_name().unwrap_or_default();
                let file = Pulled {
                    path: name.to_string_lossy().into_owned(),
                    day: None,
                    from: None,
                    to: None,
                    rows: parts.iter().map(|part| part.rows).sum(),
                    bytes,
                    sha256,
                    etag: None,
                    export_id: None,
                    fetched: None,
                };
                (vec![file], parts)
            }
        };
        let manifest = Manifest::of(service, self.request, window, as_of, files, parts);
        manifest.write(&manifest_path)?;
        self.record.end_and_leave()?;
        Ok(manifest)
    }
}

/// The name of a joined file's manifest.
fn manifest_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{name}.manifest.json"))
}

/// Joins fetched parts into `to`: its bytes, and their SHA-256.
fn join(format: Format, parts: &[Pulled], record: &Record, to: &Path) -> Result<(u64, String)> {
    let mut joining = Joining::begin(format, to)?;
    for part in parts {
        let path = record.staged(&part.path);
        joining
            .add(&path)
            .map_err(|error| disk::unwritable(to, error))?;
    }
    joining.end().map_err(|error| disk::unwritable(to, error))
}

/// A file that is joined.
struct Joining {
    format: Format,
    file: File,
    hash: Sha256,
    bytes: u64,
    /// Whether something that later parts do not repeat is there: a header, a row.
    begun: bool,
}

impl Joining {
    fn begin(format: Format, to: &Path) -> Result<Self> {
        let file = File::create(to).map_err(|error| disk::unwritable(to, error))?;
        Ok(Self {
            format,
            file,
            hash: Sha256::new(),
            bytes: 0,
            begun: false,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Adds what an unbroken export has of a part.
    fn add(&mut self, path: &Path) -> std::io::Result<()> {
        let mut part = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        match self.format {
            Format::Csv if self.begun => {
                // The names of columns hold no line break.
                part.skip_until(b'\n')?;
            }
            Format::Json => {
                let length = part.get_ref().metadata()?.len();
                // `[]` around.
                part.seek(SeekFrom::Start(1))?;
                let inside = length.saturating_sub(2);
                let between = if self.begun { BETWEEN } else { b"[" };
                if inside > 0 || !self.begun {
                    self.put(between)?;
                    self.begun = inside > 0;
                }
                return self.copy(part.take(inside));
            }
            _ => {}
        }
        self.begun = true;
        self.copy(part)
    }

    fn copy(&mut self, mut from: impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.put(&buffer[..read])?;
        }
    }

    fn end(mut self) -> std::io::Result<(u64, String)> {
        if self.format == Format::Json {
            self.put(b"]")?;
        }
        self.file.sync_all()?;
        Ok((self.bytes, random::hex(&self.hash.finalize())))
    }
}
