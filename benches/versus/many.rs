//! Many exports at once through one service, against one alone: total throughput and memory.

use std::sync::Arc;
use std::time::Instant;

use rowspout::demo;
use rowspout::request::Format;
use serde_json::{Value, json};

use super::options::Options;
use super::service::ServiceProcess;
use super::stats::Spread;
use super::tables::{Tables, TestBed};

/// One measurement of so many exports at once.
struct Round {
    rows_per_second: f64,
    /// The service's CPU, in seconds of each export.
    cpu: f64,
    /// What the service's highest memory grew by, in bytes of each export.
    peak_bytes: f64,
}

/// Prints how `many` exports at once compare with one, format by format; as JSON too.
pub(crate) async fn run(bed: &TestBed, options: &Options, many: usize) -> Value {
    println!();
    println!("{many} exports at once through one service, merged parts; each reads all events");
    println!(
        "{:<8} {:<9} {:>14} {:>14} {:>17} {:>11} {:>11} {:>10} {:>10}",
        "format",
        "wire",
        "one, rows/s",
        "all, rows/s",
        "all/one",
        "one, MiB",
        "each, MiB",
        "one CPU s",
        "each CPU s"
    );
    let mut results = Vec::new();
    for &wire in &options.wires {
        for &format in &options.formats {
            let (mut one, mut all) = (Vec::new(), Vec::new());
            for counted in 0..=options.runs {
                let single = round(bed, options, wire, format, 1).await;
                let together = round(bed, options, wire, format, many).await;
                if counted > 0 {
                    one.push(single);
                    all.push(together);
                }
            }
            results.push(print(format, wire, &one, &all));
        }
    }
    json!({ "exports": many, "results": results })
}

fn print(format: Format, wire: &str, one: &[Round], all: &[Round]) -> Value {
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let rate = |rounds| of(rounds, |round| round.rows_per_second);
    let memory = |rounds| of(rounds, |round| round.peak_bytes);
    let cpu = |rounds| of(rounds, |round| round.cpu);
    let pairs = one.iter().zip(all);
    let ratio = Spread {
        median: rate(all).median / rate(one).median,
        ..Spread::of(pairs.map(|(one, all)| all.rows_per_second / one.rows_per_second))
    };
    const MIB: f64 = (1 << 20) as f64;
    println!(
        "{:<8} {:<9} {:>14.0} {:>14.0} {:>17} {:>11.1} {:>11.1} {:>10.2} {:>10.2}",
        format.as_str(),
        wire,
        rate(one).median,
        rate(all).median,
        format!("{:.2} ({:.2}..{:.2})", ratio.median, ratio.min, ratio.max),
        memory(one).median / MIB,
        memory(all).median / MIB,
        cpu(one).median,
        cpu(all).median,
    );
    json!({
        "format": format.as_str(),
        "wire": wire,
        "one": { "rows_per_second": rate(one).json(), "peak_bytes": memory(one).json(), "cpu": cpu(one).json() },
        "all": { "rows_per_second": rate(all).json(), "peak_bytes_each": memory(all).json(), "cpu_each": cpu(all).json() },
        "throughput_to_one": ratio.json(),
    })
}

/// Runs so many exports at once, through a service that has done nothing before.
async fn round(
    bed: &TestBed,
    options: &Options,
    wire: &str,
    format: Format,
    exports: usize,
) -> Round {
    let clickhouse = &bed.clickhouse;
    let service =
        ServiceProcess::start(clickhouse, Tables::Merged, wire, options.parallel, exports).await;
    let service = Arc::new(service);
    let (idle, cpu) = (service.peak(), service.cpu());
    let begun = Instant::now();
    let running: Vec<_> = (0..exports)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.export(demo::SITE, format).await })
        })
        .collect();
    let mut sizes = Vec::new();
    for export in running {
        sizes.push(export.await.expect("a whole export"));
    }
    let wall = begun.elapsed().as_secs_f64();
    assert!(
        sizes.iter().all(|&size| size == sizes[0]),
        "the files differ in size"
    );
    Round {
        rows_per_second: (options.events * exports as u64) as f64 / wall,
        cpu: (service.cpu() - cpu) / exports as f64,
        peak_bytes: service.peak().saturating_sub(idle) as f64 / exports as f64,
    }
}
