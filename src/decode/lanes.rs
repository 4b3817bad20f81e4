//! The whole rows of a chunk, read in two lanes.
//!
//! Where a row's next text begins is known only when the length in front of it has been read, so one row behind the other is
//! read mostly waiting. A second lane begins in the middle of the chunk, where it looks as if a row ended and another one
//! began, and a processor works at the one while the other waits. Texts may hold such bytes, too: what the second lane has read
//! counts only where the first one ends exactly where the second began.

use std::ops::Range;

use super::row::{HEAD_BYTES, Head, MIN_ROW_BYTES, RowSpans, Stop, find_texts, is_marker};
use super::{Batch, EventType, MAX_BATCH_BYTES, MAX_BATCH_ROWS, MAX_ROW_BYTES, Span, TextColumn};
use crate::pushdown::columns::{ROW_END, TEXT_COLUMNS};

/// Rows of a lane at most.
const LANE_ROWS: usize = MAX_BATCH_ROWS / 2;

/// Fewer bytes have no second lane.
const MIN_TWO_LANES_BYTES: usize = 1 << 10;

/// Nor is there one where no row ends in so many bytes: of such rows few lengths are read.
const SEARCHED_BYTES: usize = 4 << 10;

/// What rows are in order of: timestamp and event id.
type Key = (i64, u64);

/// No row comes before it.
pub(super) const NO_KEY: Key = (i64::MIN, 0);

/// The rows of two lanes, by column but for the spans: room for as many as the largest chunk so far can have, and for
/// [`MAX_BATCH_ROWS`] at most.
#[derive(Debug, Default)]
pub(super) struct Rows {
    timestamps: Vec<i64>,
    event_ids: Vec<u64>,
    offsets: Vec<i16>,
    event_types: Vec<EventType>,
    spans: Vec<RowSpans>,
}

/// Room for one row.
type Slot<'a> = (
    &'a mut RowSpans,
    ((&'a mut i64, &'a mut u64), (&'a mut i16, &'a mut EventType)),
);

/// Some rows one behind the other, as a lane read them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where its rows are kept: the number of the first one.
    first: usize,
    pub(super) rows: usize,
    /// How many of them are settled.
    settled_rows: u64,
    /// Offsets in the chunk: of what the spans count from, of the first row, and behind the last one.
    base: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Why it went no further, unless it is full or reached its end.
    pub(super) stop: Option<Stop>,
}

impl Rows {
    /// Room of each lane, in rows.
    fn lane(&self) -> usize {
        self.timestamps.len() / 2
    }

    /// Makes room in each lane for all rows that so many bytes can have, or for a full lane. What has been read is lost.
    fn make_room(&mut self, bytes: usize) {
        let lane = LANE_ROWS.min(bytes / MIN_ROW_BYTES + 1);
        if lane <= self.lane() {
            return;
        }
        // Not for each chunk that is a little larger.
        let rows = 2 * LANE_ROWS.min(lane.next_power_of_two());
        *self = Self {
            timestamps: vec![0; rows],
            event_ids: vec![0; rows],
            offsets: vec![0; rows],
            event_types: vec![EventType::Pageview; rows],
            spans: vec![[Span::default(); TEXT_COLUMNS.len()]; rows],
        };
    }

    /// Reads the rows of `chunk` from `start` on that come behind `last_key`, until a lane is full, a row cannot be read, or one is
    /// behind `last_instant`. Gives those in front, and those that the second lane read directly behind them.
    pub(super) fn read(
        &mut self,
        chunk: &[u8],
        start: usize,
        last_key: Key,
        last_instant: i64,
    ) -> (Run, Option<Run>) {
        let bytes = &chunk[start..];
        self.make_room(bytes.len());
        let far_first = self.lane();
        let (near, far) = self.halves();
        let mut first = Lane::new(bytes, 0, last_key, last_instant);
        let Some(middle) = middle(bytes) else {
            first.read(near);
            return (first.run(0, start), None);
        };
        first.until = middle;
        let mut second = Lane::new(bytes, middle, NO_KEY, last_instant);
        let near = read_both(&mut first, near, &mut second, far);
        if first.at > middle {
            // No row began there.
            first.until = MAX_BATCH_BYTES;
            first.read(near);
            return (first.run(0, start), None);
        }
        let meet = first.at == middle && second.rows > 0;
        let behind = meet.then(|| second.run(far_first, start));
        (first.run(0, start), behind)
    }

