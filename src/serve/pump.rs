//! Pulls the chunks of one export and hands them to the body until the export ends or the client goes: in a task of its own, unless
//! the file is small. While it waits for the client, it lends its place.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::beginning::{self, Beginning};
use super::body::{QUEUED_CHUNKS, Said, Say};
use super::compressing::{Compressing, GaveUp};
use super::guard::Stalled;
use super::pace::{Pace, SLACK};
use super::patience;
use super::running::{self, Running, Waiting};
use super::streams::Stream;
use crate::error::{Error, Result};
use crate::receipt::{BodyDigest, Sha256Hex};

/// The client, as far as an export sees it: who takes chunks, and how fast.
pub(super) struct Client {
    chunks: mpsc::Sender<Said>,
    /// Room for the last word, however many chunks wait.
    end: Option<mpsc::OwnedPermit<Said>>,
    /// And some that stays empty: as long as it is held, a compressor that gave up knows that the export has not said how it ended.
    _open: Option<mpsc::OwnedPermit<Said>>,
    /// How long it may take nothing.
    stall: Duration,
    /// The connection, and its HTTP/2 stream, which have the same patience.
    connection: Stalled,
    stream: Option<Stream>,
    /// What stands between it and the connection, if anything does: with the same patience, too.
    compressing: Option<Compressing>,
    pace: Pace,
}

/// Why a file is not handed over to its end.
enum Broken {
    Failed(Error),
    /// The client took nothing for too long.
    Stalled,
    /// The client left.
    Left,
}

/// Hands over a file, in a task of its own. The whole of a small one is with the body when this returns, or with its compressor.
pub(super) fn begin(beginning: Beginning, client: Client, running: Running) {
    let is_whole = beginning.rest.is_none();
    let mut pump = Box::pin(pump(beginning, client, running));
    if !is_whole || pump.as_mut().now_or_never().is_none() {
        tokio::spawn(pump);
    }
}

/// Hands over the chunks, hashes them beside it, and waits until the end is taken.
async fn pump(beginning: Beginning, mut client: Client, mut running: Running) {
    let cancelled = running.cancelled();
    let handed = tokio::select! {
        // The export goes with it: ClickHouse has nothing more to do for it, however long the client takes.
        handed = hand_over(beginning, &mut client, &mut running) => handed,
        () = cancelled => Err(Broken::Failed(running::cancelled())),
    };
    match handed {
        Ok(sha256) => {
            let cancelled = running.cancelled();
            let end = Waiting::new(running.proved(sha256));
            client.end(end, cancelled).await;
        }
        Err(Broken::Failed(error)) => client.abort(running, error),
        Err(Broken::Stalled) => running.stalled(),
        // Which `running` says when it is dropped.
        Err(Broken::Left) => {}
    }
}

/// Hands over all chunks, and gives the hash of them.
async fn hand_over(
    beginning: Beginning,
    client: &mut Client,
    running: &mut Running,
) -> Result<Sha256Hex, Broken> {
    let Beginning { chunks, mut rest } = beginning;
    let mut digest = BodyDigest::begin();
    for chunk in chunks {
        client.hand(chunk, &mut digest, running).await?;
    }
    while let Some(mut next) = rest {
        let begun = Instant::now();
        let (export, chunk) = tokio::select! {
            next = &mut next => next,
            () = client.chunks.closed() => return Err(client.gone()),
        };
        client.pace.worked(begun.elapsed());
        running.figures(export.rows(), export.resumes());
        let Some(chunk) = chunk.map_err(Broken::Failed)? else {
            break;
        };
        client.hand(chunk, &mut digest, running).await?;
        rest = Some(beginning::next(export));
    }
    digest.finish().await.map_err(Broken::Failed)
}

impl Client {
    /// One that takes what is said to it, by an HTTP/2 stream or not, compressed or not.
    pub(super) fn new(
        stall: Duration,
        connection: Stalled,
        stream: Option<Stream>,
        compressing: Option<Compressing>,
    ) -> (Self, mpsc::Receiver<Said>) {
        let (chunks, said) = mpsc::channel(QUEUED_CHUNKS + 2);
        let client = Self {
            // There is room for two more, which nobody else takes.
            end: chunks.clone().try_reserve_owned().ok(),
            _open: chunks.clone().try_reserve_owned().ok(),
            chunks,
            stall,
            connection,
            stream,
            pace: Pace::new(compressing.clone()),
            compressing,
        };
        (client, said)
    }

