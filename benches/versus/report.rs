//! The results as tables for people and as JSON for programs.

use serde_json::{Value, json};

use super::compare::{Comparison, Measured};
use super::stats::Spread;
use super::tables::Came;

/// Runs of each program that a median needs to be worth quoting.
const ENOUGH_RUNS: usize = 5;

/// What all figures have in common.
pub(crate) struct Circumstances {
    pub(crate) events: u64,
    pub(crate) came: Came,
    pub(crate) runs: usize,
    pub(crate) parallel: Option<usize>,
    pub(crate) machine: String,
    /// The server's address; `None` for the embedded engine.
    pub(crate) server: Option<String>,
}

impl Circumstances {
    /// Prints what is measured, and what is not.
    pub(crate) fn print(&self) {
        println!(
            "{} events that came {}, {} counted runs of each in turn, medians (min..max); {}",
            self.events,
            self.came.as_str(),
            self.runs,
            self.machine
        );
        if self.runs < ENOUGH_RUNS {
            println!("fewer than {ENOUGH_RUNS} runs: a first look, nothing to quote");
        }
        match self.parallel {
            Some(parallel) => println!("cursors of one export: {parallel}"),
            None => println!("cursors of one export: Rowspout's default"),
        }
        match &self.server {
            Some(url) => println!("real server: {url}"),
            None => {
                println!("embedded engine");
                println!("real server: not run (name one with ROWSPOUT_CLICKHOUSE_URL)");
            }
        }
    }

    /// The same in one line, for a picture.
    pub(crate) fn line(&self) -> String {
        let server = match self.server {
            Some(_) => "a server",
            None => "the embedded engine",
        };
        format!(
            "{} events, {} runs of each, {server}, {}",
            self.events, self.runs, self.machine
        )
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "events": self.events,
            "came": self.came.as_str(),
            "runs": self.runs,
            "parallel": self.parallel,
            "machine": self.machine,
            "server": self.server.as_deref().unwrap_or("embedded engine"),
            "real_server": if self.server.is_some() { "run" } else { "not run" },
        })
    }
}

/// Prints the figures and then the ratios.
pub(crate) fn print(comparisons: &[Comparison]) {
    println!();
    println!(
        "{:<8} {:<11} {:<10} {:<9} {:>10} {:>17} {:>8} {:>7} {:>8} {:>9} {:>11}",
        "format",
        "parts",
        "program",
        "wire",
        "rows/s",
        "wall s",
        "first ms",
        "CPU s",
        "engine s",
        "peak MiB",
        "bytes"
    );
    for comparison in comparisons {
        for measured in &comparison.programs {
            print_program(comparison, measured);
        }
    }
    println!();
    println!("Rowspout's over the other's; of the rounds: min..max");
    println!(
        "{:<8} {:<11} {:<9} {:>17} {:>17} {:>14} {:>11}",
        "format", "parts", "wire", "wall/own", "wall/drain", "first byte/own", "bytes/own"
    );
    for comparison in comparisons {
        for ratios in comparison.ratios() {
            println!(
                "{:<8} {:<11} {:<9} {:>17} {:>17} {:>14} {:>11.2}",
                comparison.format.as_str(),
                comparison.tables.as_str(),
                ratios.wire,
                spread(ratios.wall_to_own),
                spread(ratios.wall_to_drain),
                number(ratios.first_byte_to_own),
                ratios.bytes_to_own,
            );
        }
    }
    println!();
    println!(
        "own FORMAT is CSVWithNames, JSONEachRow, Parquet with zstd, or ArrowStream, copied to standard output; the embedded engine \
         writes the last two into a file."
    );
    println!(
        "drain reads the same wire's cursor to nowhere. bytes/own of Parquet is the ratio of file sizes."
    );
}

fn print_program(comparison: &Comparison, measured: &Measured) {
    println!(
        "{:<8} {:<11} {:<10} {:<9} {:>10.0} {:>17} {:>8} {:>7.2} {:>8} {:>9.1} {:>11}",
        comparison.format.as_str(),
        comparison.tables.as_str(),
        measured.program.as_str(),
        measured.program.wire().unwrap_or("-"),
        measured.rows_per_second,
        spread(measured.wall),
        measured
            .first_byte
            .map_or_else(|| "-".into(), |first| format!("{:.1}", first.median * 1e3)),
        measured.cpu.median,
        number(measured.engine_cpu.map(|cpu| cpu.median)),
        measured.peak_bytes.median / f64::from(1 << 20),
        measured.bytes,
    );
}

/// All comparisons, for programs. Times are seconds.
pub(crate) fn json(comparisons: &[Comparison]) -> Value {
    let one = |comparison: &Comparison| {
        let programs = comparison.programs.iter().map(|measured| {
            json!({
                "program": measured.program.as_str(),
                "wire": measured.program.wire(),
                "rows_per_second": measured.rows_per_second,
                "wall": measured.wall.json(),
                "first_byte": measured.first_byte.map(Spread::json),
                "cpu": measured.cpu.json(),
                "engine_cpu": measured.engine_cpu.map(Spread::json),
                "peak_bytes": measured.peak_bytes.json(),
                "bytes": measured.bytes,
            })
        });
        let ratios = comparison.ratios().into_iter().map(|ratios| {
            json!({
                "wire": ratios.wire,
                "wall_to_own": ratios.wall_to_own.json(),
                "wall_to_drain": ratios.wall_to_drain.json(),
                "first_byte_to_own": ratios.first_byte_to_own,
                "bytes_to_own": ratios.bytes_to_own,
            })
        });
        json!({
            "format": comparison.format.as_str(),
            "parts": comparison.tables.as_str(),
            "programs": programs.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
        })
    };
    comparisons.iter().map(one).collect()
}

fn spread(spread: Spread) -> String {
    format!(
        "{:.2} ({:.2}..{:.2})",
        spread.median, spread.min, spread.max
    )
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}
