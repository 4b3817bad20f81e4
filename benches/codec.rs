//! CPU of decoding and encoding in memory, against the writers that one would take otherwise, on the same rows: the csv
//! crate's, serde_json, and ArrowWriter with zstd. Those get the batches of the same decoder, and their times as text
//! rendered beforehand, which is not measured. In turn, so that a machine whose speed drifts treats all alike; printed are
//! medians of the rounds and their ratios (least and most of the rounds). Freed memory is kept for both, as the program keeps it.
//!
//! `cargo bench --bench codec -- [--corpus 'page views'] [--rows N] [--rounds N]`

#![allow(clippy::unwrap_used, clippy::panic)] // a bench that cannot go on ends
#![allow(missing_docs, unreachable_pub)] // a program

use bytes::Bytes;
use rowspout::decode::Wire;
use rowspout::request::Format;

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/mod.rs"]
mod support;
#[path = "support/writers.rs"]
mod writers;

use support::{CHUNK_BYTES, Corpus, chunks, wire};
use writers::{arrow_writer, csv_crate, rowspout, serde_json_crate, time};

/// Rows of a corpus, in those of the other benches.
const DEFAULT_TIMES_BENCH_ROWS: usize = 4;

const DEFAULT_ROUNDS: usize = 5;

/// The writer that Rowspout's is compared with.
#[derive(Clone, Copy)]
enum Other {
    CsvCrate,
    SerdeJson,
    ArrowWriter,
    /// Rowspout feeds the one that one would take otherwise.
    None,
}

impl Other {
    fn of(format: Format) -> Self {
        match format {
            Format::Csv => Self::CsvCrate,
            Format::Json | Format::Ndjson => Self::SerdeJson,
            Format::Parquet => Self::ArrowWriter,
            Format::Arrow => Self::None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::CsvCrate => "csv crate",
            Self::SerdeJson => "serde_json",
            Self::ArrowWriter => "ArrowWriter",
            Self::None => "none",
        }
    }

    fn write(self, chunks: &[Bytes], times: &[String]) -> usize {
        match self {
            Self::CsvCrate => csv_crate(chunks, times),
            Self::SerdeJson => serde_json_crate(chunks, times),
            Self::ArrowWriter => arrow_writer(chunks),
            Self::None => rowspout(Wire::RowBinary, Format::Arrow, chunks),
        }
    }
}

fn main() {
    rowspout::allocator::keep_freed();
    let (mut corpora, mut count, mut rounds) = (Corpus::ALL.to_vec(), None, DEFAULT_ROUNDS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .unwrap_or_else(|| panic!("{argument} needs a value"))
        };
        match argument.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--corpus" => {
                let name = value();
                corpora.retain(|corpus| corpus.name() == name);
                assert!(!corpora.is_empty(), "there is no corpus {name}");
            }
            "--rows" => count = Some(value().parse().unwrap()),
            "--rounds" => rounds = value().parse().unwrap(),
            other => panic!("there is no option {other}"),
        }
    }
    assert!(rounds > 0, "--rounds 0 measures nothing");
    println!("CPU of decoding and encoding, ns a row, medians of {rounds} rounds in turn");
    println!(
        "{:<11} {:<8} {:>9} {:>9} {:<12} {:>11} {:>11} {:>18}",
        "corpus", "format", "rows", "Rowspout", "other", "its ns", "bytes/its", "CPU/its"
    );
    for corpus in corpora {
        let rows = count.unwrap_or(corpus.bench_rows() * DEFAULT_TIMES_BENCH_ROWS);
        compare(corpus, rows, rounds);
    }
}

fn compare(corpus: Corpus, count: usize, rounds: usize) {
    let rows = corpus.rows(count);
    let times: Vec<_> = rows.iter().map(time).collect();
    let chunks = chunks(&wire(&rows), CHUNK_BYTES);
    drop(rows);
    for format in Format::ALL {
        let other = Other::of(format);
        let sizes =
            rowspout(Wire::RowBinary, format, &chunks) as f64 / other.write(&chunks, &times) as f64;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let our = cpu::seconds_of(|| rowspout(Wire::RowBinary, format, &chunks));
            let their = cpu::seconds_of(|| other.write(&chunks, &times));
            ours.push(our);
            theirs.push(their);
            ratios.push(our / their);
        }
        for figures in [&mut ours, &mut theirs, &mut ratios] {
            figures.sort_by(f64::total_cmp);
        }
        let (our, their) = (ours[rounds / 2], theirs[rounds / 2]);
        let ns = |seconds: f64| seconds * 1e9 / count as f64;
        println!(
            "{:<11} {:<8} {count:>9} {:>9.0} {:<12} {:>11.0} {sizes:>11.2} {:>18}",
            corpus.name(),
            format.as_str(),
            ns(our),
            other.as_str(),
            ns(their),
            format!(
                "{:.2} ({:.2}..{:.2})",
                our / their,
                ratios[0],
                ratios[rounds - 1]
            ),
        );
    }
}
