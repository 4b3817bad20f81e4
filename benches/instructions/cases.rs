//! What is counted: each stage over each corpus.

use std::hint::black_box;

use rowspout::decode::RowBinaryDecoder;
use rowspout::request::Format;

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/writers.rs"]
#[allow(dead_code)] // the other writers are not counted
mod writers;

use support::{CHUNK_BYTES, Corpus, chunks, wire};

/// Rows of a corpus, in those of the other benches: some MiB, since valgrind is slow.
const PART_OF_BENCH_ROWS: usize = 10;

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    corpus: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Makes the rows and does nothing with them: what every other count holds too.
    Nothing,
    /// RowBinary to batches.
    Decode,
    /// RowBinary to a file of a format, by its place in [`Format::ALL`].
    Encode(usize),
}

impl Case {
    /// Every case that is counted.
    pub(crate) fn all() -> Vec<Self> {
        let corpora = 0..Corpus::ALL.len();
        corpora
            .flat_map(|corpus| {
                let encoders = (0..Format::ALL.len()).map(Stage::Encode);
                let stages = std::iter::once(Stage::Decode).chain(encoders);
                stages.map(move |stage| Self { corpus, stage })
            })
            .collect()
    }

    /// The case that only makes the rows of this one.
    pub(crate) fn without_work(self) -> Self {
        Self {
            stage: Stage::Nothing,
            ..self
        }
    }

    pub(crate) fn name(self) -> String {
        let stage = match self.stage {
            Stage::Nothing => "nothing",
            Stage::Decode => "decode",
            Stage::Encode(format) => Format::ALL[format].as_str(),
        };
        format!("{}, {stage}", Corpus::ALL[self.corpus].name())
    }

    pub(crate) fn rows(self) -> usize {
        Corpus::ALL[self.corpus].bench_rows() / PART_OF_BENCH_ROWS
    }

    fn run(self) {
        let chunks = chunks(
            &wire(&Corpus::ALL[self.corpus].rows(self.rows())),
            CHUNK_BYTES,
        );
        match self.stage {
            Stage::Nothing => drop(black_box(chunks)),
            Stage::Decode => {
                let mut decoder = RowBinaryDecoder::new();
                for chunk in &chunks {
                    decoder.push(chunk.clone());
                    while let Some(batch) = decoder.next_batch().expect("rows") {
                        black_box(&batch);
                    }
                }
                decoder.finish().expect("whole rows");
                assert_eq!(decoder.rows(), self.rows() as u64);
            }
            Stage::Encode(format) => {
                black_box(writers::rowspout(Format::ALL[format], black_box(&chunks)));
            }
        }
    }
}

/// Does the work of the case of that name.
pub(crate) fn run(name: &str) {
    let cases = Case::all();
    let with_nothing = cases.iter().map(|case| case.without_work());
    with_nothing
        .chain(cases.iter().copied())
        .find(|case| case.name() == name)
        .unwrap_or_else(|| panic!("there is no case {name}"))
        .run();
}
