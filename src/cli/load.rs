//! `rowspout load`: a file of events into a website.
use crate::config::Config;
use crate::error::Result;
use clap::Args;
/// Flags of `load`.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {}
pub(super) async fn run(_args: LoadArgs, _config: &Config) -> Result<()> {
    Ok(())
}
