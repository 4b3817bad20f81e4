//! Whether a text is UTF-8, and whether it is JSON: what Rowspout looks with, beside the libraries that one would take
//! otherwise. Texts by themselves, and for UTF-8 also those of a row together, as CSV looks at them; throughput by text and by
//! byte. What differs: ours is the strictest about JSON and finds line breaks, but leaves UTF-8 to a look of its own, as serde_json
//! does here; sonic-rs and simd-json look at both at once, and simd-json writes into what it reads, so each text is copied for it.
//! All are compiled as the program is; sonic-rs alone finds out nothing about the CPU at run time.
//!
//! `cargo bench --manifest-path benches/valid/Cargo.toml`, with `-- 'fat JSON'` and the like for one corpus.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rowspout::encode::{is_json, is_utf8};
use serde::de::IgnoredAny;
use support::{Corpus, EVENT_DATA};

/// Measures how many of the texts a look finds valid, and says how many those are.
fn compare(group: &mut BenchmarkGroup<'_, WallTime>, texts: &[&[u8]], looks: &mut [Look<'_>]) {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    group.throughput(Throughput::ElementsAndBytes {
        elements: texts.len() as u64,
        bytes: bytes as u64,
    });
    for (name, is_valid) in looks {
        let mut count = || {
            let valid = texts.iter().filter(|&&text| is_valid(black_box(text)));
            valid.count()
        };
        println!("{name}: {} of {} are valid", count(), texts.len());
        group.bench_function(*name, |bencher| bencher.iter(&mut count));
    }
}

/// What finds a text valid, or not.
type Look<'a> = (&'static str, &'a mut dyn FnMut(&[u8]) -> bool);

fn utf8(criterion: &mut Criterion) {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(corpus.bench_rows());
        let texts = rows.iter().flat_map(|row| &row.text);
        let texts: Vec<_> = texts.map(Vec::as_slice).collect();
        let whole_rows: Vec<_> = rows.iter().map(|row| row.text.concat()).collect();
        let whole_rows: Vec<_> = whole_rows.iter().map(Vec::as_slice).collect();
        let name = |of: &str| format!("valid/UTF-8, {of}, {}", corpus.name());
        let looks: &mut [Look<'_>] = &mut [
            ("rowspout", &mut is_utf8),
            ("simdutf8", &mut |text| {
                simdutf8::basic::from_utf8(text).is_ok()
            }),
            ("standard library", &mut |text| {
                std::str::from_utf8(text).is_ok()
            }),
        ];
        let mut group = criterion.benchmark_group(name("each text"));
        compare(&mut group, &texts, looks);
        group.finish();
        let mut group = criterion.benchmark_group(name("each row"));
        compare(&mut group, &whole_rows, looks);
    }
}

fn json(criterion: &mut Criterion) {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(corpus.bench_rows());
        let texts = rows.iter().map(|row| row.text[EVENT_DATA].as_slice());
        let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
        let (mut copy, mut buffers) = (Vec::new(), simd_json::Buffers::default());
        let mut group = criterion.benchmark_group(format!("valid/JSON, {}", corpus.name()));
        compare(
            &mut group,
            &texts,
            &mut [
                ("rowspout", &mut is_json),
                ("rowspout, and UTF-8", &mut |text| {
                    is_utf8(text) && is_json(text)
                }),
                ("sonic-rs", &mut |text| {
                    sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(text).is_ok()
                }),
                ("simd-json", &mut |text| {
                    copy.clear();
                    copy.extend_from_slice(text);
                    simd_json::to_tape_with_buffers(&mut copy, &mut buffers).is_ok()
                }),
                ("serde_json", &mut |text| {
                    serde_json::from_slice::<IgnoredAny>(text).is_ok()
                }),
            ],
        );
    }
}

criterion_group!(all, utf8, json);
criterion_main!(all);
