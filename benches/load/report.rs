//! The figures, and whether they are as they must be.

use rowspout::config::DEFAULT_MAX_OPEN_EXPORTS;
use serde_json::{Value, json};

use super::abandoned::Remained;
use super::client::{Ending, Taken, Tally};
use super::measure;
use super::options::Options;
use super::stats::quantile;

/// What one export may hold, in bytes: as the README says of each format.
const EXPORT_BYTES: u64 = 48 << 20;

/// Of so many open exports one holds all that: the others wait for clients, or have just begun.
const HOLD_LITTLE: u64 = 4;

/// How long the query of a client that left may be there, in seconds.
const GONE_WITHIN: f64 = 1.0;

const MIB: f64 = (1 << 20) as f64;

/// What was measured.
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) tally: Tally,
    /// Seconds of small exports at rest.
    pub(crate) at_rest: Vec<f64>,
    pub(crate) under_load: Vec<Taken>,
    pub(crate) abandoned: Remained,
    pub(crate) idle_bytes: u64,
    pub(crate) peak_bytes: u64,
}

impl Report<'_> {
    /// Prints all, writes it where it was asked for, and says whether nothing is beyond its bound.
    pub(crate) fn tell(mut self) -> bool {
        let Tally {
            whole,
            bytes,
            left,
            left_before_the_head,
            busy,
            unfinished,
            wrong,
            failed,
        } = &self.tally;
        println!(
            "{} clients for {} s, {} events, wire {}, {}",
            self.options.clients,
            self.options.seconds,
            self.options.events,
            self.options.wire,
            measure::machine()
        );
        println!(
            "exports: {whole} whole, {left} left in their body, {left_before_the_head} before it, {unfinished} when time was up"
        );
        println!(
            "refused with a time to retry: {busy}; bytes taken: {:.0} MiB",
            *bytes as f64 / MIB
        );
        println!(
            "wrong files: {}; failed under a client that stayed: {}",
            wrong.len(),
            failed.len()
        );
        for what in wrong.iter().chain(failed).take(20) {
            println!("  {what}");
        }

        let Remained { seconds, alive } = &self.abandoned;
        let mut seconds = seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let late = seconds
            .iter()
            .filter(|&&seconds| seconds > GONE_WITHIN)
            .count();
        let longest = seconds.last().copied().unwrap_or(0.0);
        println!(
            "queries of clients that left: {} exports, seen for more than {GONE_WITHIN} s: {late}, longest {longest:.2} s, never gone: {}",
            seconds.len(),
            alive.len()
        );

        self.at_rest.sort_by(f64::total_cmp);
        let rest = quantile(&self.at_rest, 0.5);
        let share = rest * (self.options.clients + 1) as f64;
        let is_whole = |taken: &&Taken| matches!(taken.ending, Ending::Whole);
        let mut small: Vec<f64> = self
            .under_load
            .iter()
            .filter(is_whole)
            .map(|taken| taken.seconds)
            .collect();
        small.sort_by(f64::total_cmp);
        assert!(!small.is_empty(), "no small export came through");
        let of = |at| quantile(&small, at);
        let refused = self
            .under_load
            .iter()
            .filter(|taken| matches!(taken.ending, Ending::Refused(503, _)))
            .count();
        let broken = self.under_load.len() - small.len() - refused;
        println!(
            "small exports: at rest {rest:.3} s; under load {} whole, median {:.3}, 95 % within {:.3}, longest {:.3} s; fair share {share:.3} s; \
             refused: {refused}; otherwise: {broken}",
            small.len(),
            of(0.5),
            of(0.95),
            of(1.0)
        );

        let bound = self.idle_bytes + EXPORT_BYTES * DEFAULT_MAX_OPEN_EXPORTS as u64 / HOLD_LITTLE;
        println!(
            "service: {:.0} MiB before, {:.0} MiB at most; bound {:.0} MiB",
            self.idle_bytes as f64 / MIB,
            self.peak_bytes as f64 / MIB,
            bound as f64 / MIB
        );
        let json = json!({
            "clients": self.options.clients, "seconds": self.options.seconds, "events": self.options.events,
            "wire": self.options.wire, "machine": measure::machine(),
            "whole": whole, "left": left, "left_before_the_head": left_before_the_head, "unfinished": unfinished,
            "busy": busy, "bytes": bytes, "wrong": wrong, "failed": failed,
            "abandoned": { "exports": seconds.len(), "late": late, "longest_seconds": longest, "alive": alive },
            "small": { "at_rest": rest, "whole": small.len(), "median": of(0.5), "p95": of(0.95), "longest": of(1.0),
                       "fair_share": share, "refused": refused, "broken": broken },
            "memory": { "idle_bytes": self.idle_bytes, "peak_bytes": self.peak_bytes, "bound_bytes": bound },
        });
        self.write(&json);
        let bounds = [
            (wrong.is_empty(), "no file is wrong"),
            (
                failed.is_empty() && broken == 0,
                "no export fails under a client that stays",
            ),
            (
                alive.is_empty() && late == 0,
                "queries of clients that left are gone within a second",
            ),
            (
                of(0.95) <= share,
                "19 of 20 small exports take no more than the fair share",
            ),
            (self.peak_bytes <= bound, "memory stays within its bound"),
        ];
        for (holds, what) in bounds {
            println!("{}: {what}", if holds { "yes" } else { "NO" });
        }
        bounds.iter().all(|(holds, _)| *holds)
    }

    fn write(&self, json: &Value) {
        if let Some(path) = &self.options.json {
            std::fs::write(path, format!("{json:#}\n")).expect("the figures are written");
        }
    }
}
