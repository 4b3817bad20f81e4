//! The integration tests, in one binary.

mod codec;
mod codec_parquet;
