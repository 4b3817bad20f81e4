//! How far a pull is: bars on a terminal, lines elsewhere.
//!
//! Below all is the bar of the whole: rows, by the share of a part's expected bytes that came, bytes, rate and the time left. Each
//! part that is fetched has a line above it.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::planned::{Planned, PlannedPart};
use crate::error::Error;

/// What is shown of a pull.
pub(super) struct Progress {
    quiet: bool,
    /// Where standard error is a terminal.
    bars: Option<MultiProgress>,
    whole: OnceLock<ProgressBar>,
    /// Of all parts that were fetched, and are.
    bytes: std::sync::Arc<AtomicU64>,
    parts: AtomicU64,
    of: AtomicU64,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self {
            quiet,
            bars,
            whole: OnceLock::new(),
            bytes: std::sync::Arc::default(),
            parts: AtomicU64::new(0),
            of: AtomicU64::new(0),
        }
    }

    /// The plan is there, and these of its parts are not.
    pub(super) fn begin(&self, planned: &Planned, missing: &[usize]) {
        let parts = missing.iter().map(|&index| &planned.parts[index]);
        let rows: u64 = parts.clone().map(|part| part.rows).sum();
        let bytes: u64 = parts.map(|part| part.bytes_estimate).sum();
        self.of.store(missing.len() as u64, Ordering::Relaxed);
        let with_rows = planned.parts.iter().filter(|part| part.rows > 0).count();
        self.say(&format!(
            "the plan has {} rows in {with_rows} parts, about {}; {} rows in {} parts are to be fetched, about {}",
            HumanCount(planned.rows),
            HumanBytes(planned.bytes_estimate),
            HumanCount(rows),
            missing.len(),
            HumanBytes(bytes),
        ));
        if let Some(bars) = self.bars.as_ref().filter(|_| !missing.is_empty()) {
            let bar = bars.add(ProgressBar::new(rows));
            let bytes = self.bytes.clone();
            let template = "{bar:30} {human_pos}/{human_len} rows, {came}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                let came = move |state: &ProgressState, f: &mut dyn std::fmt::Write| {
                    let bytes = bytes.load(Ordering::Relaxed);
                    let rate = bytes as f64 / state.elapsed().as_secs_f64().max(0.001);
                    // Writing to a String cannot fail.
                    let _ = write!(f, "{} ({}/s)", HumanBytes(bytes), HumanBytes(rate as u64));
                };
                bar.set_style(style.with_key("came", came));
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            let _ = self.whole.set(bar);
        }
    }

    /// Says a line.
    fn say(&self, line: &str) {
        match &self.bars {
            _ if self.quiet => {}
            // A line that cannot be printed is no reason to end.
            Some(bars) => drop(bars.println(line)),
            None => self.warns(line),
        }
    }

    /// What has to be said even where nothing else is.
    pub(super) fn warns(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Something failed, and is tried again after a pause.
    pub(super) fn waits(&self, what: &str, error: &Error, pause: Duration) {
        self.say(&format!(
            "{what}: {error}; again in {:.1} s",
            pause.as_secs_f64()
        ));
    }

    /// What arrived is about to be fetched; how much that is nobody knows.
    pub(super) fn arrivals(&self) -> Line<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {bytes} ({bytes_per_sec}) {msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        self.of.store(1, Ordering::Relaxed);
        Line {
            progress: self,
            name: "what arrived".to_owned(),
            bar,
            rows: 0,
            expected: 1,
            told: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// A part is about to be fetched.
    pub(super) fn part(&self, part: &PlannedPart) -> Line<'_> {
        let from = crate::request::instant_text(part.from.0);
        let name = format!("{} from {from}", part.day);
        let bar = self
            .bars
            .as_ref()
            .zip(self.whole.get())
            .map(|(bars, whole)| {
                let bar = bars.insert_before(whole, ProgressBar::new(part.bytes_estimate));
                if let Ok(style) = ProgressStyle::with_template("  {prefix} {bar:20} {bytes} {msg}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(name.clone());
                bar
            });
        Line {
            progress: self,
            name,
            bar,
            rows: part.rows,
            expected: part.bytes_estimate.max(1),
            told: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Nothing more is fetched.
    pub(super) fn end(&self) {
        if let Some(whole) = self.whole.get() {
            whole.finish_and_clear();
        }
    }
}

/// The line of one part.
pub(super) struct Line<'a> {
    progress: &'a Progress,
    name: String,
    bar: Option<ProgressBar>,
    rows: u64,
    expected: u64,
    /// Rows of it that the whole was told of.
    told: AtomicU64,
    bytes: AtomicU64,
}

impl Line<'_> {
    /// An attempt begins.
    pub(super) fn begins(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
        }
        self.at(0);
    }

    /// So many bytes came.
    pub(super) fn at(&self, bytes: u64) {
        let share = bytes.min(self.expected) as f64 / self.expected as f64;
        self.tell(bytes, (self.rows as f64 * share) as u64);
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    fn tell(&self, bytes: u64, rows: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        // Modulo 2^64, so an attempt that begins again takes away what it had added.
        let more = bytes.wrapping_sub(before);
        self.progress.bytes.fetch_add(more, Ordering::Relaxed);
        let before = self.told.swap(rows, Ordering::Relaxed);
        if let Some(whole) = self.progress.whole.get() {
            if rows >= before {
                whole.inc(rows - before);
            } else {
                whole.dec(before - rows);
            }
        }
    }

    /// It failed, and is tried again after a pause.
    pub(super) fn waits(&self, error: &Error, pause: Duration) {
        self.progress.waits(&self.name, error, pause);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("waits {:.1} s", pause.as_secs_f64()));
        }
    }

    /// It is whole.
    pub(super) fn ends(&self, rows: u64, bytes: u64) {
        self.tell(bytes, self.rows);
        let parts = self.progress.parts.fetch_add(1, Ordering::Relaxed) + 1;
        // On a terminal the bars say it.
        if self.bar.is_none() {
            let of = self.progress.of.load(Ordering::Relaxed);
            self.progress.say(&format!(
                "{} ({parts} of {of}): {} rows, {}",
                self.name,
                HumanCount(rows),
                HumanBytes(bytes)
            ));
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
