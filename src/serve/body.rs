//! The body of a response: bytes at hand, or an export that is pulled chunk by chunk.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

use super::admission::Place;
use super::guard::Answering;
use super::running::Waiting;
use super::streams::Stream;
use crate::error::{Error, Result};

/// Chunks that wait between an export and its connection, or its compressor. The end waits behind them.
pub(super) const QUEUED_CHUNKS: usize = 2;

/// A response's body.
pub(super) struct Body {
    content: Content,
    /// Told when the body has been sent or given up.
    _answering: Option<Answering>,
    /// A place is given back when this is dropped.
    _occupying: Option<oneshot::Sender<()>>,
    /// The HTTP/2 stream that it goes by.
    stream: Option<Stream>,
}

/// Most bytes at hand that are given to the connection at once. It takes more when these are sent, so the body lives until then.
const FRAME_BYTES: usize = 64 << 10;

/// What an export's task says of its file.
pub(super) enum Say {
    /// A chunk.
    Chunk(Bytes),
    /// The proven end.
    End(Waiting),
}

/// What it says, or the error that ended it.
pub(super) type Said = Result<Say>;

enum Content {
    Full(Bytes),
    Export(Chunks),
}

/// What an export's task hands over.
struct Chunks {
    /// Whether the client takes trailers.
    trailers: bool,
    said: mpsc::Receiver<Said>,
    /// What the stream has not taken of a chunk.
    rest: Bytes,
}

impl Body {
    /// Bytes at hand.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Full(bytes.into()),
            _answering: None,
            _occupying: None,
            stream: None,
        }
    }

    /// Chunks from an export's task. Only the task's own word ends the body well: an error, and a task that fell silent,
    /// abort the connection. The export's figures follow as trailers where the client takes them.
    pub(super) fn export(said: mpsc::Receiver<Said>, trailers: bool) -> Self {
        let rest = Bytes::new();
        Self {
            content: Content::Export(Chunks {
                trailers,
                said,
                rest,
            }),
            _answering: None,
            _occupying: None,
            stream: None,
        }
    }

    /// Keeps `answering` as long as the body lives, which is as long as the client takes something of `stream` now and then.
    pub(super) fn holding(mut self, answering: Answering, stream: Option<Stream>) -> Self {
        self._answering = Some(answering);
        if let Some(stream) = &stream {
            stream.is_ready();
        }
        self.stream = stream;
        self
    }

    /// Keeps a place as long as the body lives, but no longer than that: a client that takes nothing of an HTTP/2 stream keeps the
    /// body for as long as it likes. Needs a runtime.
    pub(super) fn occupying(mut self, place: Place, longest: Duration) -> Self {
        let (occupying, dropped) = oneshot::channel();
        tokio::spawn(async move {
            // Dropped without a word.
            let _ = tokio::time::timeout(longest, dropped).await;
            drop(place);
        });
        self._occupying = Some(occupying);
        self
    }
}

impl Content {
    /// The next frame. A connection of several streams takes it in slices: what it has taken waits there for the client's window,
    /// however small that is.
    fn poll_frame(
        &mut self,
        in_slices: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let chunks = match self {
            Self::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Full(bytes) => return Poll::Ready(Some(Ok(slice(bytes)))),
            Self::Export(chunks) => chunks,
        };
        if !chunks.rest.is_empty() {
            return Poll::Ready(Some(Ok(slice_of_chunk(&mut chunks.rest))));
        }
        Poll::Ready(match ready!(chunks.said.poll_recv(cx)) {
            Some(Ok(Say::Chunk(chunk))) if in_slices => {
                chunks.rest = chunk;
                Some(Ok(slice_of_chunk(&mut chunks.rest)))
            }
            Some(Ok(Say::Chunk(chunk))) => Some(Ok(Frame::data(chunk))),
            Some(Ok(Say::End(end))) => match end.take() {
                Some(end) => {
                    let figures = end.taken();
                    let frame = chunks.trailers.then(|| Ok(Frame::trailers(figures)));
                    *self = Self::Full(Bytes::new());
                    frame
                }
                None => Some(Err(Error::internal(
                    "the export ended before its end was taken",
                ))),
            },
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(Error::internal("the export's task stopped"))),
        })
    }
}

/// The first bytes of a chunk, likewise. The last ones may wait for their window long after the body: by themselves, and not with the
/// chunk's whole buffer.
fn slice_of_chunk(rest: &mut Bytes) -> Frame<Bytes> {
    let part = rest.split_to(rest.len().min(FRAME_BYTES));
    Frame::data(if rest.is_empty() {
        Bytes::copy_from_slice(&part)
    } else {
        part
    })
}

/// The first bytes, no more than are given at once.
fn slice(bytes: &mut Bytes) -> Frame<Bytes> {
    Frame::data(bytes.split_to(bytes.len().min(FRAME_BYTES)))
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let body = &mut *self;
        let in_slices = body.stream.is_some();
        let frame = body.content.poll_frame(in_slices, cx);
        if let Some(stream) = &body.stream {
            match frame {
                Poll::Ready(_) => stream.is_ready(),
                Poll::Pending => stream.is_taken(),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Export(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Export(_) => SizeHint::default(),
        }
    }
}
