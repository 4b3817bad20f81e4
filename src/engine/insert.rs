//! Inserts: the rows arrive in the request's body and go to the library piece by piece.
//!
//! ClickHouse writes an insert block by block (about a million rows each, `min_insert_block_size_rows`). A body
//! that breaks off cancels the insert: the block that was being filled is dropped, blocks already written stay. An
//! insert of less than a block is written whole or not at all.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::exception::Exception;
use super::library::Progress;
use super::queries::Entered;
use super::session::{SessionOptions, Sessions};

/// Pieces of the body that wait for the library; hyper makes them at most some 400 KiB.
const PIECES_IN_FLIGHT: usize = 4;

/// A piece of the rows. An end of the channel without [`Piece::End`] cancels the insert.
pub(crate) enum Piece {
    /// Bytes of the format.
    Data(Bytes),
    /// The body is complete: commit.
    End,
}

/// An insert and all it needs.
#[derive(Debug)]
pub(crate) struct Write {
    /// The statement without `FORMAT` and rows.
    pub(crate) sql: String,
    pub(crate) format: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) session: SessionOptions,
}

/// An insert that runs.
pub(crate) struct Running {
    /// Takes the rows; closed once the insert has failed.
    pub(crate) pieces: mpsc::Sender<Piece>,
    /// What came of it.
    pub(crate) outcome: oneshot::Receiver<Result<Progress, Exception>>,
}

/// Starts the insert.
///
/// # Errors
///
/// No thread can be started.
pub(crate) fn start(
    sessions: Arc<Sessions>,
    write: Write,
    entered: Entered,
) -> Result<Running, Exception> {
    let (pieces, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let (result, outcome) = oneshot::channel();
    super::spawn("insert", move || {
        let came_of_it = run(&sessions, &write, &entered, receiver);
        drop(entered);
        // The client may be gone.
        let _ = result.send(came_of_it);
    })?;
    Ok(Running { pieces, outcome })
}

fn run(
    sessions: &Sessions,
    write: &Write,
    entered: &Entered,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Progress, Exception> {
    let mut connection = sessions.open(&write.session, &entered.query().mark)?;
    let mut insert = connection.insert(&write.sql, &write.format, &write.parameters)?;
    loop {
        let piece = pieces.blocking_recv();
        if entered.query().is_cancelled() {
            return Err(Exception::cancelled());
        }
        match piece {
            Some(Piece::Data(bytes)) => {
                if !insert.append(&bytes) {
                    return insert.finish().and_then(|_| {
                        Err(Exception::internal("The insert ended before its data"))
                    });
                }
            }
            Some(Piece::End) => return insert.finish(),
            None => return Err(Exception::cancelled()),
        }
    }
}
