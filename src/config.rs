//! Settings: flags, then `ROWSPOUT_*` environment, then `rowspout.toml`, then defaults, resolved once.

mod check;
mod networks;
mod secret;

pub(crate) use check::variable;
pub use networks::Networks;
pub(crate) use networks::masked;
pub use secret::Secret;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::check::{
    HEAD_BYTES, MAX_CONNECTIONS, MAX_EXPORTS, MAX_PAUSE_MS, address, identifier, interface, number,
    one_or_several, seconds, truth, within,
};
use crate::cursor::WireCompression;
use crate::decode::Wire;
use crate::error::{Error, Result};

/// Where the service listens.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// ClickHouse's HTTP interface.
pub const DEFAULT_CLICKHOUSE_URL: &str = "http://127.0.0.1:8123";
/// The database that holds the tables.
pub const DEFAULT_CLICKHOUSE_DATABASE: &str = "default";
/// The table or view that events are read from.
pub const DEFAULT_EVENTS_TABLE: &str = "events";
/// Exports that run at once for each core; one more waits in the queue. Twice as many get less done, and half as many are too
/// easily held up by slow clients.
pub const DEFAULT_EXPORTS_PER_CORE: usize = 8;
/// Exports that run at once where there are many cores.
pub const DEFAULT_MAX_EXPORTS: usize = 32;
/// Exports that are open at once for each that may have a place, where only this number is set.
pub const DEFAULT_OPEN_EXPORTS_PER_PLACE: usize = 4;
/// Exports that are open at once where nothing is set.
pub const DEFAULT_MAX_OPEN_EXPORTS: usize = 128;
/// Exports that wait at once; one more is refused with 503.
pub const DEFAULT_MAX_QUEUED: usize = 64;
/// Time that an export waits in the queue before it is refused with 503, in seconds.
pub const DEFAULT_QUEUE_SECONDS: u64 = 10;
/// Connections at once; one more is refused with 503.
pub const DEFAULT_MAX_CONNECTIONS: usize = 512;
/// Longest path and query of a request, in bytes; a longer one is refused with 414.
pub const DEFAULT_MAX_URI_BYTES: usize = 8 << 10;
/// All header fields of a request together, in bytes; more are refused with 431.
pub const DEFAULT_MAX_HEADER_BYTES: usize = 32 << 10;
/// Longest time that ClickHouse may spend on one export's query, in seconds.
pub const DEFAULT_MAX_QUERY_SECONDS: u64 = 3_600;
/// Most memory that ClickHouse may use for one export's query, in bytes.
pub const DEFAULT_MAX_QUERY_BYTES: u64 = 4 << 30;
/// Requests that one key may send in a minute; one more is refused with 429.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 6_000;
/// Requests with unknown keys that one address may send in a minute before it is slowed.
pub const DEFAULT_FAILED_ATTEMPTS_PER_MINUTE: u32 = 30;
/// Time that a client has to send a request's head, in seconds.
pub const DEFAULT_HEAD_SECONDS: u64 = 10;
/// Time that a client may take nothing of an export before it is aborted, in seconds.
pub const DEFAULT_STALL_SECONDS: u64 = 120;
/// Time that exports in flight have to finish after SIGTERM, in seconds.
pub const DEFAULT_GRACE_SECONDS: u64 = 60;
/// Most cursors that one export may have open at once.
pub const MAX_PARALLEL: usize = 64;
/// Time after SIGTERM in which `/readyz` says 503 already and exports are still taken, in seconds.
pub const DEFAULT_DRAIN_SECONDS: u64 = 0;
/// How often an export that runs says so in the log, in seconds.
pub const DEFAULT_HEARTBEAT_SECONDS: u64 = crate::export_log::DEFAULT_HEARTBEAT_SECONDS;
/// Attempts to take an interrupted export up again, one after the other, that may bring no row.
pub const DEFAULT_RESUME_ATTEMPTS: u32 = 8;
/// Time before the first of them, in milliseconds; it doubles with each, up to ten seconds.
pub const DEFAULT_RESUME_PAUSE_MS: u64 = 250;
/// All the time that one export may spend without rows between interruptions and what comes behind them, in seconds.
pub const DEFAULT_RESUME_SECONDS: u64 = 300;
/// Time that a replica which failed is left alone, in seconds.
pub const DEFAULT_REPLICA_PAUSE_SECONDS: u64 = 10;
/// Time that ClickHouse may send nothing of an answer that is waited for, in seconds.
pub const DEFAULT_SILENCE_SECONDS: u64 = 120;
/// Longest time that ClickHouse may spend on counting the rows of a plan, in seconds.
pub const DEFAULT_PLAN_SECONDS: u64 = 30;
/// Time after which the rows of an INSERT are visible that began then, in seconds.
pub const DEFAULT_SETTLE_SECONDS: u64 = 600;
/// Whether people get a page at `/`.
pub const DEFAULT_PAGE: bool = true;
/// The settings file that is read where no other is named.
pub const DEFAULT_FILE: &str = "rowspout.toml";

