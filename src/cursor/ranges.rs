//! The ranges of one export: read by one or several cursors, handed out in order.
//!
//! The first cursor is opened over the whole window, so that the first rows come as soon as they can and a small export
//! costs one query. Beside it the server counts the rows of each slot. Where settings allow several cursors and
//! enough rows remain, the one that is read from is told where to stop, and what lies behind is cut into ranges that
//! others read ahead, each into a room of its own. So the rows come in the same order, from however many cursors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::plan::{Counts, Plan, Planning};
use super::{ByteSource, Proof, RowCursor, Server, Unhex};
use crate::error::Result;
use crate::pushdown::{Fence, Key, Range, TextForm};
use crate::request::{ExportRequest, Interval};

/// What may wait of the cursor that is read from, in bytes.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// What may wait of each other cursor, in bytes: a range should fit, or its cursor only waits.
const AHEAD_BYTES: usize = 8 << 20;

/// Rows of a range, unless their size is known.
const RANGE_ROWS: u64 = 65_536;

/// Fewest rows that are worth a query of their own, unless they are large.
const MIN_RANGE_ROWS: u64 = 16_384;

/// Fewest rows of a range, however large they are.
const LEAST_RANGE_ROWS: u64 = 1_024;

/// Most rows of a range, however small they are.
const MAX_RANGE_ROWS: u64 = 262_144;

/// The cursors of one export. Holds [`AHEAD_BYTES`] for each one that is read ahead.
pub struct Ranges {
    server: Server,
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
    /// Cursors opened so far.
    opened: u32,
    /// Bytes and rows of the ranges before, and bytes of the one that is read from.
    bytes: u64,
    rows: u64,
    current_bytes: u64,
}

/// A range and its cursor.
struct Fetch {
    interval: Interval,
    source: Source,
    /// The right to be read beside others.
    extra: Option<OwnedSemaphorePermit>,
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
        request: Arc<ExportRequest>,
        fence: Fence,
        name: String,
    ) -> Result<Self> {
        let whole = Range::whole(&request.window);
        let planning = server.plan(&request, fence, &format!("{name}-plan"));
        let query_id = format!("{name}-1");
        let form = TextForm::Plain;
        let cursor = server.rows(&request, fence, whole, form, READ_AHEAD_BYTES, query_id)?;
        Ok(Self {
            server,
            request,
            fence,
            name,
            planning: Some(planning),
            plan: None,
            current: Fetch {
                interval: whole.interval,
                source: Source::Rows(cursor),
                extra: None,
            },
            ahead: VecDeque::new(),
            next: whole.interval.until,
            end: whole.interval.until,
            opened: 1,
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

    /// Where the range that is read from lies.
    pub fn interval(&self) -> Interval {
        self.current.interval
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
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let range_rows = self.range_rows(rows);
        while self.ahead.len() + 1 < self.server.parallel {
            if self.next == self.end && !(self.ahead.is_empty() && self.current.is_read()) {
                break;
            }
            let Ok(extra) = self.server.extra.clone().try_acquire_owned() else {
                break;
            };
            if self.next == self.end {
                // The cursor that is read from goes to the end: it leaves what lies far enough behind the last row.
                let from = last.map_or(self.current.interval.from, |key| key.timestamp);
                let stop = self.cut(plan, from, range_rows);
                if stop >= self.current.interval.until {
                    break;
                }
                self.current.interval.until = stop;
                self.next = stop;
            }
            let interval = Interval {
                from: self.next,
                until: self.cut(plan, self.next, range_rows),
            };
            let fetch = self.fetch(interval, AHEAD_BYTES, Some(extra))?;
            self.next = interval.until;
            self.opened += 1;
            self.ahead.push_back(fetch);
        }
        Ok(())
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
        if bytes < AHEAD_BYTES as u64 / 8 {
            return RANGE_ROWS;
        }
        let each = bytes / (self.rows + rows).max(1);
        (AHEAD_BYTES as u64 / each.max(1)).clamp(LEAST_RANGE_ROWS, MAX_RANGE_ROWS)
    }

    fn fetch(
        &self,
        interval: Interval,
        room: usize,
        extra: Option<OwnedSemaphorePermit>,
    ) -> Result<Fetch> {
        let range = Range {
            interval,
            last: None,
        };
        Ok(Fetch {
            interval,
            source: Source::Rows(self.open_cursor(range, TextForm::Plain, room)?),
            extra,
        })
    }

    fn open_cursor(&self, range: Range, form: TextForm, room: usize) -> Result<RowCursor> {
        let query_id = format!("{}-{}", self.name, self.opened + 1);
        self.server
            .rows(&self.request, self.fence, range, form, room, query_id)
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
        if self.next == self.end {
            return Ok(false);
        }
        // No other may be read beside it now: it goes to the end, unless one may later.
        let interval = Interval {
            from: self.next,
            until: self.end,
        };
        self.current = self.fetch(interval, READ_AHEAD_BYTES, None)?;
        self.next = self.end;
        self.opened += 1;
        Ok(true)
    }

    /// Opens the range that is read from again, behind the last row delivered of it.
    ///
    /// # Errors
    ///
    /// None that depends on the server.
    pub fn reopen(&mut self, last: Option<Key>, form: TextForm) -> Result<()> {
        let range = Range {
            interval: self.current.interval,
            last,
        };
        let cursor = self.open_cursor(range, form, READ_AHEAD_BYTES)?;
        self.opened += 1;
        self.current.source = match form {
            TextForm::Plain => Source::Rows(cursor),
            TextForm::Hex => Source::Hex(Unhex::new(cursor)),
        };
        Ok(())
    }

    /// How old the stream that is read from is, or `None` where it cannot be opened in another form.
    pub fn age(&self) -> Option<Duration> {
        match &self.current.source {
            Source::Rows(cursor) => Some(cursor.age()),
            Source::Hex(_) | Source::Ended => None,
        }
    }

    /// What the range that is read from should have by the plan, or `None` where there is none.
    pub async fn expected(&mut self) -> Option<Counts> {
        if let Some(mut planning) = self.planning.take() {
            self.take_plan(&mut planning).await;
        }
        Some(self.plan.as_ref()?.counts(self.current.interval))
    }

    /// Counts the range that is read from, up to the last row delivered and behind it.
    ///
    /// # Errors
    ///
    /// The server's, or that it cannot be reached.
    pub async fn proof(&self, last: Option<Key>) -> Result<Proof> {
        let range = Range {
            interval: self.current.interval,
            last,
        };
        let query_id = format!("{}-{}-proof", self.name, self.opened);
        self.server
            .proof(&self.request, self.fence, range, &query_id)
            .await
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
    /// Whether its stream has not ended.
    fn is_read(&self) -> bool {
        !matches!(self.source, Source::Ended)
    }
}
