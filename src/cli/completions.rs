//! `rowspout completions`: what makes a shell complete Rowspout's commands and flags.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};
use crate::error::Result;

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that the script is for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rowspout", &mut script);
    print(format_args!(
        "{}",
        String::from_utf8_lossy(&script).trim_end()
    ))
}
