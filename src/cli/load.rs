//! `rowspout load`: a file of events into a website.
use clap::Args;
use crate::config::Config;
use crate::error::Result;
/// Flags of `load`.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {}
pub(super) async fn run(_args: LoadArgs, _config: &Config) -> Result<()> { Ok(()) }
