//! The identifier of a website.

use std::fmt;

/// `site_` and 1 to 64 of `A-Za-z0-9_-`: safe in a path, a file name and a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebsiteId(String);

/// What every identifier begins with.
const PREFIX: &str = "site_";

/// Most characters behind the prefix.
const MAX_LEN: usize = 64;

impl WebsiteId {
    /// The identifier, or `None` where the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix(PREFIX)?;
        let valid = (1..=MAX_LEN).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        valid.then(|| Self(text.to_owned()))
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebsiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_holds_only_what_is_safe_in_a_path_and_a_header() {
        for good in ["site_a", "site_abc123", "site_A-b_9"] {
            assert_eq!(
                WebsiteId::parse(good).map(|id| id.to_string()).as_deref(),
                Some(good)
            );
        }
        let long = format!("site_{}", "a".repeat(65));
        for bad in [
            "",
            "site_",
            "abc",
            "Site_a",
            "site_a b",
            "site_a/../b",
            "site_é",
            "site_a\r\nX: y",
            &long,
        ] {
            assert_eq!(WebsiteId::parse(bad), None, "{bad:?}");
        }
    }
}
