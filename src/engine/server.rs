//! The process: one directory, one listener, and an orderly end.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::access::Access;
use super::exception;
use super::library::Library;
use super::queries::Queries;
use super::service::Service;
use super::session::Sessions;
use crate::error::{Error, Result};

/// Queries that run at once; one more is refused with ClickHouse's code 202.
pub const DEFAULT_MAX_QUERIES: usize = 256;
/// Time that queries have to finish after the signal to stop; then they are cancelled.
const GRACE: Duration = Duration::from_secs(5);
/// Time that clients have to learn that their queries were cancelled.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// Time that cancelled queries have to end.
const THREAD_GRACE: Duration = Duration::from_secs(10);
/// Time that a client has to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The file in the directory that keeps a second process out.
const LOCK_FILE: &str = "rowspout.lock";

/// What an engine is started with.
#[derive(Clone)]
pub struct EngineOptions {
    /// Where it listens. Port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// The directory of the data; made if it is not there.
    pub path: PathBuf,
    /// libchdb.
    pub libchdb: PathBuf,
    /// ClickHouse's own configuration file, if it is started with one. Of its users `default` is who runs every query.
    pub server_config: Option<PathBuf>,
    /// What clients must send, if anything.
    pub password: Option<String>,
    /// Queries that run at once. [`DEFAULT_MAX_QUERIES`]
    pub max_queries: usize,
    /// Whether to stop when standard input ends, as it does when the process at its other end dies.
    pub stop_on_stdin_close: bool,
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of every log.
        f.debug_struct("EngineOptions")
            .field("listen", &self.listen)
            .field("path", &self.path)
            .field("libchdb", &self.libchdb)
            .finish_non_exhaustive()
    }
}

/// Runs the engine until SIGINT or SIGTERM. Prints its URL on standard output when it is ready, and nothing else.
///
/// Call it on a process's first thread, before others are started.
///
/// # Errors
///
/// The directory is in use or cannot be opened, the library cannot be loaded, or the address is taken.
pub fn run(options: &EngineOptions) -> Result<()> {
    let loopback = options.listen.ip().is_loopback();
    if !loopback && options.password.is_none() {
        tracing::warn!(
            listen = %options.listen,
            "anyone who reaches this address may read and write all data: set ROWSPOUT_ENGINE_PASSWORD"
        );
    }
    let path = prepare(&options.path)?;
    let lock = lock(&path)?;
    let server_config = options.server_config.as_deref().map(readable).transpose()?;
    let library = Library::open(&options.libchdb, server_config)?;
    let mut control = library.connect(&path, &[])?;
    let version = control
        .query("SELECT version()", "TSVRaw", &[])
        .map_err(|error| {
            Error::internal("the engine does not answer").with_detail(error.to_string())
        })?;
    exception::set_version(String::from_utf8_lossy(version.as_ref()).trim().to_owned());
    drop(version);
    let (queries, killer) = Queries::new(options.max_queries, control)?;
    let service = Arc::new(Service {
        access: Access::new(options.password.clone(), loopback),
        sessions: Arc::new(Sessions::new(Arc::clone(&library), path)),
        queries: Arc::clone(&queries),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the engine cannot start").with_source(error))?;
    let served = runtime.block_on(serve(options, &service));
    // What is left of connections goes with the runtime, and cancels its queries.
    runtime.shutdown_background();
    drop(service);
    wait_for_none(&queries);
    drop(queries);
    killer.join();
    // The last connection is closed, so the data is on disk. Threads of tables may stay in the library's pool, which
    // says so then; the process's end reaps them.
    library.shutdown();
    drop(lock);
    served
}

/// Makes the directory, and its name absolute: the library resolves relative names in its own way.
fn prepare(path: &Path) -> Result<PathBuf> {
    let refused = |error| {
        Error::usage(format!(
            "the engine's directory {} cannot be used",
            path.display()
        ))
        .with_source(error)
    };
    std::fs::create_dir_all(path).map_err(refused)?;
    path.canonicalize().map_err(refused)
}

/// The absolute name of a configuration file that is there: the library would go on without it.
fn readable(path: &Path) -> Result<PathBuf> {
    let refused = |error| {
        Error::usage(format!(
            "--server-config names {}, which cannot be read",
            path.display()
        ))
        .with_source(error)
    };
    File::open(path).map_err(refused)?;
    path.canonicalize().map_err(refused)
}

/// Takes the directory; the system gives it free when the process ends, however it ends.
fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK_FILE);
    let file = File::create(&name).map_err(|error| {
        Error::usage(format!("{} cannot be written", name.display())).with_source(error)
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::usage(format!(
            "another engine runs on {}: stop it, or give this one a directory of its own with --path",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(Error::usage(format!("{} cannot be locked", name.display())).with_source(error))
        }
    }
}

async fn serve(options: &EngineOptions, service: &Arc<Service>) -> Result<()> {
    let no_signals = |error| Error::internal("signals cannot be received").with_source(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        Error::usage(format!("the engine cannot listen on {}", options.listen)).with_source(error)
    })?;
    announce(&listener)?;
    let stdin_closed = stdin_closed(options.stop_on_stdin_close);
    tokio::pin!(stdin_closed);

    let mut http = http1::Builder::new();
    // A written frame is told apart from a buffered one by its memory, see `body`.
    http.writev(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of files, most likely: it passes as connections end.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut stdin_closed => break,
        };
        // Small answers should not wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(service);
        let connection = http.serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let service = Arc::clone(&service);
                async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
            }),
        );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Clients that go away are their own business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    stop(service, graceful, async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
    .await;
    Ok(())
}

/// Lets queries finish, then cancels them. A second signal cancels them at once.
async fn stop(
    service: &Service,
    graceful: GracefulShutdown,
    second_signal: impl Future<Output = ()>,
) {
    let connections = graceful.shutdown();
    tokio::pin!(connections);
    tokio::select! {
        () = &mut connections => return,
        () = second_signal => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    tracing::info!(
        queries = service.queries.count(),
        "cancelling the queries that still run"
    );
    service.queries.cancel_all();
    // Clients that read get to know; those that don't are not waited for.
    let _ = tokio::time::timeout(CANCEL_GRACE, connections).await;
}

/// Waits until every query's thread is done with the library.
fn wait_for_none(queries: &Queries) {
    let deadline = Instant::now() + THREAD_GRACE;
    while queries.count() > 0 {
        if Instant::now() > deadline {
            tracing::warn!(
                queries = queries.count(),
                "some queries cannot be cancelled"
            );
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The line that says the engine is ready.
fn announce(listener: &TcpListener) -> Result<()> {
    let address = listener
        .local_addr()
        .map_err(|error| Error::internal("the address is unknown").with_source(error))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "http://{address}")
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            Error::internal("the address cannot be written to standard output").with_source(error)
        })
}

/// Resolves when standard input ends; never, if that is not `wanted`.
async fn stdin_closed(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, signal) = tokio::sync::oneshot::channel();
    // A plain thread, because reading standard input cannot be interrupted and the runtime would wait for it.
    let reader = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            // An error is an end as well.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = closed.send(());
        });
    match reader {
        Ok(_) => {
            let _ = signal.await;
        }
        Err(error) => {
            tracing::warn!(%error, "standard input cannot be watched");
            std::future::pending().await
        }
    }
}
