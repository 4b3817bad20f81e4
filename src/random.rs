//! Random bytes from the operating system, and bytes as text.

use std::fmt::Write as _;

use crate::error::{Error, Result};

/// Bytes that nobody can foretell.
///
/// # Errors
///
/// The operating system has none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::internal("the operating system gave no random numbers")
            .with_detail(error.to_string())
    })?;
    Ok(bytes)
}

/// Two lower-case hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
