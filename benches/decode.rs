//! RowBinary to batches, from memory: throughput by row and by byte over three corpora.

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
        let mut group = criterion.benchmark_group(format!("decode/{}", corpus.name()));
        group.throughput(Throughput::ElementsAndBytes {
            elements: rows.len() as u64,
            bytes: wire.len() as u64,
        });
        for size in [4 << 10, CHUNK_BYTES, 1 << 20] {
            let chunks = chunks(&wire, size);
            group.bench_function(format!("chunks of {} KiB", size >> 10), |bencher| {
                bencher.iter(|| decode(black_box(&chunks)));
            });
        }
    }
}

criterion_group!(all, benches);
criterion_main!(all);
