//! Counts by valgrind, as many at once as there are cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::cases::Case;

/// Marks a start of the bench as one that is counted.
pub(crate) const CHILD: &str = "--case";

/// Keeps the C library from `rep stosb` and `rep movsb`, which valgrind counts once for each byte, and only where a CPU has them and the
/// compiler made a call of a loop. <https://sourceware.org/glibc/manual/latest/html_node/Hardware-Capability-Tunables.html>
const PLAIN_COPIES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_stosb_threshold=1073741824:glibc.cpu.x86_rep_movsb_threshold=1073741824:\
     glibc.cpu.x86_non_temporal_threshold=1073741824",
);

/// The instructions of every case.
pub(crate) fn all() -> BTreeMap<Case, u64> {
    let cases = Case::all();
    let mut wanted: Vec<Case> = cases.iter().map(|case| case.without_work()).collect();
    wanted.extend(&cases);
    wanted.sort();
    wanted.dedup();
    let waiting = Mutex::new(wanted);
    let counted = Mutex::new(BTreeMap::new());
    let folder = tempfile::tempdir().expect("a folder");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for number in 0..cores {
            let file = folder.path().join(format!("count-{number}"));
            let (waiting, counted) = (&waiting, &counted);
            scope.spawn(move || {
                loop {
                    let Some(case) = waiting.lock().unwrap().pop() else {
                        return;
                    };
                    let instructions = instructions(case, &file);
                    counted.lock().unwrap().insert(case, instructions);
                }
            });
        }
    });
    let counted = counted.into_inner().unwrap();
    cases
        .into_iter()
        .map(|case| (case, counted[&case] - counted[&case.without_work()]))
        .collect()
}

/// Runs a case under cachegrind, which writes its sum into `file`.
fn instructions(case: Case, file: &Path) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--quiet"])
        .arg(format!("--cachegrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args([CHILD, &case.name()])
        .envs([PLAIN_COPIES])
        .output()
        .unwrap_or_else(|error| panic!("valgrind does not start ({error}): install it, on Debian with `apt-get install valgrind`"));
    assert!(
        output.status.success(),
        "{}: {}",
        case.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(file).expect("valgrind's counts");
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let first = summary.and_then(|summary| summary.split_whitespace().next());
    first
        .and_then(|count| count.parse().ok())
        .expect("valgrind's sum")
}