    fn halves(
        &mut self,
    ) -> (
        impl Iterator<Item = Slot<'_>>,
        impl Iterator<Item = Slot<'_>>,
    ) {
        fn slots<'a>(
            spans: &'a mut [RowSpans],
            keys: (&'a mut [i64], &'a mut [u64]),
            kinds: (&'a mut [i16], &'a mut [EventType]),
        ) -> impl Iterator<Item = Slot<'a>> {
            let keys = keys.0.iter_mut().zip(keys.1);
            let kinds = kinds.0.iter_mut().zip(kinds.1);
            spans.iter_mut().zip(keys.zip(kinds))
        }
        let lane = self.lane();
        let timestamps = self.timestamps.split_at_mut(lane);
        let event_ids = self.event_ids.split_at_mut(lane);
        let offsets = self.offsets.split_at_mut(lane);
        let event_types = self.event_types.split_at_mut(lane);
        let spans = self.spans.split_at_mut(lane);
        (
            slots(
                spans.0,
                (timestamps.0, event_ids.0),
                (offsets.0, event_types.0),
            ),
            slots(
                spans.1,
                (timestamps.1, event_ids.1),
                (offsets.1, event_types.1),
            ),
        )
    }

    /// The key of a run's first row.
    pub(super) fn first_key(&self, run: &Run) -> Key {
        (self.timestamps[run.first], self.event_ids[run.first])
    }

    /// The keys of a run's last row and of the one before it, as far as it has them.
    pub(super) fn last_keys(&self, run: &Run) -> (Option<Key>, Option<Key>) {
        let key = |back: usize| {
            let row = run.first + run.rows.checked_sub(back)?;
            Some((self.timestamps[row], self.event_ids[row]))
        };
        (key(1), key(2))
    }

    /// Where the first row that was read last has its end, if it has one, from that row's beginning on.
    pub(super) fn tried_end(&self) -> usize {
        let [.., last] = &self.spans[0];
        (last.start + last.len) as usize
    }

    /// The rows of a run.
    pub(super) fn batch<'a>(&'a self, run: &Run, chunk: &'a [u8]) -> Batch<'a> {
        let rows = run.first..run.first + run.rows;
        let text = columns(&chunk[run.base..], &self.spans[rows.clone()]);
        self.batch_of(rows, run.settled_rows, text)
    }

    /// A single row whose texts lie elsewhere.
    pub(super) fn alone<'a>(
        &'a mut self,
        head: Head,
        bytes: &'a [u8],
        spans: &'a RowSpans,
    ) -> Batch<'a> {
        self.make_room(0);
        self.timestamps[0] = head.timestamp;
        self.event_ids[0] = head.event_id;
        self.offsets[0] = head.offset;
        self.event_types[0] = head.event_type();
        let text = columns(bytes, std::slice::from_ref(spans));
        self.batch_of(0..1, u64::from(head.settled()), text)
    }

    fn batch_of<'a>(
        &'a self,
        rows: Range<usize>,
        settled_rows: u64,
        text: [TextColumn<'a>; TEXT_COLUMNS.len()],
    ) -> Batch<'a> {
        Batch {
            timestamps: &self.timestamps[rows.clone()],
            event_ids: &self.event_ids[rows.clone()],
            offsets: &self.offsets[rows.clone()],
            event_types: &self.event_types[rows],
            settled_rows,
            text,
        }
    }
}

