//! A file of events into a website.
//!
//! ```text
//! check    read ─▶ every row is valid? how many? SHA-256        nothing is written if a row cannot be loaded
//! claim    a row of `loads`: this file, this website, these event_ids, before the first event
//! insert   read ─▶ batch ─▶ INSERT, one after the other         a batch that is there already is left out
//! verify   the table holds exactly the claimed event_ids, then the claim is finished
//! ```
//!
//! The file is read twice, so that bad data never leaves a half load: only a failure of the way to ClickHouse does, and then
//! the same command goes on where it stopped. Row n of a load has `event_id` first + n, so what is there
//! already can be told row by row, and an INSERT that is sent again has the same deduplication token.
//!
//! Holds three batches of 16 MiB and what the reader of the format holds, whatever the file's size.

mod batch;
mod claim;
mod column;
mod insert;
mod progress;
mod read;
mod table;
mod value;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use self::batch::Batch;
use self::claim::{Claim, Claims};
use self::insert::Inserter;
use self::progress::Progress;
use self::read::{Reader, Sha256Hex};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::cursor::Replicas;
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Format, WebsiteId};
use crate::shutdown::shutdown_signal;

pub(crate) use self::value::timestamp;

/// Batches between the reader and the INSERT, beside the one in each one's hands.
const QUEUED_BATCHES: usize = 1;

/// What to load, and where.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// The file; read twice, so no pipe.
    pub file: PathBuf,
    /// The website that the events are of.
    pub site: WebsiteId,
    /// The file's format, where its extension does not say it.
    pub format: Option<Format>,
    /// Whether a file that was loaded before is loaded once more, as new events.
    pub again: bool,
}

/// What a load did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rows of the file, all of which are in the table.
    pub rows: u64,
    /// Rows of them that an earlier attempt had brought in.
    pub there_before: u64,
}

/// What a file holds.
#[derive(Clone, Debug)]
struct Checked {
    sha256: Sha256Hex,
    rows: u64,
    /// The first and the last instant, in milliseconds since 1970.
    span: (i64, i64),
}

/// Loads a file. Dropped or failed, it can be repeated.
///
/// # Errors
///
/// [`ErrorKind::Data`] where the file holds what cannot be loaded, with its line and column, before anything is
/// written, or was loaded before; [`ErrorKind::NotFound`] where there is no such website; whatever keeps ClickHouse from
/// taking the rows, with how many it took.
pub async fn load(config: &Config, request: LoadRequest) -> Result<Loaded> {
    let format = format(&request)?;
    let bytes = check_file(&request.file)?;
    let site = request.site.as_str();
    // One replica from beginning to end: another one may not know yet what was claimed and inserted.
    let config = &Config {
        clickhouse: Replicas::that_answers(&config.clickhouse).await?,
        ..config.clone()
    };
    if Catalog::new(&config.clickhouse)
        .website(&request.site)
        .await?
        .is_none()
    {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no website {site}: add it with `rowspout site add {site} --name NAME`"
            ),
        ));
    }
    table::check(config).await?;

    let file = request.file.clone();
    let checked = blocking(move || check(&file, format, bytes)).await?;
    let Some(checked) = checked else {
        return Ok(Loaded {
            rows: 0,
            there_before: 0,
        });
    };
    let claims = Claims::new(config, site);
    let name = request
        .file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let claim = claims
        .claim(&checked.sha256, &name, checked.rows, request.again)
        .await?;
    let mut inserter = Inserter::new(config, site, claim.clone());
    let progress = Progress::new("loading", bytes);
    let mut done = tokio::select! {
        done = insert(&request, format, &checked, &claim, &mut inserter, &progress) => done,
        () = shutdown_signal() => Err(Error::internal("the load was interrupted")),
    };
    drop(progress);
    if done.is_ok() {
        done = inserter.verify(checked.rows, checked.span).await;
    }
    if done.is_ok() {
        done = claims.finish(&claim).await;
    }
    if let Err(error) = done {
        return Err(Error::new(
            error.kind(),
            format!(
                "the load stopped after {} of {} rows: repeat the command to go on, nothing comes twice",
                inserter.rows(),
                checked.rows
            ),
        )
        .with_source(error));
    }
    Ok(Loaded {
        rows: checked.rows,
        there_before: inserter.there_before(),
    })
}

