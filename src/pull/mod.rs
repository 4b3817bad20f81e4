//! Exports of any size, fetched part by part from a service: the loop that users would write by hand.
//!
//! In: a [`PullRequest`]. Out: a folder of files or one joined file, and a manifest, which is written last. The service makes a
//! plan; parts that are there already are passed over by their ETags; the others are fetched several at once, each proved by its
//! receipt before it counts. Whatever interrupts it, the next pull goes on where this one stopped. Holds the plan and a few
//! chunks of each connection.
//!
//! ```text
//! client ─▶ planned ─▶ directory or joined: compare ─▶ fetch ─▶ directory or joined: take … finish
//! attempts             record: what survives a kill             manifest, last
//! ```
//!
//! What arrived since the last time is no plan but one export, and one file more: `arrivals`.

mod arrivals;
mod attempts;
mod client;
mod directory;
mod disk;
mod fetch;
mod joined;
mod place;
mod planned;
mod progress;
mod pulled;
mod record;
mod staged;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, block_in_place};

pub use directory::MANIFEST;

use self::arrivals::{Arrivals, fetch_since};
use self::attempts::{Failure, insist};
use self::client::Client;
use self::fetch::{Wanted, fetch};
use self::place::Place;
use self::planned::PlannedPart;
use self::progress::Progress;
use self::pulled::{Asked, Pulled};
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Format, PlanRequest};

/// Parts that are fetched at once.
pub const DEFAULT_PARALLEL: usize = 4;

/// Most parts that may be.
pub const MAX_PARALLEL: usize = 64;

/// Further attempts at the plan, and at each part.
pub const DEFAULT_RETRIES: u32 = 10;

/// Time without a byte, in seconds: a service interrupts an export for as long at most.
pub const DEFAULT_SILENCE_SECONDS: u64 = 300;

/// What to pull, from where, to where.
#[derive(Clone)]
pub struct PullRequest {
    /// The service's address, `https://…`.
    pub url: String,
    /// The key; it stands in no message.
    pub key: String,
    /// What is pulled, and about how many rows a part has.
    pub wanted: PlanRequest,
    /// Whether what arrived since the last pull is wanted, whenever it happened; the window then counts for nothing.
    pub since: bool,
    /// The folder, or the file.
    pub output: PathBuf,
    /// Whether it is one file.
    pub join: bool,
    /// Parts at once. [`DEFAULT_PARALLEL`]
    pub parallel: usize,
    /// Further attempts. [`DEFAULT_RETRIES`]
    pub retries: u32,
    /// Time without a byte. [`DEFAULT_SILENCE_SECONDS`]
    pub silence: Duration,
    /// Whether files that are there are hashed, and not only measured.
    pub verify: bool,
    /// Certificates of authorities, as PEM, to be trusted instead of Mozilla's.
    pub cacert: Option<PathBuf>,
    /// Whether nothing is said but errors.
    pub quiet: bool,
}

/// What a complete pull has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Files, rows and bytes that are there.
    pub files: usize,
    /// The rows of all of them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parts that were fetched this time.
    pub fetched: usize,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Parts that the next pull fetches again, as the service cannot tell their rows from others.
    pub untold: usize,
    /// Of exports by arrival, the rows that were found to be in no file, as they became visible too late.
    pub late_rows: u64,
}

