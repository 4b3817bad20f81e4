//! The integration tests: one binary, one harness.

mod engine;
mod support;
