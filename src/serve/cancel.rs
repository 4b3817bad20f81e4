//! `DELETE /api/exports/{export_id}`: ends an export that runs.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::Service;
use super::body::Body;
use super::receipts::{self, no_parameters};
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::Status;

/// How long an export may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// Seconds after which a client may ask again, and perhaps another instance.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Answers with the receipt once the export has ended. One that had ended before stays as it is.
///
/// Only the key that made an export ends it. Only its own instance can: others say so, and when to ask again.
pub(super) async fn cancel(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    id: &str,
) -> Result<Response<Body>> {
    let key = service.authenticate(request).await?;
    no_parameters(request, "an export's end")?;
    let mut found = receipts::find(service, &key, id).await?;
    if found.key_id != key.id {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "the export was made with another key: only that one ends it",
        ));
    }
    if let Some(ended) = service.registry.cancel(id) {
        // Where it does not end in time, the receipt says that it runs.
        let _ = tokio::time::timeout(ENDING, ended).await;
        found = service.registry.find(id).unwrap_or(found);
    } else if found.receipt.status == Status::Running {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the export runs at another instance of the service, which alone can end it: ask again, or close its connection",
        )
        .with_retry_after(RETRY_AFTER_SECONDS));
    }
    receipts::answer(&found)
}
