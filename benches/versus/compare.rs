//! Runs of every program in turn, and what they come to.

use rowspout::request::Format;

use super::measure::{self, Run};
use super::options::Options;
use super::programs::Program;
use super::stats::Spread;
use super::tables::{Tables, TestBed};

/// What the runs of one program came to.
pub(crate) struct Measured {
    pub(crate) program: Program,
    pub(crate) rows_per_second: f64,
    pub(crate) wall: Spread,
    pub(crate) first_byte: Option<Spread>,
    pub(crate) cpu: Spread,
    pub(crate) engine_cpu: Option<Spread>,
    pub(crate) peak_bytes: Spread,
    /// Of the file, wherever it went.
    pub(crate) bytes: u64,
    /// Wall time of each run, in the order of the rounds.
    walls: Vec<f64>,
}

/// One format over one kind of parts.
pub(crate) struct Comparison {
    pub(crate) format: Format,
    pub(crate) tables: Tables,
    pub(crate) programs: Vec<Measured>,
}

/// Rowspout over one wire beside the other programs; each figure is Rowspout's over theirs.
pub(crate) struct Ratios {
    pub(crate) wire: &'static str,
    /// Medians of wall time against ClickHouse's own, and the least and most of the rounds.
    pub(crate) wall_to_own: Spread,
    /// The same against the drained cursor of that wire.
    pub(crate) wall_to_drain: Spread,
    pub(crate) first_byte_to_own: Option<f64>,
    pub(crate) bytes_to_own: f64,
}

/// Runs what the options ask for.
pub(crate) fn run(bed: &TestBed, options: &Options) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for &tables in &options.tables {
        for &format in &options.formats {
            comparisons.push(Comparison {
                format,
                tables,
                programs: interleaved(bed, tables, format, options),
            });
        }
    }
    comparisons
}

/// Runs the programs in turn, each round beginning with another one. The first round is not counted.
fn interleaved(bed: &TestBed, tables: Tables, format: Format, options: &Options) -> Vec<Measured> {
    let programs = Program::all(&options.wires);
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); programs.len()];
    for round in 0..=options.runs {
        for step in 0..programs.len() {
            let place = (round + step) % programs.len();
            let (command, file) = programs[place].command(bed, tables, format, options.parallel);
            let mut run = measure::run(command, || bed.engine_cpu());
            if let Some(file) = file {
                run.bytes += std::fs::metadata(&file).expect("a file").len();
                run.first_byte = None;
            }
            if round > 0 {
                runs[place].push(run);
            }
        }
    }
    let measured = programs.into_iter().zip(&runs);
    measured
        .map(|(program, runs)| Measured::of(program, runs, options.events))
        .collect()
}

impl Measured {
    fn of(program: Program, runs: &[Run], events: u64) -> Self {
        let spread = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure));
        let optional = |figure: fn(&Run) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(figure).collect();
            (values.len() == runs.len()).then(|| Spread::of(values))
        };
        let wall = spread(|run| run.wall);
        Self {
            program,
            rows_per_second: events as f64 / wall.median,
            wall,
            first_byte: optional(|run| run.first_byte),
            cpu: spread(|run| run.cpu),
            engine_cpu: optional(|run| run.engine_cpu),
            peak_bytes: spread(|run| run.peak_bytes as f64),
            bytes: spread(|run| run.bytes as f64).median as u64,
            walls: runs.iter().map(|run| run.wall).collect(),
        }
    }
}

impl Comparison {
    /// The runs of one program.
    pub(crate) fn program(&self, program: Program) -> &Measured {
        let found = self.programs.iter().find(|of| of.program == program);
        found.expect("a program that ran")
    }

    /// How Rowspout compares, wire by wire.
    pub(crate) fn ratios(&self) -> Vec<Ratios> {
        let own = self.program(Program::Own);
        let wires = self.programs.iter().filter_map(|of| match of.program {
            Program::Rowspout(wire) => Some((wire, of)),
            _ => None,
        });
        wires
            .map(|(wire, rowspout)| Ratios {
                wire,
                wall_to_own: rowspout.wall_to(own),
                wall_to_drain: rowspout.wall_to(self.program(Program::Drain(wire))),
                first_byte_to_own: rowspout
                    .first_byte
                    .zip(own.first_byte)
                    .map(|(ours, own)| ours.median / own.median),
                bytes_to_own: rowspout.bytes as f64 / own.bytes as f64,
            })
            .collect()
    }
}

impl Measured {
    /// The ratio of the median wall times, with the least and most of the rounds.
    fn wall_to(&self, other: &Self) -> Spread {
        let rounds = self.walls.iter().zip(&other.walls).map(|(a, b)| a / b);
        Spread {
            median: self.wall.median / other.wall.median,
            ..Spread::of(rounds)
        }
    }
}
