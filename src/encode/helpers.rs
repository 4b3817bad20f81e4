//! Threads that help encoders where cores are free.
//!
//! All encoders of a process share them, however many files are in the making: one fewer than there are cores, since whoever asks for
//! help has a thread of its own. What is done there does not depend on who does it, so a file has the same bytes on every machine.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Cores that one encoder has beside its own at most, for work that it waits for: more would wait for the longest piece.
const MOST_BESIDE: usize = 3;

/// Bytes of jobs that wait or are worked on, for each thread.
const THREAD_BYTES: usize = 8 << 20;

/// Threads, and what they are asked to do.
#[derive(Debug)]
pub(super) struct Helpers {
    pool: ThreadPool,
    cores: usize,
    busy: Mutex<Busy>,
}

#[derive(Debug, Default)]
struct Busy {
    /// Cores that encoders share work among at this moment; more than there are where many files are in the making.
    taken: usize,
    /// Jobs that wait or are worked on, and the bytes that they hold.
    jobs: usize,
    job_bytes: usize,
}

impl Helpers {
    /// Those of the process. `None` on a single core, or where a thread could not be started: then encoders are alone.
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
        let threads = cores.checked_sub(1).filter(|threads| *threads > 0)?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("encode-{number}"))
            // Whoever waits for what the job was to give learns that it is gone.
            .panic_handler(|_| tracing::error!("a thread that helps encoders panicked"))
            .build();
        let pool = pool
            .inspect_err(|error| tracing::warn!(%error, "no threads can help encoders"))
            .ok()?;
        Some(Arc::new(Self {
            pool,
            cores,
            busy: Mutex::default(),
        }))
    }

    /// Room for a job that holds so many bytes. `None` where enough is waiting already: then whoever has the job does it sooner himself.
    pub(super) fn room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let most = THREAD_BYTES * self.pool.current_num_threads();
        let mut busy = self.busy();
        let has_room = busy.jobs == 0 || busy.job_bytes + bytes <= most;
        has_room.then(|| {
            busy.jobs += 1;
            busy.job_bytes += bytes;
            Room {
                helpers: Arc::clone(self),
                bytes,
            }
        })
    }

    /// How many cores an encoder would have beside its own, which gives so many jobs of its own at a time.
    pub(super) fn free(&self, own_jobs: usize) -> usize {
        self.free_of(&self.busy(), own_jobs)
    }

    fn free_of(&self, busy: &Busy, own_jobs: usize) -> usize {
        let cores = busy.taken + 1 + busy.jobs.max(own_jobs);
        self.cores.saturating_sub(cores).min(MOST_BESIDE)
    }

    /// Takes a core for an encoder, and those that are free beside, until they are given back.
    pub(super) fn take(&self, own_jobs: usize) -> Cores<'_> {
        let mut busy = self.busy();
        let beside = self.free_of(&busy, own_jobs);
        busy.taken += 1 + beside;
        Cores {
            helpers: self,
            beside,
        }
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a job until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    helpers: Arc<Helpers>,
    bytes: usize,
}

impl Room {
    /// Has the job done sometime, by a thread of the helpers. It gets the room, to drop it at its end.
    pub(super) fn spawn(self, job: impl FnOnce(Self) + Send + 'static) {
        let helpers = Arc::clone(&self.helpers);
        helpers.pool.spawn_fifo(move || job(self));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut busy = self.helpers.busy();
        busy.jobs -= 1;
        busy.job_bytes -= self.bytes;
    }
}

/// Cores that an encoder has until this is dropped.
#[derive(Debug)]
pub(super) struct Cores<'a> {
    helpers: &'a Helpers,
    beside: usize,
}

