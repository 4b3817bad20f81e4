//! `GET /api/exports/{export_id}`: an export's receipt, while it runs and afterwards.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::body::Body;
use super::{Service, respond};
use crate::catalog::KeyRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::export_log::Found;
use crate::request::quoted;

/// What an export's id begins with.
const PREFIX: &str = "exp_";

/// Hexadecimal digits of an id.
const DIGITS: usize = 32;

/// The path's last part, if it has the form of an id.
pub(super) fn parse_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix(PREFIX)?;
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digits.len() == DIGITS && digits.bytes().all(is_digit)).then(|| text.to_owned())
}

/// Answers from memory where this instance runs or ran the export lately, else from the log.
///
/// The key that made the export sees its receipt, and one that opens all websites sees every receipt. To another key the
/// export does not exist, so that no answer tells whether an id is in use.
pub(super) async fn receipt(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    id: &str,
) -> Result<Response<Body>> {
    let key = service.authenticate(request).await?;
    no_parameters(request, "a receipt")?;
    answer(&find(service, &key, id).await?)
}

/// Fails where anything is behind the `?`.
pub(super) fn no_parameters<B>(request: &Request<B>, what: &str) -> Result<()> {
    match request.uri().query() {
        None | Some("") => Ok(()),
        Some(query) => Err(Error::validation(
            quoted(query.split(['=', '&']).next().unwrap_or_default()),
            format!("{what} has no parameters: leave out what is behind the `?`"),
        )),
    }
}

/// An export that a key may see.
///
/// # Errors
///
/// [`ErrorKind::NotFound`] where there is none.
pub(super) async fn find(service: &Service, key: &KeyRecord, id: &str) -> Result<Found> {
    let found = match service.registry.find(id) {
        Some(found) => Some(found),
        None => service.export_log.find(id).await?,
    };
    found.filter(|found| may_see(key, found)).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no export {id} of this key: take the id from the export's X-Export-Id, and its own key"),
        )
    })
}

/// The receipt as an answer.
pub(super) fn answer(found: &Found) -> Result<Response<Body>> {
    let json = serde_json::to_vec(&found.receipt)
        .map_err(|error| Error::internal("the receipt cannot be written").with_source(error))?;
    Ok(respond::json(json))
}

fn may_see(key: &KeyRecord, found: &Found) -> bool {
    key.sites.is_empty() || key.id == found.key_id
}