/// Pulls. Needs a runtime of several threads. May be dropped at any time: the next one goes on.
///
/// # Errors
///
/// [`ErrorKind::Usage`] and [`ErrorKind::Validation`] where the request is wrong, or the place is another request's; otherwise
/// what kept it from being complete, after all attempts. There is no manifest then, unless the one of an earlier pull is still true.
pub async fn pull(request: PullRequest) -> Result<Summary> {
    let client = Arc::new(Client::new(&request)?);
    if request.since {
        return pull_arrivals(&request, &client).await;
    }
    let export = &request.wanted.export;
    let mut place = block_in_place(|| Place::open(&request.output, request.join, export))?;
    let progress = Arc::new(Progress::new(request.quiet));
    let planned = insist(
        request.retries,
        || planned::ask(&client, &request.wanted),
        |error, pause| progress.waits("the plan", error, pause),
    );
    let planned = planned.await?;
    let missing = block_in_place(|| place.compare(&planned, request.verify))?;
    progress.begin(&planned, &missing);

    let mut waiting: VecDeque<_> = missing.iter().copied().collect();
    let mut running = JoinSet::new();
    let (mut fetched_bytes, mut failed) = (0, None);
    loop {
        while failed.is_none()
            && running.len() < request.parallel
            && let Some(index) = waiting.pop_front()
        {
            let name = place.new_name()?;
            let task = Task {
                client: client.clone(),
                progress: progress.clone(),
                part: planned.parts[index].clone(),
                website: export.website.to_string(),
                format: export.format,
                retries: request.retries,
                file: place.staged(&name),
                name,
            };
            running.spawn(async move { (index, task.run().await) });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        let (index, result) = ended.map_err(|error| {
            Error::internal("the fetching of a part stopped").with_source(error)
        })?;
        match result {
            Ok(file) => {
                fetched_bytes += file.bytes;
                block_in_place(|| place.take(index, file))?;
            }
            // Those that run may still come to their end.
            Err(error) => failed = failed.or(Some((index, error))),
        }
    }
    progress.end();
    if let Some((index, error)) = failed {
        let there = missing.len() - place.missing();
        return Err(not_complete(
            &planned.parts[index],
            there,
            missing.len(),
            &error,
        ));
    }
    let window = Asked::of(export);
    let manifest = block_in_place(|| place.finish(client.base(), window, &planned))?;
    let parts = if request.join {
        &manifest.parts
    } else {
        &manifest.files
    };
    Ok(Summary {
        files: manifest.files.len(),
        rows: manifest.rows,
        bytes: manifest.bytes,
        fetched: missing.len(),
        fetched_bytes,
        untold: parts.iter().filter(|part| part.etag.is_none()).count(),
        late_rows: 0,
    })
}

/// Pulls what arrived since the last time: one export, one file.
async fn pull_arrivals(request: &PullRequest, client: &Client) -> Result<Summary> {
    let export = &request.wanted.export;
    let open = || Arrivals::open(&request.output, export, client.base());
    let mut arrivals = block_in_place(open)?;
    let progress = Progress::new(request.quiet);
    let untold = arrivals.untold();
    if untold > 0 {
        progress.warns(
            "the pull before was killed when it had found rows that became visible too late",
        );
    }
    let line = progress.arrivals();
    let (name, file) = arrivals.staging()?;
    let since = arrivals.since().to_owned();
    let arrived = insist(
        request.retries,
        || async {
            line.begins();
            let to = (name.as_str(), file.as_path());
            fetch_since(client, export, &since, to, |bytes| line.at(bytes)).await
        },
        |error, pause| line.waits(error, pause),
    );
    // What is not whole must not keep the disk full.
    let arrived = arrived
        .await
        .inspect_err(|_| drop(std::fs::remove_file(&file)))?;
    line.ends(arrived.file.rows, arrived.file.bytes);
    let (rows, bytes) = (arrived.file.rows, arrived.file.bytes);
    let late_rows = arrived.late_rows;
    block_in_place(|| arrivals.take(client.base(), arrived))?;
    let (files, all_rows, all_bytes) = arrivals.told();
    let summary = Summary {
        files,
        rows: all_rows,
        bytes: all_bytes,
        fetched: usize::from(rows > 0),
        fetched_bytes: bytes,
        untold: 0,
        // Also those that a pull which was killed had no time to tell.
        late_rows: untold.saturating_add(late_rows),
    };
    block_in_place(|| arrivals.end())?;
    Ok(summary)
}

/// Why a pull ended without a manifest.
fn not_complete(part: &PlannedPart, there: usize, of: usize, error: &Error) -> Error {
    let mut causes = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes = format!("{causes}: {cause}");
        source = cause.source();
    }
    Error::new(
        error.kind(),
        format!(
            "the part of {} from {} to {} could not be fetched: {causes}; {there} of {of} missing parts were fetched, and the same \
             command goes on with the others",
            part.day,
            crate::request::instant_text(part.from.0),
            crate::request::instant_text(part.to.0),
        ),
    )
}

/// The fetching of one part.
struct Task {
    client: Arc<Client>,
    progress: Arc<Progress>,
    part: PlannedPart,
    website: String,
    format: Format,
    retries: u32,
    /// The file's name among those that have no place yet, and where that is.
    name: String,
    file: PathBuf,
}

impl Task {
    async fn run(self) -> Result<Pulled> {
        let Self { part, progress, .. } = &self;
        let line = progress.part(part);
        let wanted = Wanted {
            url: &part.url,
            website: &self.website,
            format: self.format,
        };
        let attempt = || async {
            line.begins();
            let fetched = fetch(&self.client, &wanted, &self.file, |bytes| line.at(bytes)).await?;
            // Rows come, and few go: fewer ones than were counted are most likely not all.
            if fetched.rows < part.rows
                || (fetched.etag.is_some()
                    && fetched.etag == part.etag
                    && fetched.rows != part.rows)
            {
                return Err(Failure::again(Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "{} rows came where the plan has {}",
                        fetched.rows, part.rows
                    ),
                )));
            }
            Ok(fetched)
        };
        let fetched = insist(self.retries, attempt, |error, pause| {
            line.waits(error, pause);
        });
        // What is not whole must not keep the disk full.
        let fetched = fetched
            .await
            .inspect_err(|_| drop(std::fs::remove_file(&self.file)))?;
        line.ends(fetched.rows, fetched.bytes);
        Ok(Pulled {
            day: Some(part.day.clone()),
            from: Some(part.from),
            to: Some(part.to),
            ..fetched.pulled(self.name.clone())
        })
    }
}
