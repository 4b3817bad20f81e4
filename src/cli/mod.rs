//! The command line: one file a subcommand, none with logic of its own.

mod appearing;
mod check;
mod completions;
mod demo;
mod engine;
mod export;
mod filters;
mod key;
mod load;
mod man;
mod outlet;
mod pull;
mod schema;
mod serve;
mod site;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Layer, variable};
use crate::cursor::orders_taken;
use crate::error::{Error, Result};

/// Streams raw web-analytics events out of ClickHouse, as CSV, JSON, NDJSON and Parquet.
#[derive(Parser)]
#[command(name = "rowspout", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on one machine, nothing to install: an engine, a million events, the service
    Demo(demo::DemoArgs),
    /// The service
    Serve(serve::ServeArgs),
    /// The embedded ClickHouse, over its HTTP interface
    Engine(engine::EngineArgs),
    /// Creates or shows the tables
    Schema(schema::SchemaArgs),
    /// Adds or lists websites
    Site(site::SiteArgs),
    /// Makes, lists or revokes keys
    Key(key::KeyArgs),
    /// Loads a file of events into a website
    Load(load::LoadArgs),
    /// Writes a website's events into a file, without a server
    Export(Box<export::ExportArgs>),
    /// Fetches a website's events from a service, any number of days, part by part, and goes on where it stopped
    Pull(Box<pull::PullArgs>),
    /// Says whether a file is the one that a receipt speaks of
    Verify(verify::VerifyArgs),
    /// Looks whether ClickHouse is as exports need it, and says what to do where it is not
    Check,
    /// Prints a script that makes a shell complete commands and flags
    Completions(completions::CompletionsArgs),
    /// Prints the manual page
    Man(man::ManArgs),
}

/// Settings that every command understands. The password has no flag: other users could read it in the process list.
#[derive(Args)]
#[command(next_help_heading = "Settings")]
struct Settings {
    /// Settings file, instead of rowspout.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// ClickHouse's HTTP interface, or those of several replicas with commas [env: ROWSPOUT_CLICKHOUSE_URL]
    #[arg(long, global = true, value_name = "URL")]
    clickhouse_url: Option<String>,
    /// ClickHouse user [env: ROWSPOUT_CLICKHOUSE_USER; the password: ROWSPOUT_CLICKHOUSE_PASSWORD]
    #[arg(long, global = true, value_name = "USER")]
    clickhouse_user: Option<String>,
    /// Database of the tables [env: ROWSPOUT_CLICKHOUSE_DATABASE]
    #[arg(long, global = true, value_name = "NAME")]
    clickhouse_database: Option<String>,
    /// Table or view that events are read from [env: ROWSPOUT_EVENTS_TABLE]
    #[arg(long, global = true, value_name = "NAME")]
    events_table: Option<String>,
    /// How rows travel from ClickHouse, rowbinary or native [env: ROWSPOUT_WIRE]
    #[arg(long, global = true, value_name = "WIRE")]
    wire: Option<String>,
    /// Cursors that one export may have open at once [env: ROWSPOUT_PARALLEL] [default: half the cores]
    #[arg(long, global = true, value_name = "N")]
    parallel: Option<usize>,
    /// The embedded engine's libchdb.so [env: ROWSPOUT_LIBCHDB]
    #[arg(long, global = true, value_name = "FILE")]
    libchdb: Option<PathBuf>,
}

impl Settings {
    /// Refuses settings that a command without ClickHouse would pass over. Cursors at once are not among them: `pull` has a flag of
    /// that name.
    fn refuse(&self, command: &str) -> Result<()> {
        let given = [
            ("--config", self.config.is_some()),
            ("--clickhouse-url", self.clickhouse_url.is_some()),
            ("--clickhouse-user", self.clickhouse_user.is_some()),
            ("--clickhouse-database", self.clickhouse_database.is_some()),
            ("--events-table", self.events_table.is_some()),
            ("--wire", self.wire.is_some()),
            ("--libchdb", self.libchdb.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Error::usage(format!(
                "{flag} is of no use to {command}, which asks a service and no ClickHouse: leave it out"
            ))),
            None => Ok(()),
        }
    }

