//! `If-None-Match`, as RFC 9110, 13.1.2 has it: what a client has already.

use hyper::HeaderMap;
use hyper::header::IF_NONE_MATCH;

use crate::error::{Error, Result};

/// The ETags of what a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IfNoneMatch {
    /// Anything will do.
    Any,
    /// These, without their `W/`, with their quotes.
    Tags(Vec<String>),
}

impl IfNoneMatch {
    /// What the header says, if it is there.
    ///
    /// # Errors
    ///
    /// It is no list of ETags: taken for none, it would fetch everything again each time, and nobody would notice.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>> {
        let mut tags = Vec::new();
        let mut given = false;
        for value in headers.get_all(IF_NONE_MATCH) {
            given = true;
            let text = value.as_bytes().trim_ascii();
            if text == b"*" {
                return Ok(Some(Self::Any));
            }
            read_tags(text, &mut tags).ok_or_else(|| {
                Error::validation(
                    "If-None-Match",
                    "If-None-Match is not a list of ETags: write each as the ETag header has it, with its quotes",
                )
            })?;
        }
        Ok(given.then_some(Self::Tags(tags)))
    }

    /// Whether an ETag is among them. A weak one stands for the same rows in another encoding.
    pub(super) fn has(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// Reads `"a", W/"b"`; empty elements count as nothing (RFC 9110, 5.6.1).
fn read_tags(mut text: &[u8], tags: &mut Vec<String>) -> Option<()> {
    loop {
        text = text.trim_ascii_start();
        match text.first() {
            None => return Some(()),
            Some(b',') => {
                text = &text[1..];
                continue;
            }
            Some(_) => {}
        }
        let opaque = text.strip_prefix(b"W/").unwrap_or(text);
        let inside = opaque.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&b| b == b'"')?;
        if inside[..end].iter().any(|&b| b <= b' ' || b == 0x7f) {
            return None;
        }
        // What is not ASCII can be no tag of ours.
        tags.push(String::from_utf8_lossy(&opaque[..end + 2]).into_owned());
        text = inside[end + 1..].trim_ascii_start();
        if !matches!(text.first(), None | Some(b',')) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    fn read(values: &[&str]) -> Result<Option<IfNoneMatch>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, value.parse().unwrap());
        }
        IfNoneMatch::read(&headers)
    }

    #[test]
    fn tags_are_found_in_any_list_and_what_is_no_list_is_refused() {
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&["*"]).unwrap().unwrap().has("\"a\""));
        for (values, has) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\",,\"a\","], true),
            (&["\"b\"", "\"a\""], true),
            (&["\"b, a\""], false),
            (&["\"\""], false),
            (&[""], false),
        ] {
            // A comma may stand within the quotes, a space may not.
            let found = read(values);
            if values == ["\"b, a\""] {
                assert!(found.is_err());
                continue;
            }
            assert_eq!(found.unwrap().unwrap().has("\"a\""), has, "{values:?}");
        }
        for bad in [
            "a",
            "\"a",
            "a\"",
            "w/\"a\"",
            "\"a\" \"b\"",
            "\"a\"b",
            "*, \"a\"",
        ] {
            let error = read(&[bad]).unwrap_err();
            assert_eq!(error.field(), Some("If-None-Match"), "{bad}");
        }
    }
}
