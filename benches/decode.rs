//! RowBinary and Native to batches, from memory: throughput by row and by byte of the wire over three corpora.

#![allow(clippy::unwrap_used)] // a bench that cannot go on ends
#![allow(missing_docs)] // criterion's macros

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rowspout::decode::{Decoder, Wire};

#[path = "support/mod.rs"]
mod support;

use support::native::{BLOCK_ROWS, TABLE, native};
use support::{CHUNK_BYTES, Corpus, chunks, wire};

fn decode(wire: Wire, chunks: &[Bytes]) -> usize {
    let mut decoder = Decoder::new(wire);
    let mut rows = 0;
    for chunk in chunks {
        decoder.push(chunk.clone());
        while let Some(batch) = decoder.next_batch().unwrap() {
            rows += black_box(&batch).rows();
        }
    }
    decoder.finish().unwrap();
    rows
}

fn benches(criterion: &mut Criterion) {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(corpus.bench_rows());
        let mut group = criterion.benchmark_group(format!("decode/{}", corpus.name()));
        for (wire, bytes) in [
            (Wire::RowBinary, wire(&rows)),
            (Wire::Native, native(&rows, BLOCK_ROWS, &TABLE)),
        ] {
            group.throughput(Throughput::ElementsAndBytes {
                elements: rows.len() as u64,
                bytes: bytes.len() as u64,
            });
            for size in [4 << 10, CHUNK_BYTES, 1 << 20] {
                let chunks = chunks(&bytes, size);
                let name = format!("{}, chunks of {} KiB", wire.as_str(), size >> 10);
                group.bench_function(name, |bencher| {
                    bencher.iter(|| decode(wire, black_box(&chunks)));
                });
            }
        }
    }
}

criterion_group!(all, benches);
criterion_main!(all);
