//! `rowspout man`: the manual page, and one of each subcommand.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::{Cli, print};
use crate::error::{Error, Result};

/// Where the pages go.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write this page and one of each subcommand into DIR, instead of this page to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<()> {
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        // As the library does for a folder: `help` has no page of its own.
        let command = Cli::command().disable_help_subcommand(true);
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Error::internal("the page cannot be made").with_source(error))?;
        return print(format_args!(
            "{}",
            String::from_utf8_lossy(&page).trim_end()
        ));
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| {
            Error::usage(format!(
                "the pages cannot be written into {}",
                folder.display()
            ))
            .with_source(error)
        })
}
