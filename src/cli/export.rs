//! `rowspout export`: a file or standard output, straight from ClickHouse.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::appearing::{Appearing, unwritable};
use super::filters::FilterArgs;
use super::outlet::{self, Outlet};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::cursor::{Arriving, Server};
use crate::error::{Error, Result};
use crate::export::{Export, ExportId};
use crate::receipt::{BodyDigest, Moment, Receipt, Sha256Hex, Status};
use crate::request::{Asked, Format, WebsiteId};
use crate::shutdown::shutdown_signal;

/// Flags of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Website, as in site_abc123
    #[arg(long, value_name = "ID")]
    site: String,
    /// First day, as YYYY-MM-DD; or give --from and --to
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
    /// What arrived since an earlier export, whenever it happened: the watermark that this one told, or `beginning`
    #[arg(long, value_name = "WATERMARK", conflicts_with_all = ["start", "end", "from", "to", "limit"])]
    since: Option<String>,
    /// csv, json, ndjson, parquet or arrow [default: the file's extension, else csv]
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
    /// Only the first rows, for a look
    #[arg(long, value_name = "ROWS")]
    limit: Option<String>,
    /// Of Parquet: zstd, snappy or none [default: zstd]
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Of JSON: event_data as a string and not as a value, with `string`
    #[arg(long, value_name = "FORM")]
    event_data: Option<String>,
    /// CSV that spreadsheets take no formulas from, with a byte order mark
    #[arg(long)]
    spreadsheet: bool,
    /// File, instead of standard output; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the export's receipt: rows, bytes, SHA-256; `rowspout verify` checks the file by it
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    // Last: what follows would stand under the heading of the filters.
    #[command(flatten)]
    filters: FilterArgs,
}

pub(super) async fn run(args: ExportArgs, config: &Config) -> Result<()> {
    let output = args.output.clone();
    let receipt_path = args.receipt.clone();
    if receipt_path.is_some() && receipt_path == output {
        return Err(Error::usage(
            "--receipt names the same file as -o: give it another name, such as one that ends in .receipt.json",
        ));
    }
    let asked = asked(args)?;
    let format = asked.request().format;
    if output.is_none() && !format.is_text() && std::io::stdout().is_terminal() {
        return Err(Error::usage(format!(
            "{format} is not text for a terminal: give a file with -o, or redirect standard output",
        )));
    }
    // Before the export, so that a folder that cannot be written costs nothing.
    let receipt_file = receipt_path.as_deref().map(Appearing::at).transpose()?;
    let id = ExportId::random()?;
    let (begun, export) = begin(config, id, asked).await?;
    let digest = receipt_file.as_ref().map(|_| BodyDigest::begin());
    let written = tokio::select! {
        // Signals are heard before there is a file to clean up.
        biased;
        () = shutdown_signal() => return Err(Error::internal("the export was interrupted")),
        written = write(export, output.as_deref(), digest) => written?,
    };
    if let Some(limit) = begun.limit.filter(|limit| written.rows >= *limit) {
        eprintln!("these are the first {limit} rows, as --limit says, and there may be more");
    }
    let (next, late) = (begun.next_since.clone(), begun.late_rows);
    if let Some(file) = receipt_file {
        write_receipt(file, begun, written).await?;
    }
    if let Some(rows) = late.filter(|&rows| rows > 0) {
        eprintln!(
            "{rows} rows of earlier exports became visible too late to be in them: export those days again, and raise settle_seconds"
        );
    }
    if let Some(next) = next {
        eprintln!("the next export goes on with --since {next}");
    }
    Ok(())
}

/// Writes the receipt of a complete export.
async fn write_receipt(file: Appearing, begun: Receipt, written: Written) -> Result<()> {
    let receipt = Receipt {
        status: Status::Complete,
        rows: written.rows,
        bytes: written.bytes,
        sha256: written.sha256,
        resumes: written.resumes,
        finished: Some(Moment::now()),
        ..begun
    };
    let mut json = serde_json::to_vec_pretty(&receipt)
        .map_err(|error| Error::internal("the receipt cannot be written").with_source(error))?;
    json.push(b'\n');
    file.write(&json)
        .map_err(|error| Error::internal("the receipt cannot be written").with_source(error))?;
    file.appear().await
}

/// Endings of files that Rowspout does not write.
const COMPRESSED: [&str; 6] = ["gz", "zst", "bz2", "xz", "br", "zip"];

/// What a finished file holds.
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) resumes: u32,
    /// Where a digest was asked for.
    pub(super) sha256: Option<Sha256Hex>,
}

