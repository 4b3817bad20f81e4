//! One export over HTTP: who may have what, then an export whose chunks are handed to the body, mostly by a task of its own.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, TE, TRAILER, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::Service;
use super::beginning::Beginning;
use super::body::Body;
use super::compress::{self, Compressor};
use super::compressing::Compressing;
use super::encoding::Encoding;
use super::guard::Stalled;
use super::metrics;
use super::precondition::IfNoneMatch;
use super::pump::{self, Client};
use super::running::{self, Running};
use super::streams::Stream;
use super::ticket::{self, Asking};
use crate::catalog::KeyRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Export, ExportId};
use crate::plan;
use crate::request::{Asked, ExportRequest, WebsiteId};

/// Answers an export's request, in the order of the contract: key, parameters, the key's websites, the website. Where a ticket
/// stands in the key's place, `id` becomes the one that it names.
pub(super) async fn export(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    website: WebsiteId,
    id: &mut ExportId,
) -> Result<Response<Body>> {
    let Asking { key, asked, ticket } = ticket::asking(service, request, website).await?;
    authorize(&key, asked.request())?;
    let (compression, settle) = (service.config.wire_compression, service.config.settle);
    let website = &asked.request().website;
    let fence = service.catalog.fence(website, compression, settle).await?;

    let response = Response::new(());
    let encoding = Encoding::negotiate(request.headers(), asked.request().format)?;
    let is_head = request.method() == Method::HEAD;
    // One that is asked for by its instants may be a part of a plan.
    let part = asked.request().window.instants;
    let known = match part {
        Some(_) => IfNoneMatch::read(request.headers())?,
        None => None,
    };
    let log = &service.export_log;
    match &ticket {
        Some(ticket) if is_head => service.tickets.check_unused(log, ticket).await?,
        Some(ticket) => {
            service.tickets.spend(log, ticket).await?;
            *id = ticket.export_id.asked_by(id);
        }
        None => {}
    }
    let id = &*id;
    if let Asked::Window(wanted) = &asked
        && is_head
        && part.is_none()
    {
        return Ok(Headers::of(wanted, encoding)?.on(response, Body::full("")));
    }
    let place = service.admission.enter(&key.id, asked.span()).await?;
    let (wanted, fence, mut told) = match asked {
        Asked::Window(wanted) => (Arc::new(wanted), fence, None),
        Asked::Since(since) => {
            let name = format!("{}-arrivals", id.queries());
            let arriving = service.server.arriving(&since, fence, &name).await?;
            (arriving.request, arriving.fence, Some(arriving.told))
        }
    };
    let mut headers = Headers::of(&wanted, encoding)?;
    let name = format!("{}-digest", id.queries());
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
        told = Some(now);
    }
    if is_head {
        return Ok(headers.on(response, Body::full("")));
    }
    if let Some(ticket) = &ticket {
        // It may have waited for its place, and another instance not.
        service.tickets.check_log(log, ticket).await?;
    }
    let mut running = Running::begin(service, id, &wanted, &key.id, place);
    let begun = async {
        let server = service.server.clone();
        if told.is_none() && part.is_some() {
            told = Some(server.tell_apart(&wanted, fence, &name).await?);
        }
        let export = match told {
            Some(told) => {
                let etag = part
                    .zip(told.digest)
                    .map(|(part, digest)| plan::etag(&wanted, part, digest));
                headers.tag(etag.as_deref())?;
                Export::begin_told(id.clone(), wanted, server, fence, told).await?
            }
            None => Export::begin(id.clone(), wanted, server, fence).await?,
        };
        Beginning::of(export, &running).await
    };
    let cancelled = running.cancelled();
    let begun = tokio::select! {
        begun = begun => begun,
        () = cancelled => Err(running::cancelled()),
    };
    let beginning = begun.inspect_err(|error| running.refused(error))?;
    let stall = service.config.stall;
    let compressor = Compressor::new(encoding).inspect_err(|error| running.refused(error))?;
    let compressor = compressor.map(|compressor| (compressor, Compressing::default()));
    let compressing = compressor.as_ref().map(|(_, known)| known.clone());
    let connection = request.extensions().get::<Stalled>();
    let connection = connection.cloned().unwrap_or_default();
    let stream = Stream::current();
    let (client, said) = Client::new(stall, connection, stream, compressing);
    let encoded = compress::encoded(compressor, said, stall);
    running.first_byte();
    pump::begin(beginning, client, running);
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

/// Of an export by arrival, the watermark that the next one goes on from. It holds once this one is complete.
const X_EXPORT_NEXT_SINCE: HeaderName = HeaderName::from_static("x-export-next-since");

/// Of an export by arrival, the rows that earlier ones have left out, as they became visible too late.
const X_EXPORT_LATE_ROWS: HeaderName = HeaderName::from_static("x-export-late-rows");

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
    /// Of an export by arrival: the next watermark, and the rows that were late.
    arrived: Option<(HeaderValue, u64)>,
    /// Whether other clients may get another encoding.
    varies: bool,
    /// What tells the file from others, if that is known.
    etag: Option<HeaderValue>,
}

impl Headers {
    fn of(request: &ExportRequest, encoding: Encoding) -> Result<Self> {
        let arrived = request.arrived.as_ref();
        let arrived = arrived.and_then(|arrived| Some((arrived.next.as_ref()?, arrived.late_rows)));
        let arrived = arrived.map(|(next, late_rows)| {
            let next = HeaderValue::try_from(next.to_string());
            next.map(|next| (next, late_rows))
        });
        let disposition = format!("attachment; filename=\"{}\"", request.file_name());
        Ok(Self {
            content_type: HeaderValue::from_static(request.format.content_type()),
            disposition: HeaderValue::try_from(disposition).map_err(|error| {
                Error::internal("the file's name cannot stand in a header").with_source(error)
            })?,
            encoding: encoding.header(),
            limit: request.limit.map(|limit| limit.get().into()),
            arrived: arrived.transpose().map_err(|error| {
                Error::internal("the watermark cannot stand in a header").with_source(error)
            })?,
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
        if let Some((next, late_rows)) = self.arrived {
            headers.insert(X_EXPORT_NEXT_SINCE, next);
            headers.insert(X_EXPORT_LATE_ROWS, late_rows.into());
        }
        response
    }
}
