//! `rowspout key`: makes, lists or revokes keys.

use clap::{Args, Subcommand};

use super::print;
use crate::catalog::{Catalog, KeyHash, KeyLimits};
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
        /// Format that it may export; may be repeated; without it the key may export all
        #[arg(long = "format", value_name = "FORMAT")]
        formats: Vec<String>,
        /// When it opens nothing any more: after 90m, 12h, 30d or 4w, or at an instant as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Lists the keys: id, time, valid, revoked or expired, websites, name, formats, when it expires
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
        Action::Create {
            sites,
            name,
            formats,
            expires,
        } => {
            let limits = KeyLimits::parse(&formats, expires.as_deref())?;
            let plain = catalog.create_limited_key(&sites, &name, &limits).await?;
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
                let state = match (key.revoked, key.expired) {
                    (true, _) => "revoked",
                    (false, true) => "expired",
                    (false, false) => "valid",
                };
                let expires = if key.expires.is_empty() {
                    "never"
                } else {
                    &key.expires
                };
                print(format_args!(
                    "{}\t{}\t{state}\t{}\t{}\t{}\t{expires}",
                    key.id,
                    key.created,
                    all_or(&key.sites),
                    key.name,
                    all_or(&key.formats)
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

/// No limit is written as `all`.
fn all_or(names: &[String]) -> String {
    if names.is_empty() {
        "all".to_owned()
    } else {
        names.join(",")
    }
}
