//! One query's rows, read ahead by a task of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clickhouse::query::BytesCursor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::kill::Kill;
use super::replicas::Replica;
use super::{ByteSource, failure};
use crate::error::{Error, Result};

/// Chunks that wait at most, whatever their size. The client's chunks are at most 400 KiB.
const WAITING_CHUNKS: usize = 1_024;

/// The bytes of one query's rows. Dropped before its end, it kills the query.
pub struct RowCursor {
    /// What a task of its own reads ahead; only that task's word is the end.
    chunks: mpsc::Receiver<Read>,
    /// What was taken from there and not yet told: the end, or an error.
    last: Option<Read>,
    kill: Kill,
    replica: Arc<Replica>,
    /// Whether anything came.
    begun: bool,
    opened: Instant,
    /// When a server that ends nothing by itself is given up.
    deadline: Instant,
}

/// A chunk with its part of the room, `None` at the end, or what ended the stream before it.
type Read = Result<Option<(Bytes, OwnedSemaphorePermit)>, clickhouse::error::Error>;

impl RowCursor {
    /// Begins to read; at most `room` bytes, or one chunk, wait until they are asked for. A replica that sends nothing for
    /// `silence` while more is wanted, or has not ended after `longest`, is given up.
    pub(super) fn open(
        cursor: BytesCursor,
        room: usize,
        kill: Kill,
        replica: Arc<Replica>,
        silence: Duration,
        longest: Duration,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(WAITING_CHUNKS);
        tokio::spawn(read_ahead(cursor, room, silence, sender));
        let opened = Instant::now();
        Self {
            chunks,
            last: None,
            kill,
            replica,
            begun: false,
            opened,
            deadline: opened + longest,
        }
    }

    /// A chunk that has come already, if there is one.
    pub fn ready(&mut self) -> Option<Bytes> {
        if self.last.is_some() {
            return None;
        }
        match self.chunks.try_recv().ok()? {
            Ok(Some((chunk, _room))) => Some(chunk),
            last => {
                self.last = Some(last);
                None
            }
        }
    }

    /// How long ago the cursor was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }
}

impl ByteSource for RowCursor {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let read = match self.last.take() {
            Some(last) => Some(last),
            None => tokio::time::timeout_at(self.deadline.into(), self.chunks.recv())
                .await
                .map_err(|_| failure::too_long())?,
        };
        match read {
            Some(Ok(Some((chunk, _room)))) => {
                if !std::mem::replace(&mut self.begun, true) {
                    self.replica.answered();
                }
                Ok(Some(chunk))
            }
            Some(Ok(None)) => {
                self.kill.disarm();
                Ok(None)
            }
            Some(Err(error)) => Err(failure::of_events(error, self.replica.url())),
            None => Err(Error::internal("the reading from ClickHouse stopped")),
        }
    }
}

/// Reads until the end, an error, or until nobody wants more.
async fn read_ahead(
    mut cursor: BytesCursor,
    room: usize,
    silence: Duration,
    chunks: mpsc::Sender<Read>,
) {
    let free = Arc::new(Semaphore::new(room));
    loop {
        let read = async {
            let next = tokio::time::timeout(silence, cursor.next()).await;
            let Some(chunk) = next.unwrap_or(Err(clickhouse::error::Error::TimedOut))? else {
                return Ok(None);
            };
            let bytes = u32::try_from(chunk.len().min(room)).unwrap_or(u32::MAX);
            match free.clone().acquire_many_owned(bytes).await {
                Ok(taken) => Ok(Some((chunk, taken))),
                // Never closed; if it were, this would be an end that nobody vouches for.
                Err(_) => Err(clickhouse::error::Error::TimedOut),
            }
        };
        let read = tokio::select! {
            read = read => read,
            () = chunks.closed() => return,
        };
        let last = !matches!(read, Ok(Some(_)));
        if chunks.send(read).await.is_err() || last {
            return;
        }
    }
}
