//! The ranges of one export: read by one or several cursors, handed out in order.
//!
//! The first cursor is opened over the whole window, so that the first rows come as soon as they can and a small export
//! costs one query. Beside it the server counts the rows of each slot. Where enough rows remain, the cursor that is read
//! from is told where to stop, and what lies behind is read in the way that suits its parts: in stretches, or, where
//! settings allow several cursors, in ranges that others read ahead, each into a room of its own. So the rows
//! come in the same order, from however many cursors.
//!
//! Where the request has a limit, there is one cursor that reads so many rows, and no plan: counting the window would cost more
//! than the rows.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::census::{Chosen, lags};
use super::clickhouse::wire;
use super::plan::{Counts, Plan, Planning};
use super::quarters::Digest;
use super::replicas::Replica;
use super::{ByteSource, How, Proof, RowCursor, Server, Unhex, failure};
use crate::decode::Wire;
use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::{Fence, Form, Key, Parts, Range};
use crate::request::{ExportRequest, Interval};

/// What may wait of the cursor that is read from, in bytes.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// What may wait of each other cursor, in bytes: a range should fit, or its cursor only waits.
const AHEAD_BYTES: usize = 8 << 20;

/// How long the plan is waited for when all rows are there.
const PLAN_PATIENCE: Duration = Duration::from_secs(1);

/// Rows of a range, unless their size is known.
const RANGE_ROWS: u64 = 65_536;

/// Rows that the first cursor still delivers when it is told where to stop: those that are on their way.
const STRETCH_AFTER_ROWS: u64 = 32_768;

/// Fewest rows that are worth being read otherwise than the first ones.
const MIN_STRETCH_ROWS: u64 = 262_144;

/// Fewest rows that are worth a query of their own, unless they are large.
const MIN_RANGE_ROWS: u64 = 16_384;

/// Fewest rows of a range, however large they are.
const LEAST_RANGE_ROWS: u64 = 1_024;

/// Most rows of a range, however small they are.
const MAX_RANGE_ROWS: u64 = 262_144;

/// The cursors of one export. Holds 2 MiB for the one that is read from and for the stretch behind it, and 8 MiB for each
/// one that the right to be read beside others was given.
pub struct Ranges {
    server: Server,
    /// Who is asked next, and the settled rows of the window that it has, as far as replicas were compared.
    replica: Arc<Replica>,
    settled: Option<u64>,
    request: Arc<ExportRequest>,
    fence: Fence,
    /// What the queries are named after.
    name: String,
    planning: Option<Planning>,
    plan: Option<Plan>,
    current: Fetch,
    ahead: VecDeque<Fetch>,
    /// Where what no cursor reads yet begins, and where the window ends.
    next: i64,
    end: i64,
    /// Whether blocks turned out to be too large.
    only_packed: bool,
    /// Cursors opened, and counts and proofs asked for so far.
    opened: u32,
    proofs: u32,
    /// Bytes and rows of the ranges before, and bytes of the one that is read from.
    bytes: u64,
    rows: u64,
    current_bytes: u64,
}

/// A range and its cursor.
struct Fetch {
    replica: Arc<Replica>,
    interval: Interval,
    form: Form,
    source: Source,
    /// Whether it was opened while another was read: then it may have waited longer than the server does.
    waited: bool,
    /// The right to be read beside others.
    extra: Option<OwnedSemaphorePermit>,
}

/// What may help where rows ended with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same once more with text as hexadecimal digits: the error may be a visitor's text.
    Hex,
    /// The same once more, on another replica or later.
    Again,
    /// Nothing.
    Nothing,
}

enum Source {
    Rows(RowCursor),
    Hex(Unhex<RowCursor>),
    Ended,
}

