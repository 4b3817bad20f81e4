//! What the bench is asked for on its command line.

use std::path::PathBuf;

use rowspout::request::Format;

use super::tables::{Came, Tables};

/// How rows travel from ClickHouse to Rowspout, by the names of the setting `wire`: all that are compared.
pub(crate) const WIRES: &[&str] = &["rowbinary", "native"];

/// Events unless told otherwise.
const DEFAULT_EVENTS: u64 = 2_000_000;

/// Counted runs of each program, after one that is not counted.
const DEFAULT_RUNS: usize = 5;

/// What to compare, and where the results go.
pub(crate) struct Options {
    pub(crate) events: u64,
    pub(crate) runs: usize,
    pub(crate) formats: Vec<Format>,
    pub(crate) tables: Vec<Tables>,
    pub(crate) wires: Vec<&'static str>,
    /// Cursors of one export; `None` leaves it to Rowspout.
    pub(crate) parallel: Option<usize>,
    /// So many exports at once, against one.
    pub(crate) many: Option<usize>,
    /// An export of one row, against its queries.
    pub(crate) one_row: bool,
    /// When the events came.
    pub(crate) came: Came,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn read(arguments: &[String]) -> Self {
        let mut options = Self {
            events: DEFAULT_EVENTS,
            runs: DEFAULT_RUNS,
            formats: Vec::new(),
            tables: Vec::new(),
            wires: Vec::new(),
            parallel: None,
            many: None,
            one_row: false,
            came: Came::AnHourAgo,
            json: None,
            svg: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .unwrap_or_else(|| panic!("{argument} needs a value"))
            };
            match argument.as_str() {
                // What `cargo bench` adds.
                "--bench" => {}
                "--events" => options.events = value().parse().expect("a number"),
                "--runs" => options.runs = value().parse().expect("a number"),
                "--format" => options
                    .formats
                    .push(Format::from_name(value()).expect("csv, json, ndjson, parquet or arrow")),
                "--tables" => options
                    .tables
                    .push(Tables::from_name(value()).expect("merged or overlapping")),
                "--wire" => options.wires.extend(wires(value())),
                "--parallel" => options.parallel = Some(value().parse().expect("a number")),
                "--many" => options.many = Some(value().parse().expect("a number")),
                "--one-row" => options.one_row = true,
                "--fresh" => options.came = Came::JustNow,
                "--json" => options.json = Some(value().into()),
                "--svg" => options.svg = Some(value().into()),
                other => panic!("there is no option {other}"),
            }
        }
        if options.formats.is_empty() {
            options.formats = Format::ALL.to_vec();
        }
        if options.tables.is_empty() {
            options.tables = Tables::ALL.to_vec();
        }
        if options.wires.is_empty() {
            options.wires = WIRES.to_vec();
        }
        assert!(options.runs > 0, "--runs 0 measures nothing");
        assert!(options.many != Some(0), "--many 0 measures nothing");
        options
    }
}

fn wires(name: &str) -> Vec<&'static str> {
    let found: Vec<_> = WIRES
        .iter()
        .copied()
        .filter(|&wire| wire == name || name == "both")
        .collect();
    assert!(!found.is_empty(), "--wire is one of {WIRES:?} or both");
    found
}
