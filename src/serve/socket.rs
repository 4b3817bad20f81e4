//! A socket that is reset where the service aborts what goes over it.
//!
//! Closed as usual, a socket first hands over what waits to be sent, however slowly its client takes that, and then says that it
//! has ended. Where a container's network leaves with the process, the client would wait for both for ever. A reset is sent once, so
//! who misses it waits until its own time limit. What was given whole while the service stops is [handed over](super::leaving) before it ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Service;
use super::guard::Busy;

/// What can be reset.
pub(super) trait Reset: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the socket drop what waits to be sent when it is closed, and the client told so at once.
    fn reset_when_closed(&self) -> io::Result<()>;

    /// The socket itself.
    fn socket(&self) -> &TcpStream;
}

impl Reset for TcpStream {
    fn reset_when_closed(&self) -> io::Result<()> {
        self.set_zero_linger()
    }

    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Reset for TlsStream<TcpStream> {
    fn reset_when_closed(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }

    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Looks, when the task of a connection is dropped, whether the service aborts a request there. Dropped before the connection is.
pub(super) struct Aborting {
    service: Arc<Service>,
    busy: Busy,
    reset: Arc<AtomicBool>,
}

impl Drop for Aborting {
    fn drop(&mut self) {
        // An answer that was given whole is still handed over.
        if self.service.is_aborting() && self.busy.is_any() {
            self.reset.store(true, Ordering::Relaxed);
        }
    }
}

/// A client's socket.
pub(super) struct Socket<S: Reset> {
    service: Arc<Service>,
    stream: S,
    reset: Arc<AtomicBool>,
    /// Behind the stream, as it has to be dropped.
    _leaving: Option<Sender<()>>,
}

impl<S: Reset> Socket<S> {
    /// The socket of a connection that carries requests, and what has to be dropped before it.
    pub(super) fn new(stream: S, service: &Arc<Service>, busy: &Busy) -> (Self, Aborting) {
        let reset = Arc::new(AtomicBool::new(false));
        let aborting = Aborting {
            service: service.clone(),
            busy: busy.clone(),
            reset: reset.clone(),
        };
        let service = service.clone();
        (
            Self {
                service,
                stream,
                reset,
                _leaving: None,
            },
            aborting,
        )
    }
}

impl<S: Reset> Drop for Socket<S> {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Else it is closed as usual.
            let _ = self.stream.reset_when_closed();
        } else {
            self._leaving = self.service.leaving.close(self.stream.socket());
        }
    }
}

impl<S: Reset> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: Reset> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
