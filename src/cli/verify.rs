//! `rowspout verify`: whether a file is the one that a receipt speaks of.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::receipt;

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// File of an export, as it was before any Content-Encoding
    file: PathBuf,
    /// Receipt: of `rowspout export --receipt`, or of /api/exports/{export_id}
    receipt: PathBuf,
}

/// Says what was verified; exit code 1 where the file is another one, 2 where one of them cannot be read.
pub(super) async fn run(args: VerifyArgs) -> Result<()> {
    let name = args.file.display().to_string();
    let verified =
        tokio::task::spawn_blocking(move || receipt::verify(&args.file, &args.receipt)).await;
    let receipt = verified
        .map_err(|error| Error::internal("the verification stopped").with_source(error))??;
    let part = match receipt.limited() {
        Some(limit) => format!(", only the first {limit} rows,"),
        None => String::new(),
    };
    eprintln!(
        "{name} is the export {}{part}: {} rows, {} bytes, SHA-256 {}",
        receipt.export_id,
        receipt.rows,
        receipt.bytes,
        receipt.sha256.unwrap_or_default()
    );
    Ok(())
}
