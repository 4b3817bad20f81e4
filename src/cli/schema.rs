//! `rowspout schema`: creates or shows the tables.

use clap::{Args, Subcommand};

use super::print;
use crate::config::Config;
use crate::error::Result;
use crate::schema;

/// What to do with the tables.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Creates the database and the tables that are missing
    Apply,
    /// Prints the SQL
    Print,
    /// Prints the SQL of the users that Rowspout runs as: one that reads, one that keeps the log
    Users,
}

pub(super) async fn run(args: SchemaArgs, config: &Config) -> Result<()> {
    match args.action {
        Action::Apply => {
            let applied = schema::apply(&config.clickhouse).await?;
            let place = format!(
                "{} at {}",
                config.clickhouse.database, config.clickhouse.url
            );
            if applied.database_created {
                eprintln!("created the database {place}");
            }
            if !applied.created.is_empty() {
                eprintln!("created in {place}: {}", applied.created.join(", "));
            }
            if !applied.present.is_empty() {
                eprintln!("there already in {place}: {}", applied.present.join(", "));
            }
            if applied.masked > 0 {
                eprintln!(
                    "{} parts of events lose their deleted rows in the background now",
                    applied.masked
                );
            }
            if applied.uncounted > 0 {
                eprintln!(
                    "{} parts of events from before get their counts in the background now",
                    applied.uncounted
                );
            }
        }
        Action::Users => print(format_args!("{}", schema::USERS.trim_end()))?,
        Action::Print => print(format_args!("{}", schema::TABLES.trim_end()))?,
    }
    Ok(())
}
