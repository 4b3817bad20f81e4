//! `rowspout site`: adds or lists websites.

use clap::{Args, Subcommand};

use super::print;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::request::WebsiteId;

/// What to do with websites.
#[derive(Debug, Args)]
pub(super) struct SiteArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds a website
    Add {
        /// site_ and 1 to 64 of A-Za-z0-9_-
        id: String,
        /// A name for people
        #[arg(long)]
        name: String,
        /// IANA zone of its people
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
    },
    /// Lists the websites: id, zone and name
    List,
}

pub(super) async fn run(args: SiteArgs, config: &Config) -> Result<()> {
    let catalog = Catalog::new(&config.clickhouse);
    match args.action {
        Action::Add { id, name, timezone } => {
            catalog
                .add_website(&website(&id)?, &name, &timezone)
                .await?;
            eprintln!("added {id}");
        }
        Action::List => {
            for website in catalog.list_websites().await? {
                print(format_args!(
                    "{}\t{}\t{}",
                    website.id, website.timezone, website.name
                ))?;
            }
        }
    }
    Ok(())
}

/// A website's id from the command line.
pub(super) fn website(id: &str) -> Result<WebsiteId> {
    WebsiteId::parse(id).ok_or_else(|| {
        Error::usage(format!(
            "`{id}` is not a website: it is site_ and 1 to 64 of A-Za-z0-9_-"
        ))
    })
}
