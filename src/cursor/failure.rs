//! What a failure of ClickHouse means to the client and to the log.
