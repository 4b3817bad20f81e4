//! What must hold for any input. Each check takes a fuzzer's bytes and panics where it does not hold. The fuzz targets call
//! them, and so does a test that replays the inputs that are kept.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)] // a check that fails panics

mod coding;
mod decoders;
mod engine;
mod files;
mod input;
mod parameters;
mod parquet;
mod statement;

pub use coding::coding;
pub use decoders::{native, rowbinary};
pub use engine::engine;
pub use files::text;
pub use parameters::parameters;
pub use parquet::parquet;
pub use statement::statement;

/// What a target does with its input; it panics where something is wrong.
pub type Check = fn(&[u8]);

/// The checks by the names of their targets.
pub const CHECKS: [(&str, Check); 8] = [
    ("fuzz_rowbinary", rowbinary),
    ("fuzz_native", native),
    ("fuzz_text", text),
    ("fuzz_parquet", parquet),
    ("fuzz_parameters", parameters),
    ("fuzz_coding", coding),
    ("fuzz_statement", statement),
    ("fuzz_engine", engine),
];
