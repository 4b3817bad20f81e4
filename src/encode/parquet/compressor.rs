//! The compression of pages, by threads that help: while they work, the next pages are put together. A file that has small pages only
//! is compressed where it is made: going to a thread and back takes longer than compressing them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use zstd::zstd_safe::CParameter;

use crate::encode::helpers::{Helpers, Room};
use crate::request::Compression;

/// ZSTD's level: more costs more than it saves.
pub(super) const ZSTD_LEVEL: i32 = 1;

/// Places of ZSTD's table of what it has seen, as a power of two: few enough that the table stays in a core's first cache. What it
/// misses of pages like ours is within a few per cent of their size, either way.
const ZSTD_HASH_LOG: u32 = 12;

/// Room for compressed bytes that a worker keeps from page to page, in bytes.
const MAX_KEPT_BYTES: usize = 2 << 20;

/// Those that are kept for later pages: where cores are many, more may work at a time.
const SPARE_WORKERS: usize = 4;

/// Buffers of pages that are kept for later ones, and the largest that is, in bytes.
const SPARE_BUFFERS: usize = 16;
const MAX_SPARE_BYTES: usize = 768 << 10;

/// The first page of more bytes is the first one that helpers get, and all behind it follow.
const SMALL_PAGE_BYTES: usize = 48 << 10;

/// Compresses pages. Holds those that helpers have, as many bytes as these take, what they are compressed to, [`SPARE_WORKERS`] with
/// [`MAX_KEPT_BYTES`] and ZSTD's tables, and spare buffers ([`SPARE_BUFFERS`] of [`MAX_SPARE_BYTES`]).
#[derive(Debug)]
pub(super) struct Compressor {
    helpers: Option<Arc<Helpers>>,
    /// Whether there was a page that is not small.
    has_large: AtomicBool,
    shared: Arc<Shared>,
}

/// A page that is compressed, or will be.
#[derive(Debug)]
pub(super) enum Compressed {
    Done(std::io::Result<Bytes>),
    Due(Receiver<std::io::Result<Bytes>>),
}

/// What all threads that work on a file's pages share.
#[derive(Debug)]
struct Shared {
    compression: Compression,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spare: Vec<Vec<u8>>,
    /// Those that have nothing to do.
    workers: Vec<Worker>,
}

impl Compressor {
    /// A compressor for the pages of a file.
    ///
    /// # Errors
    ///
    /// There is no memory for ZSTD.
    pub(super) fn new(compression: Compression, helpers: Option<Arc<Helpers>>) -> Result<Self> {
        let state = State {
            workers: vec![Worker::new(compression)?],
            ..State::default()
        };
        Ok(Self {
            helpers,
            has_large: AtomicBool::new(false),
            shared: Arc::new(Shared {
                compression,
                state: Mutex::new(state),
            }),
        })
    }

    /// Has a page compressed, what stands behind `from`. Never waits: where helpers have enough, it is compressed here.
    pub(super) fn compress(&self, page: Vec<u8>, from: usize) -> Compressed {
        let shared = Arc::clone(&self.shared);
        match self.room(page.len(), from) {
            Some(room) => {
                let (done, compressed) = sync_channel(1);
                room.spawn(move |room| {
                    let compressed = shared.compress(page, from);
                    drop(room);
                    // Whoever wanted it may be gone.
                    let _ = done.send(compressed);
                });
                Compressed::Due(compressed)
            }
            None => Compressed::Done(shared.compress(page, from)),
        }
    }

    /// Pages that helpers have at a time, as a rule.
    pub(super) fn own_jobs(&self) -> usize {
        match self.shared.compression {
            // What is only copied is done sooner than handed over.
            Compression::None => 0,
            Compression::Zstd | Compression::Snappy => 1,
        }
    }

