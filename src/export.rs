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
//! no more are an error where other ranges may still hold their like. Where the projection counted them, it may be wrong instead:
//! the settled rows of each range are counted once more at the end.
//!
//! With a limit the file is the beginning of the whole one: when so many rows are there, they are proved to be all up to the last
//! one, and what lies behind is nobody's concern. With fewer the end is proved as ever.
//!
//! A stream that breaks is gone on with behind the last row delivered, on the same replica or another one, once its counts
//! up to that row are those of what was delivered. So what came from several replicas is what one of them would have
//! given, but for fresh rows: those that one replica has already and another one not yet are as those that become visible
//! too late. The fence is one clock's, and ten minutes are far more than clocks differ. A plan that one replica counted
//! proves rows of another: both have all settled rows, or neither is read from.

mod delivered;
mod id;
mod stage;

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;

use self::delivered::{Delivered, changed, inseparable, lags};
pub use self::id::ExportId;
use self::stage::{Stage, Work};
use crate::cursor::{Chosen, Digest, Interruptions, Proof, Ranges, Remedy, Server, Told, failure};
use crate::decode::Decoder;
use crate::encode::{Encoder, Ends, FileInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{Fence, Form, Parts};
use crate::request::{Arrived, ExportRequest, Interval};

/// An export under way. Holds what its cursors read ahead and what the encoder holds; never a whole result.
pub struct Export {
    id: ExportId,
    ranges: Ranges,
    /// `None` while a blocking thread has it, and after a failure.
    stage: Option<Box<Stage>>,
    /// Of the range that is read from.
    delivered: Delivered,
    /// Rows of the ranges before.
    rows: u64,
    /// Rows in front of the first one of the cursor that is read from.
    cursor_from: u64,
    /// Most rows of the file.
    limit: Option<u64>,
    /// How often a cursor was opened again, in all and since rows came last.
    resumes: u32,
    vain_resumes: u32,
    interruptions: Interruptions,
    /// What all rows together have to be, where that was told before the first one.
    digest: Option<Digest>,
    /// How many rows there are, where they were counted before the first one and cannot become more.
    counted: Option<u64>,
    /// The ranges before, with the settled rows that were delivered of each.
    ended: Vec<(Interval, u64)>,
    /// Whether one had others than the projection counted.
    in_doubt: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Finished,
}

impl Export {
    /// Begins an export of a website that exists, up to the fence. A dropped call ends its queries.
    ///
    /// # Errors
    ///
    /// The table of events cannot be read. The query's own errors come with the first chunk.
    pub async fn begin(
        id: ExportId,
        request: impl Into<Arc<ExportRequest>>,
        server: Server,
        fence: Fence,
    ) -> Result<Self> {
        let request = request.into();
        let chosen = server
            .choose(&request, fence, &format!("{}-count", id.queries()))
            .await?;
        Self::read(id, request, server, chosen, fence).await
    }

    /// The same where [`Server::tell_apart`] was asked before. With a digest, all rows are settled: what becomes visible
    /// meanwhile is left to the next export, and the digest is asked for once more before the end. The export fails where its
    /// rows are not, or are no more, those of the digest.
    ///
    /// # Errors
    ///
    /// As [`Export::begin`].
    pub async fn begin_told(
        id: ExportId,
        request: Arc<ExportRequest>,
        server: Server,
        fence: Fence,
        told: Told,
    ) -> Result<Self> {
        let Told {
            chosen,
            digest,
            rows,
        } = told;
        let fence = match digest {
            Some(_) => fence.only_settled(),
            None => fence,
        };
        let mut export = Self::read(id, request, server, chosen, fence).await?;
        export.digest = digest;
        export.counted = rows;
        Ok(export)
    }

    async fn read(
        id: ExportId,
        request: Arc<ExportRequest>,
        server: Server,
        chosen: Chosen,
        fence: Fence,
    ) -> Result<Self> {
        let ((start, end), ends) = ends(&request)?;
        let info = FileInfo {
            site: request.website.to_string(),
            start,
            end,
            ends,
            timezone: request.window.zone.name().to_owned(),
            utc: request.window.is_utc(),
            fields: request.fields.clone(),
            limit: request.limit,
            compression: request.compression,
            data_as_string: request.data_as_string,
            spreadsheet: request.spreadsheet,
        };
        let (format, limit) = (request.format, request.limit.map(NonZeroU64::get));
        let interruptions = server.patience().begin();
        let name = id.queries().to_owned();
        let ranges = Ranges::open(server, chosen, request, fence, name)?;
        // The queries go out first: making an encoder of Parquet takes longer than sending them.
        tokio::task::yield_now().await;
        let encoder = Encoder::new(format, &info)?;
        let decoder = Decoder::new(ranges.wire());
        let stage = Box::new(Stage::new(decoder, encoder));
        Ok(Self {
            id,
            ranges,
            stage: Some(stage),
            delivered: Delivered::default(),
            rows: 0,
            cursor_from: 0,
            limit,
            resumes: 0,
            vain_resumes: 0,
            interruptions,
            digest: None,
            counted: None,
            ended: Vec::new(),
            in_doubt: false,
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
                if self.ranges.may_be_left() {
                    self.end_of_range().await?;
                } else {
                    self.suspect(from_elsewhere()).await?;
                }
                continue;
            }
            let read = match self.ranges.next().await {
                Ok(Some(chunk)) => self.take(chunk).await,
                Ok(None) => self.stage()?.decoder.finish().map(|()| Read::Ended),
                Err(error) => self.suspect(error).await.map(|()| Read::Going),
            };
            match read {
                Ok(Read::Going) => self.look_ahead().await?,
                Ok(Read::Ended) => self.end_of_range().await?,
                Err(error) if error.kind() == ErrorKind::BrokenOff => self.suspect(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Rows that went into the file so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.delivered.rows
    }

    /// What tells its rows from others, if it was begun so.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
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

    /// Takes a chunk in.
    async fn take(&mut self, chunk: Bytes) -> Result<Read> {
        let before = self.rows();
        let chunks = self.with_ready(chunk)?;
        let worked = self.work(Work::Chunks(chunks)).await;
        if self.rows() > before {
            self.interruptions.over();
            self.vain_resumes = 0;
        }
        worked?;
        if self.stage()?.decoder.overflows() {
            self.go_on_packed().await?;
        }
        Ok(Read::Going)
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
        if self.is_limited() {
            return self.end_at_limit().await;
        }
        let expected = self.ranges.expected().await;
        if !expected.is_some_and(|expected| self.delivered.meets(expected)) {
            let proof = self.prove().await?;
            if proof.behind > 0 {
                tracing::info!(export = %self.id, rows = self.rows(), behind = proof.behind, "rows remain behind the stream's end");
                return self.reopen(proof, Form::Packed(Parts::Unknown));
            }
            let others = self.ranges.are_replicated() || self.rows > 0 || self.ranges.has_others();
            let settled = self.delivered.settled_rows;
            if others && expected.is_some_and(|expected| expected.settled != settled) {
                if !self.ranges.are_counted_by_projection() {
                    return Err(changed().with_detail(format!(
                        "{settled} settled rows of a range were delivered, and {expected:?} were counted before"
                    )));
                }
                self.in_doubt = true;
            }
        }
        let range = (self.ranges.interval(), self.delivered.settled_rows);
        self.ended.push(range);
        let more = self.ranges.advance(self.delivered.rows)?;
        let delivered = std::mem::take(&mut self.delivered);
        self.rows += delivered.rows;
        self.cursor_from = self.rows;
        if more {
            self.vain_resumes = 0;
            self.restart()?;
            self.look_ahead().await?;
        } else {
            let settled: u64 = self.ended.iter().map(|(_, settled)| settled).sum();
            if self.ranges.settled().is_some_and(|most| settled < most) {
                return Err(lags().with_detail(format!("{settled} settled rows were delivered")));
            }
            self.prove_counted()?;
            if self.in_doubt && self.digest.is_none() {
                self.prove_ranges().await?;
            }
            self.prove_digest().await?;
            self.work(Work::Finish).await?;
            self.state = State::Finished;
        }
        Ok(())
    }

    /// Whether as many rows were delivered as were asked for at most.
    fn is_limited(&self) -> bool {
        self.limit == Some(self.rows())
    }

    /// There are as many rows as were asked for: the file ends if they are all up to the last one.
    async fn end_at_limit(&mut self) -> Result<()> {
        if let Some(last) = self.delivered.last {
            self.ranges.end_at(last);
            self.prove().await?;
        }
        self.work(Work::Finish).await?;
        self.state = State::Finished;
        Ok(())
    }

    /// The rows ended with an error. What the client took for one of ClickHouse may be a visitor's text, so the cursor is
    /// opened again behind the last row with text as hexadecimal digits; an error that comes again there is real. If it may
    /// be the fault of one server, and what that delivered is certain, another one goes on, or the same one later.
    async fn suspect(&mut self, error: Error) -> Result<()> {
        let delivered = self.rows() > self.cursor_from;
        let form = match self.ranges.remedy(&error, delivered) {
            Remedy::Hex => Form::Hex,
            // A connection that never lasts for a block of columns may bring rows.
            Remedy::Again if !delivered => Form::Packed(Parts::Unknown),
            Remedy::Again => self.ranges.first_form(),
            Remedy::Nothing => return Err(error),
        };
        tracing::info!(export = %self.id, rows = self.rows(), %error, ?form, "a cursor ended before its end, reading on");
        if form != Form::Hex {
            self.ranges.blame_cursor(&error);
            self.leave(error).await?;
        }
        self.go_on(form).await
    }

    /// Waits, and goes to the next replica. Until any rows were on their way, each one is tried once, and a single one
    /// twice: a connection that was kept may be closed by the time that it is used again.
    async fn leave(&mut self, mut error: Error) -> Result<()> {
        loop {
            let worth = self.ranges.has_begun() || self.ranges.has_another();
            if !worth && !self.interruptions.is_first() {
                return Err(error);
            }
            let Some(pause) = self.interruptions.next_pause() else {
                tracing::info!(export = %self.id, rows = self.rows(), "no patience is left");
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            match self.ranges.move_on().await {
                Err(next) if failure::is_of_the_server(&next) => error = next,
                moved => return moved,
            }
        }
    }

    /// Checks what was delivered of the range against ClickHouse's counts of this moment. A replica that lags, or fails to
    /// count, is left for the next.
    async fn prove(&mut self) -> Result<Proof> {
        loop {
            let proof = self.ranges.proof(self.delivered.last).await;
            let limited = self.is_limited();
            let agrees = |proof: Proof| {
                let replicated = self.ranges.are_replicated();
                let agrees = self.delivered.agrees(&proof, replicated, limited);
                agrees.map(|()| proof)
            };
            let error = match proof.and_then(agrees) {
                Ok(proof) => {
                    if proof.up_to > self.delivered.rows && !limited {
                        tracing::info!(export = %self.id, rows = proof.up_to - self.delivered.rows, "rows became visible after they were passed");
                    }
                    return Ok(proof);
                }
                Err(error) => error,
            };
            if !failure::is_of_the_server(&error) {
                return Err(error);
            }
            self.ranges.blame(&error);
            self.leave(error).await?;
        }
    }

    /// Checks that there are as many rows as were counted: the next export goes on behind those.
    fn prove_counted(&self) -> Result<()> {
        match self.counted.filter(|&counted| counted != self.rows) {
            Some(counted) => Err(counted_before(counted, self.rows)),
            None => Ok(()),
        }
    }

    /// Checks that each range has as many settled rows now as were delivered of it. Where the projection counted others before,
    /// either it is wrong, or rows changed that had not been read yet, or the ranges are of several moments.
    async fn prove_ranges(&mut self) -> Result<()> {
        let now = loop {
            match self.ranges.recount().await {
                Err(error) if failure::is_of_the_server(&error) => {
                    self.ranges.blame(&error);
                    self.leave(error).await?;
                }
                now => break now?,
            }
        };
        let differs =
            |&&(interval, settled): &&(Interval, u64)| now.counts(interval).settled != settled;
        if let Some((interval, settled)) = self.ended.iter().find(differs) {
            return Err(changed().with_detail(format!(
                "{settled} settled rows of a range were delivered, and there are {:?} now",
                now.counts(*interval)
            )));
        }
        tracing::warn!(
            export = %self.id,
            "a range had other rows than the projection quarter_hours counted before, so all were counted among the events: rows changed \
             before they were read, or the projection has rows that DELETE had marked, which `rowspout schema apply` mends"
        );
        Ok(())
    }

    /// Checks that all rows are those of the digest, and still are: an update changes none of the counts. What the projection
    /// counts includes rows that came meanwhile, so where that differs, the events say which is right.
    async fn prove_digest(&mut self) -> Result<()> {
        let Some(expected) = self.digest else {
            return Ok(());
        };
        let delivered = self.rows == expected.rows;
        let kept = self.digest_of(false).await?;
        if kept == Some(expected) && delivered {
            return Ok(());
        }
        let found = self.digest_of(true).await?;
        if found == Some(expected) && delivered {
            return Ok(());
        }
        let are_events = found.is_some_and(|found| found.rows == self.rows);
        let error = if are_events && kept == Some(expected) {
            counted_otherwise()
        } else {
            changed_under_its_tag()
        };
        Err(error.with_detail(format!(
            "{expected:?} was told, {} rows were delivered, the projection has {kept:?} now and the events {found:?}",
            self.rows
        )))
    }

    /// The digest of the window as the projection has it, or of the events; from another replica where one fails.
    async fn digest_of(&mut self, events: bool) -> Result<Option<Digest>> {
        loop {
            let error = match self.ranges.digest(events).await {
                Err(error) if failure::is_of_the_server(&error) => error,
                digest => return digest,
            };
            self.ranges.blame(&error);
            self.leave(error).await?;
        }
    }

    /// Opens the range's cursor again behind the last row delivered.
    fn reopen(&mut self, proof: Proof, form: Form) -> Result<()> {
        if proof.at > 1 {
            return Err(inseparable(proof.at, self.delivered.last));
        }
        if self.vain_resumes == MAX_VAIN_RESUMES {
            return Err(
                Error::internal("the stream from ClickHouse ended early again and again")
                    .with_detail(format!("{MAX_VAIN_RESUMES} times, {} rows", self.rows())),
            );
        }
        self.resumes += 1;
        self.vain_resumes += 1;
        self.cursor_from = self.rows();
        let rows = self.rows();
        self.ranges.reopen(self.delivered.last, rows, form)?;
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
        let heavy = self.stage()?.is_heavy(&work);
        let mut stage = self.stage.take().ok_or_else(after_failure)?;
        let mut delivered = self.delivered;
        let step = move || {
            let result = stage.work(work, &mut delivered);
            (stage, delivered, result)
        };
        let (stage, delivered, result) = if heavy {
            tokio::task::spawn_blocking(step)
                .await
                .map_err(|error| Error::internal("the encoder stopped").with_source(error))?
        } else {
            step()
        };
        self.stage = Some(stage);
        // Of a chunk that broke off, too, the rows in front of that were delivered.
        self.delivered = delivered;
        result
    }

    fn stage(&mut self) -> Result<&mut Stage> {
        self.stage.as_deref_mut().ok_or_else(after_failure)
    }
}

/// Bytes that are enough for a blocking thread at once, unless one chunk has more.
const HEAVY_WORK_BYTES: usize = 1 << 20;

/// How often a cursor is opened again at most without a row in between. Attempts behind a broken connection have a limit
/// of their own, in the settings.
const MAX_VAIN_RESUMES: u32 = 64;

/// The proof of a range of which nothing was delivered yet.
const NOTHING_DELIVERED: Proof = Proof {
    settled: 0,
    up_to: 0,
    at: 0,
    behind: 0,
};

/// What came of a look at the cursor.
enum Read {
    Going,
    Ended,
}

/// Nobody asked for such a row.
fn from_elsewhere() -> Error {
    failure::damaged().with_detail("a row from behind the window's end came")
}

/// The tag was sent before the first row.
fn changed_under_its_tag() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the rows changed while they were read, and are not those of the ETag any more: ask again",
    )
}

/// The next watermark was sent before the first row, and says how many there were.
fn counted_before(counted: u64, delivered: u64) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the rows that had arrived became more or fewer while they were read: ask again from the same watermark",
    )
    .with_detail(format!("{counted} rows were counted, and {delivered} delivered"))
}

/// The tag was made from counts that are not those of the events.
fn counted_otherwise() -> Error {
    Error::internal(
        "the projection quarter_hours counts other rows than the table of events has, as it does where it was made over parts \
         with rows that DELETE had marked: run `ALTER TABLE events APPLY DELETED MASK`, as `rowspout schema apply` does",
    )
}

/// Where a file begins and ends, as it says itself.
fn ends(request: &ExportRequest) -> Result<((String, String), Ends)> {
    let window = &request.window;
    Ok(match &request.arrived {
        Some(Arrived { since, next, .. }) => {
            let next = next.as_ref().ok_or_else(|| {
                Error::internal("the rows that arrived were not counted before they were read")
            })?;
            ((since.to_string(), next.to_string()), Ends::Watermarks)
        }
        None if window.instants.is_some() => (window.ends(), Ends::Instants),
        None => (window.ends(), Ends::Days),
    })
}

fn after_failure() -> Error {
    Error::internal("the export has failed already")
}
