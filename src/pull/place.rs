//! Where a pull goes: a folder of parts, or one file.

use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::joined::Joined;
use super::planned::Planned;
use super::pulled::{Asked, Manifest, Pulled};
use super::record::Record;
use crate::error::Result;
use crate::request::ExportRequest;

/// A place, and how many parts it still lacks.
pub(super) struct Place {
    kind: Kind,
    missing: usize,
}

enum Kind {
    Directory(Box<Directory>),
    Joined(Box<Joined>),
}

impl Place {
    /// Takes it for this process alone.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::open`] and [`Joined::open`].
    pub(super) fn open(output: &Path, join: bool, export: &ExportRequest) -> Result<Self> {
        let kind = if join {
            Kind::Joined(Box::new(Joined::open(output, export)?))
        } else {
            Kind::Directory(Box::new(Directory::open(output, export)?))
        };
        Ok(Self { kind, missing: 0 })
    }

    /// Which parts of a plan are not there, by their place in it.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::compare`] and [`Joined::compare`].
    pub(super) fn compare(&mut self, planned: &Planned, verify: bool) -> Result<Vec<usize>> {
        let missing = match &mut self.kind {
            Kind::Directory(directory) => directory.compare(planned, verify)?,
            Kind::Joined(joined) => joined.compare(planned, verify)?,
        };
        self.missing = missing.len();
        Ok(missing)
    }

    /// Parts that are not there yet.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// A name for a file that is fetched.
    ///
    /// # Errors
    ///
    /// Those of [`Record::new_name`].
    pub(super) fn new_name(&self) -> Result<String> {
        self.record().new_name()
    }

    /// Where a file of such a name is.
    pub(super) fn staged(&self, name: &str) -> PathBuf {
        self.record().staged(name)
    }

    fn record(&self) -> &Record {
        match &self.kind {
            Kind::Directory(directory) => &directory.record,
            Kind::Joined(joined) => &joined.record,
        }
    }

    /// Takes the file of a part, which is whole.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn take(&mut self, index: usize, file: Pulled) -> Result<()> {
        self.missing = self.missing.saturating_sub(1);
        match &mut self.kind {
            Kind::Directory(directory) => directory.take(index, file),
            Kind::Joined(joined) => joined.take(file),
        }
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
        match self.kind {
            Kind::Directory(directory) => directory.finish(service, window, planned),
            Kind::Joined(joined) => joined.finish(service, window, planned),
        }
    }
}
