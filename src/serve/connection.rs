//! One connection: HTTP/1.1 or HTTP/2, chosen by prior knowledge or in TLS's handshake, over one guarded socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::address::Peer;
use super::body::Body;
use super::guard::{self, Guard};
use super::metrics::{self, Limit};
use super::socket::{Reset, Socket};
use super::streams::{Stream as Http2Stream, Streams};
use super::tls::{self, Tls};
use super::{Service, respond, router};
use crate::error::{Error, ErrorKind};

/// Longest head of an HTTP/1.1 request that is read at all, in bytes; the settings' limits lie below.
const MAX_READ_BYTES: usize = 256 << 10;

/// Most header fields of a request.
const MAX_HEADERS: usize = 100;

/// What an HTTP/2 client sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often a silent HTTP/2 client is asked for a sign of life.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// How often to look for the rest of a preface that came in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// Serves one connection to its end.
pub(super) async fn serve(
    service: Arc<Service>,
    stream: TcpStream,
    peer: SocketAddr,
    mut draining: watch::Receiver<bool>,
) {
    // Small responses should not wait for more.
    let _ = stream.set_nodelay(true);
    let head = service.config.head;
    let begins = tokio::time::timeout(head, begin(&service, &stream));
    let begins = tokio::select! {
        begins = begins => begins,
        // Nothing was asked yet, so nothing has to be answered.
        _ = draining.wait_for(|draining| *draining) => return,
    };
    let result = match begins {
        Ok(Ok(Begins::Http1)) => serve_http1(service, stream, peer, &mut draining).await,
        Ok(Ok(Begins::Http2)) => serve_http2(service, stream, peer, &mut draining).await,
        Ok(Ok(Begins::Tls(tls))) => {
            let accepted = tokio::time::timeout(head, tls.accept(stream));
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                _ = draining.wait_for(|draining| *draining) => return,
            };
            match accepted {
                Ok(Ok(stream)) if tls::is_http2(&stream) => {
                    serve_http2(service, stream, peer, &mut draining).await
                }
                Ok(Ok(stream)) => serve_http1(service, stream, peer, &mut draining).await,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "the handshake failed");
                    return;
                }
                Err(_) => {
                    metrics::limit_hit(Limit::HeadSeconds);
                    return;
                }
            }
        }
        Ok(Ok(Begins::WithoutTls)) => {
            let answer = respond::raw_error(&Error::new(
                ErrorKind::BadRequest(400),
                "this port speaks TLS: write https instead of http",
            ));
            say(stream, &answer, head).await;
            return;
        }
        Ok(Err(_)) => return,
        Err(_) if service.tls.is_some() => {
            metrics::limit_hit(Limit::HeadSeconds);
            return;
        }
        Err(_) => {
            refuse_slow_head(stream, head).await;
            return;
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "the connection ended early");
    }
}

/// What a client speaks.
enum Begins<'a> {
    Http1,
    Http2,
    Tls(&'a Tls),
    /// Plain HTTP where it should be TLS.
    WithoutTls,
}

/// Looks at a connection's first bytes. Reads nothing away.
async fn begin<'a>(service: &'a Service, stream: &TcpStream) -> std::io::Result<Begins<'a>> {
    Ok(match &service.tls {
        Some(tls) if tls::begins(stream).await? => Begins::Tls(tls),
        Some(_) => Begins::WithoutTls,
        None if begins_http2(stream).await? => Begins::Http2,
        None => Begins::Http1,
    })
}

type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

/// Answers a request, which counts as busy until its body has been sent or given up.
fn answer(
    service: &Arc<Service>,
    peer: SocketAddr,
    busy: &guard::Busy,
    stalled: &guard::Stalled,
    mut request: Request<Incoming>,
) -> ResponseFuture {
    let (service, busy) = (service.clone(), busy.begin());
    request.extensions_mut().insert(Peer(peer));
    request.extensions_mut().insert(stalled.clone());
    for (name, value) in request.headers_mut() {
        // Whoever prints a header, no library prints the key.
        if name == AUTHORIZATION {
            value.set_sensitive(true);
        }
    }
    Box::pin(async move {
        let response = router::route(&service, request).await;
        Ok(response.map(|body| body.holding(busy, Http2Stream::current())))
    })
}

