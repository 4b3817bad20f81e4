//! Instructions of decoding and of each encoder over seeded rows, counted by valgrind, against a committed baseline. Unlike
//! times they come out the same on a busy machine, so a change that makes a stage dearer fails here.
//!
//! ```text
//! cargo bench --bench instructions                 fails where a count is more than a tenth over the baseline
//! cargo bench --bench instructions -- --renew      writes the baseline anew
//! cargo bench --bench instructions -- --runs 3     counts so often and prints how far the counts are apart
//! ```
//!
//! A count is that of a process which does the work less that of one which only makes the rows, so it holds every thread of
//! the work. It is not the same to the last digit: dictionaries hash with secret keys. Valgrind hides some of a CPU's
//! features (AVX-512 above all), so code that is chosen at run time is counted as an older CPU would run it.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that fails may panic

mod baseline;
mod cases;
mod count;

use std::collections::BTreeMap;

use baseline::Baseline;
use cases::Case;

/// How far a count may be over the baseline's, as a factor.
const ALLOWED: f64 = 1.10;

/// A count so far below the baseline's deserves a new one.
const STALE: f64 = 0.90;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name] = arguments.as_slice()
        && first == count::CHILD
    {
        cases::run(name);
        return;
    }
    let (mut renew, mut runs) = (false, 1);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--renew" => renew = true,
            "--runs" => {
                let value = arguments.next().expect("--runs needs a value");
                runs = value.parse().expect("a number");
            }
            other => panic!("there is no option {other}"),
        }
    }
    assert!(runs > 0, "--runs 0 counts nothing");
    let mut counts: BTreeMap<Case, Vec<u64>> = BTreeMap::new();
    for _ in 0..runs {
        for (case, instructions) in count::all() {
            counts.entry(case).or_default().push(instructions);
        }
    }
    for of in counts.values_mut() {
        of.sort_unstable();
    }
    if renew {
        Baseline::renewed(&counts).write();
    }
    if !compare(&counts, &Baseline::read()) {
        std::process::exit(1);
    }
}

/// Prints the counts beside the baseline's. Whether all are within bounds.
fn compare(counts: &BTreeMap<Case, Vec<u64>>, baseline: &Baseline) -> bool {
    println!("baseline: {}", baseline.made_with());
    println!(
        "{:<34} {:>10} {:>13} {:>12} {:>9} {:>12}",
        "case", "rows", "instructions", "each row", "apart", "to baseline"
    );
    let mut fine = true;
    for (case, counts) in counts {
        let instructions = counts[counts.len() / 2];
        let apart = (counts[counts.len() - 1] - counts[0]) as f64 / counts[0] as f64;
        let rows = case.rows();
        let beside = match baseline.instructions(*case) {
            None => {
                fine = false;
                "not in it".to_owned()
            }
            Some(expected) => {
                let ratio = instructions as f64 / expected as f64;
                fine &= ratio <= ALLOWED;
                let verdict = match ratio {
                    ratio if ratio > ALLOWED => " TOO MANY",
                    ratio if ratio < STALE => " (renew)",
                    _ => "",
                };
                format!("{ratio:.3}{verdict}")
            }
        };
        println!(
            "{:<34} {rows:>10} {instructions:>13} {:>12.0} {:>8.3}% {beside:>12}",
            case.name(),
            instructions as f64 / rows as f64,
            apart * 100.0,
        );
    }
    if !fine {
        println!(
            "A stage needs more than {:.0} % more instructions than the baseline, or is not in it. Where that is meant, renew it: \
             cargo bench --bench instructions -- --renew",
            (ALLOWED - 1.0) * 100.0
        );
    }
    fine
}
