//! `POST /api/websites/{id}/export/tickets`: a URL that one export can be fetched from without a key.

use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use serde::Serialize;

use super::TICKET;
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::Moment;
use crate::request::{Asked, WebsiteId, pairs};
use crate::serve::body::Body;
use crate::serve::{Service, handler, plan, respond};

/// The ticket as it is answered.
#[derive(Serialize)]
struct Issued {
    /// Path and query, behind the service's own address.
    url: String,
    export_id: String,
    expires_at: Moment,
}

/// Checks the parameters as an export would, in the same order, and signs them.
pub(in crate::serve) async fn issue(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    website: WebsiteId,
) -> Result<Response<Body>> {
    let key = service.authenticate(request).await?;
    if !request.body().is_end_stream() {
        return Err(Error::new(
            ErrorKind::BadRequest(400),
            "the request has a body, which nobody reads: give the export's parameters behind the `?`",
        ));
    }
    let pairs = pairs(request.uri().query().unwrap_or(""))?;
    let asked = Asked::from_pairs(website, pairs.iter().cloned())?;
    let wanted = asked.request();
    handler::authorize(&key, wanted)?;
    let website = &wanted.website;
    let (compression, settle) = (service.config.wire_compression, service.config.settle);
    service.catalog.fence(website, compression, settle).await?;
    let made = service
        .tickets
        .signer
        .make(website, &pairs, &key.id, Moment::now());
    let (ticket, text) = made?;
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&pairs)
        .append_pair(TICKET, &text)
        .finish();
    let url = format!("/api/websites/{website}/export?{query}");
    plan::check_length(&url, service.config.max_uri_bytes, "with its ticket")?;
    tracing::info!(export = %ticket.export_id, key = key.id, %website, "a ticket was made");
    let issued = Issued {
        url,
        export_id: ticket.export_id.to_string(),
        expires_at: ticket.expires,
    };
    let json = serde_json::to_vec(&issued)
        .map_err(|error| Error::internal("the ticket cannot be written").with_source(error))?;
    Ok(respond::json(json))
}
