//! RowBinary and Native to files, from memory: decoding and encoding together, beside the writers that one would take otherwise,
//! which are given the batches of RowBinary. Those get their times as text rendered beforehand, and that is not
//! measured. Throughput by row and by byte of RowBinary; add `-- 'page views'` and the like to run one corpus.
//!
//! Parquet also as on machines of one core and more, up to this one's, by each compression: `-- 'cores'`.

#![allow(clippy::unwrap_used)] // a bench that cannot go on ends
#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rowspout::decode::Wire;
use rowspout::encode::{Encoder, FileInfo};
use rowspout::request::{Compression, Format};

#[path = "support/mod.rs"]
mod support;
#[path = "support/writers.rs"]
mod writers;

use support::native::{BLOCK_ROWS, TABLE, native};
use support::{CHUNK_BYTES, Corpus, chunks, wire};
use writers::{arrow_writer, csv_crate, info, rowspout, rowspout_by, serde_json_crate, time};

fn benches(criterion: &mut Criterion) {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    for corpus in Corpus::ALL {
        let rows = corpus.rows(corpus.bench_rows());
        let times: Vec<_> = rows.iter().map(time).collect();
        let wire = wire(&rows);
        let blocks = chunks(&native(&rows, BLOCK_ROWS, &TABLE), CHUNK_BYTES);
        let chunks = chunks(&wire, CHUNK_BYTES);
        let mut group = criterion.benchmark_group(format!("encode/{}", corpus.name()));
        group
            .measurement_time(Duration::from_secs(4))
            .sample_size(20);
        group.throughput(Throughput::ElementsAndBytes {
            elements: rows.len() as u64,
            bytes: wire.len() as u64,
        });
        for format in Format::ALL {
            group.bench_function(format!("rowspout {format}"), |bencher| {
                bencher.iter(|| rowspout(Wire::RowBinary, format, black_box(&chunks)));
            });
            group.bench_function(format!("rowspout {format} from native"), |bencher| {
                bencher.iter(|| rowspout(Wire::Native, format, black_box(&blocks)));
            });
        }
        for compression in Compression::ALL {
            let info = FileInfo {
                compression,
                ..info()
            };
            for cores in [1, 2, 4, 8].into_iter().filter(|&of| of <= available) {
                let name = format!("parquet {} on {cores} cores", compression.as_str());
                group.bench_function(name, |bencher| {
                    // Its threads have started when the time starts.
                    let encoder = || Encoder::parquet_on(cores, &info).unwrap();
                    let write = |encoder| rowspout_by(encoder, Wire::RowBinary, black_box(&chunks));
                    bencher.iter_batched(encoder, write, BatchSize::PerIteration);
                });
            }
        }
        group.bench_function("csv crate", |bencher| {
            bencher.iter(|| csv_crate(black_box(&chunks), &times));
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| serde_json_crate(black_box(&chunks), &times));
        });
        group.bench_function("ArrowWriter, StringBuilder", |bencher| {
            bencher.iter(|| arrow_writer(black_box(&chunks)));
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