/// The rows' texts by column.
fn columns<'a>(bytes: &'a [u8], rows: &'a [RowSpans]) -> [TextColumn<'a>; TEXT_COLUMNS.len()] {
    let spans = rows.as_flattened();
    std::array::from_fn(|column| TextColumn::Plain {
        bytes,
        spans: &spans[column..],
        stride: TEXT_COLUMNS.len(),
    })
}

/// Where a second lane may begin: so near that the first one comes there before it is full.
fn middle(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < MIN_TWO_LANES_BYTES {
        return None;
    }
    const MOST: usize = LANE_ROWS * MIN_ROW_BYTES - SEARCHED_BYTES;
    let from = (bytes.len() / 2).min(MOST);
    let until = bytes.len().min(from + SEARCHED_BYTES);
    let mut pairs = bytes[from..until].windows(2);
    let end = pairs.position(|pair| pair[0] == ROW_END && is_marker(pair[1]))?;
    Some(from + end + 1)
}

/// Reads row by row in turn, until one lane ends, and the first lane to its end. Gives the room that is left in it.
#[inline(always)]
fn read_both<'a, Near: Iterator<Item = Slot<'a>>>(
    first: &mut Lane<'_>,
    mut near: Near,
    second: &mut Lane<'_>,
    mut far: impl Iterator<Item = Slot<'a>>,
) -> Near {
    while first.step(&mut near) {
        if !second.step(&mut far) {
            while first.step(&mut near) {}
            break;
        }
    }
    near
}

/// Rows that are being read one behind the other.
struct Lane<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No row that begins from here on is read.
    until: usize,
    last_key: Key,
    last_instant: i64,
    start: usize,
    rows: usize,
    settled_rows: u64,
    stop: Option<Stop>,
}

impl<'a> Lane<'a> {
    fn new(bytes: &'a [u8], start: usize, last_key: Key, last_instant: i64) -> Self {
        Self {
            bytes,
            at: start,
            until: start + MAX_BATCH_BYTES,
            last_key,
            last_instant,
            start,
            rows: 0,
            settled_rows: 0,
            stop: None,
        }
    }

    fn run(&self, first: usize, base: usize) -> Run {
        Run {
            first,
            rows: self.rows,
            settled_rows: self.settled_rows,
            base,
            start: base + self.start,
            end: base + self.at,
            stop: self.stop,
        }
    }

    fn read<'s>(&mut self, mut slots: impl Iterator<Item = Slot<'s>>) {
        while self.step(&mut slots) {}
    }

    /// Reads the next row. Gives whether there was one to read.
    #[inline(always)]
    fn step<'s>(&mut self, slots: &mut impl Iterator<Item = Slot<'s>>) -> bool {
        if self.at >= self.until {
            return false;
        }
        let Some(slot) = slots.next() else {
            return false;
        };
        match self.row(slot) {
            Ok(()) => true,
            Err(stop) => {
                self.stop = Some(stop);
                false
            }
        }
    }

    #[inline(always)]
    fn row(&mut self, slot: Slot<'_>) -> Result<(), Stop> {
        let (spans, ((timestamp, event_id), (offset, event_type))) = slot;
        let rest = &self.bytes[self.at..];
        let Some(head) = rest.first_chunk::<HEAD_BYTES>() else {
            return Err(match rest.first() {
                Some(&byte) if !is_marker(byte) => Stop::NotARow,
                _ => Stop::Short,
            });
        };
        let head = Head::read(head);
        if !is_marker(head.marker) {
            return Err(Stop::NotARow);
        }
        if head.timestamp > self.last_instant {
            return Err(Stop::Passed);
        }
        let end = find_texts(self.bytes, self.at + HEAD_BYTES, spans)?;
        if end - self.at > MAX_ROW_BYTES {
            return Err(Stop::TooLong);
        }
        if head.key() < self.last_key {
            return Err(Stop::Order);
        }
        self.last_key = head.key();
        self.settled_rows += u64::from(head.settled());
        *timestamp = head.timestamp;
        *event_id = head.event_id;
        *offset = head.offset;
        *event_type = head.event_type();
        self.rows += 1;
        self.at = end;
        Ok(())
    }
}
