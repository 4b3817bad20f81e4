//! `GET /`: a page for people. One file without a build step, embedded in the program, which asks this service alone.
//!
//! Its parts lie beside this file and are put together when the service starts; the Content-Security-Policy names the hashes of
//! its one style sheet and its one script, and nothing else runs or is fetched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
};
use sha2::{Digest as _, Sha256};

use super::body::Body;
use crate::error::{Error, Result};

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = concat!(include_str!("layout.css"), include_str!("parts.css"));

/// In the order in which they need each other; one module.
const SCRIPT: &str = concat!(
    include_str!("dom.js"),
    include_str!("api.js"),
    include_str!("period.js"),
    include_str!("choices.js"),
    include_str!("errors.js"),
    include_str!("chart.js"),
    include_str!("estimate.js"),
    include_str!("download.js"),
    include_str!("main.js"),
);

/// Where they stand in the markup.
const STYLE_HERE: &str = "/* style */";
const SCRIPT_HERE: &str = "/* script */";

/// Other pages neither keep a handle on this one nor load it.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The page as it is sent.
pub(super) struct Page {
    html: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// Puts the page together.
    ///
    /// # Errors
    ///
    /// None: a hash can stand in a header.
    pub(super) fn new() -> Result<Self> {
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; frame-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
            source(SCRIPT),
            source(STYLE)
        );
        let policy = HeaderValue::try_from(policy).map_err(|error| {
            Error::internal("the page's policy cannot stand in a header").with_source(error)
        })?;
        let html = MARKUP
            .replacen(STYLE_HERE, STYLE, 1)
            .replacen(SCRIPT_HERE, SCRIPT, 1);
        Ok(Self {
            html: html.into(),
            policy,
        })
    }

    /// The page as an answer.
    pub(super) fn answer(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.html.clone()));
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        let nobody = HeaderValue::from_static("no-referrer");
        headers.insert(REFERRER_POLICY, nobody);
        headers.insert(OPENER_POLICY, SAME_ORIGIN);
        headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
        response
    }
}

/// A text as a source of a Content-Security-Policy.
fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn the_page_is_small_and_nothing_in_it_makes_markup_of_data() {
        let page = Page::new().unwrap();
        assert!(page.html.len() < 60_000, "{}", page.html.len());
        let html = std::str::from_utf8(&page.html).unwrap();
        assert!(!html.contains(STYLE_HERE) && !html.contains(SCRIPT_HERE));
        assert_eq!(html.matches("</script").count(), 1);
        assert_eq!(html.matches("</style").count(), 1);
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "srcdoc",
            " style=\"",
            "//cdn",
        ] {
            assert!(!html.contains(never), "{never}");
        }
    }
}
