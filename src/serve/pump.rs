//! Pulls the chunks of one export and hands them to the body until the export ends or the client goes: in a task of its own, unless
//! the file is small. While it waits for the client, it lends its place.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{Said, Say};
use super::pace::{Compressing, Pace, SLACK};
use super::running::{self, Running, Waiting};
use super::streams::Stream;
use crate::error::{Error, Result};
use crate::export::Export;
use crate::receipt::{BodyDigest, Sha256Hex};

/// The client, as far as an export sees it: who takes chunks, and how fast.
pub(super) struct Client {
    chunks: mpsc::Sender<Said>,
    /// How long it may take nothing.
    stall: Duration,
    /// The HTTP/2 stream, which has the same patience.
    stream: Option<Stream>,
    pace: Pace,
}

/// Why a client takes no more.
enum Gone {
    Left,
    Stalled,
}

/// What came of handing over.
enum Handed {
    /// Everything is with the body, and this is the hash of it.
    All(Sha256Hex),
    Failed(Error),
    Gone(Gone),
}

/// A first chunk of so many bytes at most may be all there is.
const SMALL_BYTES: usize = 16 << 10;

/// Hands over the chunks, the first of which is there already, and hashes them beside it. A small file whose rest need not be waited for
/// is with the body when this returns, so that it goes out with its headers; all others have a task of their own.
///
/// # Errors
///
/// Whatever keeps such a small file from being complete. Nothing of it was sent.
pub(super) fn begin(
    export: Export,
    first: Option<Bytes>,
    client: Client,
    running: Running,
) -> Result<()> {
    let is_small = first
        .as_ref()
        .is_none_or(|first| first.len() <= SMALL_BYTES);
    let mut handing = Box::pin(hand(export, first, client, running));
    if is_small && let Poll::Ready(mut handed) = now(handing.as_mut()) {
        if let Handed::Failed(error) = handed.how {
            handed.running.refused(&error);
            return Err(error);
        }
        let mut end = Box::pin(handed.end());
        if now(end.as_mut()).is_pending() {
            tokio::spawn(end);
        }
    } else {
        tokio::spawn(async move { handing.await.end().await });
    }
    Ok(())
}

/// Polls a future for whoever polls it again at once where it is not ready.
fn now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// An export of which nothing more comes.
struct Over {
    how: Handed,
    client: Client,
    running: Running,
}

async fn hand(
    mut export: Export,
    first: Option<Bytes>,
    mut client: Client,
    mut running: Running,
) -> Over {
    running.first_byte();
    let cancelled = running.cancelled();
    let how = tokio::select! {
        handed = hand_over(&mut export, first, &mut client, &mut running) => handed,
        () = cancelled => Handed::Failed(running::cancelled()),
    };
    // ClickHouse has nothing more to do for it, however long the client takes.
    drop(export);
    Over {
        how,
        client,
        running,
    }
}

impl Over {
    /// Tells the client how it ended, and waits until that was taken.
    async fn end(self) {
        let Self {
            how,
            client,
            mut running,
        } = self;
        match how {
            Handed::All(sha256) => {
                let cancelled = running.cancelled();
                let end = Waiting::new(running.proved(sha256));
                client.end(end, cancelled).await;
            }
            Handed::Failed(error) => client.abort(running, error).await,
            Handed::Gone(Gone::Stalled) => running.stalled(),
            // Which `running` says when it is dropped.
            Handed::Gone(Gone::Left) => {}
        }
    }
}

async fn hand_over(
    export: &mut Export,
    first: Option<Bytes>,
    client: &mut Client,
    running: &mut Running,
) -> Handed {
    let mut digest = BodyDigest::begin();
    let mut next = Ok(first);
    loop {
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return Handed::Failed(error),
        };
        running.chunk(chunk.len());
        if let Err(error) = digest.push(chunk.clone()).await {
            return Handed::Failed(error);
        }
        if let Err(gone) = client.take(chunk, running).await {
            return Handed::Gone(gone);
        }
        let begun = Instant::now();
        next = tokio::select! {
            next = export.next_chunk() => next,
            () = client.chunks.closed() => return Handed::Gone(client.gone()),
        };
        client.pace.worked(begun.elapsed());
        running.figures(export.rows(), export.resumes());
    }
    match digest.finish().await {
        Ok(sha256) => Handed::All(sha256),
        Err(error) => Handed::Failed(error),
    }
}

