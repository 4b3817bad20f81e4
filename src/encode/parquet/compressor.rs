//! The compression of pages, on a thread of its own: while it works, the next pages are put together. A file that has small pages only
//! needs none: going to a thread and back takes longer than compressing them.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use zstd::zstd_safe::CParameter;

use crate::request::Compression;

/// ZSTD's level: more costs more than it saves.
pub(super) const ZSTD_LEVEL: i32 = 1;

/// Places of ZSTD's table of what it has seen, as a power of two: few enough that the table stays in a core's first cache. What it
/// misses of pages like ours is within a few per cent of their size, either way.
const ZSTD_HASH_LOG: u32 = 12;

/// Bytes of pages that wait for the thread, unless a single page is larger.
const WAITING_BYTES: usize = 8 << 20;

/// Room for compressed bytes that is kept from page to page, in bytes.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Buffers of pages that are kept for later ones, and the largest that is, in bytes.
const SPARE_BUFFERS: usize = 16;
const MAX_SPARE_BYTES: usize = 768 << 10;

/// The first page of more bytes starts the thread, and is the first one that it takes.
const SMALL_PAGE_BYTES: usize = 48 << 10;

/// Compresses pages in the order in which they are handed over. Holds [`WAITING_BYTES`] of them, the compressed bytes of the
/// largest one, and spare buffers ([`SPARE_BUFFERS`] of [`MAX_SPARE_BYTES`]). Its thread ends once this is dropped.
#[derive(Debug)]
pub(super) struct Compressor {
    place: RefCell<Place>,
    shared: Arc<Shared>,
}

/// Where pages are compressed.
#[derive(Debug)]
enum Place {
    Here(Worker),
    Thread(Sender<Job>),
}

/// A page that is compressed, or will be.
#[derive(Debug)]
pub(super) enum Compressed {
    Done(std::io::Result<Bytes>),
    Due(Receiver<std::io::Result<Bytes>>),
}

struct Job {
    page: Vec<u8>,
    /// Where in it the page starts.
    from: usize,
    done: SyncSender<std::io::Result<Bytes>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    less_waits: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting_bytes: usize,
    spare: Vec<Vec<u8>>,
    /// The thread takes nothing more.
    stopped: bool,
}

impl Compressor {
    /// A compressor without a thread.
    ///
    /// # Errors
    ///
    /// There is no memory for ZSTD.
    pub(super) fn new(compression: Compression) -> Result<Self> {
        let codec = match compression {
            Compression::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                zstd.set_parameter(CParameter::HashLog(ZSTD_HASH_LOG))?;
                Codec::Zstd(zstd)
            }
            Compression::Snappy => Codec::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::None => Codec::None,
        };
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            codec,
            compressed: Vec::new(),
        };
        let place = RefCell::new(Place::Here(worker));
        Ok(Self { place, shared })
    }

    /// Has a page compressed, what stands behind `from`.
    pub(super) fn compress(&self, page: Vec<u8>, from: usize) -> Compressed {
        let mut place = self.place.borrow_mut();
        // Where no thread can be started, work goes on here.
        if matches!(*place, Place::Here(_))
            && page.len() - from > SMALL_PAGE_BYTES
            && let Ok((thread, pages)) = start()
            && let Place::Here(worker) = std::mem::replace(&mut *place, Place::Thread(pages))
        {
            // A thread that is gone drops its pages, and whoever asks for one learns of it.
            let _ = thread.send(worker);
        }
        match &mut *place {
            Place::Thread(pages) => self.hand_over(pages, page, from),
            Place::Here(worker) => {
                let compressed = worker.compress(&page[from..]);
                self.shared.lock().give_back(page);
                Compressed::Done(compressed)
            }
        }
    }

    /// Hands a page over to the thread; waits while too much is waiting already.
    fn hand_over(&self, pages: &Sender<Job>, page: Vec<u8>, from: usize) -> Compressed {
        let mut state = self.shared.lock();
        while state.waiting_bytes > 0
            && state.waiting_bytes + page.len() > WAITING_BYTES
            && !state.stopped
        {
            state = self
                .shared
                .less_waits
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting_bytes += page.len();
        drop(state);
        let (done, compressed) = sync_channel(1);
        // A thread that is gone drops `done`, and whoever asks for the page learns of it.
        let _ = pages.send(Job { page, from, done });
        Compressed::Due(compressed)
    }

    /// An empty buffer for a page.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.shared.lock().spare.pop().unwrap_or_default()
    }
}

impl Compressed {
    /// The page's bytes, once they are there.
    ///
    /// # Errors
    ///
    /// The codec's own, or that the thread is gone.
    pub(super) fn wait(self) -> Result<Bytes> {
        let compressed = match self {
            Self::Done(compressed) => compressed,
            Self::Due(compressed) => compressed.recv().map_err(|_| {
                ParquetError::General("the thread that compresses pages is gone".to_owned())
            })?,
        };
        Ok(compressed?)
    }
}

