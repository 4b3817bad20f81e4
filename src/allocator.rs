//! What the C library's allocator gives back to the system.
//!
//! A chunk from ClickHouse lies in some 400 KiB that are freed once its rows are encoded. Taken from the system anew each time, they
//! cost a fault and 4 KiB of zeros a page.

/// A block of so many bytes is freed once: half of what is kept.
const FREED_BYTES: usize = 2 << 20;

/// Has the free end of each of the allocator's heaps kept for what is allocated next, 4 MiB of it at least.
///
/// glibc takes the largest block that it took from the system apart and was given back, 32 MiB at most, as the measure of blocks
/// that come and go: smaller ones come from its heaps from then on, and these keep twice as much free at their ends (mallopt(3):
/// `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD`). Of other allocators this is one block more.
pub fn keep_freed() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(FREED_BYTES)));
}
