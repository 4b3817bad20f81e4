//! The task of one export: pulls chunks and hands them to the body until the export ends or the client goes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{Said, Say};
use super::running::{self, Running, Waiting};
use crate::error::{Error, Result};
use crate::export::Export;
use crate::receipt::{BodyDigest, Sha256Hex};

/// Hands over the chunks, the first of which is there already, and hashes them beside it.
pub(super) async fn pump(
    mut export: Export,
    first: Option<Bytes>,
    sender: mpsc::Sender<Said>,
    mut running: Running,
    stall: Duration,
) {
    let cancelled = running.cancelled();
    let handed = tokio::select! {
        handed = hand_over(&mut export, first, &sender, &mut running, stall) => handed,
        () = cancelled => Handed::Failed(running::cancelled()),
    };
    // ClickHouse has nothing more to do for it, however long the client takes.
    drop(export);
    match handed {
        Handed::All(sha256) => {
            let cancelled = running.cancelled();
            let waiting = Waiting::new(running.proved(sha256));
            end(waiting, &sender, stall, cancelled).await;
        }
        Handed::Failed(error) => abort(running, &sender, error, stall).await,
        Handed::Stalled => running.stalled(),
        // Which `running` says when it is dropped.
        Handed::Left => {}
    }
}

/// What came of handing over.
enum Handed {
    /// Everything is with the body, and this is the hash of it.
    All(Sha256Hex),
    Failed(Error),
    /// The client took nothing for too long.
    Stalled,
    Left,
}

async fn hand_over(
    export: &mut Export,
    first: Option<Bytes>,
    sender: &mpsc::Sender<Said>,
    running: &mut Running,
    stall: Duration,
) -> Handed {
    let digest = BodyDigest::begin();
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
        let offered = Instant::now();
        match tokio::time::timeout(stall, sender.send(Ok(Say::Chunk(chunk)))).await {
            Ok(Ok(())) => {}
            // The connection has the same patience with its socket, and may have lost it a little earlier.
            Ok(Err(_)) if offered.elapsed() > stall.mul_f32(0.9) => return Handed::Stalled,
            Ok(Err(_)) => return Handed::Left,
            Err(_) => return Handed::Stalled,
        }
        next = tokio::select! {
            next = export.next_chunk() => next,
            () = sender.closed() => return Handed::Left,
        };
        running.figures(export.rows(), export.resumes());
    }
    match digest.finish().await {
        Ok(sha256) => Handed::All(sha256),
        Err(error) => Handed::Failed(error),
    }
}

/// Hands over the proven end. Whether it is taken, and with it the export complete, is the body's to say; until then the export
/// keeps its place, but not for a client that takes nothing.
async fn end(
    end: Waiting,
    sender: &mpsc::Sender<Said>,
    stall: Duration,
    cancelled: impl Future<Output = ()>,
) {
    let stalls = tokio::select! {
        stalls = stalls(&end, sender, stall) => stalls,
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
async fn stalls(end: &Waiting, sender: &mpsc::Sender<Said>, stall: Duration) -> bool {
    let offered = sender.send(Ok(Say::End(end.clone())));
    if tokio::time::timeout(stall, offered).await.is_ok() {
        loop {
            let room = sender.capacity();
            // The body closes the channel when it has taken the end, and when it is dropped.
            let closed = tokio::time::timeout(stall, sender.closed()).await;
            if closed.is_ok() {
                return false;
            }
            if sender.capacity() == room {
                break;
            }
        }
    }
    true
}

/// Tells the body that the export failed, so that it ends the connection.
async fn abort(mut running: Running, sender: &mpsc::Sender<Said>, error: Error, stall: Duration) {
    running.aborted(&error);
    // The receipt says so before the client can ask for it.
    drop(running);
    let said: Result<Say> = Err(error);
    // A client that takes nothing, or left, learns it as well: the sender goes without a word.
    let _ = tokio::time::timeout(stall, sender.send(said)).await;
}
