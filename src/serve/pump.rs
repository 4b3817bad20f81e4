//! The task of one export: pulls chunks and hands them to the body until the export ends or the client goes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{Said, Say};
use super::running::{Running, Waiting};
use crate::error::Result;
use crate::export::Export;
use crate::receipt::BodyDigest;

/// Hands over the chunks, the first of which is there already, and hashes them beside it.
pub(super) async fn pump(
    mut export: Export,
    first: Option<Bytes>,
    sender: mpsc::Sender<Said>,
    mut running: Running,
    stall: Duration,
) {
    let digest = BodyDigest::begin();
    let mut next = Ok(first);
    loop {
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => return abort(running, &sender, error, stall).await,
        };
        running.chunk(chunk.len());
        if let Err(error) = digest.push(chunk.clone()).await {
            return abort(running, &sender, error, stall).await;
        }
        let offered = Instant::now();
        match tokio::time::timeout(stall, sender.send(Ok(Say::Chunk(chunk)))).await {
            Ok(Ok(())) => {}
            // The connection has the same patience with its socket, and may have lost it a little earlier.
            Ok(Err(_)) if offered.elapsed() > stall.mul_f32(0.9) => return running.stalled(),
            // The client left, which `running` says when it is dropped.
            Ok(Err(_)) => return,
            Err(_) => return running.stalled(),
        }
        next = tokio::select! {
            next = export.next_chunk() => next,
            () = sender.closed() => return,
        };
        running.figures(export.rows(), export.resumes());
    }
    match digest.finish().await {
        Ok(sha256) => end(Waiting::new(running.proved(sha256)), &sender, stall).await,
        Err(error) => abort(running, &sender, error, stall).await,
    }
}

/// Hands over the proven end. Whether it is taken, and with it the export complete, is the body's to say; until then the export
/// keeps its place, but not for a client that takes nothing.
async fn end(end: Waiting, sender: &mpsc::Sender<Said>, stall: Duration) {
    let offered = sender.send(Ok(Say::End(end.clone())));
    if tokio::time::timeout(stall, offered).await.is_ok() {
        loop {
            let room = sender.capacity();
            // The body closes the channel when it has taken the end, and when it is dropped.
            let closed = tokio::time::timeout(stall, sender.closed()).await;
            if closed.is_ok() {
                return;
            }
            if sender.capacity() == room {
                break;
            }
        }
    }
    if let Some(end) = end.take() {
        end.stalled();
    }
}

/// Tells the body that the export failed, so that it ends the connection.
async fn abort(
    mut running: Running,
    sender: &mpsc::Sender<Said>,
    error: crate::error::Error,
    stall: Duration,
) {
    running.aborted(&error);
    // The receipt says so before the client can ask for it.
    drop(running);
    let said: Result<Say> = Err(error);
    // A client that takes nothing, or left, learns it as well: the sender goes without a word.
    let _ = tokio::time::timeout(stall, sender.send(said)).await;
}
