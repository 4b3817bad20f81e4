//! Statements that return something: run on a thread of their own, block by block into a channel.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::compress::Compressor;
use super::decompress::Compression;
use super::exception::Exception;
use super::format::{Framing, HeaderFilter};
use super::library::{Chunk, Connection, Progress};
use super::queries::{Entered, Query};
use super::session::{SessionOptions, Sessions};

/// Blocks that wait between the library and the client's socket. A block has at most `max_block_size` rows (65,409
/// unless the request says otherwise), so a slow client holds this many, one more in the thread and one in the socket.
const BLOCKS_IN_FLIGHT: usize = 1;

/// A statement and all it needs.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) sql: String,
    pub(crate) format: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) session: SessionOptions,
    /// How the result is put together; `None` for a statement that is not a `SELECT`.
    pub(crate) framing: Framing,
    /// How its bytes are compressed, on the query's own thread.
    pub(crate) compression: Option<Compression>,
    /// Announces the frame of an exception.
    pub(crate) tag: String,
}

/// A part of a result, in order; a result without [`Part::End`] or [`Part::Failed`] was cut.
pub(crate) enum Part {
    /// Bytes of the format.
    Data(Bytes),
    /// The proven end.
    End(Progress),
    /// It cannot be completed; with the exception's frame, where that has to be compressed like the bytes before it.
    Failed(Exception, Option<Bytes>),
}

/// Starts the statement; its parts come out of the channel. Dropping the receiver cancels it between two blocks.
///
/// # Errors
///
/// No thread can be started.
pub(crate) fn start(
    sessions: Arc<Sessions>,
    read: Read,
    entered: Entered,
) -> Result<mpsc::Receiver<Part>, Exception> {
    let (parts, receiver) = mpsc::channel(BLOCKS_IN_FLIGHT);
    let compressor = read.compression.map(Compressor::new).transpose()?;
    let mut outlet = Outlet {
        parts,
        query: Arc::clone(entered.query()),
        runtime: Handle::current(),
        compressor,
        begun: false,
    };
    super::spawn("query", move || {
        let done = run(&sessions, &read, &mut outlet);
        let last = match done.and_then(|progress| outlet.end().map(|()| progress)) {
            Ok(progress) => Part::End(progress),
            Err(exception) => {
                let frame = outlet.compressed(&exception.frame(&read.tag));
                Part::Failed(exception, frame)
            }
        };
        // Gone from the list before the client learns of the end, so that its next query may have the same id.
        drop(entered);
        // The client may be gone.
        let _ = outlet.parts.blocking_send(last);
    })?;
    Ok(receiver)
}

/// Where a query's thread puts its blocks.
struct Outlet {
    parts: mpsc::Sender<Part>,
    query: Arc<Query>,
    runtime: Handle,
    compressor: Option<Compressor>,
    /// Whether a block was handed over.
    begun: bool,
}

impl Outlet {
    /// Hands a block over, its first `skip` bytes left out; without copying it, unless it is compressed. Blocks while the
    /// client is behind.
    ///
    /// # Errors
    ///
    /// The query was cancelled, or nobody reads on.
    fn send(&mut self, chunk: Chunk, skip: usize) -> Result<(), Exception> {
        let bytes = Bytes::from_owner(chunk).slice(skip..);
        if bytes.is_empty() {
            return Ok(());
        }
        self.begun = true;
        match &mut self.compressor {
            None => self.hand_over(bytes),
            Some(compressor) => {
                let compressed = compressor.block(&bytes)?;
                self.hand_over(compressed)
            }
        }
    }

    /// Hands the end of the compressed frame over, if one was begun.
    ///
    /// # Errors
    ///
    /// As [`Outlet::send`].
    fn end(&mut self) -> Result<(), Exception> {
        match self.compressor.take() {
            Some(compressor) if self.begun => {
                let end = compressor.end()?;
                self.hand_over(end)
            }
            _ => Ok(()),
        }
    }

    /// The frame of an exception, to follow in the compressed frame that was begun, which then has no end.
    fn compressed(&mut self, frame: &[u8]) -> Option<Bytes> {
        let compressor = self.compressor.as_mut().filter(|_| self.begun)?;
        compressor.block(frame).ok()
    }

    fn hand_over(&self, bytes: Bytes) -> Result<(), Exception> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                // A client that reads nothing must not keep a killed query.
                () = self.query.cancelled() => Err(Exception::cancelled()),
                sent = self.parts.send(Part::Data(bytes)) => sent.map_err(|_| Exception::cancelled()),
            }
        })
    }
}

fn run(sessions: &Sessions, read: &Read, outlet: &mut Outlet) -> Result<Progress, Exception> {
    let mut connection = sessions.open(&read.session, &outlet.query.mark)?;
    if outlet.query.is_cancelled() {
        return Err(Exception::cancelled());
    }
    match read.framing {
        Framing::Whole => whole(&mut connection, read, outlet),
        framing => match stream(&mut connection, read, framing, outlet) {
            // It begins like a SELECT and is none, `WITH … INSERT` for one.
            Err(exception) if exception.is_not_streamable() => whole(&mut connection, read, outlet),
            result => result,
        },
    }
}

fn whole(
    connection: &mut Connection,
    read: &Read,
    outlet: &mut Outlet,
) -> Result<Progress, Exception> {
    let chunk = connection.query(&read.sql, &read.format, &read.parameters)?;
    let progress = chunk.progress();
    outlet.send(chunk, 0)?;
    Ok(progress)
}

fn stream(
    connection: &mut Connection,
    read: &Read,
    framing: Framing,
    outlet: &mut Outlet,
) -> Result<Progress, Exception> {
    let mut rows = connection.stream(&read.sql, &read.format, &read.parameters)?;
    let mut filter = HeaderFilter::new(framing);
    let mut progress = Progress::default();
    while let Some(chunk) = rows.next()? {
        progress = progress + chunk.progress();
        let repeated = filter.repeated(chunk.as_ref())?;
        outlet.send(chunk, repeated)?;
    }
    Ok(progress)
}
