//! One export over HTTP: who may have what, then an export whose chunks a task of its own hands to the body.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, TE, TRAILER, VARY,
};
use hyper::{Method, Request, Response};
use tokio::sync::mpsc;

use super::Service;
use super::body::{Body, QUEUED_CHUNKS};
use super::compress;
use super::encoding::Encoding;
use super::pump::pump;
use super::running::Running;
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
    let key = service.authenticate(request).await?;
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
    if !key.may_write(wanted.format) {
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "the key does not open {}: ask for {}, or use another key",
                wanted.format,
                key.formats.join(", ")
            ),
        ));
    }
    let compression = service.config.wire_compression;
    let fence = service.catalog.fence(&wanted.website, compression).await?;

    let response = Response::new(());
    let encoding = Encoding::negotiate(request.headers(), wanted.format)?;
    let headers = Headers::of(&wanted, encoding)?;
    if request.method() == Method::HEAD {
        return Ok(headers.on(response, Body::full("")));
    }
    let place = service.admission.enter(&key.id).await?;
    let mut running = Running::begin(service, id, &wanted, &key.id, place);
    let begun = async {
        let mut export = Export::begin(id.clone(), wanted, service.server.clone(), fence).await?;
        let first = export.next_chunk().await;
        running.figures(export.rows(), export.resumes());
        Ok((export, first?))
    };
    let (export, first) = begun.await.inspect_err(|error| running.refused(error))?;
    running.first_byte();
    let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
    let stall = service.config.stall;
    tokio::spawn(pump(export, first, sender, running, stall));
    let encoded = compress::encoded(encoding, receiver, stall)?;
    let trailers = takes_trailers(request.headers());
    let mut response = headers.on(response, Body::export(encoded, trailers));
    if trailers {
        response.headers_mut().insert(TRAILER, TRAILERS);
    }
    Ok(response)
}

/// The most rows that the request asked for: the body may be the beginning of the whole file.
const X_EXPORT_LIMIT: HeaderName = HeaderName::from_static("x-export-limit");

/// The trailers that [`Ending::taken`](super::running::Ending::taken) gives.
const TRAILERS: HeaderValue =
    HeaderValue::from_static("x-export-rows, x-export-bytes, x-export-sha256");

/// Whether the client said `TE: trailers`.
fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// The headers of a successful export.
struct Headers {
    content_type: HeaderValue,
    disposition: HeaderValue,
    encoding: Option<HeaderValue>,
    limit: Option<HeaderValue>,
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
            limit: request.limit.map(|limit| limit.get().into()),
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
        if let Some(limit) = self.limit {
            headers.insert(X_EXPORT_LIMIT, limit);
        }
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}