impl Cores<'_> {
    /// How many there are beside the one that asks.
    pub(super) fn beside(&self) -> usize {
        self.beside
    }

    /// Does the work on each of the pieces, on this thread and on as many others as there are cores beside. Returns when all is done.
    pub(super) fn each<T: Send>(&self, pieces: &mut [T], work: impl Fn(&mut T) + Sync) {
        let beside = self.beside.min(pieces.len().saturating_sub(1));
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
        self.helpers.busy().taken -= 1 + self.beside;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread::{self, ThreadId};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn pieces_are_worked_on_at_once_where_cores_are_free() {
        let helpers = Helpers::for_cores(4).unwrap();
        let cores = helpers.take(1);
        assert_eq!(cores.beside(), 2);
        let (there, begun) = (AtomicUsize::new(0), Instant::now());
        let mut threads: [Option<ThreadId>; 3] = [None; 3];
        cores.each(&mut threads, |thread| {
            *thread = Some(thread::current().id());
            there.fetch_add(1, Ordering::Relaxed);
            // Nobody goes on before three are there.
            while there.load(Ordering::Relaxed) < 3 && begun.elapsed() < Duration::from_secs(60) {
                thread::yield_now();
            }
        });
        let [first, second, third] = threads.map(Option::unwrap);
        assert!(first != second && first != third && second != third);
        assert!(threads.contains(&Some(thread::current().id())));
    }

    #[test]
    fn pieces_are_worked_on_here_alone_where_no_core_is_free() {
        assert!(Helpers::for_cores(1).is_none());
        let helpers = Helpers::for_cores(2).unwrap();
        let cores = helpers.take(1);
        let mut threads = [None; 20];
        cores.each(&mut threads, |thread| {
            *thread = Some(thread::current().id());
        });
        assert_eq!(threads, [Some(thread::current().id()); 20]);
    }

    #[test]
    fn cores_are_taken_until_they_are_given_back_also_by_a_panic() {
        let helpers = Helpers::for_cores(8).unwrap();
        let first = helpers.take(0);
        let second = helpers.take(1);
        let third = helpers.take(1);
        assert_eq!([&first, &second, &third].map(Cores::beside), [3, 2, 0]);
        drop(first);
        assert_eq!((helpers.free(0), helpers.take(1).beside()), (3, 2));
        let panicked = thread::scope(|scope| {
            let working = scope.spawn(|| {
                let cores = helpers.take(0);
                cores.each(&mut [1, 2, 3], |piece| assert_ne!(*piece, 2, "as is meant"));
            });
            working.join()
        });
        panicked.unwrap_err();
        assert_eq!(helpers.take(1).beside(), 2);
        drop((second, third));
        assert_eq!(helpers.busy().taken, 0);
    }

    #[test]
    fn threads_that_have_jobs_are_not_free_and_jobs_have_room_until_they_are_done() {
        let helpers = Helpers::for_cores(3).unwrap();
        let (go, wait) = channel::<()>();
        let (done, is_done) = channel();
        assert_eq!((helpers.free(0), helpers.free(1)), (2, 1));
        helpers.room(2 * THREAD_BYTES).unwrap().spawn(move |room| {
            wait.recv().unwrap();
            drop(room);
            done.send(()).unwrap();
        });
        assert_eq!((helpers.free(0), helpers.free(1)), (1, 1));
        assert!(helpers.room(1).is_none());
        let second = helpers.room(0).unwrap();
        assert_eq!(helpers.free(0), 0);
        go.send(()).unwrap();
        is_done.recv().unwrap();
        drop(second);
        assert_eq!(helpers.free(0), 2);
        // A single one may have any size.
        assert!(helpers.room(2 * THREAD_BYTES + 1).is_some());
    }

    #[test]
    fn a_job_that_panics_takes_neither_a_thread_nor_room_with_it() {
        let helpers = Helpers::for_cores(2).unwrap();
        let room = || helpers.room(THREAD_BYTES / 2).unwrap();
        room().spawn(|_room| assert_eq!(1, 2, "as is meant"));
        let (done, says) = channel();
        room().spawn(move |room| {
            drop(room);
            done.send(1).unwrap();
        });
        assert_eq!(says.recv().unwrap(), 1);
        assert!(helpers.room(THREAD_BYTES).is_some());
    }
}