/// One layer of settings as it was given: flags, environment or file. What is absent is `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// Address and port of the service. [`DEFAULT_LISTEN`]
    pub listen: Option<String>,
    /// URL of ClickHouse's HTTP interface, or those of several replicas with commas or as a list.
    /// [`DEFAULT_CLICKHOUSE_URL`]
    #[serde(deserialize_with = "one_or_several")]
    pub clickhouse_url: Option<String>,
    /// ClickHouse user; none sends no user.
    pub clickhouse_user: Option<String>,
    /// That user's password.
    pub clickhouse_password: Option<String>,
    /// Database of the tables. [`DEFAULT_CLICKHOUSE_DATABASE`]
    pub clickhouse_database: Option<String>,
    /// Table or view that events are read from. [`DEFAULT_EVENTS_TABLE`]
    pub events_table: Option<String>,
    /// Path of `libchdb.so`, for the embedded engine.
    pub libchdb: Option<PathBuf>,
    /// How rows travel from ClickHouse: `rowbinary` or `native`. [`Wire::default`]
    pub wire: Option<String>,
    /// Cursors that one export may have open at once. Half as many as there are cores; one with zstd, whose checksum stands
    /// at the end of a query
    pub parallel: Option<usize>,
    /// How ClickHouse compresses rows on their way here: `none`, `lz4` or `zstd`. [`WireCompression::default`]
    pub wire_compression: Option<String>,
    /// Exports that run at once. [`DEFAULT_EXPORTS_PER_CORE`] for each core, [`DEFAULT_MAX_EXPORTS`] at most
    pub max_exports: Option<usize>,
    /// Exports that are open at once, those included that wait for their clients.
    /// [`DEFAULT_OPEN_EXPORTS_PER_PLACE`] for each of `max_exports` where that is set, else [`DEFAULT_MAX_OPEN_EXPORTS`]
    pub max_open_exports: Option<usize>,
    /// Exports of one key that run or wait at once. Half as many as run at once where that is not set
    pub max_exports_per_key: Option<usize>,
    /// Exports that wait at once. [`DEFAULT_MAX_QUEUED`]
    pub max_queued: Option<usize>,
    /// Time that an export waits, in seconds. [`DEFAULT_QUEUE_SECONDS`]
    pub queue_seconds: Option<u64>,
    /// Connections at once. [`DEFAULT_MAX_CONNECTIONS`]
    pub max_connections: Option<usize>,
    /// Longest path and query, in bytes. [`DEFAULT_MAX_URI_BYTES`]
    pub max_uri_bytes: Option<usize>,
    /// All header fields together, in bytes. [`DEFAULT_MAX_HEADER_BYTES`]
    pub max_header_bytes: Option<usize>,
    /// Longest time of an export's query, in seconds. [`DEFAULT_MAX_QUERY_SECONDS`]
    pub max_query_seconds: Option<u64>,
    /// Most memory of an export's query, in bytes. [`DEFAULT_MAX_QUERY_BYTES`]
    pub max_query_bytes: Option<u64>,
    /// Requests that one key may send in a minute. [`DEFAULT_REQUESTS_PER_MINUTE`]
    pub requests_per_minute: Option<u32>,
    /// Requests with unknown keys that one address may send. [`DEFAULT_FAILED_ATTEMPTS_PER_MINUTE`]
    pub failed_attempts_per_minute: Option<u32>,
    /// Addresses and networks, with commas, of proxies whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: Option<String>,
    /// Time for a request's head, in seconds. [`DEFAULT_HEAD_SECONDS`]
    pub head_seconds: Option<u64>,
    /// Time that a client may take nothing, in seconds. [`DEFAULT_STALL_SECONDS`]
    pub stall_seconds: Option<u64>,
    /// Time for exports in flight after SIGTERM, in seconds. [`DEFAULT_GRACE_SECONDS`]
    pub grace_seconds: Option<u64>,
    /// Time after SIGTERM in which exports are still taken, in seconds. [`DEFAULT_DRAIN_SECONDS`]
    pub drain_seconds: Option<u64>,
    /// Attempts to take an export up again that may bring no row. [`DEFAULT_RESUME_ATTEMPTS`]
    pub resume_attempts: Option<u32>,
    /// Time before the first attempt, in milliseconds. [`DEFAULT_RESUME_PAUSE_MS`]
    pub resume_pause_ms: Option<u64>,
    /// Time that one export may be interrupted, in seconds. [`DEFAULT_RESUME_SECONDS`]
    pub resume_seconds: Option<u64>,
    /// Time that a replica which failed is left alone, in seconds. [`DEFAULT_REPLICA_PAUSE_SECONDS`]
    pub replica_pause_seconds: Option<u64>,
    /// Time that ClickHouse may send nothing, in seconds. [`DEFAULT_SILENCE_SECONDS`]
    pub silence_seconds: Option<u64>,
    /// Longest time of counting a plan's rows, in seconds. [`DEFAULT_PLAN_SECONDS`]
    pub plan_seconds: Option<u64>,
    /// Time after which an INSERT's rows are visible, in seconds. [`DEFAULT_SETTLE_SECONDS`]
    pub settle_seconds: Option<u64>,
    /// ClickHouse user that writes and reads `export_log`; none takes that of `clickhouse_user`.
    pub log_user: Option<String>,
    /// That user's password.
    pub log_password: Option<String>,
    /// How often an export that runs says so in `export_log`, in seconds, the same on every instance.
    /// [`DEFAULT_HEARTBEAT_SECONDS`]
    pub heartbeat_seconds: Option<u64>,
    /// PEM file of the service's certificate and its chain; with `tls_key` the service speaks TLS alone.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// Whether people get a page at `/`. [`DEFAULT_PAGE`]
    pub page: Option<bool>,
    /// What download tickets are signed with, the same on every instance; each process has its own by default.
    pub ticket_secret: Option<String>,
}

