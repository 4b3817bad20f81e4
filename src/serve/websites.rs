//! `GET /api/websites`: what a key opens.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Serialize;

use super::body::Body;
use super::{Service, receipts, respond};
use crate::catalog::Website;
use crate::error::{Error, Result};
use crate::request::Format;

/// Most websites of one answer.
const MAX_WEBSITES: usize = 10_000;

/// The list as it is answered.
#[derive(Serialize)]
struct Opened {
    websites: Vec<Website>,
    /// Whether that are all.
    complete: bool,
    /// The formats that the key may export.
    formats: Vec<&'static str>,
}

/// Answers by the catalog of now.
pub(super) async fn websites(
    service: &Arc<Service>,
    request: &Request<Incoming>,
) -> Result<Response<Body>> {
    let key = service.authenticate(request).await?;
    receipts::no_parameters(request, "the list of websites")?;
    let most = MAX_WEBSITES as u64 + 1;
    let mut websites = service.catalog.opened_websites(&key.sites, most).await?;
    let complete = websites.len() <= MAX_WEBSITES;
    websites.truncate(MAX_WEBSITES);
    let formats = Format::ALL.into_iter();
    let formats = formats.filter(|format| key.may_write(*format));
    let opened = Opened {
        websites,
        complete,
        formats: formats.map(Format::as_str).collect(),
    };
    let json = serde_json::to_vec(&opened)
        .map_err(|error| Error::internal("the list cannot be written").with_source(error))?;
    Ok(respond::json(json))
}
