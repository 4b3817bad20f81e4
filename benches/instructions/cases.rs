//! What is counted: each stage over each corpus.

use std::hint::black_box;

use rowspout::decode::{Decoder, Wire};
use rowspout::encode::FileInfo;
use rowspout::request::{Fields, Format};

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/writers.rs"]
#[allow(dead_code)] // the other writers are not counted
mod writers;

use support::native::{BLOCK_ROWS, TABLE, native};
use support::{CHUNK_BYTES, Corpus, chunks, wire};

/// Rows of a corpus, in those of the other benches: some MiB, since valgrind is slow.
const PART_OF_BENCH_ROWS: usize = 10;

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    corpus: usize,
    wire: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Makes the rows and does nothing with them: what every other count holds too.
    Nothing,
    /// The wire's bytes to batches.
    Decode,
    /// The wire's bytes to a file of a format, by its place in [`Format::ALL`].
    Encode(usize),
    /// The wire's bytes to a file of which more was asked, by its place in [`ASKED`].
    EncodeAsked(usize),
}

/// A file of which more was asked than a format.
struct Asked {
    name: &'static str,
    format: Format,
    ask: fn(&mut FileInfo),
}

/// Those that have code of their own, from RowBinary.
const ASKED: [Asked; 3] = [
    Asked {
        name: "csv of five fields",
        format: Format::Csv,
        ask: |info| {
            let fields = Fields::parse("timestamp,event_type,url,visitor_id,country");
            info.fields = fields.expect("fields");
        },
    },
    Asked {
        name: "csv for spreadsheets",
        format: Format::Csv,
        ask: |info| info.spreadsheet = true,
    },
    Asked {
        name: "json, data as string",
        format: Format::Json,
        ask: |info| info.data_as_string = true,
    },
];

impl Case {
    /// Every case that is counted.
    pub(crate) fn all() -> Vec<Self> {
        let wires = 0..Wire::ALL.len();
        let inputs =
            (0..Corpus::ALL.len()).flat_map(|corpus| wires.clone().map(move |wire| (corpus, wire)));
        inputs
            .flat_map(|(corpus, wire)| {
                // The encoders that are Rowspout's own: Arrow's is that of its crate.
                let encoders = (0..Format::ALL.len())
                    .filter(|format| Format::ALL[*format] != Format::Arrow)
                    .map(Stage::Encode);
                let asked = (0..ASKED.len())
                    .filter(move |_| Wire::ALL[wire] == Wire::RowBinary)
                    .map(Stage::EncodeAsked);
                let stages = std::iter::once(Stage::Decode).chain(encoders).chain(asked);
                stages.map(move |stage| Self {
                    corpus,
                    wire,
                    stage,
                })
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
            Stage::EncodeAsked(place) => ASKED[place].name,
        };
        let from = match Wire::ALL[self.wire] {
            Wire::RowBinary => "",
            Wire::Native => " from native",
        };
        format!("{}, {stage}{from}", Corpus::ALL[self.corpus].name())
    }

    pub(crate) fn rows(self) -> usize {
        Corpus::ALL[self.corpus].bench_rows() / PART_OF_BENCH_ROWS
    }

    fn run(self) {
        // They are kept to the end: an allocator that has just taken many small texts back sorts them during the work.
        let rows = Corpus::ALL[self.corpus].rows(self.rows());
        let wire_of = Wire::ALL[self.wire];
        let bytes = match wire_of {
            Wire::RowBinary => wire(&rows),
            Wire::Native => native(&rows, BLOCK_ROWS, &TABLE),
        };
        let chunks = chunks(&bytes, CHUNK_BYTES);
        match self.stage {
            Stage::Nothing => drop(black_box(chunks)),
            Stage::Decode => {
                let mut decoder = Decoder::new(wire_of);
                let mut decoded = 0;
                for chunk in &chunks {
                    decoder.push(chunk.clone());
                    while let Some(batch) = decoder.next_batch().expect("rows") {
                        decoded += black_box(&batch).rows();
                    }
                }
                decoder.finish().expect("whole rows");
                assert_eq!(decoded, self.rows());
            }
            Stage::Encode(format) => {
                let format = Format::ALL[format];
                black_box(writers::rowspout(wire_of, format, black_box(&chunks)));
            }
            Stage::EncodeAsked(place) => {
                let asked = &ASKED[place];
                let mut info = writers::info();
                (asked.ask)(&mut info);
                let chunks = black_box(&chunks);
                let file = writers::rowspout_as(wire_of, asked.format, &info, chunks);
                black_box(file);
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
