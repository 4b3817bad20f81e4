//! Response bodies: a text, or a result that streams.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

use super::exception::Exception;
use super::queries::Client;
use super::read::Part;

/// A response's body.
pub(crate) enum ResponseBody {
    /// All of it; `None` once it was handed over.
    Text(Option<Bytes>),
    /// A result.
    Stream(Box<ResultBody>),
}

impl ResponseBody {
    /// A text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()).filter(|text: &Bytes| !text.is_empty()))
    }
}

/// A result on its way to the client. It ends in three ways: at its proven end; with an exception's frame and then
/// an aborted connection; or, dropped because the client is gone, by cancelling its query.
pub(crate) struct ResultBody {
    first: Option<Bytes>,
    parts: mpsc::Receiver<Part>,
    cancelled: Pin<Box<dyn Future<Output = ()> + Send>>,
    tag: String,
    state: State,
    /// Cancels the query when the body is dropped.
    _client: Client,
}

enum State {
    Streaming,
    /// The exception's frame is on its way; resolves once it was written to the socket.
    Failing(oneshot::Receiver<()>),
    Ended,
}

/// The exception's frame, which tells when it was dropped: after it was written.
struct LastFrame {
    bytes: Bytes,
    _written: oneshot::Sender<()>,
}

impl AsRef<[u8]> for LastFrame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ResultBody {
    /// A result whose first block is here already.
    pub(crate) fn new(
        first: Bytes,
        parts: mpsc::Receiver<Part>,
        client: Client,
        tag: String,
    ) -> Self {
        let query = std::sync::Arc::clone(client.query());
        Self {
            first: Some(first),
            parts,
            cancelled: Box::pin(async move { query.cancelled().await }),
            tag,
            state: State::Streaming,
            _client: client,
        }
    }

    /// The exception's frame; a compressed result brings it compressed, unless it was this body that failed: then the plain
    /// one breaks the compressed stream, as it should.
    fn fail(&mut self, exception: &Exception, compressed: Option<Bytes>) -> Frame<Bytes> {
        let (written, signal) = oneshot::channel();
        self.state = State::Failing(signal);
        // A thread that waits for room in the channel learns by this that nobody reads on.
        self.parts.close();
        Frame::data(Bytes::from_owner(LastFrame {
            bytes: compressed.unwrap_or_else(|| exception.frame(&self.tag)),
            _written: written,
        }))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = match self.get_mut() {
            Self::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Stream(body) => body,
        };
        match &mut body.state {
            State::Ended => return Poll::Ready(None),
            State::Failing(written) => {
                // Either way the frame is gone.
                let _ = ready!(Pin::new(written).poll(cx));
                // An error here makes hyper close the connection without the chunk that would call the body whole.
                return Poll::Ready(Some(Err(std::io::Error::other("the query failed"))));
            }
            State::Streaming => {}
        }
        if let Some(first) = body.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if body.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Ok(body.fail(&Exception::cancelled(), None))));
        }
        Poll::Ready(match ready!(body.parts.poll_recv(cx)) {
            Some(Part::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Part::End(_)) => {
                body.state = State::Ended;
                None
            }
            Some(Part::Failed(exception, frame)) => Some(Ok(body.fail(&exception, frame))),
            None => Some(Ok(
                body.fail(&Exception::internal("The query's thread is gone"), None)
            )),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Stream(body) => matches!(body.state, State::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
