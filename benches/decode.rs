//! RowBinary to batches, from memory: throughput by byte and by row over three corpora.

#![allow(clippy::unwrap_used)] // a bench that cannot go on ends
#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rowspout::decode::RowBinaryDecoder;

#[path = "support/mod.rs"]
mod support;

use support::{CHUNK_BYTES, Corpus, chunks, wire};

fn decode(chunks: &[Bytes]) -> u64 {
    let mut decoder = RowBinaryDecoder::new();
    for chunk in chunks {
        decoder.push(chunk.clone());
        while let Some(batch) = decoder.next_batch().unwrap() {
            black_box(&batch);
        }
    }
    decoder.finish().unwrap();
    decoder.rows()
}

fn benches(criterion: &mut Criterion) {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(corpus.bench_rows());
        let wire = wire(&rows);
        for (unit, throughput) in [
            ("bytes", Throughput::Bytes(wire.len() as u64)),
            ("rows", Throughput::Elements(rows.len() as u64)),
        ] {
            let mut group = criterion.benchmark_group(format!("decode/{}", corpus.name()));
            group.throughput(throughput);
            for size in [4 << 10, CHUNK_BYTES, 1 << 20] {
                let chunks = chunks(&wire, size);
                group.bench_function(
                    format!("chunks of {} KiB, by {unit}", size >> 10),
                    |bencher| {
                        bencher.iter(|| decode(black_box(&chunks)));
                    },
                );
            }
        }
    }
}

criterion_group!(all, benches);
criterion_main!(all);
