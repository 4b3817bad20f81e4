//! Files that are there after a power cut if they were there before, and one program at a time.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The end of names of files that are in the making.
const UNFINISHED: &str = "unfinished";

/// Writes a small file in place of the one of that name, whole or not at all.
///
/// # Errors
///
/// The disk takes no more.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = unfinished(path);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| unwritable(&new, error))?;
    rename(&new, path)
}

/// The name of a file that will become `path`. Readers of folders pass over names that begin so.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{UNFINISHED}"))
}

/// Gives a file its name, for good.
///
/// # Errors
///
/// The folder cannot be written.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| unwritable(to, error))?;
    sync_folder_of(to)
}

/// Removes a file, for good. One that is not there is removed.
///
/// # Errors
///
/// The folder cannot be written.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(path, error)),
    }
}

/// Makes a folder, and those above it.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|error| {
        Error::usage(format!(
            "the folder {} cannot be made: name another one with -o",
            path.display()
        ))
        .with_source(error)
    })?;
    sync_folder_of(path)
}

/// Makes sure that what the folder of a file has is on the disk.
///
/// # Errors
///
/// The disk takes no more.
pub(super) fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unwritable(folder, error))
}

/// Takes a lock that goes with the process. `place` is what it is for, in words.
///
/// # Errors
///
/// Another process has it.
pub(super) fn lock(path: &Path, place: &Path) -> Result<File> {
    loop {
        let failed = |error| unwritable(path, error);
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::internal(format!(
                    "another rowspout pull is at work in {}: wait until it is done, or name another place with -o",
                    place.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Who had it may have taken its file away since it was opened.
        let held = file.metadata().map_err(failed)?.ino();
        if path.metadata().is_ok_and(|named| named.ino() == held) {
            return Ok(file);
        }
    }
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::internal(format!("{} cannot be written", path.display())).with_source(error)
}
