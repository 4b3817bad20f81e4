//! One request's session: a connection of its own with the request's database and settings, so that none of them
//! reaches another request. A session costs about a millisecond.

use std::path::PathBuf;
use std::sync::Arc;

use super::exception::{Exception, code};
use super::library::{Connection, Library};
use super::queries::MARK_SETTING;

/// Most bytes of a result that is formatted whole, as ClickHouse counts them in columns, unless the request says
/// otherwise with `max_result_bytes`. As JSON text they can take six times as much memory.
pub(crate) const DEFAULT_MAX_WHOLE_BYTES: u64 = 256 << 20;

/// Opens sessions on one directory.
pub(crate) struct Sessions {
    library: Arc<Library>,
    path: PathBuf,
}

/// What a session is opened with.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionOptions {
    /// The database for names without one.
    pub(crate) database: Option<String>,
    /// Settings by name, in the request's order.
    pub(crate) settings: Vec<(String, String)>,
}

impl Sessions {
    /// On the directory `path`.
    pub(crate) fn new(library: Arc<Library>, path: PathBuf) -> Self {
        Self { library, path }
    }

    /// Opens a session whose query carries `mark`.
    ///
    /// # Errors
    ///
    /// ClickHouse's exception about the database or a setting.
    pub(crate) fn open(
        &self,
        options: &SessionOptions,
        mark: &str,
    ) -> Result<Connection, Exception> {
        // A server has no implicit SELECT either; the library's default is that of clickhouse-local.
        let pinned = [(MARK_SETTING, mark), ("implicit_select", "0")];
        let mut connection = self
            .library
            .connect(&self.path, &pinned)
            .map_err(Exception::internal)?;
        if let Some(database) = options.database.as_deref().filter(|name| !name.is_empty()) {
            let name = database.replace('\\', "\\\\").replace('`', "\\`");
            connection.query(&format!("USE `{name}`"), "Null", &[])?;
        }
        if !options.settings.is_empty() {
            connection.query(&set_statement(&options.settings)?, "Null", &[])?;
        }
        Ok(connection)
    }
}

/// `SET a = 'x', b = 'y'`: one statement, so that `readonly` does not forbid the settings beside it.
fn set_statement(settings: &[(String, String)]) -> Result<String, Exception> {
    let mut sql = String::from("SET ");
    for (at, (name, value)) in settings.iter().enumerate() {
        let is_name = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !is_name {
            return Err(Exception::new(
                code::UNKNOWN_SETTING,
                "UNKNOWN_SETTING",
                format_args!("Unknown setting '{name}'"),
            ));
        }
        if at > 0 {
            sql.push_str(", ");
        }
        sql.push_str(name);
        sql.push_str(" = ");
        push_literal(&mut sql, value);
    }
    Ok(sql)
}

/// Appends a string literal.
pub(crate) fn push_literal(sql: &mut String, value: &str) {
    sql.push('\'');
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            sql.push('\\');
        }
        sql.push(character);
    }
    sql.push('\'');
}
