//! What there is of a file before its headers go out: its first chunk, and of a small file the others, unless they have to be waited for.
//! So a small file goes out with its headers, and one whose end cannot be proved gets a status and is no half file.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::body::QUEUED_CHUNKS;
use super::running::Running;
use crate::error::Result;
use crate::export::Export;
use crate::receipt::SMALL_BODY_BYTES;

/// The beginning of the file of an export, or in tests of something else that has chunks.
pub(super) struct Beginning<E = Export> {
    pub(super) chunks: Vec<Bytes>,
    /// What follows; `None` where that is the whole file, and proved.
    pub(super) rest: Option<Next<E>>,
}

/// The next chunk of an export, which may be waited for already, and the export.
pub(super) type Next<E = Export> = Pin<Box<dyn Future<Output = (E, Result<Option<Bytes>>)> + Send>>;

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
        Self::gather(
            export,
            |export| {
                running.figures(export.rows(), export.resumes());
            },
            next,
        )
        .await
    }
}

impl<E> Beginning<E> {
    /// The same by way of `next`; `look` is shown the export behind each chunk.
    async fn gather(export: E, look: impl Fn(&E), next: impl Fn(E) -> Next<E>) -> Result<Self> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let (mut export, mut chunk) = next(export).await;
        loop {
            look(&export);
            let Some(one) = chunk? else {
                return Ok(Self { chunks, rest: None });
            };
            bytes += one.len();
            chunks.push(one);
            let mut rest = next(export);
            let is_small = bytes <= SMALL_BODY_BYTES && chunks.len() <= QUEUED_CHUNKS;
            match is_small.then(|| rest.as_mut().now_or_never()).flatten() {
                Some(ready) => (export, chunk) = ready,
                None => {
                    let rest = Some(rest);
                    return Ok(Self { chunks, rest });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use std::collections::VecDeque;

    use super::*;
    use crate::error::Error;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A chunk of so many bytes.
        Chunk(usize),
        /// What comes has to be waited for.
        Wait,
        Fail,
    }
    use Step::{Chunk, Fail, Wait};

    type Steps = VecDeque<Step>;

    fn next(mut steps: Steps) -> Next<Steps> {
        Box::pin(async move {
            let chunk = loop {
                match steps.pop_front() {
                    Some(Chunk(bytes)) => break Ok(Some(Bytes::from(vec![0; bytes]))),
                    Some(Wait) => tokio::task::yield_now().await,
                    Some(Fail) => break Err(Error::internal("broken")),
                    None => break Ok(None),
                }
            };
            (steps, chunk)
        })
    }

    async fn beginning(steps: &[Step]) -> Result<Beginning<Steps>> {
        Beginning::gather(steps.iter().copied().collect(), |_| (), next).await
    }

    #[tokio::test]
    async fn a_small_file_is_whole_and_what_has_to_be_waited_for_comes_later() {
        let large = SMALL_BODY_BYTES + 1;
        for (steps, chunks, whole) in [
            (&[][..], 0, true),
            (&[Chunk(1)], 1, true),
            (&[Wait, Chunk(1), Chunk(2)], 2, true),
            (&[Chunk(large - 1)], 1, true),
            // Too large, or too many for the room that there is.
            (&[Chunk(large)], 1, false),
            (&[Chunk(1), Chunk(large - 1), Chunk(1)], 2, false),
            (&[Chunk(1), Chunk(1), Chunk(1), Chunk(1)], 3, false),
            (&[Chunk(1), Wait], 1, false),
            (&[Chunk(1), Wait, Chunk(1), Chunk(1)], 1, false),
            (&[Chunk(1), Chunk(1), Wait, Fail], 2, false),
            (&[Chunk(large), Fail], 1, false),
        ] {
            let beginning = beginning(steps).await.unwrap();
            assert_eq!(beginning.chunks.len(), chunks, "{steps:?}");
            assert_eq!(beginning.rest.is_none(), whole, "{steps:?}");
            let all = steps.iter().filter(|step| matches!(step, Chunk(_))).count();
            let (mut found, mut rest) = (chunks, beginning.rest);
            let mut failed = false;
            while let Some(waited) = rest {
                let (steps, chunk) = waited.await;
                failed = chunk.is_err();
                rest = chunk.ok().flatten().map(|_| next(steps));
                found += usize::from(rest.is_some());
            }
            assert_eq!(found, all, "{steps:?}");
            let fails = steps.iter().any(|step| matches!(step, Fail));
            assert_eq!(failed, fails, "{steps:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_fails_at_once_does_not_begin() {
        for steps in [
            &[Fail][..],
            &[Wait, Fail],
            &[Chunk(1), Fail],
            &[Wait, Chunk(1), Chunk(1), Fail],
        ] {
            assert!(beginning(steps).await.is_err(), "{steps:?}");
        }
    }
}
