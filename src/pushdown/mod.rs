//! A validated request to SQL and its parameters.

pub mod columns;
