//! CPU time of this process, all of its threads together.

use std::hint::black_box;

/// Work is repeated until it took this many seconds of CPU: the kernel counts them in hundredths.
const ENOUGH: f64 = 0.5;

/// Seconds of CPU of one call of `work`, in user and in kernel mode, over as many calls as can be told from the clock.
pub fn seconds_of<T>(mut work: impl FnMut() -> T) -> f64 {
    let begun = total();
    for calls in 1.. {
        black_box(work());
        let taken = total() - begun;
        if taken >= ENOUGH {
            return taken / f64::from(calls);
        }
    }
    unreachable!("the clock stands still")
}

/// Seconds of CPU so far. <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn total() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the program's name, which may hold spaces, utime and stime are the 12th and the 13th.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}
