//! The fuzz targets' checks over the inputs that are kept: those that once failed, and a few that reach far.

use std::path::Path;

use super::codec::{expected, support};

#[path = "../fuzz/checks/mod.rs"]
mod checks;

#[test]
fn kept_inputs_of_the_fuzz_targets_pass_their_checks() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, check) in checks::CHECKS {
        let mut inputs = 0;
        for input in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = input.unwrap().path();
            // Shown where the test fails.
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name}");
    }
}

#[test]
fn inputs_of_any_kind_pass_the_checks_of_the_fuzz_targets() {
    let mut random = support::Random(1);
    for (name, check) in checks::CHECKS {
        for round in 0..200 {
            let mut input = Vec::new();
            while input.len() < 10 * round {
                input.extend_from_slice(&random.next().to_le_bytes());
            }
            println!("{name} {round}");
            check(&input);
        }
    }
}
