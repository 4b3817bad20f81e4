//! Gives hyper's own refusals (a head that is too large or malformed) the body and headers of every other error.
//!
//! hyper answers what it cannot parse by itself, with an empty body, and has no hook for that. So the socket is wrapped:
//! while no request of ours is being answered, a write that is one whole `HTTP/1.1 4xx` head without content
//! can only be such an answer, and ours goes out in its stead.
//!
//! And it gives up a client that takes nothing for too long, which would hold its socket for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Sleep;

use super::metrics::{self, Limit};
use super::respond;
use crate::error::{Error, ErrorKind};

/// Counts the requests that are being answered on one connection.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

/// Whether a connection was given up because its client took nothing of it for too long.
#[derive(Clone, Default)]
pub(super) struct Stalled(Arc<AtomicBool>);

impl Stalled {
    /// Whether it was.
    pub(super) fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a connection carries requests, looked at now and then.
#[derive(Default)]
pub(super) struct Idleness {
    busy: Busy,
    /// Whether it carried none when it was looked at last.
    was_idle: bool,
}

/// One request that is being answered, until its body is dropped.
pub(super) struct Answering(Arc<AtomicUsize>);

impl Busy {
    /// A request came in.
    pub(super) fn begin(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.0.clone())
    }

    /// Whether any request is being answered.
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

impl Idleness {
    /// The requests of the connection, to be counted.
    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Whether it carries none, now as the last time.
    pub(super) fn lasts(&mut self) -> bool {
        let is_idle = !self.busy.is_any();
        is_idle & std::mem::replace(&mut self.was_idle, is_idle)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The socket, watched for hyper's own refusals.
pub(super) struct Guard<T> {
    inner: T,
    busy: Busy,
    /// Our answer, while it goes out instead of hyper's of so many bytes.
    instead: Option<(Bytes, usize)>,
    /// How long a write may make no progress, and since when it makes none.
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set before whatever is answered hears that the connection is gone.
    has_stalled: Stalled,
}

impl<T> Guard<T> {
    pub(super) fn new(inner: T, busy: Busy, stall: Duration, has_stalled: Stalled) -> Self {
        Self {
            inner,
            busy,
            instead: None,
            stall,
            stalled: None,
            has_stalled,
        }
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Write + Unpin> Guard<T> {
    /// Whether hyper refused a request by itself in these bytes, and with which status.
    fn refusal(&self, bytes: &[u8]) -> Option<u16> {
        if self.busy.is_any() {
            return None;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
        let head = std::str::from_utf8(bytes).ok()?;
        if !head.ends_with("\r\n\r\n") || !head.contains("content-length: 0") {
            return None;
        }
        let tens = status.iter().try_fold(0, |sum, b| {
            b.is_ascii_digit().then(|| sum * 10 + u16::from(b - b'0'))
        })?;
        Some(400 + tens)
    }

    /// Turns a write that waits too long into an error.
    fn in_time<R>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(stalled.as_mut().poll(cx));
        self.has_stalled.0.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        while let Some((answer, replaced)) = &mut self.instead {
            if answer.is_empty() {
                let replaced = *replaced;
                self.instead = None;
                return Poll::Ready(Ok(Some(replaced)));
            }
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, answer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            answer.advance(written);
        }
        Poll::Ready(Ok(None))
    }
}

impl<T: Write + Unpin> Write for Guard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none()
            && let Some(status) = self.refusal(bytes)
        {
            match status {
                414 => metrics::limit_hit(Limit::UriBytes),
                431 => metrics::limit_hit(Limit::HeaderBytes),
                _ => {}
            }
            self.instead = Some((bad_request_bytes(status), bytes.len()));
        }
        if let Some(replaced) = ready!(self.poll_instead(cx))? {
            return Poll::Ready(Ok(replaced));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [single] = slices {
            return self.poll_write(cx, single);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // TLS holds bytes of its own: a client that takes nothing may be noticed only here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}

impl<T: Read + Unpin> Read for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

/// A whole response for a request that could not be read.
pub(super) fn bad_request_bytes(status: u16) -> Bytes {
    let message = match status {
        408 => "the request's head took too long: send it at once",
        414 => "the request's URI is too long: leave out what is not a parameter",
        431 => "the request's header fields are too large: send fewer or shorter ones",
        _ => "the request is not HTTP/1.1 as RFC 9112 has it",
    };
    respond::raw_error(&Error::new(ErrorKind::BadRequest(status), message))
}
