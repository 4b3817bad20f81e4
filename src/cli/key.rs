//! `rowspout key`: makes, lists or revokes keys.

use clap::{Args, Subcommand};

use super::print;
use crate::catalog::{Catalog, KeyHash};
use crate::config::Config;
use crate::error::Result;

/// What to do with keys.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes a key and prints it, this once
    Create {
        /// Website that it opens; may be repeated; without it the key opens all
        #[arg(long = "site", value_name = "ID")]
        sites: Vec<String>,
        /// A name for people
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Lists the keys: id, time, whether revoked, websites, name
    List,
    /// Takes a key's power away, within 5 seconds
    Revoke {
        /// The key's id, as `list` shows it
        id: String,
    },
}

pub(super) async fn run(args: KeyArgs, config: &Config) -> Result<()> {
    let catalog = Catalog::new(&config.clickhouse);
    match args.action {
        Action::Create { sites, name } => {
            let plain = catalog.create_key(&sites, &name).await?;
            if let Err(error) = print(format_args!("{plain}")) {
                // Nobody has read it, so nobody may use it.
                if let Some(key) = catalog.find_key(&KeyHash::of(&plain)).await? {
                    catalog.revoke_key(&key.id).await?;
                }
                return Err(error);
            }
        }
        Action::List => {
            for key in catalog.list_keys().await? {
                let state = if key.revoked { "revoked" } else { "valid" };
                let sites = if key.sites.is_empty() {
                    "all".to_owned()
                } else {
                    key.sites.join(",")
                };
                print(format_args!(
                    "{}\t{}\t{state}\t{sites}\t{}",
                    key.id, key.created, key.name
                ))?;
            }
        }
        Action::Revoke { id } => {
            catalog.revoke_key(&id).await?;
            eprintln!("revoked {id}");
        }
    }
    Ok(())
}
