//! Where libchdb comes from: a path that is named, the user's cache, the system, or npm.
//!
//! npm fetches the package, because it is on most machines and knows how to reach its registry from there; what it
//! brought is checked against a checksum in this file before anything of it is used.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use directories::ProjectDirs;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha512};

use crate::error::{Error, Result};

/// Version of the packages.
const VERSION: &str = "26.7.3-stable.1";
/// The library's file in the package and in the cache.
const LIBRARY: &str = "libchdb.so";
/// Where a library for the whole machine is.
const SYSTEM: &str = "/usr/local/lib/libchdb.so";
/// What directories of fetches under way begin with.
const FETCH_PREFIX: &str = "fetch-";
/// How often the progress bar looks at the disk.
const LOOK: Duration = Duration::from_millis(200);

/// A package that was checked.
struct Package {
    /// Name at the registry.
    name: &'static str,
    /// Bytes of the tarball.
    bytes: u64,
    /// SHA-512 of the tarball, in Base64.
    sha512: &'static str,
}

/// The package of the platform that this program was built for. Others exist; one is named here once its checksum was
/// taken from a registry.
const PACKAGE: Option<Package> = if cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
)) {
    Some(Package {
        name: "@chdb/lib-linux-x64-gnu",
        bytes: 177_817_999,
        sha512: "XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
    })
} else {
    None
};

/// The path of a libchdb: `explicit`, the one in the user's cache, the machine's, or one that is fetched now.
///
/// Blocks, for some minutes if it has to fetch. Two processes at once fetch once. An interrupted fetch leaves nothing
/// that the next one would take for whole.
///
/// # Errors
///
/// There is no file at `explicit`; or there is none anywhere and npm is missing, fails, or brings something else.
pub fn ensure(explicit: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = explicit {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(Error::usage(format!(
                "ROWSPOUT_LIBCHDB names {}, which is no file: name a libchdb.so, or unset it",
                path.display()
            )))
        };
    }
    let cache = ProjectDirs::from("", "", "rowspout").map(|dirs| dirs.cache_dir().to_owned());
    let cached = cache
        .as_ref()
        .map(|cache| cache.join(format!("libchdb-{VERSION}")).join(LIBRARY));
    if let Some(path) = cached.as_ref().filter(|path| path.is_file()) {
        return Ok(path.clone());
    }
    if Path::new(SYSTEM).is_file() {
        return Ok(SYSTEM.into());
    }
    let (Some(cache), Some(target)) = (cache, cached) else {
        return Err(Error::usage(format!(
            "there is no home directory to keep libchdb in: {REMEDY}"
        )));
    };
    let Some(package) = PACKAGE else {
        return Err(Error::usage(format!(
            "no libchdb is known for {} on {}: {REMEDY}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )));
    };
    fetch(&package, &cache, &target)?;
    Ok(target)
}

/// What to do when libchdb cannot be fetched.
const REMEDY: &str =
    "set ROWSPOUT_LIBCHDB to a libchdb.so, or put one at /usr/local/lib/libchdb.so";

/// Fetches, checks and unpacks the package, and moves the library to `target` in one step.
fn fetch(package: &Package, cache: &Path, target: &Path) -> Result<()> {
    let in_cache = |error: std::io::Error| {
        Error::usage(format!(
            "the cache directory {} cannot be used",
            cache.display()
        ))
        .with_source(error)
    };
    let directory = target.parent().unwrap_or(cache);
    fs::create_dir_all(directory).map_err(in_cache)?;
    let lock = File::create(cache.join("fetch.lock")).map_err(in_cache)?;
    lock.lock().map_err(in_cache)?;
    if target.is_file() {
        // Another process fetched it while this one waited.
        return Ok(());
    }
    remove_leftovers(cache).map_err(in_cache)?;
    let work = tempfile::Builder::new()
        .prefix(FETCH_PREFIX)
        .tempdir_in(cache)
        .map_err(in_cache)?;
    let tarball = pack(package, work.path())?;
    check(package, &tarball)?;
    unpack(&tarball, work.path())?;
    fs::rename(work.path().join("package").join(LIBRARY), target).map_err(in_cache)
}

/// Removes what interrupted fetches left. The lock is held, so no fetch is under way.
fn remove_leftovers(cache: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(FETCH_PREFIX)
            && entry.path().is_dir()
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Runs `npm pack`, with a progress bar on a terminal, and returns the tarball's path.
fn pack(package: &Package, work: &Path) -> Result<PathBuf> {
    let specification = format!("{}@{VERSION}", package.name);
    if !std::io::stderr().is_terminal() {
        tracing::info!(
            package = specification,
            bytes = package.bytes,
            "fetching libchdb with npm"
        );
    }
    let mut npm = Command::new("npm")
        .args(["pack", "--silent", "--pack-destination"])
        .arg(work)
        .arg("--cache")
        .arg(work.join("cache"))
        .arg(&specification)
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Error::usage(format!(
                "libchdb is not here and npm, which would fetch it, cannot be run: install npm, or {REMEDY}"
            ))
            .with_source(error)
        })?;
    let status = watch(package, work, &mut npm);
    let mut reason = String::new();
    if let Some(mut stderr) = npm.stderr.take() {
        // Only adds to the message.
        let _ = stderr.read_to_string(&mut reason);
    }
    let failed = |why: String| {
        Error::usage(format!(
            "npm cannot fetch {specification}: look at the network and npm's registry setting, or {REMEDY}"
        ))
        .with_detail(why)
    };
    if !status.map_err(|error| failed(error.to_string()))?.success() {
        return Err(failed(reason.trim().to_owned()));
    }
    fs::read_dir(work)
        .map_err(|error| failed(error.to_string()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| failed("it wrote no file".into()))
}

/// Waits for npm and shows how far it is.
fn watch(
    package: &Package,
    work: &Path,
    npm: &mut Child,
) -> std::io::Result<std::process::ExitStatus> {
    // Draws on standard error, and only where that is a terminal.
    let bar = ProgressBar::new(package.bytes).with_message("fetching libchdb");
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    let status = loop {
        if let Some(status) = npm.try_wait()? {
            break status;
        }
        bar.set_position(bytes_under(work).min(package.bytes));
        std::thread::sleep(LOOK);
    };
    bar.finish_and_clear();
    Ok(status)
}

/// Bytes of the files under a directory; what cannot be read counts nothing.
fn bytes_under(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Compares the tarball with the checksum that is pinned here.
fn check(package: &Package, tarball: &Path) -> Result<()> {
    let unreadable = |error: std::io::Error| {
        Error::internal(format!("{} cannot be read", tarball.display())).with_source(error)
    };
    let mut file = File::open(tarball).map_err(unreadable)?;
    let mut hash = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let found = STANDARD.encode(hash.finalize());
    if found == package.sha512 {
        return Ok(());
    }
    Err(Error::usage(format!(
        "npm brought a {} {VERSION} that is not the one this program was built for, so it was thrown away: {REMEDY}",
        package.name
    ))
    .with_detail(format!("SHA-512 {found}")))
}

/// Takes the library out of the tarball.
fn unpack(tarball: &Path, work: &Path) -> Result<()> {
    let output = Command::new("tar")
        .arg("-xzf")
        .arg(tarball)
        .arg("-C")
        .arg(work)
        .arg(format!("package/{LIBRARY}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Error::usage(format!(
                "tar, which would unpack libchdb, cannot be run: install tar, or {REMEDY}"
            ))
            .with_source(error)
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "libchdb cannot be unpacked in {}: is the disk full? It needs 800 MB",
        work.display()
    ))
    .with_detail(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
