//! One export over HTTP: who may have what, then chunks from its task to the body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY,
};
use hyper::{Method, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Service;
use super::body::{Body, QUEUED_CHUNKS, Said};
use super::compress;
use super::encoding::Encoding;
use super::metrics::{Measured, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, ExportId};
use crate::request::{ExportRequest, WebsiteId};

/// Answers an export's request, in the order of the contract: key, parameters, the key's websites, the website.
pub(super) async fn export(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    website: WebsiteId,
    id: &ExportId,
) -> Result<Response<Body>> {
    let key = service
        .keys
        .authenticate(&service.catalog, request.headers())
        .await?;
    let wanted = ExportRequest::from_query(website, request.uri().query().unwrap_or(""))?;
    if !key.opens(wanted.website.as_str()) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "the key does not open {}: use one made for it",
                wanted.website
            ),
        ));
    }
    let fence = service.catalog.fence(&wanted.website).await?;

    let response = Response::new(());
    let encoding = Encoding::negotiate(request.headers(), wanted.format)?;
    let headers = Headers::of(&wanted, encoding)?;
    if request.method() == Method::HEAD {
        return Ok(headers.on(response, Body::full("")));
    }
    let permit = service.exports.clone().try_acquire_owned().map_err(|_| {
        Error::new(
            ErrorKind::Unavailable,
            "too many exports run now: try again in some seconds",
        )
    })?;
    let mut measured = Measured::begin(wanted.format);
    tracing::info!(
        export = %id, key = key.id, website = %wanted.website, start = %wanted.window.start, end = %wanted.window.end,
        timezone = wanted.window.zone.name(), format = %wanted.format, "an export begins"
    );
    let mut export = Export::begin(id.clone(), wanted, service.server.clone(), fence).await?;
    let first = match export.next_chunk().await {
        Ok(first) => first,
        Err(error) => {
            measured.end(Outcome::Refused);
            return Err(error);
        }
    };
    measured.first_byte();
    let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
    let stall = service.config.stall;
    tokio::spawn(pump(export, first, sender, measured, stall, permit));
    let encoded = compress::encoded(encoding, receiver, stall)?;
    Ok(headers.on(response, Body::export(encoded)))
}

/// Hands chunks to the body until the export ends or the client goes.
async fn pump(
    mut export: Export,
    first: Option<Bytes>,
    sender: mpsc::Sender<Said>,
    mut measured: Measured,
    stall: Duration,
    _permit: OwnedSemaphorePermit,
) {
    let mut chunk = Ok(first);
    let mut bytes: u64 = 0;
    loop {
        let last = !matches!(chunk, Ok(Some(_)));
        match &chunk {
            Ok(Some(chunk)) => {
                bytes += chunk.len() as u64;
                measured.chunk(chunk.len());
            }
            Ok(None) => {
                measured.rows(export.rows());
                measured.end(Outcome::Complete);
                tracing::info!(export = %export.id(), rows = export.rows(), bytes, seconds = measured.elapsed().as_secs_f64(), "the export is complete");
            }
            Err(error) => {
                measured.rows(export.rows());
                measured.end(Outcome::Aborted);
                let error: &dyn std::error::Error = error;
                tracing::error!(export = %export.id(), rows = export.rows(), bytes, error, "the export was aborted");
            }
        }
        let Ok(sent) = tokio::time::timeout(stall, sender.send(chunk)).await else {
            measured.rows(export.rows());
            measured.end(Outcome::Aborted);
            tracing::warn!(export = %export.id(), rows = export.rows(), bytes, "the client took nothing for {} s, so its export was aborted", stall.as_secs());
            return;
        };
        if last {
            return;
        }
        if sent.is_err() {
            break;
        }
        chunk = tokio::select! {
            chunk = export.next_chunk() => chunk,
            () = sender.closed() => break,
        };
    }
    measured.rows(export.rows());
    measured.end(Outcome::Left);
    tracing::info!(export = %export.id(), rows = export.rows(), bytes, "the client went away");
}

/// The headers of a successful export.
struct Headers {
    content_type: HeaderValue,
    disposition: HeaderValue,
    encoding: Option<HeaderValue>,
    /// Whether other clients may get another encoding.
    varies: bool,
}

impl Headers {
    fn of(request: &ExportRequest, encoding: Encoding) -> Result<Self> {
        let disposition = format!("attachment; filename=\"{}\"", request.file_name());
        Ok(Self {
            content_type: HeaderValue::from_static(request.format.content_type()),
            disposition: HeaderValue::try_from(disposition).map_err(|error| {
                Error::internal("the file's name cannot stand in a header").with_source(error)
            })?,
            encoding: encoding.header(),
            varies: Encoding::is_for(request.format),
        })
    }

    fn on(self, response: Response<()>, body: Body) -> Response<Body> {
        let mut response = response.map(|()| body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(CONTENT_DISPOSITION, self.disposition);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        if let Some(encoding) = self.encoding {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}
