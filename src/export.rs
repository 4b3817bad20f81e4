//! The spine: one export from its request to its last byte. The only file that names every stage.
//!
//! ```text
//! begin       website and fence from ClickHouse's own clock
//! next_chunk  cursor ─▶ decode ─▶ encode, until there is a chunk to send
//!             stream ends ─▶ is it proved? ─▶ no: go on behind the last row, or fail
//!                                          ─▶ yes: the encoder finishes, the last chunk goes out
//! ```
//!
//! A stream that ends is not believed. Under the export's own predicate and fence ClickHouse counts the rows up to the last
//! key and behind it. *Settled* rows (whose insert began ten minutes before the fence) cannot become more,
//! so exactly as many must have been delivered. *Fresh* rows may still become visible: those behind the last key
//! are fetched, those before it became visible too late for this export and are left to the next.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::cursor::{ByteSource, RowCursor, Server, Unhex};
use crate::decode::{Batch, RowBinaryDecoder};
use crate::encode::{Encoder, FileInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{Fence, Key, TextForm};
use crate::random;
use crate::request::ExportRequest;

/// Names one export in headers, logs and query ids: `exp_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportId(String);

impl ExportId {
    /// A new name that nobody has.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub fn random() -> Result<Self> {
        Ok(Self(format!(
            "exp_{}",
            random::hex(&random::bytes::<16>()?)
        )))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An export under way. Holds one chunk of the cursor and what the encoder holds; never a whole result.
pub struct Export {
    id: ExportId,
    request: ExportRequest,
    server: Server,
    fence: Fence,
    cursor: Cursor,
    /// `None` while a blocking thread has it, and after a failure.
    stage: Option<Box<Stage>>,
    delivered: Delivered,
    /// How many cursors were opened so far.
    cursors: u32,
    state: State,
}

/// Where the bytes come from now.
enum Cursor {
    Plain(RowCursor),
    Hex(Unhex<RowCursor>),
}

/// The stages that do no I/O: a chunk goes in, chunks come out.
struct Stage {
    decoder: RowBinaryDecoder,
    encoder: Encoder,
}

/// What went into the encoder so far, over all cursors.
#[derive(Clone, Copy, Debug, Default)]
struct Delivered {
    rows: u64,
    settled_rows: u64,
    last: Option<Key>,
    /// How many of the rows have the last key.
    at_last: u64,
}

impl Delivered {
    fn add(&mut self, batch: &Batch<'_>) {
        self.rows += batch.rows() as u64;
        self.settled_rows += batch.settled_rows;
        let keys = batch.timestamps.iter().zip(batch.event_ids);
        let keys = keys.map(|(&timestamp, &event_id)| Key {
            timestamp,
            event_id,
        });
        let Some(last) = keys.clone().next_back() else {
            return;
        };
        let at_last = keys.clone().rev().take_while(|key| *key == last).count();
        let continues = at_last == batch.rows() && self.last == Some(last);
        self.at_last = at_last as u64 + if continues { self.at_last } else { 0 };
        self.last = Some(last);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Finished,
}

impl Export {
    /// Begins an export of a website that exists, up to the fence.
    ///
    /// # Errors
    ///
    /// The table of events cannot be read. The query's own errors come with the first chunk.
    pub async fn begin(
        id: ExportId,
        request: ExportRequest,
        server: Server,
        fence: Fence,
    ) -> Result<Self> {
        server.check_table().await?;
        let info = FileInfo {
            site: request.website.to_string(),
            start: request.window.start.to_string(),
            end: request.window.end.to_string(),
            timezone: request.window.zone.name().to_owned(),
            utc: request.window.is_utc(),
        };
        let stage = Box::new(Stage {
            decoder: RowBinaryDecoder::new(),
            encoder: Encoder::new(request.format, &info)?,
        });
        let query_id = query_id(&id, 1);
        let cursor =
            Cursor::Plain(server.rows(&request, fence, None, TextForm::Plain, query_id)?);
        Ok(Self {
            id,
            request,
            server,
            fence,
            cursor,
            stage: Some(stage),
            delivered: Delivered::default(),
            cursors: 1,
            state: State::Reading,
        })
    }

    /// The next chunk of the file, or `None` when the file is complete and proved so. Not cancel-safe: an export whose
    /// call was dropped has failed.
    ///
    /// # Errors
    ///
    /// Whatever keeps the file from being complete. What was handed out before is then no file.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.stage()?.encoder.take_chunk() {
                return Ok(Some(chunk));
            }
            if self.state == State::Finished {
                return Ok(None);
            }
            match self.cursor.next().await {
                Ok(Some(chunk)) => self.work(Work::Chunk(chunk)).await?,
                Ok(None) => self.end_of_stream().await?,
                Err(error) => self.suspect(error).await?,
            }
        }
    }

    /// Rows that went into the file so far.
    pub fn rows(&self) -> u64 {
        self.delivered.rows
    }

    /// The export's name.
    pub fn id(&self) -> &ExportId {
        &self.id
    }

    /// The stream ended: finish if that is the proven end, else go on behind the last row.
    async fn end_of_stream(&mut self) -> Result<()> {
        self.stage()?.decoder.finish()?;
        let proof = self.prove().await?;
        if proof.behind == 0 {
            self.work(Work::Finish).await?;
            self.state = State::Finished;
            return Ok(());
        }
        tracing::info!(export = %self.id, rows = self.delivered.rows, behind = proof.behind, "rows remain behind the stream's end");
        self.reopen(proof, TextForm::Plain)
    }

    /// The client took something for an error of ClickHouse. That may be a visitor's text, so the cursor is opened again
    /// behind the last row with text as hexadecimal digits; an error that comes again there is real.
    async fn suspect(&mut self, error: Error) -> Result<()> {
        let (already_hex, age) = match &self.cursor {
            Cursor::Plain(cursor) => (false, cursor.age()),
            Cursor::Hex(_) => (true, Duration::ZERO),
        };
        let suspicion =
            error.kind() != ErrorKind::Unavailable && !already_hex && age < self.server.max_query();
        if !suspicion {
            return Err(error);
        }
        tracing::info!(export = %self.id, rows = self.delivered.rows, %error, "suspected an error, reading on in hexadecimal");
        let proof = match self.delivered.last {
            Some(_) => self.prove().await?,
            None => NOTHING_DELIVERED,
        };
        self.reopen(proof, TextForm::Hex)
    }

    /// Checks what was delivered against ClickHouse's own counts.
    async fn prove(&mut self) -> Result<crate::cursor::Proof> {
        let query_id = format!("{}-proof", query_id(&self.id, self.cursors));
        let proof = self
            .server
            .proof(&self.request, self.fence, self.delivered.last, &query_id)
            .await?;
        if proof.settled != self.delivered.settled_rows || proof.up_to < self.delivered.rows {
            return Err(
                Error::internal("the rows changed while they were exported").with_detail(format!(
                    "{} rows were delivered, {} of them settled, but ClickHouse counts {} and {}",
                    self.delivered.rows, self.delivered.settled_rows, proof.up_to, proof.settled
                )),
            );
        }
        if self.delivered.last.is_some() && proof.at != self.delivered.at_last {
            return Err(inseparable(proof.at, self.delivered.last));
        }
        if proof.up_to > self.delivered.rows {
            tracing::info!(export = %self.id, rows = proof.up_to - self.delivered.rows, "rows became visible after they were passed");
        }
        Ok(proof)
    }

    /// Opens a cursor behind the last row delivered.
    fn reopen(&mut self, proof: crate::cursor::Proof, form: TextForm) -> Result<()> {
        if proof.at > 1 {
            return Err(inseparable(proof.at, self.delivered.last));
        }
        if self.cursors == MAX_CURSORS {
            return Err(
                Error::internal("the stream from ClickHouse ended early again and again")
                    .with_detail(format!(
                        "{MAX_CURSORS} cursors, {} rows",
                        self.delivered.rows
                    )),
            );
        }
        self.cursors += 1;
        let query_id = query_id(&self.id, self.cursors);
        let cursor = self.server.rows(
            &self.request,
            self.fence,
            self.delivered.last,
            form,
            query_id,
        )?;
        self.cursor = match form {
            TextForm::Plain => Cursor::Plain(cursor),
            TextForm::Hex => Cursor::Hex(Unhex::new(cursor)),
        };
        // What the old cursor left of a row is not the new one's.
        self.stage()?.decoder = RowBinaryDecoder::new();
        Ok(())
    }

    /// Does a piece of work, on a blocking thread where it may take longer than an async one may be held.
    async fn work(&mut self, work: Work) -> Result<()> {
        let heavy = self.stage()?.encoder.is_heavy();
        let delivered = if heavy {
            let mut stage = self.stage.take().ok_or_else(after_failure)?;
            let delivered = self.delivered;
            let (stage, result) = tokio::task::spawn_blocking(move || {
                let result = stage.work(work, delivered);
                (stage, result)
            })
            .await
            .map_err(|error| Error::internal("the encoder stopped").with_source(error))?;
            self.stage = Some(stage);
            result?
        } else {
            let delivered = self.delivered;
            self.stage()?.work(work, delivered)?
        };
        self.delivered = delivered;
        Ok(())
    }

    fn stage(&mut self) -> Result<&mut Stage> {
        self.stage.as_deref_mut().ok_or_else(after_failure)
    }
}

