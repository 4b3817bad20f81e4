//! Rowspout against ClickHouse's own formats, live.
//!
//! For each format and two tables (parts merged, and three parts that overlap in time) three programs run in turn, each as a
//! process of its own: `rowspout export` to nowhere; the same cursor drained to nowhere; and ClickHouse's own FORMAT through
//! the same endpoint (for Parquet, `INSERT INTO FUNCTION file()`). Interleaved, so that a machine whose speed drifts
//! treats all three alike. Printed are medians: rows a second, wall time, CPU of the program and of the engine, the
//! program's peak resident memory, and the ratios of wall times pair by pair.
//!
//! `cargo bench --bench versus [-- --events N] [--runs N] [--format F] [--tables merged|overlapping]`

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that fails may panic

mod measure;
mod programs;
mod tables;

use measure::{Run, median};
use programs::Program;
use rowspout::request::Format;
use tables::Tables;

/// Events unless told otherwise.
const DEFAULT_EVENTS: u64 = 2_000_000;

/// Counted runs of each program, after one that is not counted.
const DEFAULT_RUNS: usize = 3;

struct Options {
    events: u64,
    runs: usize,
    formats: Vec<Format>,
    tables: Vec<Tables>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // A bench measures processes, so it starts itself again for what is no command of Rowspout.
    if arguments
        .first()
        .is_some_and(|first| first == programs::CHILD)
    {
        runtime.block_on(programs::child(&arguments[1..]));
        return;
    }
    let options = options(&arguments);
    runtime.block_on(compare(&options));
}

fn options(arguments: &[String]) -> Options {
    let mut options = Options {
        events: DEFAULT_EVENTS,
        runs: DEFAULT_RUNS,
        formats: Format::ALL.to_vec(),
        tables: Tables::ALL.to_vec(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .unwrap_or_else(|| panic!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--bench" => {}
            "--events" => options.events = value().parse().expect("a number"),
            "--runs" => options.runs = value().parse().expect("a number"),
            "--format" => {
                options.formats =
                    vec![Format::from_name(value()).expect("csv, json, ndjson or parquet")];
            }
            "--tables" => {
                options.tables = vec![Tables::from_name(value()).expect("merged or overlapping")];
            }
            other => panic!("there is no option {other}"),
        }
    }
    options
}

async fn compare(options: &Options) {
    let bed = tables::TestBed::prepare(options.events, &options.tables).await;
    println!(
        "{} events, {} counted runs of each, medians; {}",
        options.events,
        options.runs,
        measure::machine()
    );
    println!(
        "{:<9} {:<12} {:<10} {:>10} {:>8} {:>8} {:>8} {:>9} {:>11} {:>11}",
        "format",
        "parts",
        "program",
        "rows/s",
        "wall s",
        "CPU s",
        "engine s",
        "peak MiB",
        "bytes",
        "wall ratio"
    );
    let mut slower = Vec::new();
    for &tables in &options.tables {
        for &format in &options.formats {
            let runs = interleaved(&bed, tables, format, options.runs);
            let [rowspout, ..] = &runs;
            for (program, of) in Program::ALL.iter().zip(&runs) {
                let wall = median(of, |run| run.wall);
                let ratios: Vec<f64> = rowspout
                    .iter()
                    .zip(of)
                    .map(|(a, b)| a.wall / b.wall)
                    .collect();
                let ratio = measure::median_of(ratios);
                println!(
                    "{:<9} {:<12} {:<10} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>9.1} {:>11.0} {:>11}",
                    format.as_str(),
                    tables.as_str(),
                    program.as_str(),
                    options.events as f64 / wall,
                    wall,
                    median(of, |run| run.cpu),
                    median(of, |run| run.engine_cpu),
                    median(of, |run| run.peak_bytes as f64) / f64::from(1 << 20),
                    median(of, |run| run.bytes as f64),
                    if *program == Program::Rowspout {
                        String::new()
                    } else {
                        format!("{ratio:.2}")
                    },
                );
                if *program == Program::Own && ratio > 1.0 {
                    slower.push(format!("{format} over {} parts", tables.as_str()));
                }
            }
        }
    }
    println!("wall ratio: Rowspout's wall time over that program's, median of the pairs");
    if slower.is_empty() {
        println!("no format is slower than ClickHouse's own");
    } else {
        println!("slower than ClickHouse's own: {}", slower.join(", "));
    }
    bed.stop();
}

/// Runs the three programs in turn.
fn interleaved(
    bed: &tables::TestBed,
    tables: Tables,
    format: Format,
    runs: usize,
) -> [Vec<Run>; 3] {
    let mut measured: [Vec<Run>; 3] = Default::default();
    for round in 0..=runs {
        for (program, of) in Program::ALL.iter().zip(&mut measured) {
            let run = measure::run(program.command(bed, tables, format), bed.engine_pid());
            if round > 0 {
                of.push(run);
            }
        }
    }
    measured
}