/// The file's format, from the flag or the extension.
fn format(request: &LoadRequest) -> Result<Format> {
    if let Some(format) = request.format {
        return match format {
            Format::Arrow => Err(no_arrow()),
            format => Ok(format),
        };
    }
    let extension = request.file.extension().unwrap_or_default();
    match extension.to_string_lossy().to_ascii_lowercase().as_str() {
        "jsonl" => Ok(Format::Ndjson),
        "arrow" | "arrows" => Err(no_arrow()),
        name => Format::from_name(name).ok_or_else(|| {
            Error::usage(format!(
                "the name of {} does not end in .csv, .json, .ndjson or .parquet: say what it is with --format",
                request.file.display()
            ))
        }),
    }
}

/// What exports write and loads do not read.
fn no_arrow() -> Error {
    Error::usage("Arrow is not loaded: export as parquet, which holds the same, and load that")
}

/// The size of a file that can be read twice, in bytes.
fn check_file(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        Error::usage(format!("the file {} cannot be read", path.display())).with_source(error)
    })?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else {
        Err(Error::usage(format!(
            "{} is no regular file, and a load reads it twice: write it into a file first",
            path.display()
        )))
    }
}

/// Reads the whole file and keeps nothing of it. `None` where it has no rows.
fn check(path: &Path, format: Format, bytes: u64) -> Result<Option<Checked>> {
    let progress = Progress::new("checking", bytes);
    let mut reader = Reader::open(path, format)?;
    // Only the event_ids depend on the website and the claim.
    let mut batch = Batch::new("", 0, reader.layout().with_defaults);
    let mut span: Option<(i64, i64)> = None;
    let mut rows = 0;
    loop {
        batch.clear();
        reader.fill(&mut batch)?;
        let Some((first, last)) = batch.span() else {
            break;
        };
        span = Some(span.map_or((first, last), |span| (span.0.min(first), span.1.max(last))));
        rows += batch.rows();
        progress.set(reader.position());
    }
    let sha256 = reader.finish()?;
    Ok(span.map(|span| Checked { sha256, rows, span }))
}

/// Reads the file again and inserts what is missing of it.
async fn insert(
    request: &LoadRequest,
    format: Format,
    checked: &Checked,
    claim: &Claim,
    inserter: &mut Inserter,
    progress: &Progress,
) -> Result<()> {
    let (sender, mut batches) = mpsc::channel(QUEUED_BATCHES);
    let reader = {
        let file = request.file.clone();
        let first = (request.site.to_string(), claim.first_id);
        let rows = checked.rows;
        tokio::task::spawn_blocking(move || read(&file, format, &first.0, first.1, rows, &sender))
    };
    let mut result = Ok(());
    while let Some((batch, layout, position)) = batches.recv().await {
        result = inserter.insert(batch, &layout).await;
        if result.is_err() {
            break;
        }
        progress.set(position);
    }
    // The reader ends when nobody takes its batches.
    drop(batches);
    let read = reader.await.map_err(|error| {
        Error::internal("the file's reader stopped").with_detail(error.to_string())
    })?;
    result?;
    if read? == Some(checked.sha256.clone()) {
        Ok(())
    } else {
        Err(changed())
    }
}

/// A batch, its columns, and how far in the file it ends, in bytes.
type Read = (Batch, batch::Layout, u64);

/// Sends the file's batches. `None` where nobody took them.
fn read(
    path: &Path,
    format: Format,
    site: &str,
    first_id: u64,
    rows: u64,
    sender: &mpsc::Sender<Read>,
) -> Result<Option<Sha256Hex>> {
    let mut reader = Reader::open(path, format)?;
    let layout = reader.layout();
    let mut batch = Batch::new(site, first_id, layout.with_defaults);
    let mut sent = 0;
    loop {
        reader.fill(&mut batch)?;
        if batch.rows() == 0 {
            return reader.finish().map(Some);
        }
        sent += batch.rows();
        if sent > rows {
            // Beyond the claimed event_ids, which may be another load's.
            return Err(changed());
        }
        let next = batch.next();
        let full = std::mem::replace(&mut batch, next);
        let read = (full, layout.clone(), reader.position());
        if sender.blocking_send(read).is_err() {
            return Ok(None);
        }
    }
}

fn changed() -> Error {
    Error::new(
        ErrorKind::Data,
        "the file was changed while it was loaded: put back what it was and repeat the command",
    )
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::internal("the file's reader stopped").with_detail(error.to_string())
    })?
}
