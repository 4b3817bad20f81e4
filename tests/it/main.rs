//! The integration tests: one binary, one harness.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failing test may panic

mod asked;
mod cancel;
mod catalog;
mod check;
mod cli;
mod codec;
mod codec_arrow;
mod codec_parquet;
mod compression;
mod deploy;
mod docs;
mod engine;
mod failures;
mod faults;
mod fuzz_corpus;
mod golden;
mod hostile;
mod http;
mod keys;
mod limits;
mod load;
mod metrics;
mod openapi;
mod page;
mod plan;
mod pull;
mod real_traffic;
mod receipts;
mod regression;
mod replicas;
mod schema;
mod secrets;
mod settings;
mod shell;
mod support;
mod tickets;
mod tls;
mod users;
mod values;
mod ways;
mod wire_compression;
