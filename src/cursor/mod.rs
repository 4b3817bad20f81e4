//! ClickHouse's bytes.
