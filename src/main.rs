//! Parses the command line, runs the command, prints what went wrong and says so in the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match rowspout::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("rowspout: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::from(error.exit_code())
        }
    }
}
