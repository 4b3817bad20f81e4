//! A file that appears under its name only when it is complete.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A temporary file beside its later place; dropped, it is gone.
pub(super) struct Appearing {
    file: File,
    temporary: tempfile::TempPath,
    path: PathBuf,
}

impl Appearing {
    /// A file that will be at `path`.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".rowspout-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As any newly made file, less the user's umask; a temporary one would be its owner's alone.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(folder)
            .map_err(|error| unwritable(path, error))?;
        let (file, temporary) = file.into_parts();
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
        })
    }

    /// Another handle of it, to write with.
    ///
    /// # Errors
    ///
    /// The process has too many files open.
    pub(super) fn other_handle(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Writes a few bytes.
    ///
    /// # Errors
    ///
    /// The disk is full.
    pub(super) fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        (&self.file).write_all(bytes)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// The disk is full, or the name cannot be taken.
    pub(super) async fn appear(self) -> Result<()> {
        // A name must never stand for bytes that a power cut can take back.
        let Self {
            file,
            temporary,
            path,
        } = self;
        let synced = tokio::task::spawn_blocking(move || file.sync_all());
        synced
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| unwritable(&path, error))?;
        temporary
            .persist(&path)
            .map_err(|error| unwritable(&path, error.error))
    }
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::internal(format!("{} cannot be written", path.display())).with_source(error)
}
