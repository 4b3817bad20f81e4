//! `rowspout` as a user runs it.

use std::process::Command;

use rowspout::config::ClickHouse;

/// The binary with the environment of a ClickHouse.
pub(crate) fn rowspout(clickhouse: &ClickHouse) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowspout"));
    command
        .env("ROWSPOUT_CLICKHOUSE_URL", &clickhouse.url)
        .env("ROWSPOUT_CLICKHOUSE_DATABASE", &clickhouse.database);
    if let Some(user) = &clickhouse.user {
        command.env("ROWSPOUT_CLICKHOUSE_USER", user);
    }
    if let Some(password) = &clickhouse.password {
        command.env("ROWSPOUT_CLICKHOUSE_PASSWORD", password);
    }
    command
}
