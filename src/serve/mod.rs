//! The service: HTTP in, a body that is polled out.
//!
//! In: connections. Out: responses whose bodies are pulled chunk by chunk, so that a slow client holds its export
//! back, which lends its place to another one meanwhile. Holds, for each export, two chunks beside what the export itself holds; where the client takes compressed text, a
//! compressor and two more.

mod accept;
mod address;
mod admission;
mod attempts;
mod auth;
mod beginning;
mod body;
mod cancel;
mod claim;
mod compress;
mod compressing;
mod connection;
mod encoding;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod handler;
mod leaving;
mod metrics;
mod openapi;
mod pace;
mod page;
mod patience;
mod plan;
mod precondition;
mod pump;
mod receipts;
mod registry;
mod respond;
mod router;
mod running;
mod socket;
mod streams;
mod ticket;
mod tls;
mod websites;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::Request;
use tokio::net::TcpListener;

use self::address::Peer;
use crate::catalog::{Catalog, KeyRecord};
use crate::config::Config;
use crate::cursor::Server;
use crate::error::{Error, Result};
use crate::export_log::{ExportLog, LogWriter};

/// How long exports may take to notice that their connections are gone, and how often to look.
const ENDING: Duration = Duration::from_secs(1);
const ENDING_PAUSE: Duration = Duration::from_millis(5);

/// What every request handler shares.
pub struct Service {
    config: Config,
    server: Server,
    catalog: Catalog,
    keys: auth::Keys,
    admission: admission::Admission,
    registry: registry::Registry,
    export_log: ExportLog,
    log: Arc<LogWriter>,
    metrics: metrics::Metrics,
    tls: Option<tls::Tls>,
    tickets: ticket::Tickets,
    page: Option<page::Page>,
    draining: AtomicBool,
    leaving: leaving::Leaving,
    /// Whether the grace period is over: what is still running ends with the service.
    aborting: AtomicBool,
}

impl Service {
    /// A service over the ClickHouse of the settings. Sends nothing.
    ///
    /// # Errors
    ///
    /// The metrics cannot be set up, there are no random numbers, or the files of `tls_cert` and `tls_key` cannot be used.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        // Before whatever counts.
        let metrics = metrics::Metrics::install()?;
        let server = Server::new(&config);
        Ok(Arc::new(Self {
            catalog: Catalog::over(server.replicas().clone()),
            server,
            keys: auth::Keys::new(&config),
            admission: admission::Admission::new(&config),
            registry: registry::Registry::default(),
            export_log: ExportLog::new(
                &config.log_clickhouse(),
                config.heartbeat,
                config.replica_pause,
            ),
            log: LogWriter::new(metrics::log_failed),
            metrics,
            tls: config.tls.as_ref().map(tls::Tls::load).transpose()?,
            tickets: ticket::Tickets::new(&config)?,
            page: config.page.then(page::Page::new).transpose()?,
            draining: AtomicBool::new(false),
            leaving: leaving::Leaving::default(),
            aborting: AtomicBool::new(false),
            config,
        }))
    }

    /// The key of a request.
    async fn authenticate<B>(&self, request: &Request<B>) -> Result<KeyRecord> {
        let peer = request.extensions().get::<Peer>().copied();
        let peer = peer.ok_or_else(|| Error::internal("a request came from nowhere"))?;
        let headers = request.headers();
        let client = address::of_client(peer, headers, &self.config.trusted_proxies);
        self.keys.authenticate(&self.catalog, headers, client).await
    }

    /// Whether exports that end now end because the service does.
    fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Relaxed)
    }
}

/// Serves the listener until `shutdown` resolves, then finishes the exports in flight within the grace period, which ends
/// early when `at_once` resolves.
///
/// # Errors
///
/// Exports that were still running when the grace period ended: they were aborted.
pub async fn run(
    service: Arc<Service>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    at_once: impl Future<Output = ()>,
) -> Result<()> {
    let state = service.clone();
    let running = move || state.registry.running();
    let log = service.log.start(
        service.export_log.clone(),
        service.config.heartbeat,
        running,
    );
    let result = accept::serve(&service, listener, shutdown, at_once).await;
    service.aborting.store(true, Ordering::Relaxed);
    // Exports whose connections are gone notice it at once, but in tasks of their own.
    let ended = Instant::now();
    while !service.registry.running().is_empty() && ended.elapsed() < ENDING {
        tokio::time::sleep(ENDING_PAUSE).await;
    }
    log.close().await;
    result
}
