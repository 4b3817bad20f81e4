//! What came of an export, and whether that may be.

use rowspout::cursor::WireCompression;

use super::plan::{End, Fault, Kind, Target};
use super::proxy::Report;
use super::world::{World, sha256};
use crate::support;

/// What the client holds in the end.
pub(crate) enum Got {
    /// A file that ended as files do.
    File(Vec<u8>),
    /// A status that is no success.
    Refused(u16),
    /// A connection that broke, before the answer or within it.
    Aborted(String),
    /// An exit code that is no success, and no file.
    Exit(i32),
    /// What must not be.
    Wrong(String),
}

impl std::fmt::Display for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(bytes) => write!(f, "a file of {} bytes", bytes.len()),
            Self::Refused(status) => write!(f, "status {status}"),
            Self::Aborted(what) => write!(f, "a broken connection: {what}"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// The receipt of an export over HTTP, when it had ended.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) sha256: String,
}

/// One of the ways in which a fault may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The bytes of an unbroken export.
    Whole,
    /// An error's status.
    Refused,
    /// A broken connection.
    Aborted,
    /// An exit code, and no file.
    Exit,
    /// Garbled behind Rowspout, where only the receipt tells.
    Receipt,
    /// Garbled on a wire without checksums: other values in the same frame.
    Garbled,
}

/// What an export may be refused with where ClickHouse fails; the first three where its answers are garbled.
const STATUSES: [u16; 6] = [401, 403, 404, 500, 503, 504];

/// Judges what a client got.
pub(crate) fn judge(
    world: &World,
    fault: &Fault,
    got: Got,
    receipt: Option<&Receipt>,
    report: &Report,
) -> Result<Outcome, String> {
    let export = &fault.export;
    let reference = world.file(export.site, export.format);
    let outcome = match got {
        Got::Wrong(what) => return Err(what),
        Got::File(bytes) if bytes == reference.bytes => Outcome::Whole,
        Got::File(bytes) if fault.end == End::Client => {
            let known = receipt.is_some_and(|receipt| receipt.sha256 != sha256(&bytes));
            if !known {
                return Err("another file, and no receipt tells".into());
            }
            Outcome::Receipt
        }
        Got::File(bytes) => {
            let plain = export.compression == WireCompression::None;
            let rows = rows(export.format, &bytes);
            let known = format!(
                "another file of {} bytes instead of {}, {rows:?} rows instead of {}",
                bytes.len(),
                reference.bytes.len(),
                world.rows(export.site)
            );
            let garbled = matches!(fault.kind, Kind::Garble(_)) && plain && report.hits > 0;
            let framed = match fault.target {
                Target::Rows(_) => rows.as_ref() == Ok(&world.rows(export.site)),
                // One garbled number is the moment up to which rows are exported.
                Target::Before(_) => rows.is_ok(),
                _ => false,
            };
            if !(garbled && framed) {
                return Err(known);
            }
            Outcome::Garbled
        }
        Got::Refused(status) if STATUSES.contains(&status) => Outcome::Refused,
        Got::Refused(status) => return Err(format!("status {status}")),
        Got::Aborted(_) => Outcome::Aborted,
        Got::Exit(1) => Outcome::Exit,
        Got::Exit(code) => return Err(format!("exit code {code}")),
    };
    let failed = matches!(outcome, Outcome::Refused | Outcome::Aborted | Outcome::Exit);
    // A query that may only take a second may take longer by itself.
    if failed && report.hits == 0 && !export.impatient {
        return Err(format!("it failed ({outcome:?}) though nothing happened"));
    }
    if let Some(receipt) = receipt {
        let complete = receipt.status == "complete";
        let right = receipt.sha256 == reference.sha256;
        let may = match (outcome, fault.end) {
            (Outcome::Whole | Outcome::Receipt, _) => complete && right,
            (Outcome::Garbled, _) => complete,
            (_, End::Server) => receipt.status == "aborted" && receipt.reason != "client_left",
            // What the client's end of the connection never got may have left Rowspout.
            (_, End::Client) => receipt.status == "aborted" || complete && right,
        };
        if !may {
            return Err(format!("{outcome:?}, but its receipt is {receipt:?}"));
        }
    }
    Ok(outcome)
}

/// Rows of a file, or why it is none.
fn rows(format: &str, bytes: &[u8]) -> Result<usize, String> {
    match format {
        "csv" => csv_rows(bytes),
        "json" => {
            let rows: Vec<serde_json::Map<String, serde_json::Value>> =
                serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            Ok(rows.len())
        }
        "ndjson" => {
            let lines = bytes
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty());
            let mut rows = 0;
            for line in lines {
                let row: Result<serde_json::Map<String, serde_json::Value>, _> =
                    serde_json::from_slice(line);
                row.map_err(|error| error.to_string())?;
                rows += 1;
            }
            Ok(rows)
        }
        _ => {
            let bytes = bytes::Bytes::copy_from_slice(bytes);
            std::panic::catch_unwind(|| support::parquet::rows(bytes).len())
                .map_err(|_| "no Parquet file".into())
        }
    }
}

/// Rows of a CSV, each of as many cells as the first.
pub(crate) fn csv_rows(bytes: &[u8]) -> Result<usize, String> {
    let mut rows = 0;
    for row in csv::Reader::from_reader(bytes).byte_records() {
        row.map_err(|error| error.to_string())?;
        rows += 1;
    }
    Ok(rows)
}
