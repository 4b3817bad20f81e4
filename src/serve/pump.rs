//! The task of one export: pulls chunks and hands them to the body until the export ends or the client goes. While it waits for the
//! client, it lends its place.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{Said, Say};
use super::pace::{Compressing, Pace, SLACK};
use super::running::{Running, Waiting};
use super::streams::Stream;
use crate::error::Result;
use crate::export::Export;
use crate::receipt::BodyDigest;

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

/// Hands over the chunks, the first of which is there already, and hashes them beside it.
pub(super) async fn pump(
    mut export: Export,
    first: Option<Bytes>,
    mut client: Client,
    mut running: Running,
) {
    let digest = BodyDigest::begin();
    let mut next = Ok(first);
    loop {
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return client.abort(running, error).await,
        };
        running.chunk(chunk.len());
        if let Err(error) = digest.push(chunk.clone()).await {
            return client.abort(running, error).await;
        }
        match client.take(chunk, &mut running).await {
            Ok(()) => {}
            Err(Gone::Stalled) => return running.stalled(),
            // Which `running` says when it is dropped.
            Err(Gone::Left) => return,
        }
        let begun = Instant::now();
        next = tokio::select! {
            next = export.next_chunk() => next,
            () = client.chunks.closed() => {
                if client.has_stalled() {
                    running.stalled();
                }
                return;
            }
        };
        client.pace.worked(begun.elapsed());
        running.figures(export.rows(), export.resumes());
    }
    match digest.finish().await {
        Ok(sha256) => client.end(Waiting::new(running.proved(sha256))).await,
        Err(error) => client.abort(running, error).await,
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
    async fn end(self, end: Waiting) {
        let offered = self.chunks.send(Ok(Say::End(end.clone())));
        if tokio::time::timeout(self.stall, offered).await.is_ok() {
            loop {
                let room = self.chunks.capacity();
                // The body closes the channel when it has taken the end, and when it is dropped.
                let closed = tokio::time::timeout(self.stall, self.chunks.closed()).await;
                if closed.is_ok() && !self.has_stalled() {
                    return;
                }
                if closed.is_ok() || self.chunks.capacity() == room {
                    break;
                }
            }
        }
        if let Some(end) = end.take() {
            end.stalled();
        }
    }

    /// Tells the body that the export failed, so that it ends the connection.
    async fn abort(self, mut running: Running, error: crate::error::Error) {
        running.aborted(&error);
        // The receipt says so before the client can ask for it.
        drop(running);
        let said: Result<Say> = Err(error);
        // A client that takes nothing, or left, learns it as well: the sender goes without a word.
        let _ = tokio::time::timeout(self.stall, self.chunks.send(said)).await;
    }
}