/// How to reach ClickHouse.
#[derive(Clone)]
pub struct ClickHouse {
    /// URL of the HTTP interface, or those of several replicas with commas.
    pub url: String,
    /// User, if one is sent.
    pub user: Option<String>,
    /// Password, if one is sent.
    pub password: Option<String>,
    /// Database of the tables.
    pub database: String,
}

impl std::fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of every log.
        f.debug_struct("ClickHouse")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl ClickHouse {
    /// Each replica by itself, in the order of the settings.
    pub fn replicas(&self) -> impl Iterator<Item = Self> {
        addresses(&self.url).map(|url| Self {
            url: url.to_owned(),
            ..self.clone()
        })
    }

    /// A client of the crate, with this address, the first where there are several, user and database.
    pub fn client(&self) -> clickhouse::Client {
        let mut client = clickhouse::Client::default()
            .with_url(addresses(&self.url).next().unwrap_or_default())
            .with_database(&self.database)
            .with_compression(clickhouse::Compression::None)
            .with_product_info("rowspout", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            client = client.with_user(user);
        }
        if let Some(password) = &self.password {
            client = client.with_password(password);
        }
        client
    }
}

/// A ClickHouse user.
#[derive(Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password, if one is sent.
    pub password: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of every log.
        f.debug_tuple("User").field(&self.name).finish()
    }
}

