//! The committed counts, by the kind of CPU.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::cases::Case;

/// What one file holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// Versions of the programs that made it, for whoever wonders about a difference.
    made_with: Vec<String>,
    instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// The one of this kind of CPU.
    pub(crate) fn read() -> Self {
        let path = path();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "there is no baseline {} ({error}): make one with `cargo bench --bench instructions -- --renew`",
                path.display()
            )
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// One of these counts, sorted each.
    pub(crate) fn renewed(counts: &BTreeMap<Case, Vec<u64>>) -> Self {
        let median = |counts: &Vec<u64>| counts[counts.len() / 2];
        Self {
            made_with: ["rustc", "valgrind"].map(version).into(),
            instructions: counts
                .iter()
                .map(|(case, counts)| (case.name(), median(counts)))
                .collect(),
        }
    }

    pub(crate) fn write(&self) {
        let text = serde_json::to_string_pretty(self).expect("JSON");
        std::fs::write(path(), text + "\n").expect("the baseline's file");
    }

    pub(crate) fn instructions(&self, case: Case) -> Option<u64> {
        self.instructions.get(&case.name()).copied()
    }

    pub(crate) fn made_with(&self) -> String {
        self.made_with.join(", ")
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!(
        "benches/instructions/baseline-{}.json",
        std::env::consts::ARCH
    ))
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    String::from_utf8_lossy(&text).trim().to_owned()
}