/// Most cursors that one export opens.
const MAX_CURSORS: u32 = 16;

/// The proof of an export that has delivered nothing yet.
const NOTHING_DELIVERED: crate::cursor::Proof = crate::cursor::Proof {
    settled: 0,
    up_to: 0,
    at: 0,
    behind: 0,
};

/// What a stage is given.
enum Work {
    Chunk(Bytes),
    Finish,
}

impl Stage {
    /// Takes a chunk through the decoder into the encoder, or ends the file; says what has been delivered then.
    fn work(&mut self, work: Work, mut delivered: Delivered) -> Result<Delivered> {
        match work {
            Work::Chunk(chunk) => {
                self.decoder.push(chunk);
                while let Some(batch) = self.decoder.next_batch()? {
                    self.encoder.batch(&batch)?;
                    delivered.add(&batch);
                }
            }
            Work::Finish => self.encoder.finish()?,
        }
        Ok(delivered)
    }
}

impl Cursor {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Plain(cursor) => cursor.next().await,
            Self::Hex(cursor) => cursor.next().await,
        }
    }
}

fn query_id(id: &ExportId, cursor: u32) -> String {
    format!("{id}-{cursor}")
}

/// Rows that have one key have no order among them, so nothing can go on between them.
fn inseparable(rows: u64, key: Option<Key>) -> Error {
    Error::internal("the export was interrupted between rows that cannot be told apart")
        .with_detail(format!("{rows} rows have the key {key:?}"))
}

fn after_failure() -> Error {
    Error::internal("the export has failed already")
}