impl Client {
    /// One that takes what comes out of `chunks`, by an HTTP/2 stream or not, compressed or not.
    pub(super) fn new(
        chunks: mpsc::Sender<Said>,
        stall: Duration,
        stream: Option<Stream>,
        compressing: Compressing,
    ) -> Self {
        Self {
            chunks,
            stall,
            stream,
            pace: Pace::new(compressing),
        }
    }

    /// Why the body is there no more.
    fn gone(&self) -> Gone {
        match self.has_stalled() {
            true => Gone::Stalled,
            false => Gone::Left,
        }
    }

    fn has_stalled(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::has_stalled)
    }

    /// Hands over a chunk. An export that waits for that lends its place; it has one again when this returns, or the client is slow,
    /// or no place became free in the time that work without one has to wait.
    async fn take(&mut self, chunk: Bytes, running: &mut Running) -> Result<(), Gone> {
        let offered = Instant::now();
        let mut room = std::pin::pin!(self.chunks.reserve());
        let room = loop {
            let left = self.stall.saturating_sub(offered.elapsed());
            let slack = match running.may_lend() {
                true => self.pace.slack(offered.elapsed()),
                false => left,
            };
            match tokio::time::timeout(left.min(slack), &mut room).await {
                Ok(Ok(room)) => break room,
                // The connection has the same patience with its socket, and may have lost it a little earlier.
                Ok(Err(_)) if offered.elapsed() > self.stall.mul_f32(0.9) || self.has_stalled() => {
                    return Err(Gone::Stalled);
                }
                Ok(Err(_)) => return Err(Gone::Left),
                Err(_) if offered.elapsed() >= self.stall => return Err(Gone::Stalled),
                Err(_) if self.pace.slack(offered.elapsed()).is_zero() => running.lend(),
                // What was compressed meanwhile was work.
                Err(_) => {}
            }
        };
        room.send(Ok(Say::Chunk(chunk)));
        self.pace.waited(offered.elapsed());
        if running.has_lent() && self.pace.is_busy() {
            tokio::select! {
                () = running.take_again(SLACK) => {}
                // Which is said by the next step.
                () = self.chunks.closed() => {}
            }
        }
        Ok(())
    }

    /// Hands over the proven end. Whether it is taken, and with it the export complete, is the body's to say; until then the export
    /// is open, but not for a client that takes nothing.
    async fn end(self, end: Waiting, cancelled: impl Future<Output = ()>) {
        let stalls = tokio::select! {
            stalls = self.stalls(&end) => stalls,
            () = cancelled => {
                if let Some(end) = end.take() {
                    end.cancelled();
                }
                return;
            }
        };
        if stalls && let Some(end) = end.take() {
            end.stalled();
        }
    }

    /// Whether the client takes nothing for too long, or the end, or leaves.
    async fn stalls(&self, end: &Waiting) -> bool {
        let offered = self.chunks.send(Ok(Say::End(end.clone())));
        if tokio::time::timeout(self.stall, offered).await.is_err() {
            return true;
        }
        loop {
            let room = self.chunks.capacity();
            // The body closes the channel when it has taken the end, and when it is dropped.
            let closed = tokio::time::timeout(self.stall, self.chunks.closed()).await;
            if closed.is_ok() {
                return self.has_stalled();
            }
            if self.chunks.capacity() == room {
                return true;
            }
        }
    }

    /// Tells the body that the export failed, so that it ends the connection.
    async fn abort(self, mut running: Running, error: Error) {
        running.aborted(&error);
        // The receipt says so before the client can ask for it.
        drop(running);
        let said: Result<Say> = Err(error);
        // A client that takes nothing, or left, learns it as well: the sender goes without a word.
        let _ = tokio::time::timeout(self.stall, self.chunks.send(said)).await;
    }
}