impl Ranges {
    /// Opens the first cursor, and asks for the plan.
    ///
    /// # Errors
    ///
    /// None that depends on the server: those come with the first chunk.
    pub fn open(
        server: Server,
        chosen: Chosen,
        request: Arc<ExportRequest>,
        fence: Fence,
        name: String,
    ) -> Result<Self> {
        let Chosen { replica, settled } = chosen;
        let whole = Range::whole(&request.window);
        let whole = Range {
            limit: request.limit.map(NonZeroU64::get),
            ..whole
        };
        let plan = || server.plan(&replica, &request, fence, &format!("{name}-plan"));
        let planning = request.limit.is_none().then(plan);
        let query_id = format!("{name}-1");
        let form = certain(&server, first_form(server.wire));
        let how = How {
            form,
            room: READ_AHEAD_BYTES,
        };
        let cursor = server.rows(&replica, &request, fence, whole, how, query_id)?;
        Ok(Self {
            server,
            replica: replica.clone(),
            settled,
            request,
            fence,
            name,
            planning,
            plan: None,
            current: Fetch {
                replica,
                interval: whole.interval,
                form,
                source: source(cursor, form),
                waited: false,
                extra: None,
            },
            ahead: VecDeque::new(),
            next: whole.interval.until,
            end: whole.interval.until,
            only_packed: false,
            opened: 1,
            proofs: 0,
            bytes: 0,
            rows: 0,
            current_bytes: 0,
        })
    }

