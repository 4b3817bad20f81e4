//! `rowspout engine`: the embedded ClickHouse, over its HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::engine::{self, EngineOptions};
use crate::error::Result;

/// Runs the embedded ClickHouse and prints its URL when it is ready.
#[derive(Clone, clap::Args)]
pub(super) struct EngineArgs {
    /// Address and port; port 0 lets the system choose one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8123")]
    listen: SocketAddr,

    /// Directory of the data, made if it is not there
    #[arg(long, value_name = "DIR")]
    path: PathBuf,

    /// ClickHouse's own configuration file; its `users_config` may give the user `default` a profile and fewer rights
    #[arg(long, value_name = "FILE")]
    server_config: Option<PathBuf>,

    /// Password that clients must send; better given by the environment, which other users cannot see
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "ROWSPOUT_ENGINE_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,

    /// Queries that run at once
    #[arg(long, value_name = "N", default_value_t = engine::DEFAULT_MAX_QUERIES)]
    max_queries: usize,

    /// Stop when standard input ends
    #[arg(long)]
    stop_on_stdin_close: bool,
}

/// Runs the engine until it is told to stop. `libchdb` is the library's path, if the settings name one.
///
/// # Errors
///
/// The library cannot be had, the directory is in use, or the address is taken.
pub(super) fn run(arguments: EngineArgs, libchdb: Option<PathBuf>) -> Result<()> {
    let libchdb = engine::install::ensure(libchdb.as_deref())?;
    engine::run(&EngineOptions {
        listen: arguments.listen,
        path: arguments.path,
        libchdb,
        server_config: arguments.server_config,
        password: arguments.password.filter(|password| !password.is_empty()),
        max_queries: arguments.max_queries,
        stop_on_stdin_close: arguments.stop_on_stdin_close,
    })
}
