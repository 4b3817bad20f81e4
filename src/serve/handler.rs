//! One export over HTTP: who may have what, then an export whose chunks a task of its own hands to the body.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, TE, TRAILER, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::Service;
use super::body::{Body, QUEUED_CHUNKS};
use super::compress;
use super::encoding::Encoding;
use super::metrics;
use super::pace::Compressing;
use super::precondition::IfNoneMatch;
use super::pump::{Client, pump};
use super::running::Running;
use super::streams::Stream;
use crate::catalog::KeyRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, ExportId};
use crate::plan;
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
    let wanted = Arc::new(wanted);
    authorize(&key, &wanted)?;
    let compression = service.config.wire_compression;
    let fence = service.catalog.fence(&wanted.website, compression).await?;

    let response = Response::new(());
    let encoding = Encoding::negotiate(request.headers(), wanted.format)?;
    let mut headers = Headers::of(&wanted, encoding)?;
    // One that is asked for by its instants may be a part of a plan.
    let part = wanted.window.instants;
    let known = match part {
        Some(_) => IfNoneMatch::read(request.headers())?,
        None => None,
    };
    let is_head = request.method() == Method::HEAD;
    if is_head && part.is_none() {
        return Ok(headers.on(response, Body::full("")));
    }
    let place = service.admission.enter(&key.id).await?;
    let name = format!("{id}-digest");
    let mut told = None;
    if let Some(part) = part
        && (is_head || known.is_some())
    {
        let now = service.server.tell_apart(&wanted, fence, &name).await?;
        let etag = now.digest.map(|digest| plan::etag(&wanted, part, digest));
        headers.tag(etag.as_deref())?;
        if let (Some(known), Some(etag)) = (&known, &etag)
            && known.has(etag)
        {
            metrics::not_modified();
            return Ok(headers.not_modified());
        }
        if is_head {
            return Ok(headers.on(response, Body::full("")));
        }
        told = Some(now);
    }
    let mut running = Running::begin(service, id, &wanted, &key.id, place);
    let begun = async {
        let server = service.server.clone();
        let mut export = match part {
            Some(part) => {
                let told = match told {
                    Some(told) => told,
                    None => server.tell_apart(&wanted, fence, &name).await?,
                };
                let etag = told.digest.map(|digest| plan::etag(&wanted, part, digest));
                headers.tag(etag.as_deref())?;
                Export::begin_told(id.clone(), wanted, server, fence, told)?
            }
            None => Export::begin(id.clone(), wanted, server, fence).await?,
        };
        let first = export.next_chunk().await;
        running.figures(export.rows(), export.resumes());
        Ok((export, first?))
    };
    let (export, first) = begun.await.inspect_err(|error| running.refused(error))?;
    running.first_byte();
    let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
    let stall = service.config.stall;
    let compressing = Compressing::default();
    let client = Client::new(sender, stall, Stream::current(), compressing.clone());
    tokio::spawn(pump(export, first, client, running));
    let encoded = compress::encoded(encoding, receiver, stall, compressing)?;
    let trailers = takes_trailers(request.headers());
    let mut response = headers.on(response, Body::export(encoded, trailers));
    if trailers {
        response.headers_mut().insert(TRAILER, TRAILERS);
    }
    Ok(response)
}

/// Whether a key may have what a request asks for.
///
/// # Errors
///
/// [`ErrorKind::Forbidden`] naming what it does not open.
pub(super) fn authorize(key: &KeyRecord, wanted: &ExportRequest) -> Result<()> {
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
    Ok(())
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
    /// What tells the file from others, if that is known.
    etag: Option<HeaderValue>,
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
            etag: None,
        })
    }

    /// Adds the ETag. A file that is compressed on its way has other bytes, so there it only stands for the same rows.
    fn tag(&mut self, etag: Option<&str>) -> Result<()> {
        let weak = if self.encoding.is_some() { "W/" } else { "" };
        self.etag = etag
            .map(|etag| HeaderValue::try_from(format!("{weak}{etag}")))
            .transpose()
            .map_err(|error| {
                Error::internal("the ETag cannot stand in a header").with_source(error)
            })?;
        Ok(())
    }

    /// The answer to a client that has the file already, without the file.
    fn not_modified(self) -> Response<Body> {
        let mut response = Response::new(Body::full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        self.put_caching(response.headers_mut());
        response
    }

    /// Whoever keeps a file that can be told from others has to ask every time whether it is still the same.
    fn put_caching(&self, headers: &mut HeaderMap) {
        if let Some(etag) = &self.etag {
            headers.insert(ETAG, etag.clone());
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
    }

    fn on(self, response: Response<()>, body: Body) -> Response<Body> {
        let mut response = response.map(|()| body);
        let headers = response.headers_mut();
        self.put_caching(headers);
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(CONTENT_DISPOSITION, self.disposition);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        if let Some(encoding) = self.encoding {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        if let Some(limit) = self.limit {
            headers.insert(X_EXPORT_LIMIT, limit);
        }
        response
    }
}
