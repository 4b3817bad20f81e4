//! The spine: one export from its request to its last byte. The only file that names every stage.
//!
//! ```text
//! begin       website and fence from ClickHouse's own clock
//! next_chunk  cursor ─▶ decode ─▶ encode, until there is a chunk to send
//!             range ends ─▶ is it proved? ─▶ no: go on behind the last row, or fail
//!                                         ─▶ yes: the next range, and behind the last one the encoder finishes
//! ```
//!
//! The window is read in one range or in several ([`Ranges`]), in order. A stream that ends is not believed: under the
//! export's own predicate and fence ClickHouse has counted the rows of the range. *Settled* rows (whose insert began
//! ten minutes before the fence) cannot become more, so exactly as many must have been delivered. *Fresh* rows may
//! still become visible. So where there are any, and where the counts differ, ClickHouse counts again, up to the last
//! key and behind it: rows behind it are fetched, rows before it that were not delivered must be fresh ones, which
//! became visible too late for this export and are left to the next. Settled rows that were counted and are there
//! no more are an error where other ranges may still hold their like.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cursor::{Counts, Proof, Ranges, Server};
use crate::decode::{Batch, Decoder};
use crate::encode::{Encoder, FileInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{Fence, Form, Key, Parts};
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

/// An export under way. Holds what its cursors read ahead and what the encoder holds; never a whole result.
pub struct Export {
    id: ExportId,
    server: Server,
    ranges: Ranges,
    /// `None` while a blocking thread has it, and after a failure.
    stage: Option<Box<Stage>>,
    /// Of the range that is read from.
    delivered: Delivered,
    /// Rows of the ranges before.
    rows: u64,
    /// How often a cursor was opened again, for the whole window and for the range that is read from.
    resumes: u32,
    range_resumes: u32,
    state: State,
}

/// The stages that do no I/O: a chunk goes in, chunks come out.
struct Stage {
    decoder: Decoder,
    encoder: Encoder,
}

/// What went into the encoder of one range so far, over all of its cursors.
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

    /// Whether these are the rows that were counted, all of them settled: fresh ones that became visible meanwhile could
    /// stand for others that are missing.
    fn meets(&self, expected: Counts) -> bool {
        let counted = Counts {
            rows: self.rows,
            settled: self.settled_rows,
        };
        counted == expected && self.rows == self.settled_rows
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
        let encoder = Encoder::new(request.format, &info)?;
        let ranges = Ranges::open(server.clone(), Arc::new(request), fence, id.to_string())?;
        let decoder = Decoder::new(ranges.wire());
        let stage = Box::new(Stage { decoder, encoder });
        Ok(Self {
            id,
            server,
            ranges,
            stage: Some(stage),
            delivered: Delivered::default(),
            rows: 0,
            resumes: 0,
            range_resumes: 0,
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
            if self.stage()?.decoder.passed() {
                self.end_of_range().await?;
                continue;
            }
            match self.ranges.next().await {
                Ok(Some(chunk)) => {
                    let chunks = self.with_ready(chunk)?;
                    self.work(Work::Chunks(chunks)).await?;
                    if self.stage()?.decoder.overflows() {
                        self.go_on_packed().await?;
                    }
                    self.look_ahead().await?;
                }
                Ok(None) => {
                    self.stage()?.decoder.finish()?;
                    self.end_of_range().await?;
                }
                Err(error) => self.suspect(error).await?,
            }
        }
    }

    /// Rows that went into the file so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.delivered.rows
    }

    /// The export's name.
    pub fn id(&self) -> &ExportId {
        &self.id
    }

    /// How often the export went on with another cursor behind the last row delivered.
    pub fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Has other ranges read ahead where there is room for it; this one may end earlier then.
    async fn look_ahead(&mut self) -> Result<()> {
        let Delivered { rows, last, .. } = self.delivered;
        self.ranges.look_ahead(rows, last).await?;
        let until = self.ranges.interval().until;
        self.stage()?.decoder.stop_at(until);
        Ok(())
    }

    /// The rows come in pieces that are too large to be held: the cursor is opened again behind the last one, row by row.
    async fn go_on_packed(&mut self) -> Result<()> {
        tracing::debug!(export = %self.id, rows = self.rows(), "blocks are too large, reading on row by row");
        self.ranges.only_packed();
        self.go_on(Form::Packed(Parts::Unknown)).await
    }

    /// Proves what was delivered of the range, if anything, and opens its cursor again behind it.
    async fn go_on(&mut self, form: Form) -> Result<()> {
        let proof = match self.delivered.last {
            Some(_) => self.prove().await?,
            None => NOTHING_DELIVERED,
        };
        self.reopen(proof, form)
    }

    /// The range's stream has nothing more: go on to the next one if that is the range's proven end, else behind the last row.
    async fn end_of_range(&mut self) -> Result<()> {
        let expected = self.ranges.expected().await;
        if !expected.is_some_and(|expected| self.delivered.meets(expected)) {
            let proof = self.prove().await?;
            if proof.behind > 0 {
                tracing::info!(export = %self.id, rows = self.rows(), behind = proof.behind, "rows remain behind the stream's end");
                return self.reopen(proof, Form::Packed(Parts::Unknown));
            }
            let others = self.rows > 0 || self.ranges.has_others();
            let settled = self.delivered.settled_rows;
            if others && expected.is_some_and(|expected| expected.settled != settled) {
                return Err(changed().with_detail(format!(
                    "{settled} settled rows of a range were delivered, and {expected:?} were counted before"
                )));
            }
        }
        if self.ranges.advance(self.delivered.rows)? {
            self.rows += std::mem::take(&mut self.delivered).rows;
            self.range_resumes = 0;
            self.restart()?;
            self.look_ahead().await?;
        } else {
            self.work(Work::Finish).await?;
            self.state = State::Finished;
        }
        Ok(())
    }

    /// The client took something for an error of ClickHouse. That may be a visitor's text, so the cursor is opened again
    /// behind the last row with text as hexadecimal digits; an error that comes again there is real. Likewise a
    /// connection that had to wait for others may have been given up, and one that was not is lost for good.
    async fn suspect(&mut self, error: Error) -> Result<()> {
        let young = |age| age < self.server.max_query();
        let lost = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Damaged);
        let suspicion = !lost && self.ranges.age().is_some_and(young);
        let waited = error.kind() == ErrorKind::Unavailable && self.ranges.waited();
        if !suspicion && !waited {
            return Err(error);
        }
        let form = if waited {
            // The server may still count the query that was just left, and allow no other.
            tokio::time::sleep(BEFORE_RESUMING).await;
            Form::Packed(Parts::Unknown)
        } else {
            Form::Hex
        };
        tracing::info!(export = %self.id, rows = self.rows(), %error, ?form, "a cursor ended before its end, reading on");
        self.go_on(form).await
    }

    /// Checks what was delivered of the range against ClickHouse's counts of this moment.
    async fn prove(&mut self) -> Result<Proof> {
        let proof = self.ranges.proof(self.delivered.last).await?;
        if proof.settled != self.delivered.settled_rows || proof.up_to < self.delivered.rows {
            return Err(changed().with_detail(format!(
                "{} rows were delivered, {} of them settled, but ClickHouse counts {} and {}",
                self.delivered.rows, self.delivered.settled_rows, proof.up_to, proof.settled
            )));
        }
        if self.delivered.last.is_some() && proof.at != self.delivered.at_last {
            return Err(inseparable(proof.at, self.delivered.last));
        }
        if proof.up_to > self.delivered.rows {
            tracing::info!(export = %self.id, rows = proof.up_to - self.delivered.rows, "rows became visible after they were passed");
        }
        Ok(proof)
    }

    /// Opens the range's cursor again behind the last row delivered.
    fn reopen(&mut self, proof: Proof, form: Form) -> Result<()> {
        if proof.at > 1 {
            return Err(inseparable(proof.at, self.delivered.last));
        }
        if self.range_resumes == MAX_RESUMES {
            return Err(
                Error::internal("the stream from ClickHouse ended early again and again")
                    .with_detail(format!("{MAX_RESUMES} times, {} rows", self.rows())),
            );
        }
        self.resumes += 1;
        self.range_resumes += 1;
        self.ranges.reopen(self.delivered.last, form)?;
        self.restart()
    }

    /// The chunk, and behind it those that have come already where the work is done elsewhere: going there and back costs.
    fn with_ready(&mut self, chunk: Bytes) -> Result<Vec<Bytes>> {
        let mut bytes = chunk.len();
        let mut chunks = vec![chunk];
        if self.stage()?.encoder.is_heavy() {
            while bytes < HEAVY_WORK_BYTES
                && let Some(chunk) = self.ranges.ready()
            {
                bytes += chunk.len();
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }

    /// Makes the stage ready for another stream: what the old one left of a row is not the new one's.
    fn restart(&mut self) -> Result<()> {
        let (wire, until) = (self.ranges.wire(), self.ranges.interval().until);
        self.stage()?.decoder.restart(wire, until);
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

/// How long a cursor that had to wait is left alone before it is opened again.
const BEFORE_RESUMING: Duration = Duration::from_millis(250);

/// Bytes that are enough for a blocking thread at once, unless one chunk has more.
const HEAVY_WORK_BYTES: usize = 1 << 20;

/// How often the cursor of one range is opened again at most.
const MAX_RESUMES: u32 = 16;

/// The proof of a range of which nothing was delivered yet.
const NOTHING_DELIVERED: Proof = Proof {
    settled: 0,
    up_to: 0,
    at: 0,
    behind: 0,
};

/// What a stage is given.
enum Work {
    Chunks(Vec<Bytes>),
    Finish,
}

impl Stage {
    /// Takes chunks through the decoder into the encoder, or ends the file; says what has been delivered then.
    fn work(&mut self, work: Work, mut delivered: Delivered) -> Result<Delivered> {
        match work {
            Work::Chunks(chunks) => {
                for chunk in chunks {
                    self.decoder.push(chunk);
                    while let Some(batch) = self.decoder.next_batch()? {
                        self.encoder.batch(&batch)?;
                        delivered.add(&batch);
                    }
                    if self.decoder.passed() || self.decoder.overflows() {
                        break;
                    }
                }
            }
            Work::Finish => self.encoder.finish()?,
        }
        Ok(delivered)
    }
}

/// Ranges are read one after the other, so a change between them would make a file of several moments.
fn changed() -> Error {
    Error::internal("the rows changed while they were exported")
}

/// Rows that have one key have no order among them, so nothing can go on between them.
fn inseparable(rows: u64, key: Option<Key>) -> Error {
    Error::internal("the export was interrupted between rows that cannot be told apart")
        .with_detail(format!("{rows} rows have the key {key:?}"))
}

fn after_failure() -> Error {
    Error::internal("the export has failed already")
}
