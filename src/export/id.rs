//! The name of one export.

use std::fmt;

use crate::error::Result;
use crate::random;

/// Names one export in headers, logs and query ids: `exp_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportId {
    name: String,
    queries: String,
}

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
        let name = format!("exp_{}", random::hex(&bytes));
        Self {
            queries: name.clone(),
            name,
        }
    }

    /// The same export as a request asks for it that has an id of its own. A ticket that is used at two instances at once is
    /// two requests for one: were their queries of the same names, each would end those of the other.
    pub(crate) fn asked_by(&self, request: &Self) -> Self {
        Self {
            name: self.name.clone(),
            queries: format!("{}-by-{}", self.name, request.name),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the names of its queries begin with: the name, and behind it what tells this request from others for the same export.
    pub fn queries(&self) -> &str {
        &self.queries
    }
}

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