/// All settings, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port of the service.
    pub listen: SocketAddr,
    /// How to reach ClickHouse.
    pub clickhouse: ClickHouse,
    /// Whether a ClickHouse was named at all, or the default address stands in.
    pub clickhouse_named: bool,
    /// Table or view that events are read from.
    pub events_table: String,
    /// Path of `libchdb.so`, if one was named.
    pub libchdb: Option<PathBuf>,
    /// How rows travel from ClickHouse.
    pub wire: Wire,
    /// Cursors that one export may have open at once.
    pub parallel: usize,
    /// How ClickHouse compresses rows on their way here.
    pub wire_compression: WireCompression,
    /// Exports that run at once.
    pub max_exports: usize,
    /// Exports that are open at once, those included that wait for their clients.
    pub max_open_exports: usize,
    /// Exports of one key that run or wait at once.
    pub max_exports_per_key: usize,
    /// Exports that wait at once.
    pub max_queued: usize,
    /// Time that an export waits.
    pub queue: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Longest path and query of a request, in bytes.
    pub max_uri_bytes: usize,
    /// All header fields of a request together, in bytes.
    pub max_header_bytes: usize,
    /// Longest time of an export's query.
    pub max_query: Duration,
    /// Most memory of an export's query, in bytes.
    pub max_query_bytes: u64,
    /// Requests that one key may send in a minute.
    pub requests_per_minute: NonZeroU32,
    /// Requests with unknown keys that one address may send in a minute before it is slowed.
    pub failed_attempts_per_minute: NonZeroU32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Networks,
    /// Time for a request's head.
    pub head: Duration,
    /// Time that a client may take nothing of an export.
    pub stall: Duration,
    /// Time for exports in flight after SIGTERM.
    pub grace: Duration,
    /// Time after SIGTERM in which exports are still taken.
    pub drain: Duration,
    /// Attempts to take an export up again that may bring no row.
    pub resume_attempts: u32,
    /// Time before the first attempt.
    pub resume_pause: Duration,
    /// Time that one export may be interrupted.
    pub resume: Duration,
    /// Time that a replica which failed is left alone.
    pub replica_pause: Duration,
    /// Time that ClickHouse may send nothing.
    pub silence: Duration,
    /// Longest time of counting a plan's rows.
    pub plan: Duration,
    /// Time after which an INSERT's rows are visible.
    pub settle: Duration,
    /// Who writes and reads `export_log`, where that is not [`Config::clickhouse`]'s user.
    pub log_user: Option<User>,
    /// How often an export that runs says so in the log.
    pub heartbeat: Duration,
    /// What the service's TLS is made of; none speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether people get a page at `/`.
    pub page: bool,
    /// What download tickets are signed with, if that was said.
    pub ticket_secret: Option<Secret>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Of the certificate, and of those that lead from it to one that clients trust.
    pub cert: PathBuf,
    /// Of the certificate's private key.
    pub key: PathBuf,
}

