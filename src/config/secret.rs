//! A text that stays out of every log.

use crate::error::{Error, Result};

/// Fewest bytes: a shorter one could be guessed from what it signs.
const MIN_BYTES: usize = 32;

/// What tickets are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret of a setting.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage): it is too short. The message does not repeat it.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.len() >= MIN_BYTES {
            return Ok(Self(text));
        }
        Err(Error::usage(format!(
            "ticket_secret has {} bytes: give {MIN_BYTES} or more that nobody can guess, as `openssl rand -hex 32` makes them",
            text.len()
        )))
    }

    /// The text itself.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
