//! What there is of a file before its headers go out: its first chunk, and of a small file the others, unless they have to be waited for.
//! So a small file goes out with its headers, and one whose end cannot be proved gets a status and is no half file.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::body::QUEUED_CHUNKS;
use super::running::Running;
use crate::error::Result;
use crate::export::Export;
use crate::receipt::SMALL_BODY_BYTES;

/// The beginning of an export's file.
pub(super) struct Beginning {
    pub(super) chunks: Vec<Bytes>,
    /// What follows; `None` where that is the whole file, and proved.
    pub(super) rest: Option<Next>,
}

/// The next chunk of an export, which may be waited for already, and the export.
pub(super) type Next = Pin<Box<dyn Future<Output = (Export, Result<Option<Bytes>>)> + Send>>;

/// Asks for the next chunk.
pub(super) fn next(mut export: Export) -> Next {
    Box::pin(async move {
        let chunk = export.next_chunk().await;
        (export, chunk)
    })
}

impl Beginning {
    /// Waits for the first chunk.
    ///
    /// # Errors
    ///
    /// Whatever keeps the file from beginning, or a small one from being whole.
    pub(super) async fn of(export: Export, running: &Running) -> Result<Self> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let (mut export, mut chunk) = next(export).await;
        loop {
            running.figures(export.rows(), export.resumes());
            let Some(one) = chunk? else {
                return Ok(Self { chunks, rest: None });
            };
            bytes += one.len();
            chunks.push(one);
            let mut rest = next(export);
            let is_small = bytes <= SMALL_BODY_BYTES && chunks.len() <= QUEUED_CHUNKS;
            match is_small.then(|| now(rest.as_mut())) {
                Some(Poll::Ready(ready)) => (export, chunk) = ready,
                Some(Poll::Pending) | None => {
                    let rest = Some(rest);
                    return Ok(Self { chunks, rest });
                }
            }
        }
    }

    /// Whether it is the whole file.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }
}

/// Polls a future that is polled again by another task where it is not ready.
pub(super) fn now<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
