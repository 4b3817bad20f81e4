//! What tests share.

mod clickhouse;
pub(crate) mod command;
mod http;

#[allow(unused_imports)] // a name for signatures
pub(crate) use self::clickhouse::TestDatabase;
pub(crate) use self::clickhouse::{OwnEngine, clickhouse, shared_engine};
pub(crate) use self::http::{Answer, Http, read_answer};
pub(crate) mod insert;
pub(crate) mod parquet;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod users;
