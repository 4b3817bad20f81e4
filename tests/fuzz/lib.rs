//! What the fuzz targets call, and what that is made of: the tests' rows, both wires, and the writers of others.

#[path = "../../benches/support/mod.rs"]
pub mod support;

#[allow(clippy::unwrap_used)] // it fails where an oracle does
#[path = "../it/expected.rs"]
pub mod expected;

pub mod checks;
