//! Batches of rows to a format's bytes.
//!
//! In: [`Batch`](crate::decode::Batch)es, in the order of the export. Out: chunks of bytes that make one file, the
//! same however the rows were cut into batches. No I/O.
