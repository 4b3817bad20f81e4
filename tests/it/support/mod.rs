//! What tests share.

mod clickhouse;
mod http;

pub(crate) use self::clickhouse::{OwnEngine, TestDatabase, clickhouse, shared_engine};
pub(crate) use self::http::{Answer, Http, read_answer};
pub(crate) mod insert;
pub(crate) mod parquet;
pub(crate) mod service;
