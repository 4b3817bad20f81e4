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
use crate::error::{Error, Result};

/// Chunks that wait between an export and its connection.
pub(super) const QUEUED_CHUNKS: usize = 2;

/// A response's body.
pub(super) struct Body {
    content: Content,
    /// Told when the body has been sent or given up.
    _answering: Option<Answering>,
    /// A place is given back when this is dropped.
    _occupying: Option<oneshot::Sender<()>>,
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
    /// Whether the client takes trailers, and the chunks.
    Export(bool, mpsc::Receiver<Said>),
}

impl Body {
    /// Bytes at hand.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Full(bytes.into()),
            _answering: None,
            _occupying: None,
        }
    }

    /// Chunks from an export's task. Only the task's own word ends the body well: an error, and a task that fell silent,
    /// abort the connection. The export's figures follow as trailers where the client takes them.
    pub(super) fn export(chunks: mpsc::Receiver<Said>, trailers: bool) -> Self {
        Self {
            content: Content::Export(trailers, chunks),
            _answering: None,
            _occupying: None,
        }
    }

    /// Keeps `answering` as long as the body lives.
    pub(super) fn holding(mut self, answering: Answering) -> Self {
        self._answering = Some(answering);
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

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Full(bytes) => {
                let frame = bytes.split_to(bytes.len().min(FRAME_BYTES));
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            Content::Export(trailers, chunks) => Poll::Ready(match ready!(chunks.poll_recv(cx)) {
                Some(Ok(Say::Chunk(chunk))) => Some(Ok(Frame::data(chunk))),
                Some(Ok(Say::End(end))) => match end.take() {
                    Some(end) => {
                        let figures = end.taken();
                        let frame = trailers.then(|| Ok(Frame::trailers(figures)));
                        self.content = Content::Full(Bytes::new());
                        frame
                    }
                    None => Some(Err(Error::internal(
                        "the export ended before its end was taken",
                    ))),
                },
                Some(Err(error)) => Some(Err(error)),
                None => Some(Err(Error::internal("the export's task stopped"))),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Export(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Export(..) => SizeHint::default(),
        }
    }
}
