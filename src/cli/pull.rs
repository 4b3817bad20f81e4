//! `rowspout pull`: exports of any size from a service, part by part.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::filters::FilterArgs;
use super::site;
use crate::config::variable;
use crate::error::{Error, ErrorKind, Result};
use crate::pull::{
    DEFAULT_PARALLEL, DEFAULT_RETRIES, DEFAULT_SILENCE_SECONDS, MANIFEST, MAX_PARALLEL,
    PullRequest, Summary, pull,
};
use crate::request::{DEFAULT_PART_ROWS, Format, PART_ROWS, PlanRequest};
use crate::shutdown::shutdown_signal;

/// The variable of the environment that holds the key. The key has no flag: other users could read it in the process list.
const KEY: &str = "ROWSPOUT_KEY";

/// Longest key, in bytes: more is no key but a wrong file.
const MAX_KEY_BYTES: usize = 1_024;

/// Most further attempts.
const MAX_RETRIES: u32 = 1_000;

/// Flags of `pull`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 everything is there and the manifest says so, 1 it is not (the same command goes on), 2 wrong usage."
)]
pub(super) struct PullArgs {
    /// The service's address, as in https://rowspout.example.com
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Website, as in site_abc123
    #[arg(long, value_name = "ID")]
    site: String,
    /// First day, as YYYY-MM-DD; or give --from and --to. Any number of days
    #[arg(long, value_name = "DAY", required_unless_present_any = ["from", "to", "since"], requires = "end")]
    start: Option<String>,
    /// Last day, included
    #[arg(long, value_name = "DAY", requires = "start")]
    end: Option<String>,
    /// First instant, in RFC 3339 as 2026-03-03T10:15:00Z
    #[arg(long, value_name = "INSTANT", requires = "to", conflicts_with_all = ["start", "end"])]
    from: Option<String>,
    /// First instant that is outside
    #[arg(long, value_name = "INSTANT", requires = "from", conflicts_with_all = ["start", "end"])]
    to: Option<String>,
    /// What arrived since the last pull, whenever it happened: one more file since/NNNNNN in the folder, with each pull
    #[arg(long, conflicts_with_all = ["start", "end", "from", "to", "join", "verify"])]
    since: bool,
    /// Folder for files date=YYYY-MM-DD/part-NNN, or with --join the file
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// One file of all parts, the same bytes as an unbroken export: CSV, JSON and NDJSON
    #[arg(long)]
    join: bool,
    /// File that holds the key, `-` for standard input, instead of the environment's ROWSPOUT_KEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// csv, json, ndjson, parquet or arrow [default: with --join the file's extension, else csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// IANA zone of the days and of every timestamp [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Only pageview or event
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Events of bots too
    #[arg(long)]
    include_bots: bool,
    /// Only these columns, in this order, as in timestamp,url [default: all]
    #[arg(long, value_name = "NAMES")]
    fields: Option<String>,
    /// Of Parquet: zstd, snappy or none [default: zstd]
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Of JSON: event_data as a string and not as a value, with `string`
    #[arg(long, value_name = "FORM")]
    event_data: Option<String>,
    /// CSV that spreadsheets take no formulas from, with a byte order mark
    #[arg(long)]
    spreadsheet: bool,
    /// Rows of a part, about; a part never crosses a day
    #[arg(long, value_name = "ROWS", default_value_t = DEFAULT_PART_ROWS)]
    part_rows: u64,
    // In place of the setting of that name.
    /// Parts that are fetched at once [default: 4]
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Further attempts at a part, after pauses that grow up to 30 s
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RETRIES)]
    retries: u32,
    /// Seconds without a byte after which a part is asked for again
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_SILENCE_SECONDS)]
    silence: u64,
    /// Hash the files that are there before they are passed over, and not only measure them
    #[arg(long)]
    verify: bool,
    /// Trust the authorities of this PEM file, and not Mozilla's
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
    // Last: what follows would stand under the heading of the filters.
    #[command(flatten)]
    filters: FilterArgs,
}

pub(super) async fn run(args: PullArgs) -> Result<()> {
    let (output, quiet, join, since) = (args.output.clone(), args.quiet, args.join, args.since);
    let request = request(args)?;
    // A task of its own, so that signals are heard while it hashes.
    let mut pulling = tokio::spawn(pull(request));
    let summary = tokio::select! {
        biased;
        () = shutdown_signal() => {
            return Err(Error::internal(
                "the pull was interrupted: the same command goes on where it stopped",
            ));
        }
        summary = &mut pulling => summary.map_err(|error| Error::internal("the pull stopped").with_source(error))??,
    };
    if !quiet {
        say(&output, join, since, &summary);
    }
    if summary.late_rows > 0 {
        return Err(Error::new(
            ErrorKind::Late,
            format!(
                "{} rows became visible too late and are in no file of {}, though the pull itself is complete: pull the days in \
                 question by their dates into another folder, and raise settle_seconds of the service",
                HumanCount(summary.late_rows),
                output.display()
            ),
        ));
    }
    Ok(())
}

