//! The name of one export.

use std::fmt;

use crate::error::Result;
use crate::random;

/// Names one export in headers, logs and query ids: `exp_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportId(String);

impl ExportId {
    /// A new name that nobody has.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub fn random() -> Result<Self> {
        Ok(Self::of(random::bytes()?))
    }

    /// The name of so many random bytes.
    pub(crate) fn of(bytes: [u8; 16]) -> Self {
        Self(format!("exp_{}", random::hex(&bytes)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