    /// Why nobody takes what is handed over any more.
    fn gone(&self) -> Broken {
        let compressing = self.compressing.as_ref();
        match compressing.and_then(Compressing::gave_up) {
            Some(GaveUp::Failed(error)) => return Broken::Failed(error),
            Some(GaveUp::Stalled) => return Broken::Stalled,
            None => {}
        }
        let stream = self.stream.as_ref();
        match self.connection.is_true() || stream.is_some_and(Stream::has_stalled) {
            true => Broken::Stalled,
            false => Broken::Left,
        }
    }

    /// Hands over a chunk, and hashes it.
    async fn hand(
        &mut self,
        chunk: Bytes,
        digest: &mut BodyDigest,
        running: &mut Running,
    ) -> Result<(), Broken> {
        running.chunk(chunk.len());
        digest.push(chunk.clone()).await.map_err(Broken::Failed)?;
        self.take(chunk, running).await
    }

    /// Hands over a chunk. An export that waits for that lends its place; it has one again when this returns, or the client is slow,
    /// or no place became free in the time that work without one has to wait.
    async fn take(&mut self, chunk: Bytes, running: &mut Running) -> Result<(), Broken> {
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
                Ok(Err(_)) => return Err(self.gone()),
                Err(_) if offered.elapsed() >= self.stall => return Err(Broken::Stalled),
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
    async fn end(mut self, end: Waiting, cancelled: impl Future<Output = ()>) {
        self.say_last(Ok(Say::End(end.clone())));
        let broken = tokio::select! {
            broken = self.gone_at_end() => broken,
            () = cancelled => Broken::Failed(running::cancelled()),
        };
        // Once it was taken nothing else can be said of it.
        let Some(end) = end.take() else { return };
        match broken {
            Broken::Failed(error) => end.failed(&error),
            Broken::Stalled => end.stalled(),
            Broken::Left => {}
        }
    }

    /// Waits until the end is taken, or nobody will take it. Gives why, as far as it was not.
    async fn gone_at_end(&self) -> Broken {
        match self.compressing {
            // Whose patience begins anew with each piece that it hands over, which is not seen here.
            Some(_) => self.chunks.closed().await,
            None if patience::is_lost(&self.chunks, self.stall).await => return Broken::Stalled,
            None => {}
        }
        self.gone()
    }

    /// Tells the body that the export failed, so that it ends the connection.
    fn abort(mut self, mut running: Running, error: Error) {
        running.aborted(&error);
        // The receipt says so before the client can ask for it.
        drop(running);
        self.say_last(Err(error));
    }

    /// Says what there is room for in any case. A body that was not told hears that the sender is gone.
    fn say_last(&mut self, last: Said) {
        if let Some(room) = self.end.take() {
            room.send(last);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)] // a test that cannot go on fails

    use super::*;

    #[tokio::test]
    async fn the_last_word_is_heard_behind_all_chunks_that_wait_and_is_said_once() {
        let stall = Duration::from_secs(60);
        let (mut client, mut said) = Client::new(stall, Stalled::default(), None, None);
        let mut chunks = 0;
        while let Ok(room) = client.chunks.try_reserve() {
            room.send(Ok(Say::Chunk(Bytes::from_static(b"row"))));
            chunks += 1;
        }
        assert_eq!(chunks, QUEUED_CHUNKS);
        client.say_last(Err(Error::internal("broken")));
        client.say_last(Err(Error::internal("broken again")));
        drop(client);
        for _ in 0..chunks {
            assert!(matches!(said.recv().await, Some(Ok(Say::Chunk(_)))));
        }
        match said.recv().await {
            Some(Err(error)) => assert_eq!(error.to_string(), "broken"),
            _ => panic!("the error was not heard"),
        }
        assert!(said.recv().await.is_none());
    }

    #[test]
    fn what_nobody_takes_is_left_unless_the_compressor_says_why() {
        let stall = Duration::from_secs(60);
        let compressing = Compressing::default();
        let behind = Some(compressing.clone());
        let (client, _said) = Client::new(stall, Stalled::default(), None, behind);
        assert!(matches!(client.gone(), Broken::Left));
        compressing.give_up(GaveUp::Stalled);
        assert!(matches!(client.gone(), Broken::Stalled));
        compressing.give_up(GaveUp::Failed(Error::internal("broken")));
        match client.gone() {
            Broken::Failed(error) => assert_eq!(error.to_string(), "broken"),
            Broken::Stalled | Broken::Left => panic!("the failure was not heard"),
        }
    }
}
