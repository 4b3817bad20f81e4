//! What the bench is asked for on its command line.

use std::path::PathBuf;

/// How many clients, how long, over how many events.
pub(crate) struct Options {
    pub(crate) clients: usize,
    pub(crate) seconds: u64,
    pub(crate) events: u64,
    pub(crate) wire: String,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn read(arguments: &[String]) -> Self {
        let mut options = Self {
            clients: 200,
            seconds: 120,
            events: 1_000_000,
            wire: "rowbinary".to_owned(),
            json: None,
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
                "--clients" => options.clients = value().parse().expect("a number"),
                "--seconds" => options.seconds = value().parse().expect("a number"),
                "--events" => options.events = value().parse().expect("a number"),
                "--wire" => options.wire = value().clone(),
                "--json" => options.json = Some(value().into()),
                other => panic!("there is no option {other}"),
            }
        }
        options
    }
}