    /// Room for a page among those of the helpers, if it is one for them.
    fn room(&self, bytes: usize, from: usize) -> Option<Room> {
        if self.own_jobs() == 0 {
            return None;
        }
        if bytes - from > SMALL_PAGE_BYTES {
            self.has_large.store(true, Ordering::Relaxed);
        }
        if !self.has_large.load(Ordering::Relaxed) {
            return None;
        }
        self.helpers.as_ref()?.room(bytes)
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
    /// The codec's own, or that the thread gave up.
    pub(super) fn wait(self) -> Result<Bytes> {
        let compressed = match self {
            Self::Done(compressed) => compressed,
            Self::Due(compressed) => compressed.recv().map_err(|_| {
                ParquetError::General("the thread that compressed a page gave up".to_owned())
            })?,
        };
        Ok(compressed?)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compress(&self, page: Vec<u8>, from: usize) -> std::io::Result<Bytes> {
        let idle = self.lock().workers.pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::new(self.compression)?,
        };
        let compressed = worker.compress(&page[from..]);
        let mut state = self.lock();
        if state.workers.len() < SPARE_WORKERS {
            state.workers.push(worker);
        }
        state.give_back(page);
        compressed
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

/// Compresses one page at a time.
#[derive(Debug)]
struct Worker {
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

impl Worker {
    fn new(compression: Compression) -> std::io::Result<Self> {
        let codec = match compression {
            Compression::Zstd => {
                let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                zstd.set_parameter(CParameter::HashLog(ZSTD_HASH_LOG))?;
                Codec::Zstd(zstd)
            }
            Compression::Snappy => Codec::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::None => Codec::None,
        };
        Ok(Self {
            codec,
            compressed: Vec::new(),
        })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    fn compressor(compression: Compression) -> Compressor {
        Compressor::new(compression, Helpers::for_cores(2)).unwrap()
    }

    #[test]
    fn pages_come_back_as_themselves_however_many_wait() {
        let page = |i: usize| -> Vec<u8> {
            let len = [0, 1, 70_000, 3 << 20, (8 << 20) + 1][i % 5];
            (0..len).map(|at| (at * i % 251) as u8).collect()
        };
        let alone = Compressor::new(Compression::Zstd, None).unwrap();
        let many = Compressor::new(Compression::Zstd, Helpers::for_cores(10)).unwrap();
        for compressor in [compressor(Compression::Zstd), many, alone] {
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
            assert!(compressor.shared.lock().workers.len() <= SPARE_WORKERS);
        }
    }

    #[test]
    fn helpers_get_the_first_page_that_is_not_small_and_small_ones_behind_it() {
        for compression in [Compression::Zstd, Compression::Snappy] {
            let compressor = compressor(compression);
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
    fn pages_that_stay_as_they_are_stay_here() {
        let compressor = compressor(Compression::None);
        let page = vec![7; SMALL_PAGE_BYTES + 2];
        let here = compressor.compress(page.clone(), 1);
        assert!(matches!(here, Compressed::Done(_)));
        assert_eq!(here.wait().unwrap(), page[1..]);
    }

    #[test]
    fn a_page_for_which_helpers_have_no_room_is_compressed_here() {
        let helpers = Helpers::for_cores(2).unwrap();
        let compressor = Compressor::new(Compression::Zstd, Some(Arc::clone(&helpers))).unwrap();
        let page = |number: u8| vec![number; SMALL_PAGE_BYTES + 1];
        let others = helpers.room(1 << 30).unwrap();
        let first = compressor.compress(page(1), 0);
        assert!(matches!(first, Compressed::Done(_)));
        drop(others);
        let second = compressor.compress(page(2), 0);
        assert!(matches!(second, Compressed::Due(_)));
        for (compressed, number) in [(first, 1), (second, 2)] {
            let bytes = compressed.wait().unwrap();
            assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), page(number));
        }
    }

    #[test]
    fn buffers_come_back_empty() {
        let compressor = compressor(Compression::Zstd);
        let mut buffer = compressor.buffer();
        buffer.extend_from_slice(&[7; SMALL_PAGE_BYTES + 1]);
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        compressor.compress(buffer, 0).wait().unwrap();
        let again = compressor.buffer();
        assert_eq!(
            (again.as_ptr(), again.capacity(), again.len()),
            (place, capacity, 0)
        );
    }
}