async fn serve_http1(
    service: Arc<Service>,
    stream: impl Reset,
    peer: SocketAddr,
    draining: &mut watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let (head, stall) = (service.config.head, service.config.stall);
    let busy = guard::Busy::default();
    let (stream, aborting) = Socket::new(stream, &service, &busy);
    let stalled = guard::Stalled::default();
    let io = Guard::new(TokioIo::new(stream), busy.clone(), stall, stalled.clone());
    let handler = service_fn(move |request| answer(&service, peer, &busy, &stalled, request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_READ_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, handler);
    // From here on, so that it is dropped first.
    let _aborting = aborting;
    let mut drained = false;
    let result = loop {
        tokio::select! {
            result = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => break result,
            _ = draining.wait_for(|draining| *draining), if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_inner();
    match result {
        // A head that was begun is answered; an idle connection that never sent a byte is just closed.
        Err(error) if error.is_timeout() && !parts.read_buf.is_empty() => {
            refuse_slow_head(stream, stall).await;
            Ok(())
        }
        // Without a word: what was under way is cut.
        Err(error) if !error.is_timeout() => Err(error),
        Ok(()) | Err(_) => {
            say(stream, b"", stall).await;
            Ok(())
        }
    }
}

async fn serve_http2(
    service: Arc<Service>,
    stream: impl Reset,
    peer: SocketAddr,
    draining: &mut watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let (head, stall) = (service.config.head, service.config.stall);
    let mut idleness = guard::Idleness::default();
    let busy = idleness.busy();
    let (stream, aborting) = Socket::new(stream, &service, &busy);
    let stalled = guard::Stalled::default();
    let io = TokioIo::new(stream);
    let io = Guard::new(io, guard::Busy::default(), stall, stalled.clone());
    let handler = service_fn(move |request| answer(&service, peer, &busy, &stalled, request));
    let connection = http2::Builder::new(Streams::new(stall))
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .max_header_list_size(MAX_READ_BYTES as u32)
        .serve_connection(io, handler);
    let mut connection = std::pin::pin!(connection);
    // From here on, so that it is dropped first.
    let _aborting = aborting;
    // As over HTTP/1.1, a connection without a request is closed in the time that a request's head may take; what it still has
    // to take of the answers before goes out first.
    let mut look = tokio::time::interval(head);
    let mut drained = false;
    let mut idle = None;
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            _ = draining.wait_for(|draining| *draining), if !drained => {
                drained = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                if !idleness.lasts() {
                    idle = None;
                    continue;
                }
                if !drained {
                    drained = true;
                    connection.as_mut().graceful_shutdown();
                }
                // What is left of them is some slices, whose windows may never open.
                if idle.get_or_insert_with(Instant::now).elapsed() > stall {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether the client speaks HTTP/2 from the first byte. Reads nothing away.
async fn begins_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let len = stream.peek(&mut seen).await?;
        if len == 0 || seen[..len] != HTTP2_PREFACE[..len] {
            return Ok(false);
        }
        if len == HTTP2_PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

async fn refuse_slow_head(stream: impl AsyncRead + AsyncWrite + Unpin, stall: Duration) {
    metrics::limit_hit(Limit::HeadSeconds);
    say(stream, &guard::bad_request_bytes(408), stall).await;
}

/// Writes the last bytes of a connection and ends it in order, unless the client takes nothing for too long.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, last: &[u8], stall: Duration) {
    // The client may be gone.
    let _ = tokio::time::timeout(stall, async {
        stream.write_all(last).await?;
        stream.shutdown().await
    })
    .await;
}
