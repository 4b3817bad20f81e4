//! Statements that return something: run on a thread of their own, block by block into a channel.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

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
}

/// A part of a result, in order; a result without [`Part::End`] or [`Part::Failed`] was cut.
pub(crate) enum Part {
    /// Bytes of the format.
    Data(Bytes),
    /// The proven end.
    End(Progress),
    /// It cannot be completed.
    Failed(Exception),
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
    let outlet = Outlet {
        parts,
        query: Arc::clone(entered.query()),
        runtime: Handle::current(),
    };
    super::spawn("query", move || {
        let last = match run(&sessions, &read, &outlet) {
            Ok(progress) => Part::End(progress),
            Err(exception) => Part::Failed(exception),
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
}

impl Outlet {
    /// Hands a block over without copying it, its first `skip` bytes left out. Blocks while the client is behind.
    ///
    /// # Errors
    ///
    /// The query was cancelled, or nobody reads on.
    fn send(&self, chunk: Chunk, skip: usize) -> Result<(), Exception> {
        let bytes = Bytes::from_owner(chunk).slice(skip..);
        if bytes.is_empty() {
            return Ok(());
        }
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

fn run(sessions: &Sessions, read: &Read, outlet: &Outlet) -> Result<Progress, Exception> {
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

fn whole(connection: &mut Connection, read: &Read, outlet: &Outlet) -> Result<Progress, Exception> {
    let chunk = connection.query(&read.sql, &read.format, &read.parameters)?;
    let progress = chunk.progress();
    outlet.send(chunk, 0)?;
    Ok(progress)
}

fn stream(
    connection: &mut Connection,
    read: &Read,
    framing: Framing,
    outlet: &Outlet,
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
