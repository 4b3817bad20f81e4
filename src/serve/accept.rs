//! Takes connections until the service is told to stop, then lets the exports in flight finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::metrics::{self, Limit};
use super::{Service, connection, respond};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait after a failed accept (too many open files), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections have to close where the second signal came before new exports were refused.
const HURRY: Duration = Duration::from_secs(1);

/// How long a refusal for too many connections may take to be written.
const REFUSAL: Duration = Duration::from_secs(1);

/// Serves the listener until `shutdown` resolves and for as long afterwards as exports run, at most the grace period.
///
/// From the signal on `/readyz` says 503. New exports are still taken for `drain_seconds`, then refused with 503; the listener
/// stays open until the last export has ended, so that whoever asks gets an answer and not a closed port. When `at_once`
/// resolves, whatever still runs is aborted.
pub(super) async fn serve(
    service: &Arc<Service>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    at_once: impl Future<Output = ()>,
) -> Result<()> {
    let mut at_once = std::pin::pin!(at_once);
    let mut connections = Connections::new(service);
    connections.accept_until(&listener, shutdown).await;
    service.draining.store(true, Ordering::Relaxed);
    let mut hurried = false;
    if !service.config.drain.is_zero() {
        let lead = tokio::time::sleep(service.config.drain);
        let lead = async {
            tokio::select! {
                () = lead => false,
                () = &mut at_once => true,
            }
        };
        hurried = connections.accept_until(&listener, lead).await;
    }
    service.admission.close();
    service.leaving.until(Instant::now() + service.config.grace);
    // Idle connections close, busy ones do so behind their answer. Those that come later get theirs as well.
    connections.drain.send_replace(true);
    let mut late = Connections::new(service);
    let grace = service.config.grace;
    let in_flight = async {
        while connections.tasks.join_next().await.is_some() {}
        service.leaving.gone().await;
    };
    let finished = async {
        tokio::select! {
            () = in_flight => {}
            () = late.accept_until(&listener, std::future::pending()) => {}
        }
    };
    let hurry = async {
        if hurried {
            // Idle connections still close by themselves.
            tokio::time::sleep(HURRY).await;
        } else {
            at_once.await;
        }
    };
    let when = tokio::select! {
        biased;
        () = finished => return Ok(()),
        () = hurry => "when the second signal came".to_owned(),
        () = tokio::time::sleep(grace) => format!("{} seconds after the signal", grace.as_secs()),
    };
    let running = connections.tasks.len() + service.leaving.len();
    service.aborting.store(true, Ordering::Relaxed);
    connections.tasks.shutdown().await;
    Err(Error::internal(format!(
        "{running} connections were still busy {when} and were aborted"
    )))
}

/// The connections that are served; dropped, they are closed.
struct Connections {
    service: Arc<Service>,
    tasks: JoinSet<()>,
    drain: watch::Sender<bool>,
}

impl Connections {
    fn new(service: &Arc<Service>) -> Self {
        Self {
            service: service.clone(),
            tasks: JoinSet::new(),
            drain: watch::Sender::new(false),
        }
    }

    async fn accept_until<T>(&mut self, listener: &TcpListener, end: impl Future<Output = T>) -> T {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                end = &mut end => return end,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.tasks.len() >= self.service.config.max_connections {
            metrics::limit_hit(Limit::Connections);
            // A handshake costs what the limit is there to save, so over TLS the connection is just closed.
            if self.service.tls.is_none() {
                tokio::spawn(refuse(stream));
            }
            return;
        }
        let draining = self.drain.subscribe();
        let service = self.service.clone();
        self.tasks
            .spawn(connection::serve(service, stream, peer, draining));
    }
}

/// Says why the connection is closed, if that takes no time.
async fn refuse(mut stream: TcpStream) {
    let answer = respond::raw_error(&Error::new(
        ErrorKind::Unavailable,
        "too many connections are open: try again in some seconds, or raise max_connections",
    ));
    // The client may be gone, or read nothing.
    let _ = tokio::time::timeout(REFUSAL, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}