    /// The next chunk of the range that is read from, or `None` at its stream's end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Whatever ended the stream before its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = match &mut self.current.source {
            Source::Rows(cursor) => cursor.next().await?,
            Source::Hex(cursor) => cursor.next().await?,
            Source::Ended => None,
        };
        match &chunk {
            Some(chunk) => self.current_bytes += chunk.len() as u64,
            None => {
                self.current.source = Source::Ended;
                self.current.extra = None;
            }
        }
        Ok(chunk)
    }

    /// A chunk of the range that is read from which has come already, if there is one.
    pub fn ready(&mut self) -> Option<Bytes> {
        let Source::Rows(cursor) = &mut self.current.source else {
            return None;
        };
        let chunk = cursor.ready()?;
        self.current_bytes += chunk.len() as u64;
        Some(chunk)
    }

    /// Where the range that is read from lies.
    pub fn interval(&self) -> Interval {
        self.current.interval
    }

    /// The wire that its rows travel on.
    pub fn wire(&self) -> Wire {
        wire(self.current.form)
    }

    /// Opens cursors ahead as far as there is room for them. The range that is read from may become shorter, but not
    /// shorter than to the rows that have been delivered of it: `rows`, the last of them at `last`.
    ///
    /// # Errors
    ///
    /// None that depends on the server.
    pub async fn look_ahead(&mut self, rows: u64, last: Option<Key>) -> Result<()> {
        if let Some(mut planning) = self.planning.take_if(|planning| planning.is_ready()) {
            self.take_plan(&mut planning).await;
        }
        let Some(plan) = self.plan.as_ref().filter(|_| self.server.divides) else {
            return Ok(());
        };
        let range_rows = self.range_rows(rows);
        while self.ahead.len() < (self.server.parallel - 1).max(1) {
            // Several ranges at once need the right to it; one stretch behind the cursor that is read from does not.
            let extra = self.server.extra.clone().try_acquire_owned().ok();
            let behind_current = self.next == self.end || extra.is_none();
            if behind_current && !(self.ahead.is_empty() && self.current.is_read()) {
                break;
            }
            if self.next == self.end {
                if extra.is_none() && !self.current.is_first() {
                    break;
                }
                // The cursor that is read from goes to the end: it leaves what lies far enough behind the last row.
                let from = last.map_or(self.current.interval.from, |key| key.timestamp);
                let near = if extra.is_some() {
                    range_rows
                } else {
                    STRETCH_AFTER_ROWS
                };
                let stop = self.cut(plan, from, near);
                let rest = Interval {
                    from: stop,
                    until: self.end,
                };
                let worth = extra.is_some() || plan.counts(rest).rows >= MIN_STRETCH_ROWS;
                if stop >= self.current.interval.until || !worth {
                    break;
                }
                self.current.interval.until = stop;
                self.next = stop;
            }
            let (interval, form) = self.next_range(plan, range_rows, extra.is_some());
            let room = match extra {
                Some(_) => AHEAD_BYTES,
                None => READ_AHEAD_BYTES,
            };
            let fetch = self.fetch(interval, form, room, extra)?;
            self.next = interval.until;
            self.opened += 1;
            self.ahead.push_back(fetch);
        }
        Ok(())
    }

    /// Where the next range lies, and how it is read best: so many rows, or all that lie in parts alike, up to the first that are
    /// not settled or from those on.
    fn next_range(&self, plan: &Plan, rows: u64, several: bool) -> (Interval, Form) {
        let from = self.next;
        let mut until = self.cut(plan, from, rows);
        let first = Interval { from, until };
        let (parts, settled) = (plan.parts(first), plan.counts(first).are_settled());
        while !several && until < self.end {
            let behind = Interval {
                from: until,
                until: self.cut(plan, until, RANGE_ROWS),
            };
            // Rows that are not settled are counted once more, and with them all of their range.
            let fresh = settled && !plan.counts(behind).are_settled();
            if fresh || plan.parts(behind) != parts {
                break;
            }
            until = behind.until;
        }
        let form = match (self.server.wire, parts) {
            // Columns take little more than half of what rows take where parts are disjoint, and more than rows where not.
            (Wire::Native, Parts::Disjoint | Parts::Untold) if !self.only_packed => {
                Form::Columns(parts)
            }
            // Columns are dear to merge: packed rows are not.
            _ => Form::Packed(parts),
        };
        (Interval { from, until }, form)
    }

    /// Where a range from an instant on ends: the end of the window where no second one would be left.
    fn cut(&self, plan: &Plan, from: i64, rows: u64) -> i64 {
        match plan.cut(from, rows) {
            Some(cut) if plan.cut(cut, rows.min(MIN_RANGE_ROWS)).is_some() => cut,
            _ => self.end,
        }
    }

    /// How many rows fit the room of one cursor, by the size of those that came so far.
    fn range_rows(&self, rows: u64) -> u64 {
        let bytes = self.bytes + self.current_bytes;
        // A part of the bytes may belong to rows that are still on their way.
        if bytes < AHEAD_BYTES as u64 || self.rows + rows == 0 {
            return RANGE_ROWS;
        }
        let each = bytes / (self.rows + rows);
        (AHEAD_BYTES as u64 / each.max(1)).clamp(LEAST_RANGE_ROWS, MAX_RANGE_ROWS)
    }

    fn fetch(
        &self,
        interval: Interval,
        form: Form,
        room: usize,
        extra: Option<OwnedSemaphorePermit>,
    ) -> Result<Fetch> {
        let range = Range {
            interval,
            last: None,
            limit: None,
        };
        Ok(Fetch {
            replica: self.replica.clone(),
            interval,
            form,
            source: Source::Rows(self.open_cursor(range, form, room)?),
            waited: true,
            extra,
        })
    }

    fn open_cursor(&self, range: Range, form: Form, room: usize) -> Result<RowCursor> {
        let query_id = format!("{}-{}", self.name, self.opened + 1);
        self.server.rows(
            &self.replica,
            &self.request,
            self.fence,
            range,
            How { form, room },
            query_id,
        )
    }

    /// Ends the range that is read from behind the row of a key: what lies there was not asked for, and need not be
    /// counted.
    pub fn end_at(&mut self, last: Key) {
        self.current.interval.until = last.timestamp + 1;
    }

    /// Goes on to the next range, `rows` rows of this one having been delivered; false where there is none.
    ///
    /// # Errors
    ///
    /// None that depends on the server.
    pub fn advance(&mut self, rows: u64) -> Result<bool> {
        self.rows += rows;
        self.bytes += std::mem::take(&mut self.current_bytes);
        if let Some(fetch) = self.ahead.pop_front() {
            self.current = fetch;
            // It takes the place of the one that was read from.
            self.current.extra = None;
            return Ok(true);
        }
        let Some(plan) = self.plan.as_ref().filter(|_| self.next < self.end) else {
            return Ok(false);
        };
        let (interval, form) = self.next_range(plan, self.range_rows(0), false);
        self.current = self.fetch(interval, form, READ_AHEAD_BYTES, None)?;
        self.current.waited = false;
        self.next = interval.until;
        self.opened += 1;
        Ok(true)
    }

    /// Opens the range that is read from again, behind the last row delivered of it, which is the one of number `rows` of
    /// the file.
    ///
    /// # Errors
    ///
    /// None that depends on the server.
    pub fn reopen(&mut self, last: Option<Key>, rows: u64, form: Form) -> Result<()> {
        let limit = self.request.limit;
        let form = certain(&self.server, form);
        let range = Range {
            interval: self.current.interval,
            last,
            limit: limit.map(|limit| limit.get().saturating_sub(rows)),
        };
        let cursor = self.open_cursor(range, form, READ_AHEAD_BYTES)?;
        self.opened += 1;
        self.current.replica = self.replica.clone();
        self.current.form = form;
        self.current.waited = false;
        self.current.source = source(cursor, form);
        Ok(())
    }

    /// Has rows come one by one from the next range on.
    pub fn only_packed(&mut self) {
        self.only_packed = true;
    }

    /// Whether there are ranges behind the one that is read from.
    pub fn has_others(&self) -> bool {
        !self.ahead.is_empty() || self.next < self.end
    }

    /// How rows are read of which nothing is known.
    pub fn first_form(&self) -> Form {
        if self.only_packed {
            return Form::Packed(Parts::Unknown);
        }
        first_form(self.server.wire)
    }

    /// Whether a stream is done with once a row from behind the range's end has come.
    pub fn may_be_left(&self) -> bool {
        self.server.divides
    }

    /// What may help against an error of the stream that is read from; `delivered` says whether rows of it went into the
    /// file. Where the bytes were damaged, those rows may be wrong, too, and a stream whose checksum stands at its end vouches
    /// for none before that: nothing goes on from them.
    pub fn remedy(&self, error: &Error, delivered: bool) -> Remedy {
        let damaged = error.kind() == ErrorKind::Damaged;
        let uncertain = delivered && (damaged || !self.server.divides);
        // A connection that broke has no text. What ClickHouse says may be text of a visitor, which the client took for
        // an error, but not when it comes once more in digits, nor from a query that ClickHouse does not let run longer.
        let text = error.clickhouse_code().is_some() || error.kind() == ErrorKind::Internal;
        let young = match &self.current.source {
            Source::Rows(cursor) => cursor.age() < self.server.max_query(),
            Source::Hex(_) | Source::Ended => false,
        };
        if text && young && error.kind() != ErrorKind::BrokenOff {
            Remedy::Hex
        } else if !uncertain && (damaged || failure::is_of_the_server(error)) {
            Remedy::Again
        } else {
            Remedy::Nothing
        }
    }

    /// Leaves the replica alone whose stream failed. One that was opened while another was read may only have waited too
    /// long: a server gives up a connection that takes nothing for some time, as such a one may while a slow client is
    /// served.
    pub fn blame_cursor(&mut self, error: &Error) {
        if !std::mem::take(&mut self.current.waited) {
            self.current.replica.failed(error);
        }
    }

    /// Leaves the replica alone that was asked last.
    pub fn blame(&self, error: &Error) {
        self.replica.failed(error);
    }

    /// Whether anything was read at all.
    pub fn has_begun(&self) -> bool {
        self.bytes + self.current_bytes > 0
    }

    /// Whether there is a replica that did not fail lately.
    pub fn has_another(&self) -> bool {
        self.server.replicas.rested().next().is_some()
    }

    /// Whether there are several replicas at all.
    pub fn are_replicated(&self) -> bool {
        self.server.replicas.are_several()
    }

    /// Goes to the next replica, or stays with a single one.
    ///
    /// # Errors
    ///
    /// That it cannot be reached, or lags behind those that were compared. It is left alone then.
    pub async fn move_on(&mut self) -> Result<()> {
        self.replica = self.server.replicas.first();
        let Some(most) = self.settled else {
            return Ok(());
        };
        let query_id = self.question("count");
        let (server, fence) = (&self.server, self.fence);
        let settled = server.settled_rows(&self.replica, &self.request, fence, &query_id);
        let settled = match settled.await {
            Ok(settled) if settled < most => Err(lags(settled, most)),
            settled => settled,
        };
        self.settled = Some(settled.inspect_err(|error| self.replica.failed(error))?);
        Ok(())
    }

    /// Counts the rows of the window as they are now, among the events, in the slots of the plan.
    ///
    /// # Errors
    ///
    /// There was none; the server's, or that it cannot be reached.
    pub async fn recount(&mut self) -> Result<Plan> {
        let query_id = self.question("recount");
        let plan = self.plan.as_ref();
        let plan = plan.ok_or_else(|| Error::internal("there is no plan to compare with"))?;
        let (server, fence) = (&self.server, self.fence);
        let recount = server.scan(&self.replica, &self.request, fence, plan.slots(), &query_id);
        recount.await
    }

    /// The settled rows of the window that some replica has, where several were compared: fewer are no file.
    pub fn settled(&self) -> Option<u64> {
        self.settled
    }

    /// What the range that is read from should have by the plan, or `None` where there is none.
    pub async fn expected(&mut self) -> Option<Counts> {
        // Without a plan there is one range, which a query of its own proves: it may use more threads than the plan.
        if let Some(mut planning) = self.planning.take() {
            let _ = tokio::time::timeout(PLAN_PATIENCE, self.take_plan(&mut planning)).await;
        }
        Some(self.plan.as_ref()?.counts(self.current.interval))
    }

    /// Whether what is expected came from the projection, if that served.
    pub fn are_counted_by_projection(&self) -> bool {
        self.plan.as_ref().is_some_and(Plan::is_kept)
    }

    /// Counts the range that is read from, up to the last row delivered and behind it.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn proof(&mut self, last: Option<Key>) -> Result<Proof> {
        let range = Range {
            interval: self.current.interval,
            last,
            limit: None,
        };
        let mut again = true;
        loop {
            let query_id = self.question("proof");
            let proof =
                self.server
                    .proof(&self.replica, &self.request, self.fence, range, &query_id);
            match proof.await {
                // A connection that was kept may be closed by the time that it is used again.
                Err(error) if again && error.kind() == ErrorKind::Unavailable => again = false,
                proof => return proof,
            }
        }
    }

    /// The digest of the window's rows, if they are hashed: as the projection has it, or of the events up to the fence.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn digest(&mut self, of_events: bool) -> Result<Option<Digest>> {
        let query_id = self.question("digest");
        let (server, replica, fence) = (&self.server, &self.replica, self.fence);
        server
            .digest_again(replica, &self.request, fence, of_events, &query_id)
            .await
    }

    /// A name for a question that no other of this export has: ClickHouse may still know the one before, or be told to end it.
    /// The number stands first: in names of questions from before the export was opened it does not.
    fn question(&mut self, what: &str) -> String {
        self.proofs += 1;
        format!("{}-{}-{what}", self.name, self.proofs)
    }

    async fn take_plan(&mut self, planning: &mut Planning) {
        match planning.plan().await {
            Ok(plan) => self.plan = Some(plan),
            // Only speed is lost: each range is proved by a query of its own then.
            Err(error) => {
                tracing::warn!(export = self.name, %error, "the rows could not be counted beforehand");
            }
        }
    }
}

impl Fetch {
    /// Whether it was opened before anything was known of its parts.
    fn is_first(&self) -> bool {
        matches!(
            self.form,
            Form::Packed(Parts::Unknown) | Form::Columns(Parts::Unknown)
        )
    }

    /// Whether its stream has not ended.
    fn is_read(&self) -> bool {
        !matches!(self.source, Source::Ended)
    }
}

/// How the first rows are read, of which nothing is known.
fn first_form(wire: Wire) -> Form {
    match wire {
        Wire::RowBinary => Form::Packed(Parts::Unknown),
        Wire::Native => Form::Columns(Parts::Unknown),
    }
}

/// The form in which rows are read where they are certain only when the stream has come to its checksum: a visitor's text that
/// looks like an error would end it before.
fn certain(server: &Server, form: Form) -> Form {
    if server.divides { form } else { Form::Hex }
}

fn source(cursor: RowCursor, form: Form) -> Source {
    match form {
        Form::Packed(_) | Form::Columns(_) => Source::Rows(cursor),
        Form::Hex => Source::Hex(Unhex::new(cursor)),
    }
}
