//! Rowspout against ClickHouse's own formats, live.
//!
//! For each format and two tables (parts merged, and three parts that overlap in time) three programs run in turn, each as a
//! process of its own: `rowspout export`; the same cursor drained to nowhere; and ClickHouse's own FORMAT through
//! the same endpoint (for Parquet and Arrow from the embedded engine, `INSERT INTO FUNCTION file()`). Rowspout and the own FORMAT
//! write to standard output, a pipe that is emptied here without a copy. Interleaved, so that a machine whose speed drifts treats all
//! alike. Measured are wall time, time to the first byte, CPU of the program and of the engine apart, the program's peak
//! resident memory, and bytes; printed are medians, spreads and ratios of medians.
//!
//! ```text
//! cargo bench --bench versus --
//!   --events N              events in each table
//!   --runs N                counted runs of each program
//!   --format F              csv, json, ndjson, parquet or arrow; may be repeated [default: all]
//!   --tables T              merged or overlapping; may be repeated [default: both]
//!   --wire W                a wire, or both [default: all there are]
//!   --parallel N            cursors that one export may have open
//!   --json FILE --svg FILE  the results for programs, and as a picture
//!   --many N                instead: N exports at once through one service, against one
//!   --one-row               instead: the latency of a one-row export, against its queries
//!   --fresh                 events that came just now, which an export counts once more [default: an hour ago]
//! ```
//!
//! The embedded engine is measured, or the server that `ROWSPOUT_CLICKHOUSE_URL` names; databases `versus_merged` and
//! `versus_overlapping` are made there anew. A server's CPU is that of all its queries, so it should have no others; it is given
//! where the user may read `system.events`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that fails may panic

mod compare;
mod many;
mod measure;
mod one_row;
mod options;
mod plot;
mod programs;
mod proxy;
mod report;
mod service;
mod stats;
mod tables;

use options::Options;
use report::Circumstances;
use tables::{Tables, TestBed};

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
    runtime.block_on(measure_all(&Options::read(&arguments)));
}

async fn measure_all(options: &Options) {
    let in_service = options.many.is_some() || options.one_row;
    let tables: &[Tables] = if in_service { &[] } else { &options.tables };
    let bed = TestBed::prepare(options.events, tables, options.came).await;
    let circumstances = Circumstances {
        events: options.events,
        came: options.came,
        runs: options.runs,
        parallel: options.parallel,
        machine: measure::machine(),
        server: bed
            .engine_pid()
            .is_none()
            .then(|| bed.clickhouse.url.clone()),
    };
    circumstances.print();
    let mut results = circumstances.json();
    if let Some(many) = options.many {
        results["many"] = many::run(&bed, options, many).await;
    }
    if options.one_row {
        results["one_row"] = one_row::run(&bed, options).await;
    }
    if !in_service {
        let comparisons = compare::run(&bed, options);
        report::print(&comparisons);
        results["comparisons"] = report::json(&comparisons);
        if let Some(path) = &options.svg {
            let svg = plot::svg(&comparisons, &circumstances.line());
            std::fs::write(path, svg).expect("the picture's file");
        }
    }
    bed.stop();
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&results).expect("JSON");
        std::fs::write(path, text + "\n").expect("the results' file");
    }
}