impl Config {
    /// Resolves the layers, first come first served.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) naming the setting that cannot be used.
    pub fn resolve(flags: Layer, environment: Layer, file: Layer) -> Result<Self> {
        macro_rules! first {
            ($name:ident) => {
                flags
                    .$name
                    .clone()
                    .or_else(|| environment.$name.clone())
                    .or_else(|| file.$name.clone())
            };
        }
        let listen = first!(listen).unwrap_or_else(|| DEFAULT_LISTEN.into());
        let named_url = first!(clickhouse_url);
        let clickhouse_named = named_url.is_some();
        let url = named_url.unwrap_or_else(|| DEFAULT_CLICKHOUSE_URL.into());
        for address in addresses(&url) {
            interface(address)?;
        }
        let events_table = first!(events_table).unwrap_or_else(|| DEFAULT_EVENTS_TABLE.into());
        identifier("events_table", &events_table)?;
        let database =
            first!(clickhouse_database).unwrap_or_else(|| DEFAULT_CLICKHOUSE_DATABASE.into());
        let wire_compression = match first!(wire_compression) {
            None => WireCompression::default(),
            Some(name) => WireCompression::from_name(&name).ok_or_else(|| {
                let names = WireCompression::ALL.map(WireCompression::as_str).join(", ");
                Error::usage(format!("wire_compression is `{name}`: give one of {names}"))
            })?,
        };
        let parallel = first!(parallel).unwrap_or_else(|| match wire_compression {
            // A query that others take rows over from is left before the checksum at its end.
            WireCompression::Zstd => 1,
            WireCompression::None | WireCompression::Lz4 => default_parallel(),
        });
        if !(1..=MAX_PARALLEL).contains(&parallel) {
            return Err(Error::usage(format!(
                "parallel is {parallel}: give 1 to {MAX_PARALLEL}"
            )));
        }
        let wire = match first!(wire) {
            None => Wire::default(),
            Some(name) => Wire::from_name(&name).ok_or_else(|| {
                let names = Wire::ALL.map(Wire::as_str).join(" or ");
                Error::usage(format!("wire is `{name}`: give {names}"))
            })?,
        };
        let requests_per_minute =
            first!(requests_per_minute).unwrap_or(DEFAULT_REQUESTS_PER_MINUTE);
        let requests_per_minute = NonZeroU32::new(requests_per_minute).ok_or_else(|| {
            Error::usage("requests_per_minute is 0, so no key could ever ask: give 1 or more")
        })?;
        let failed_attempts_per_minute =
            first!(failed_attempts_per_minute).unwrap_or(DEFAULT_FAILED_ATTEMPTS_PER_MINUTE);
        let failed_attempts_per_minute = NonZeroU32::new(failed_attempts_per_minute).ok_or_else(|| {
            Error::usage("failed_attempts_per_minute is 0, so even a first attempt would wait: give 1 or more")
        })?;
        let log_user = match (first!(log_user), first!(log_password)) {
            (Some(name), password) => Some(User { name, password }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Error::usage(
                    "log_password is set without log_user: name the user that it belongs to",
                ));
            }
        };
        let tls = match (first!(tls_cert), first!(tls_key)) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (Some(_), None) => {
                return Err(Error::usage(
                    "tls_cert is set without tls_key: name the file of the certificate's private key too",
                ));
            }
            (None, Some(_)) => {
                return Err(Error::usage(
                    "tls_key is set without tls_cert: name the file of the certificate too",
                ));
            }
        };
        let max_exports = first!(max_exports);
        let max_open_exports = max_exports.map_or(DEFAULT_MAX_OPEN_EXPORTS, |places| {
            places.saturating_mul(DEFAULT_OPEN_EXPORTS_PER_PLACE)
        });
        let max_exports = max_exports.unwrap_or_else(default_max_exports);
        let max_exports = within("max_exports", max_exports, 1..=MAX_EXPORTS)?;
        Ok(Self {
            listen: address("listen", &listen)?,
            clickhouse: ClickHouse {
                url,
                user: first!(clickhouse_user),
                password: first!(clickhouse_password),
                database,
            },
            clickhouse_named,
            events_table,
            libchdb: first!(libchdb),
            wire,
            parallel,
            wire_compression,
            max_exports,
            max_open_exports: within(
                "max_open_exports",
                first!(max_open_exports).unwrap_or(max_open_exports),
                max_exports..=DEFAULT_OPEN_EXPORTS_PER_PLACE * MAX_EXPORTS,
            )?,
            max_exports_per_key: within(
                "max_exports_per_key",
                first!(max_exports_per_key).unwrap_or_else(|| default_max_exports() / 2),
                1..=2 * MAX_EXPORTS,
            )?,
            max_queued: within(
                "max_queued",
                first!(max_queued).unwrap_or(DEFAULT_MAX_QUEUED),
                0..=MAX_EXPORTS,
            )?,
            queue: seconds(
                "queue_seconds",
                first!(queue_seconds).unwrap_or(DEFAULT_QUEUE_SECONDS),
            )?,
            max_connections: within(
                "max_connections",
                first!(max_connections).unwrap_or(DEFAULT_MAX_CONNECTIONS),
                1..=MAX_CONNECTIONS,
            )?,
            max_uri_bytes: within(
                "max_uri_bytes",
                first!(max_uri_bytes).unwrap_or(DEFAULT_MAX_URI_BYTES),
                HEAD_BYTES,
            )?,
            max_header_bytes: within(
                "max_header_bytes",
                first!(max_header_bytes).unwrap_or(DEFAULT_MAX_HEADER_BYTES),
                HEAD_BYTES,
            )?,
            max_query: seconds(
                "max_query_seconds",
                first!(max_query_seconds).unwrap_or(DEFAULT_MAX_QUERY_SECONDS),
            )?,
            max_query_bytes: first!(max_query_bytes).unwrap_or(DEFAULT_MAX_QUERY_BYTES),
            requests_per_minute,
            failed_attempts_per_minute,
            trusted_proxies: Networks::parse(
                "trusted_proxies",
                &first!(trusted_proxies).unwrap_or_default(),
            )?,
            head: seconds(
                "head_seconds",
                first!(head_seconds).unwrap_or(DEFAULT_HEAD_SECONDS),
            )?,
            stall: seconds(
                "stall_seconds",
                first!(stall_seconds).unwrap_or(DEFAULT_STALL_SECONDS),
            )?,
            grace: seconds(
                "grace_seconds",
                first!(grace_seconds).unwrap_or(DEFAULT_GRACE_SECONDS),
            )?,
            drain: match first!(drain_seconds).unwrap_or(DEFAULT_DRAIN_SECONDS) {
                0 => Duration::ZERO,
                lead => seconds("drain_seconds", lead)?,
            },
            resume_attempts: first!(resume_attempts).unwrap_or(DEFAULT_RESUME_ATTEMPTS),
            resume_pause: match first!(resume_pause_ms).unwrap_or(DEFAULT_RESUME_PAUSE_MS) {
                pause @ 1..=MAX_PAUSE_MS => Duration::from_millis(pause),
                pause => {
                    return Err(Error::usage(format!(
                        "resume_pause_ms is {pause}: give 1 to {MAX_PAUSE_MS}"
                    )));
                }
            },
            resume: seconds(
                "resume_seconds",
                first!(resume_seconds).unwrap_or(DEFAULT_RESUME_SECONDS),
            )?,
            replica_pause: seconds(
                "replica_pause_seconds",
                first!(replica_pause_seconds).unwrap_or(DEFAULT_REPLICA_PAUSE_SECONDS),
            )?,
            silence: seconds(
                "silence_seconds",
                first!(silence_seconds).unwrap_or(DEFAULT_SILENCE_SECONDS),
            )?,
            plan: seconds(
                "plan_seconds",
                first!(plan_seconds).unwrap_or(DEFAULT_PLAN_SECONDS),
            )?,
            settle: seconds(
                "settle_seconds",
                first!(settle_seconds).unwrap_or(DEFAULT_SETTLE_SECONDS),
            )?,
            log_user,
            heartbeat: seconds(
                "heartbeat_seconds",
                first!(heartbeat_seconds).unwrap_or(DEFAULT_HEARTBEAT_SECONDS),
            )?,
            tls,
            page: first!(page).unwrap_or(DEFAULT_PAGE),
            ticket_secret: first!(ticket_secret).map(Secret::new).transpose()?,
        })
    }

    /// How to reach ClickHouse for `export_log`.
    pub fn log_clickhouse(&self) -> ClickHouse {
        match &self.log_user {
            None => self.clickhouse.clone(),
            Some(user) => ClickHouse {
                user: Some(user.name.clone()),
                password: user.password.clone(),
                ..self.clickhouse.clone()
            },
        }
    }
}

