//! What tests share.

mod clickhouse;
mod http;

pub(crate) use self::clickhouse::{OwnEngine, TestDatabase, clickhouse, shared_engine};
pub(crate) use self::http::{Answer, Http, read_answer};