    /// `own` are the settings that only one command has flags for.
    fn resolve(self, own: Layer) -> Result<Config> {
        let flags = Layer {
            clickhouse_url: self.clickhouse_url,
            clickhouse_user: self.clickhouse_user,
            clickhouse_database: self.clickhouse_database,
            events_table: self.events_table,
            wire: self.wire,
            parallel: self.parallel,
            libchdb: self.libchdb,
            ..own
        };
        Config::resolve(
            flags,
            Layer::from_environment()?,
            Layer::from_file(self.config.as_deref())?,
        )
    }
}

/// Runs the command that the process was started with.
///
/// # Errors
///
/// Whatever kept the command from doing its work; [`Error::exit_code`] is the process's.
pub fn run() -> Result<()> {
    let cli = Cli::parse();
    log_to_stderr()?;
    let own = match &cli.command {
        // These need no settings, and work where a settings file is broken.
        Command::Completions(args) => return completions::run(args),
        Command::Man(args) => return man::run(args),
        Command::Pull(_) => {
            cli.settings.refuse("pull")?;
            let Command::Pull(args) = cli.command else {
                return Ok(());
            };
            let runtime = runtime(0)?;
            let result = runtime.block_on(pull::run(*args));
            runtime.shutdown_background();
            return result;
        }
        Command::Demo(args) => args.settings(),
        Command::Serve(args) => args.settings(),
        _ => Layer::default(),
    };
    let config = cli.settings.resolve(own)?;
    // The engine keeps its own threads and runtime.
    if let Command::Engine(args) = cli.command {
        return engine::run(args, config.libchdb);
    }
    let runtime = runtime(config.max_connections)?;
    let result = runtime.block_on(async {
        let result = match cli.command {
            Command::Demo(args) => demo::run(args, config).await,
            Command::Serve(args) => serve::run(args, config).await,
            // These ran above.
            Command::Engine(_) | Command::Completions(_) | Command::Man(_) | Command::Pull(_) => {
                Ok(())
            }
            Command::Schema(args) => schema::run(args, &config).await,
            Command::Site(args) => site::run(args, &config).await,
            Command::Key(args) => key::run(args, &config).await,
            Command::Load(args) => load::run(args, &config).await,
            Command::Export(args) => export::run(*args, &config).await,
            Command::Verify(args) => verify::run(args).await,
            Command::Check => check::run(&config).await,
        };
        orders_taken().await;
        result
    });
    // A thread that waits for a blocked reader of standard output must not hold the process.
    runtime.shutdown_background();
    result
}

/// Threads for what blocks, beside those that sockets take which are handed over while the service stops: as many as tokio has.
const BLOCKING_THREADS: usize = 512;

/// The runtime of a process with so many connections of clients at most, and as many while it stops.
fn runtime(connections: usize) -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS + 2 * connections)
        .build()
        .map_err(|error| Error::internal("the runtime cannot be started").with_source(error))
}

/// Prints a line on standard output, which may be closed or full.
fn print(line: std::fmt::Arguments<'_>) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::internal("standard output cannot be written").with_source(error))
}

/// Sends the log to standard error: at the levels of `RUST_LOG`, or `info`, and as the lines of text or JSON that
/// `ROWSPOUT_LOG` asks for.
fn log_to_stderr() -> Result<()> {
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = match variable("RUST_LOG")? {
        None => EnvFilter::new("rowspout=info,warn"),
        Some(levels) => EnvFilter::try_new(&levels).map_err(|error| {
            Error::usage(format!(
                "RUST_LOG is `{levels}`, which names no levels: write it as info, or rowspout=debug,warn"
            ))
            .with_source(error)
        })?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The client of ClickHouse repeats what ClickHouse says, which may quote events, in its spans and below warnings.
    let discreet = filter_fn(|about| {
        !about.target().starts_with("clickhouse") || *about.level() <= tracing::Level::WARN
    });
    let set = match variable("ROWSPOUT_LOG")?.as_deref() {
        None | Some("text") => {
            let lines = builder.with_target(false).finish();
            lines.with(discreet).try_init()
        }
        Some("json") => builder.json().finish().with(discreet).try_init(),
        Some(other) => {
            return Err(Error::usage(format!(
                "ROWSPOUT_LOG is `{other}`: give text or json"
            )));
        }
    };
    set.map_err(|error| Error::internal("the log cannot be set up").with_detail(error.to_string()))
}