impl Layer {
    /// The settings of the process's environment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) naming a variable whose value cannot be read.
    pub fn from_environment() -> Result<Self> {
        Ok(Self {
            listen: variable("ROWSPOUT_LISTEN")?,
            clickhouse_url: variable("ROWSPOUT_CLICKHOUSE_URL")?,
            clickhouse_user: variable("ROWSPOUT_CLICKHOUSE_USER")?,
            clickhouse_password: variable("ROWSPOUT_CLICKHOUSE_PASSWORD")?,
            clickhouse_database: variable("ROWSPOUT_CLICKHOUSE_DATABASE")?,
            events_table: variable("ROWSPOUT_EVENTS_TABLE")?,
            libchdb: variable("ROWSPOUT_LIBCHDB")?.map(PathBuf::from),
            wire: variable("ROWSPOUT_WIRE")?,
            parallel: number("ROWSPOUT_PARALLEL")?,
            wire_compression: variable("ROWSPOUT_WIRE_COMPRESSION")?,
            max_exports: number("ROWSPOUT_MAX_EXPORTS")?,
            max_open_exports: number("ROWSPOUT_MAX_OPEN_EXPORTS")?,
            max_exports_per_key: number("ROWSPOUT_MAX_EXPORTS_PER_KEY")?,
            max_queued: number("ROWSPOUT_MAX_QUEUED")?,
            queue_seconds: number("ROWSPOUT_QUEUE_SECONDS")?,
            max_connections: number("ROWSPOUT_MAX_CONNECTIONS")?,
            max_uri_bytes: number("ROWSPOUT_MAX_URI_BYTES")?,
            max_header_bytes: number("ROWSPOUT_MAX_HEADER_BYTES")?,
            drain_seconds: number("ROWSPOUT_DRAIN_SECONDS")?,
            max_query_seconds: number("ROWSPOUT_MAX_QUERY_SECONDS")?,
            max_query_bytes: number("ROWSPOUT_MAX_QUERY_BYTES")?,
            requests_per_minute: number("ROWSPOUT_REQUESTS_PER_MINUTE")?,
            failed_attempts_per_minute: number("ROWSPOUT_FAILED_ATTEMPTS_PER_MINUTE")?,
            trusted_proxies: variable("ROWSPOUT_TRUSTED_PROXIES")?,
            head_seconds: number("ROWSPOUT_HEAD_SECONDS")?,
            stall_seconds: number("ROWSPOUT_STALL_SECONDS")?,
            grace_seconds: number("ROWSPOUT_GRACE_SECONDS")?,
            resume_attempts: number("ROWSPOUT_RESUME_ATTEMPTS")?,
            resume_pause_ms: number("ROWSPOUT_RESUME_PAUSE_MS")?,
            resume_seconds: number("ROWSPOUT_RESUME_SECONDS")?,
            replica_pause_seconds: number("ROWSPOUT_REPLICA_PAUSE_SECONDS")?,
            silence_seconds: number("ROWSPOUT_SILENCE_SECONDS")?,
            plan_seconds: number("ROWSPOUT_PLAN_SECONDS")?,
            settle_seconds: number("ROWSPOUT_SETTLE_SECONDS")?,
            log_user: variable("ROWSPOUT_LOG_USER")?,
            log_password: variable("ROWSPOUT_LOG_PASSWORD")?,
            heartbeat_seconds: number("ROWSPOUT_HEARTBEAT_SECONDS")?,
            tls_cert: variable("ROWSPOUT_TLS_CERT")?.map(PathBuf::from),
            tls_key: variable("ROWSPOUT_TLS_KEY")?.map(PathBuf::from),
            page: truth("ROWSPOUT_PAGE")?,
            ticket_secret: variable("ROWSPOUT_TICKET_SECRET")?,
        })
    }

    /// The settings of a file. Where `path` is `None`, [`DEFAULT_FILE`] is read if it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) naming the file, the line and what is wrong, an unknown
    /// setting included.
    pub fn from_file(path: Option<&Path>) -> Result<Self> {
        let (path, named) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(Error::usage(format!(
                    "the settings file {} cannot be read",
                    path.display()
                ))
                .with_source(error));
            }
        };
        // The library's own text repeats the line, which may hold a password.
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            Error::usage(format!(
                "the settings file {}, line {line}: {}",
                path.display(),
                error.message()
            ))
        })
    }
}

/// The addresses of a list with commas; what is no list is one.
fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// One cursor keeps two cores busy: one formats the rows in ClickHouse, and one writes them here.
fn default_parallel() -> usize {
    (cores() / 2).clamp(1, MAX_PARALLEL)
}

/// Exports that run at once where nothing is set.
pub fn default_max_exports() -> usize {
    (cores() * DEFAULT_EXPORTS_PER_CORE).min(DEFAULT_MAX_EXPORTS)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