impl State {
    /// Keeps a page's buffer, empty, for another one.
    fn give_back(&mut self, mut page: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && page.capacity() <= MAX_SPARE_BYTES {
            page.clear();
            self.spare.push(page);
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compresses pages.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    codec: Codec,
    compressed: Vec<u8>,
}

enum Codec {
    Zstd(zstd::bulk::Compressor<'static>),
    Snappy(Box<snap::raw::Encoder>),
    /// Pages stay as they are.
    None,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec")
    }
}

/// Starts a thread. Gives where it waits for a worker, and where that takes pages.
fn start() -> std::io::Result<(Sender<Worker>, Sender<Job>)> {
    let (thread, workers) = channel::<Worker>();
    let (pages, jobs) = channel();
    std::thread::Builder::new()
        .name("pages".into())
        .spawn(move || {
            if let Ok(worker) = workers.recv() {
                worker.run(&jobs);
            }
        })?;
    Ok((thread, pages))
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(Job { page, from, done }) = jobs.recv() {
            // Whoever wanted it may be gone.
            let _ = done.send(self.compress(&page[from..]));
            let mut state = self.shared.lock();
            state.waiting_bytes -= page.len();
            state.give_back(page);
            drop(state);
            self.shared.less_waits.notify_one();
        }
    }

    fn compress(&mut self, page: &[u8]) -> std::io::Result<Bytes> {
        match &mut self.codec {
            Codec::Zstd(zstd) => {
                let bound = zstd::zstd_safe::compress_bound(page.len());
                self.compressed.clear();
                self.compressed.reserve(bound);
                zstd.compress_to_buffer(page, &mut self.compressed)?;
            }
            Codec::Snappy(snappy) => {
                let bound = snap::raw::max_compress_len(page.len());
                self.compressed.resize(bound, 0);
                let len = snappy.compress(page, &mut self.compressed)?;
                self.compressed.truncate(len);
            }
            Codec::None => return Ok(Bytes::copy_from_slice(page)),
        }
        let compressed = Bytes::copy_from_slice(&self.compressed);
        self.compressed.clear();
        self.compressed.shrink_to(MAX_KEPT_BYTES);
        Ok(compressed)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.less_waits.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn pages_come_back_as_themselves_however_many_wait() {
        let compressor = Compressor::new(Compression::Zstd).unwrap();
        let page = |i: usize| -> Vec<u8> {
            let len = [0, 1, 70_000, 3 << 20, WAITING_BYTES + 1][i % 5];
            (0..len).map(|at| (at * i % 251) as u8).collect()
        };
        let compressed: Vec<_> = (0..20)
            .map(|i| compressor.compress(page(i), i.min(page(i).len())))
            .collect();
        for (i, compressed) in compressed.into_iter().enumerate() {
            let bytes = compressed.wait().unwrap();
            assert_eq!(
                zstd::decode_all(&bytes[..]).unwrap(),
                page(i)[i.min(page(i).len())..],
                "page {i}"
            );
        }
    }

    #[test]
    fn the_first_page_that_is_not_small_starts_the_thread_and_small_ones_follow_it_there() {
        for compression in [Compression::Zstd, Compression::Snappy, Compression::None] {
            let compressor = Compressor::new(compression).unwrap();
            let small = || compressor.compress(vec![7; SMALL_PAGE_BYTES + 1], 1);
            let here = small();
            assert!(matches!(here, Compressed::Done(_)));
            let large = compressor.compress(vec![7; SMALL_PAGE_BYTES + 1], 0);
            assert!(matches!(large, Compressed::Due(_)));
            let there = small();
            assert!(matches!(there, Compressed::Due(_)));
            assert_eq!(here.wait().unwrap(), there.wait().unwrap());
            large.wait().unwrap();
        }
    }

    #[test]
    fn buffers_come_back_empty() {
        let compressor = Compressor::new(Compression::Zstd).unwrap();
        let mut buffer = compressor.buffer();
        buffer.extend_from_slice(&[7; SMALL_PAGE_BYTES + 1]);
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        compressor.compress(buffer, 0).wait().unwrap();
        // The second page is taken up only when the first one's buffer has been given back.
        let second = vec![7; SMALL_PAGE_BYTES + 1];
        compressor.compress(second, 0).wait().unwrap();
        let mut again = compressor.buffer();
        if again.as_ptr() != place {
            // The second page's came back as well.
            again = compressor.buffer();
        }
        assert_eq!(
            (again.as_ptr(), again.capacity(), again.len()),
            (place, capacity, 0)
        );
    }
}
