//! Wall time, first byte, CPU and peak memory of a process, from outside.

use std::fs::File;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a running process's peak memory is read.
const SAMPLE: Duration = Duration::from_millis(3);

/// Most bytes that are taken out of a pipe at once.
const TAKEN: usize = 1 << 20;

/// One run of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Seconds from start to exit.
    pub(crate) wall: f64,
    /// Seconds from start to the first byte on standard output, if there was one.
    pub(crate) first_byte: Option<f64>,
    /// Seconds of CPU of the program.
    pub(crate) cpu: f64,
    /// Seconds of CPU of the engine meanwhile, if they are known.
    pub(crate) engine_cpu: Option<f64>,
    /// Highest resident memory of the program.
    pub(crate) peak_bytes: u64,
    /// Bytes that it wrote to standard output.
    pub(crate) bytes: u64,
}

/// Runs a command to its end. What it writes to standard output is moved out of the pipe to nowhere without being copied: a copy
/// would be this program's work, and on the same cores. `engine_cpu` gives the seconds that the engine took so far.
pub(crate) fn run(mut command: Command, engine_cpu: impl Fn() -> Option<f64>) -> Run {
    let engine_before = engine_cpu();
    let children_before = children_cpu();
    let begun = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = child.stdout.take().expect("its output");
    let nowhere = File::options()
        .write(true)
        .open("/dev/null")
        .expect("nowhere");
    let ended = AtomicBool::new(false);
    let pid = child.id();
    let (status, wall, first_byte, bytes, peak_bytes) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(peak(pid).unwrap_or(0));
                std::thread::sleep(SAMPLE);
            }
            most
        });
        let mut bytes = 0;
        let mut first_byte = None;
        loop {
            let taken = take(&output, &nowhere).expect("its output");
            if taken == 0 {
                break;
            }
            first_byte.get_or_insert_with(|| begun.elapsed().as_secs_f64());
            bytes += taken as u64;
        }
        let status = child.wait().expect("its end");
        let wall = begun.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        let peak = sampler.join().expect("a figure");
        (status, wall, first_byte, bytes, peak)
    });
    assert!(status.success(), "{command:?} failed: {status}");
    Run {
        wall,
        first_byte,
        cpu: children_cpu() - children_before,
        engine_cpu: engine_before.and_then(|before| Some(engine_cpu()? - before)),
        peak_bytes,
        bytes,
    }
}

/// Moves what is in a pipe, some of it at least, to nowhere. 0 at its end.
#[cfg(target_os = "linux")]
fn take(pipe: &ChildStdout, nowhere: &File) -> std::io::Result<usize> {
    use rustix::pipe::{SpliceFlags, splice};

    let flags = SpliceFlags::empty();
    Ok(splice(pipe, None, nowhere, None, TAKEN, flags)?)
}

/// Elsewhere it is copied, and what else is measured is not to be had.
#[cfg(not(target_os = "linux"))]
fn take(pipe: &ChildStdout, _: &File) -> std::io::Result<usize> {
    use std::os::fd::AsFd as _;

    let mut pipe = File::from(pipe.as_fd().try_clone_to_owned()?);
    std::io::Read::read(&mut pipe, &mut vec![0; TAKEN])
}

/// What the figures were measured on.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or_else(String::new, |rest| {
            rest.trim_start_matches([' ', '\t', ':']).to_owned()
        });
    format!("{cores} cores {model}")
}

/// Seconds of CPU that all finished children took.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    ticks(&stat, 13) + ticks(&stat, 14)
}

/// Seconds of CPU that a process took so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks(&stat, 11) + ticks(&stat, 12)
}

/// A field of `/proc/PID/stat` behind the program's name, counted from 0, in seconds: there are 100 ticks in each.
fn ticks(stat: &str, field: usize) -> f64 {
    stat.rsplit(')')
        .next()
        .and_then(|fields| fields.split_whitespace().nth(field))
        .and_then(|ticks| ticks.parse::<f64>().ok())
        .map_or(0.0, |ticks| ticks / 100.0)
}

/// Highest resident memory of a process so far, in bytes.
pub(crate) fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}
