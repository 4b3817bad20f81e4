//! Parses the command line, runs the command, prints what went wrong and says so in the exit code.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    rowspout::allocator::keep_freed();
    match rowspout::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("rowspout: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                line.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            // Where it cannot be said, the exit code says it.
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::from(error.exit_code())
        }
    }
}
