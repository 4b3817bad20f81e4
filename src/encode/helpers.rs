//! Threads that help encoders where cores are free.
//!
//! All encoders of a process share them: as many as there are cores, however many files are in the making. What is done there does
//! not depend on who does it, so a file has the same bytes on every machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Threads that one encoder has beside its own at most, for work that it waits for: more would wait for the longest piece.
const MOST_BESIDE: usize = 3;

/// Threads, as many as cores, and how many of these are taken.
#[derive(Debug)]
pub(super) struct Helpers {
    pool: ThreadPool,
    cores: usize,
    /// Cores that encoders keep busy at this moment; more than there are where many files are in the making.
    taken: AtomicUsize,
}

impl Helpers {
    /// Those of the process. `None` where no thread can be started: then encoders are alone.
    pub(super) fn of_process() -> Option<Arc<Self>> {
        static HELPERS: OnceLock<Option<Arc<Helpers>>> = OnceLock::new();
        let start = || {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Self::for_cores(cores)
        };
        HELPERS.get_or_init(start).clone()
    }

    /// Helpers as on a machine of so many cores.
    pub(super) fn for_cores(cores: usize) -> Option<Arc<Self>> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(cores)
            .thread_name(|number| format!("encode-{number}"))
            // Whoever waits for what the job was to give learns that it is gone.
            .panic_handler(|_| tracing::error!("a thread that helps encoders panicked"))
            .build();
        let pool = pool
            .inspect_err(|error| tracing::warn!(%error, "no threads can help encoders"))
            .ok()?;
        let taken = AtomicUsize::new(0);
        Some(Arc::new(Self { pool, cores, taken }))
    }

    /// Does a job sometime, on a thread of these.
    pub(super) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.pool.spawn_fifo(job);
    }

    /// Takes so many cores for an encoder that keeps them busy itself, and of others as many as are free, to be given back at the end.
    pub(super) fn take(&self, own: usize) -> Cores<'_> {
        let with = |taken: usize| {
            let free = self.cores.saturating_sub(taken + own);
            own + free.min(MOST_BESIDE)
        };
        let more = |taken| Some(taken + with(taken));
        let (Ok(before) | Err(before)) =
            self.taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        Cores {
            helpers: self,
            all: with(before),
            own,
        }
    }
}

/// Cores that an encoder has until this is dropped.
#[derive(Debug)]
pub(super) struct Cores<'a> {
    helpers: &'a Helpers,
    all: usize,
    own: usize,
}

impl Cores<'_> {
    /// How many there are that the encoder does not keep busy itself.
    pub(super) fn beside(&self) -> usize {
        self.all - self.own
    }

    /// Does the work on each of the pieces, on this thread and on as many others as there are cores beside. Returns when all is done.
    pub(super) fn each<T: Send>(&self, pieces: &mut [T], work: impl Fn(&mut T) + Sync) {
        let beside = self.beside().min(pieces.len().saturating_sub(1));
        // The next one goes to whoever is ready first.
        let pieces = Mutex::new(pieces.iter_mut());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(piece) = next() {
                work(piece);
            }
        };
        self.helpers.pool.in_place_scope(|scope| {
            for _ in 0..beside {
                scope.spawn(|_| work());
            }
            work();
        });
    }
}

impl Drop for Cores<'_> {
    fn drop(&mut self) {
        self.helpers.taken.fetch_sub(self.all, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use std::sync::Barrier;
    use std::thread::{self, ThreadId};

    use super::*;

    #[test]
    fn pieces_are_worked_on_at_once_where_cores_are_free() {
        let helpers = Helpers::for_cores(4).unwrap();
        let cores = helpers.take(2);
        assert_eq!(cores.beside(), 2);
        // Nobody gets behind it before three are there.
        let all_there = Barrier::new(3);
        let mut threads: [Option<ThreadId>; 3] = [None; 3];
        cores.each(&mut threads, |thread| {
            all_there.wait();
            *thread = Some(thread::current().id());
        });
        let [first, second, third] = threads.map(Option::unwrap);
        assert!(first != second && first != third && second != third);
        assert!(threads.contains(&Some(thread::current().id())));
    }

    #[test]
    fn pieces_are_worked_on_here_alone_where_no_core_is_free() {
        let helpers = Helpers::for_cores(2).unwrap();
        let cores = helpers.take(2);
        let mut threads = [None; 20];
        cores.each(&mut threads, |thread| {
            *thread = Some(thread::current().id())
        });
        assert_eq!(threads, [Some(thread::current().id()); 20]);
    }

    #[test]
    fn cores_are_taken_until_they_are_given_back_also_by_a_panic() {
        let helpers = Helpers::for_cores(8).unwrap();
        let first = helpers.take(2);
        let second = helpers.take(2);
        let third = helpers.take(2);
        assert_eq!([&first, &second, &third].map(Cores::beside), [3, 1, 0]);
        drop(first);
        assert_eq!(helpers.take(1).beside(), 2);
        let panicked = thread::scope(|scope| {
            let working = scope.spawn(|| {
                let cores = helpers.take(1);
                cores.each(&mut [1, 2, 3], |piece| assert_ne!(*piece, 2, "as is meant"));
            });
            working.join()
        });
        panicked.unwrap_err();
        assert_eq!(helpers.take(1).beside(), 2);
        drop((second, third));
        assert_eq!(helpers.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let helpers = Helpers::for_cores(1).unwrap();
        let (done, says) = std::sync::mpsc::channel();
        helpers.spawn(|| assert_eq!(1, 2, "as is meant"));
        helpers.spawn(move || done.send(1).unwrap());
        assert_eq!(says.recv().unwrap(), 1);
    }
}
