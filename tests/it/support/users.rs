//! The users of `schema/users.sql` in an embedded engine. It takes no CREATE USER, but a configuration file, in which each
//! user has a profile and grants: those of the file, statement by statement.

use std::fmt::Write as _;
use std::path::Path;

use rowspout::schema;

use super::OwnEngine;

/// What somebody may do: grants with the names of their tables, and settings.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) grants: Vec<String>,
    /// Each as `name = value`, `name = value MIN a` and so on.
    pub(crate) settings: Vec<String>,
}

impl Rights {
    /// Those that `schema/users.sql` gives to a user, in the database `default`.
    pub(crate) fn of(user: &str) -> Self {
        let mut rights = Self {
            grants: Vec::new(),
            settings: Vec::new(),
        };
        for statement in statements() {
            if let Some(grant) = statement.strip_suffix(&format!(" TO {user}")) {
                let (what, table) = grant.rsplit_once(" ON ").unwrap();
                let database = if table.contains('.') { "" } else { "default." };
                rights.grants.push(format!("{what} ON {database}{table}"));
            }
            if statement.starts_with(&format!("CREATE USER IF NOT EXISTS {user} "))
                && let Some((_, profile)) = statement.split_once("SETTINGS PROFILE ")
            {
                let profile = profile.trim_matches('\'');
                let create = format!("CREATE SETTINGS PROFILE IF NOT EXISTS {profile} SETTINGS ");
                let settings = statements()
                    .into_iter()
                    .find_map(|statement| Some(statement.strip_prefix(&create)?.to_owned()))
                    .unwrap();
                rights.settings = settings.split(", ").map(str::to_owned).collect();
            }
        }
        assert!(!rights.grants.is_empty());
        rights
    }

    /// Starts an engine again, whose every query has these rights. `folder` is for its configuration.
    pub(crate) fn start(&self, engine: &mut OwnEngine, folder: &Path) {
        let (main, users) = (folder.join("config.xml"), folder.join("users.xml"));
        let main_text = format!(
            "<clickhouse><users_config>{}</users_config></clickhouse>",
            users.display()
        );
        std::fs::write(&main, main_text).unwrap();
        std::fs::write(&users, self.to_xml()).unwrap();
        engine.start_again_with(&["--server-config", main.to_str().unwrap()]);
    }

    fn to_xml(&self) -> String {
        let (mut values, mut constraints) = (String::new(), String::new());
        for setting in &self.settings {
            let words: Vec<_> = setting.split(' ').collect();
            let (name, value) = (words[0], words[2]);
            assert_eq!(words[1], "=", "{setting}");
            let _ = write!(values, "<{name}>{value}</{name}>");
            let _ = write!(constraints, "<{name}>");
            for bound in words[3..].chunks(2) {
                let tag = bound[0].to_lowercase();
                let _ = write!(constraints, "<{tag}>{}</{tag}>", bound[1]);
            }
            let _ = write!(constraints, "</{name}>");
        }
        let grants: String = self
            .grants
            .iter()
            .map(|grant| {
                format!(
                    "<query>GRANT {}</query>",
                    grant.trim_start_matches("GRANT ")
                )
            })
            .collect();
        format!(
            "<clickhouse><profiles><default>{values}<constraints>{constraints}</constraints></default></profiles>\
             <users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>\
             <quota>default</quota><grants>{grants}</grants></default></users><quotas><default></default></quotas></clickhouse>"
        )
    }
}

/// The statements of `schema/users.sql`, each on one line and without comments.
pub(crate) fn statements() -> Vec<String> {
    schema::statements(schema::USERS)
        .map(|statement| {
            let lines = statement.lines().filter(|line| !line.starts_with("--"));
            let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
            words.join(" ").trim_end_matches(';').to_owned()
        })
        .collect()
}