/// Says a line on standard error. One that cannot be written is no reason to end otherwise than the pull did.
macro_rules! tell {
    ($($line:tt)*) => {{
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}

/// What is there now.
fn say(output: &Path, join: bool, since: bool, summary: &Summary) {
    let place = output.display();
    if since && summary.fetched == 0 {
        tell!(
            "nothing has arrived; {place} stays as it is, at {} rows",
            HumanCount(summary.rows)
        );
    } else if since {
        tell!(
            "{place} has one file more, {}: {} files, {} rows; {MANIFEST} lists them and keeps the watermark",
            HumanBytes(summary.fetched_bytes),
            summary.files,
            HumanCount(summary.rows),
        );
    } else if join {
        tell!(
            "{place} is complete: {} rows, {}; {} parts were fetched, {}",
            HumanCount(summary.rows),
            HumanBytes(summary.bytes),
            summary.fetched,
            HumanBytes(summary.fetched_bytes)
        );
    } else {
        tell!(
            "{place} is complete: {} files, {} rows, {}; {} of them were fetched, {}; {MANIFEST} lists them",
            summary.files,
            HumanCount(summary.rows),
            HumanBytes(summary.bytes),
            summary.fetched,
            HumanBytes(summary.fetched_bytes)
        );
    }
    if summary.untold > 0 {
        tell!(
            "{} parts have no ETag, as their rows are fresh or cannot be told from others: the next pull fetches them again",
            summary.untold
        );
    }
}

fn request(args: PullArgs) -> Result<PullRequest> {
    let parallel = args.parallel.unwrap_or(DEFAULT_PARALLEL);
    if !(1..=MAX_PARALLEL).contains(&parallel) {
        return Err(Error::usage(format!(
            "--parallel is {parallel}: give 1 to {MAX_PARALLEL}"
        )));
    }
    if args.retries > MAX_RETRIES {
        return Err(Error::usage(format!(
            "--retries is {}: give 0 to {MAX_RETRIES}",
            args.retries
        )));
    }
    if args.silence == 0 || args.silence > 86_400 {
        return Err(Error::usage(format!(
            "--silence is {}: give 1 to 86400 seconds",
            args.silence
        )));
    }
    let extension = args.output.extension();
    let extension = extension.and_then(|extension| extension.to_str());
    let by_name = extension
        .filter(|_| args.join)
        .and_then(|extension| Format::from_extension(&extension.to_ascii_lowercase()));
    let format = args.format.as_deref().or(by_name.map(Format::as_str));
    let part_rows = args.part_rows.to_string();
    // What arrived may have happened at any time; a request has a window all the same.
    let (any, any_end) = match args.since {
        true => (Some("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:01Z")),
        false => (None, None),
    };
    let pairs = [
        ("start_date", args.start.as_deref()),
        ("end_date", args.end.as_deref()),
        ("from", args.from.as_deref().or(any)),
        ("to", args.to.as_deref().or(any_end)),
        ("format", format),
        ("timezone", args.timezone.as_deref()),
        ("event_type", args.event_type.as_deref()),
        ("include_bots", args.include_bots.then_some("true")),
        ("fields", args.fields.as_deref()),
        ("compression", args.compression.as_deref()),
        ("event_data", args.event_data.as_deref()),
        ("spreadsheet", args.spreadsheet.then_some("true")),
        (PART_ROWS, Some(part_rows.as_str())),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let pairs = pairs.chain(args.filters.pairs()?);
    Ok(PullRequest {
        url: args.service,
        key: key(args.key_file.as_deref())?,
        wanted: PlanRequest::from_pairs(site::website(&args.site)?, pairs)?,
        since: args.since,
        output: args.output,
        join: args.join,
        parallel,
        retries: args.retries,
        silence: Duration::from_secs(args.silence),
        verify: args.verify,
        cacert: args.cacert,
        quiet: args.quiet,
    })
}

/// The key, of a file or the environment. No message repeats what was found in its place.
fn key(file: Option<&Path>) -> Result<String> {
    use std::io::Read as _;

    let Some(path) = file else {
        return variable(KEY)?.ok_or_else(|| {
            Error::usage(format!(
                "there is no key: set {KEY} in the environment, or name a file that holds it with --key-file"
            ))
        });
    };
    let read = |reader: &mut dyn std::io::Read| {
        let mut text = String::new();
        reader
            .take(MAX_KEY_BYTES as u64 + 1)
            .read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let text = if path == Path::new("-") {
        read(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    let text = text.map_err(|error| {
        Error::usage(format!("--key-file {} cannot be read", path.display())).with_source(error)
    })?;
    let key = text.trim();
    if key.is_empty() || text.len() > MAX_KEY_BYTES {
        return Err(Error::usage(format!(
            "--key-file {} does not hold a key: write what `rowspout key create` printed into it",
            path.display()
        )));
    }
    Ok(key.to_owned())
}
