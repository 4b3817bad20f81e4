//! The command line: parse, dispatch, print the error chain, exit code.

use std::process::ExitCode;

use clap::Parser;
use rowspout::cli::engine::{EngineArgs, run};

#[derive(Parser)]
enum Command {
    /// The embedded ClickHouse, over its HTTP interface
    Engine(EngineArgs),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let Command::Engine(arguments) = Command::parse();
    match run(
        arguments,
        std::env::var_os("ROWSPOUT_LIBCHDB").map(Into::into),
    ) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  {cause}");
                source = cause.source();
            }
            ExitCode::from(error.exit_code())
        }
    }
}