/// Begins an export of a website that exists.
pub(super) async fn begin(
    config: &Config,
    id: ExportId,
    asked: Asked,
) -> Result<(Receipt, Export)> {
    let server = Server::new(config);
    let catalog = Catalog::over(server.replicas().clone());
    let website = &asked.request().website;
    let fence = catalog.fence(website, config.wire_compression, config.settle);
    let fence = fence.await?;
    match asked {
        Asked::Window(request) => {
            let begun = Receipt::begin(&id, &request);
            Ok((begun, Export::begin(id, request, server, fence).await?))
        }
        Asked::Since(since) => {
            let name = format!("{}-arrivals", id.queries());
            let Arriving {
                request,
                fence,
                told,
            } = server.arriving(&since, fence, &name).await?;
            let begun = Receipt::begin(&id, &request);
            let export = Export::begin_told(id, request, server, fence, told).await?;
            Ok((begun, export))
        }
    }
}

/// Writes an export into a file that appears when it is complete, or to standard output.
pub(super) async fn write(
    export: Export,
    output: Option<&Path>,
    digest: Option<BodyDigest>,
) -> Result<Written> {
    let Some(path) = output else {
        let name = "standard output";
        return copy(export, outlet::standard_output(), name, digest).await;
    };
    // A link stays one: what it leads to is written.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    let name = path.display().to_string();
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(Error::usage(format!(
                "{name} is a folder: give a file's name in it"
            )));
        }
        // A pipe or a device takes the bytes as they come; there is no name that could appear late.
        Ok(found) if !found.is_file() => {
            let file = tokio::fs::OpenOptions::new().write(true).open(path).await;
            let file = file.map_err(|error| unwritable(path, error))?;
            return copy(export, Ok(file.into_std().await), &name, digest).await;
        }
        _ => {}
    }
    let file = Appearing::at(path)?;
    let written = copy(export, file.other_handle(), &name, digest).await?;
    file.appear().await?;
    Ok(written)
}

async fn copy(
    mut export: Export,
    to: std::io::Result<File>,
    name: &str,
    mut digest: Option<BodyDigest>,
) -> Result<Written> {
    let unwritable = |error: std::io::Error| {
        Error::internal(format!("{name} cannot be written")).with_source(error)
    };
    let outlet = to.and_then(Outlet::to).map_err(unwritable)?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg} rows, {bytes} ({bytes_per_sec})")
    {
        bar.set_style(style);
    }
    let mut bytes = 0;
    while let Some(chunk) = export.next_chunk().await? {
        if let Some(digest) = &mut digest {
            digest.push(chunk.clone()).await?;
        }
        bytes += chunk.len() as u64;
        if !outlet.put(chunk).await {
            break;
        }
        bar.set_position(bytes);
        bar.set_message(export.rows().to_string());
    }
    outlet.finish().await.map_err(unwritable)?;
    bar.finish_and_clear();
    let sha256 = match digest {
        Some(digest) => Some(digest.finish().await?),
        None => None,
    };
    Ok(Written {
        rows: export.rows(),
        bytes,
        resumes: export.resumes(),
        sha256,
    })
}

fn asked(args: ExportArgs) -> Result<Asked> {
    let website = WebsiteId::parse(&args.site).ok_or_else(|| {
        Error::usage(format!(
            "--site `{}` is not a website: it is site_ and 1 to 64 of A-Za-z0-9_-",
            args.site
        ))
    })?;
    let extension = args
        .output
        .as_deref()
        .and_then(Path::extension)
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    if let Some(extension) = extension.as_deref()
        && COMPRESSED.contains(&extension)
    {
        return Err(Error::usage(format!(
            "-o names a .{extension} file, but exports are not compressed: leave the ending out, and pipe standard output \
             through a compressor"
        )));
    }
    if extension.as_deref() == Some("arrow") && args.format.is_none() {
        return Err(Error::usage(
            "-o names an .arrow file, which is Arrow's form with a footer: streams end in .arrows; give that or --format arrow",
        ));
    }
    let format = extension.as_deref().and_then(Format::from_extension);
    let format = args.format.as_deref().or(format.map(Format::as_str));
    let pairs = [
        ("start_date", args.start.as_deref()),
        ("end_date", args.end.as_deref()),
        ("from", args.from.as_deref()),
        ("to", args.to.as_deref()),
        ("since", args.since.as_deref()),
        ("format", format),
        ("timezone", args.timezone.as_deref()),
        ("event_type", args.event_type.as_deref()),
        ("include_bots", args.include_bots.then_some("true")),
        ("fields", args.fields.as_deref()),
        ("limit", args.limit.as_deref()),
        ("compression", args.compression.as_deref()),
        ("event_data", args.event_data.as_deref()),
        ("spreadsheet", args.spreadsheet.then_some("true")),
    ];
    let pairs = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    Asked::from_pairs(website, pairs.chain(args.filters.pairs()?))
}
