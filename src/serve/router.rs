//! Paths and methods.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::admission::shutting_down;
use super::body::Body;
use super::metrics::Limit;
use super::{
    Service, cancel, handler, metrics, openapi, plan, receipts, respond, ticket, websites,
};
use crate::error::{Error, ErrorKind, Result};
use crate::export::ExportId;
use crate::request::WebsiteId;

/// How long ClickHouse may take to say that it is there.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a request goes.
enum Route {
    Page,
    Websites,
    Export(WebsiteId),
    Plan(WebsiteId),
    Tickets(WebsiteId),
    Receipt(String),
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
}

impl Route {
    /// The methods that are possible there, as the `Allow` header has them.
    fn methods(&self) -> &'static str {
        match self {
            Self::Tickets(_) => "POST",
            Self::Receipt(_) => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }

    fn allows(&self, method: &Method) -> bool {
        self.methods()
            .split(", ")
            .any(|name| name == method.as_str())
    }
}

/// Answers one request, whatever happens.
pub(super) async fn route(service: &Arc<Service>, request: Request<Incoming>) -> Response<Body> {
    let mut id = match ExportId::random() {
        Ok(id) => id,
        Err(error) => {
            tracing::error!(%error, "no id for a request");
            let mut response = Response::new(Body::full(""));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
    };
    let dispatched = dispatch(service, &request, &mut id).await;
    let mut response = match dispatched {
        Ok(response) => respond::common(response, &id),
        Err(error) => {
            metrics::failed(&error);
            // What says when to come again is a limit that holds, and counted as one.
            let is_limit = error.retry_after().is_some();
            if respond::status(&error).is_server_error() && !is_limit {
                let error: &dyn std::error::Error = &error;
                tracing::error!(export = %id, error, "the request failed");
            } else {
                tracing::info!(export = %id, %error, "the request was refused");
            }
            respond::error(&error, &id)
        }
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(route) = path(service, request.uri().path())
    {
        let methods = HeaderValue::from_static(route.methods());
        response.headers_mut().insert(ALLOW, methods);
    }
    metrics::responded(response.status().as_u16());
    response
}

async fn dispatch(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    id: &mut ExportId,
) -> Result<Response<Body>> {
    let uri = request.uri();
    let max_uri_bytes = service.config.max_uri_bytes;
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > max_uri_bytes {
        metrics::limit_hit(Limit::UriBytes);
        return Err(Error::new(
            ErrorKind::BadRequest(414),
            format!(
                "the request's URI is longer than {max_uri_bytes} bytes: leave out what is not a parameter, or raise max_uri_bytes"
            ),
        ));
    }
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let max_header_bytes = service.config.max_header_bytes;
    if headers > max_header_bytes {
        metrics::limit_hit(Limit::HeaderBytes);
        return Err(Error::new(
            ErrorKind::BadRequest(431),
            format!(
                "the header fields are larger than {max_header_bytes} bytes: send fewer or shorter ones, or raise max_header_bytes"
            ),
        ));
    }
    one_host(request)?;
    let route = path(service, uri.path())?;
    if matches!(route, Route::Export(_)) && request.version() < Version::HTTP_11 {
        return Err(Error::new(
            ErrorKind::BadRequest(505),
            "HTTP/1.0 cannot show where a body was cut: use HTTP/1.1 (nginx: `proxy_http_version 1.1`)",
        ));
    }
    let method = request.method();
    if !route.allows(method) {
        return Err(Error::new(
            ErrorKind::MethodNotAllowed,
            format!(
                "{} is not possible here: use {}",
                short(method.as_str()),
                route.methods().replace(", ", " or ")
            ),
        ));
    }
    match route {
        Route::Page => service
            .page
            .as_ref()
            .map_or_else(|| Err(nothing_here()), |page| Ok(page.answer())),
        Route::Websites => websites::websites(service, request).await,
        Route::Export(website) => handler::export(service, request, website, id).await,
        Route::Plan(website) => plan::plan(service, request, website, id).await,
        Route::Tickets(website) => ticket::issue(service, request, website).await,
        Route::Receipt(of) if method == Method::DELETE => {
            cancel::cancel(service, request, &of).await
        }
        Route::Receipt(of) => receipts::receipt(service, request, &of).await,
        Route::Healthz => Ok(text("ok\n")),
        Route::Readyz => readyz(service).await,
        Route::Metrics => Ok(text(service.metrics.render())),
        Route::OpenApi => Ok(respond::json(openapi::DOCUMENT)),
    }
}

/// RFC 9112, 3.2: an HTTP/1.1 request names its host exactly once. One that does not, somebody on its way may have read
/// differently. HTTP/2 has its own name for it.
fn one_host<B>(request: &Request<B>) -> Result<()> {
    if request.version() != Version::HTTP_11 {
        return Ok(());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_host = |host: &HeaderValue| {
        host.is_empty()
            || host
                .to_str()
                .is_ok_and(|host| !host.contains('@') && host.parse::<Authority>().is_ok())
    };
    if hosts.next().is_some_and(is_host) && hosts.next().is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::BadRequest(400),
        "the request is not HTTP/1.1 as RFC 9112 has it: send exactly one Host header, with a host and nothing else",
    ))
}

fn path(service: &Service, path: &str) -> Result<Route> {
    match path {
        "/" if service.page.is_some() => return Ok(Route::Page),
        "/api/websites" => return Ok(Route::Websites),
        "/healthz" => return Ok(Route::Healthz),
        "/readyz" => return Ok(Route::Readyz),
        "/metrics" => return Ok(Route::Metrics),
        "/openapi.json" => return Ok(Route::OpenApi),
        _ => {}
    }
    if let Some(id) = path
        .strip_prefix("/api/exports/")
        .and_then(receipts::parse_id)
    {
        return Ok(Route::Receipt(id));
    }
    of_website(path).ok_or_else(nothing_here)
}

fn nothing_here() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "there is nothing at this path: exports are at /api/websites/{id}/export, where {id} is site_ and \
         1 to 64 of A-Za-z0-9_-, their plans at /api/websites/{id}/export/plan, and their receipts at \
         /api/exports/{export_id}",
    )
}

fn of_website(path: &str) -> Option<Route> {
    let (website, rest) = path.strip_prefix("/api/websites/")?.split_once('/')?;
    let website = WebsiteId::parse(website)?;
    match rest {
        "export" => Some(Route::Export(website)),
        "export/plan" => Some(Route::Plan(website)),
        "export/tickets" => Some(Route::Tickets(website)),
        _ => None,
    }
}

async fn readyz(service: &Service) -> Result<Response<Body>> {
    if service.draining.load(Ordering::Relaxed) {
        return Err(shutting_down());
    }
    match tokio::time::timeout(READY_TIMEOUT, service.catalog.ping()).await {
        Ok(result) => result.map(|()| text("ready\n")),
        Err(_) => Err(Error::new(
            ErrorKind::Unavailable,
            "ClickHouse did not answer in time",
        )),
    }
}

fn text(body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// A method as it may stand in a message.
fn short(method: &str) -> &str {
    method.get(..16).unwrap_or(method)
}
