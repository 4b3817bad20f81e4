//! HTTP to the service: HTTP/1.1 or HTTP/2, with or without TLS, and what is worth another attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER, TE, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::PullRequest;
use super::attempts::{Attempt, Failure};
use crate::error::{Error, ErrorKind, Result};

/// Time to connect to one address.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Time between two pings of an HTTP/2 connection, and for the answer to one.
const PING: Duration = Duration::from_secs(20);

/// How much of an HTTP/2 stream, and of its connection, may be under way, in bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Longest message of the service that is repeated, in characters.
const MAX_MESSAGE: usize = 500;

/// A client of one service, with one key.
pub(super) struct Client {
    pooled: Pooled<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// Scheme, host and port, and perhaps the beginning of every path, without a slash at the end.
    base: String,
    key: String,
    /// The longest time without a byte of what is waited for.
    silence: Duration,
}

impl Client {
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// The address is no URL of a service, the key cannot stand in a header, or the certificates cannot be read.
    pub(super) fn new(request: &PullRequest) -> Result<Self> {
        let base = base(&request.url)?;
        if HeaderValue::try_from(format!("Bearer {}", request.key)).is_err() {
            return Err(Error::usage(
                "the key holds a line break or another control character: give it as `rowspout key create` printed it",
            ));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIME));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(request)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let mut builder = Pooled::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING);
        Ok(Self {
            pooled: builder.build(connector),
            base,
            key: request.key.clone(),
            silence: request.silence,
        })
    }

    /// The service's address, as it stands in a manifest.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks for a path with its query, and waits for a head that says 200.
    ///
    /// # Errors
    ///
    /// Another status, with the service's own message; no connection; nothing for too long.
    pub(super) async fn get(&self, target: &str) -> Attempt<Answer> {
        let uri: Uri = format!("{}{target}", self.base).parse().map_err(|error| {
            Failure::last(
                Error::internal("the service named a URL that is none").with_source(error),
            )
        })?;
        let mut key =
            HeaderValue::try_from(format!("Bearer {}", self.key)).map_err(|_| unusable())?;
        key.set_sensitive(true);
        let request = Request::get(uri)
            .header(AUTHORIZATION, key)
            .header(ACCEPT, "*/*")
            .header(TE, "trailers")
            .header(
                USER_AGENT,
                concat!("rowspout-pull/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(|_| unusable())?;
        let response = tokio::time::timeout(self.silence, self.pooled.request(request))
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| {
                let what = if error.is_connect() {
                    format!("{} cannot be reached: is the address right, and does the service run there?", self.base)
                } else {
                    format!("{} broke the connection off before it answered", self.base)
                };
                Failure::again(Error::new(ErrorKind::Unavailable, what).with_source(error))
            })?;
        let status = response.status();
        let answer = Answer {
            headers: response.headers().clone(),
            body: Response::into_body(response),
            silence: self.silence,
        };
        if status == StatusCode::OK {
            return Ok(answer);
        }
        Err(self.refused(status, answer).await)
    }

    /// What a status other than 200 says.
    async fn refused(&self, status: StatusCode, answer: Answer) -> Failure {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            message: String,
            field: Option<String>,
        }

        let headers = answer.headers.clone();
        let said = match answer.whole(MAX_ERROR_BYTES).await {
            Ok(body) => serde_json::from_slice::<Body>(&body).ok(),
            Err(_) => None,
        };
        let (message, field) = match said {
            Some(body) => (
                self.plain(&body.error.message),
                body.error.field.map(|field| self.plain(&field)),
            ),
            None => (self.without_words(status, &headers), None),
        };
        let kind = match status.as_u16() {
            400 => ErrorKind::Validation,
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::RateLimited,
            503 => ErrorKind::Unavailable,
            504 => ErrorKind::QueryTimeout,
            _ => ErrorKind::Internal,
        };
        let error = match field {
            Some(field) if kind == ErrorKind::Validation => Error::validation(field, message),
            _ => Error::new(kind, message),
        };
        match status.as_u16() {
            // A proxy may give up where the service would not.
            408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                let wait = headers.get(RETRY_AFTER).and_then(retry_after);
                let failure = Failure::again(error).not_before(wait.unwrap_or_default());
                // The key has no place for one more, perhaps because this very pull has them all.
                match status.as_u16() {
                    429 => failure.busy(),
                    _ => failure,
                }
            }
            _ => Failure::last(error),
        }
    }

    /// A message for an answer that has none.
    fn without_words(&self, status: StatusCode, headers: &HeaderMap) -> String {
        let base = &self.base;
        let location = headers
            .get(LOCATION)
            .and_then(|location| location.to_str().ok());
        match location {
            Some(location) if status.is_redirection() => format!(
                "{base} sends its callers to {}: give that address, if it is the service's; the key goes nowhere by itself",
                self.plain(location)
            ),
            _ => {
                format!("{base} answered {status}, and not as Rowspout does: is the address right?")
            }
        }
    }

    /// A text of the service's as it may be printed: short, in one line, without the key.
    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&self.key, "…")
            .chars()
            .take(MAX_MESSAGE)
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    }

    fn silent(&self) -> Failure {
        silent(self.silence)
    }
}

/// The head of an answer, and a body that is read frame by frame.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    body: Incoming,
    silence: Duration,
}

impl Answer {
    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next frame; `None` is the end, and the whole body came. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The body was cut, or nothing came for too long.
    pub(super) async fn frame(&mut self) -> Attempt<Option<Frame<Bytes>>> {
        let frame = tokio::time::timeout(self.silence, self.body.frame())
            .await
            .map_err(|_| silent(self.silence))?;
        frame.transpose().map_err(|error| {
            let cut = Error::new(
                ErrorKind::BrokenOff,
                "the connection broke before the body's end",
            );
            Failure::again(cut.with_source(error))
        })
    }

    /// The whole body, of so many bytes at most.
    ///
    /// # Errors
    ///
    /// It is longer, was cut, or nothing came for too long.
    pub(super) async fn whole(mut self, most: usize) -> Attempt<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(frame) = self.frame().await? {
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > most {
                    return Err(Failure::last(Error::internal(format!(
                        "the service's answer has more than {most} bytes"
                    ))));
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole)
    }
}

fn silent(silence: Duration) -> Failure {
    Failure::again(Error::new(
        ErrorKind::Unavailable,
        format!(
            "the service sent nothing for {} s: raise --silence, if its rows take longer",
            silence.as_secs()
        ),
    ))
}

fn unusable() -> Failure {
    Failure::last(Error::internal("the request cannot be written"))
}

/// The seconds of `Retry-After`, or the time until its date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - chrono::Utc::now()).to_std().ok()
}

/// An address as it stands in front of every path.
fn base(url: &str) -> Result<String> {
    let wrong = |why: &str| {
        Error::usage(format!(
            "the service's address {why}: write it as https://rowspout.example.com"
        ))
    };
    let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("begins with neither http:// nor https://"));
    }
    let Some(authority) = uri.authority() else {
        return Err(wrong("names no host"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong(
            "holds a name or a password, which no service here takes",
        ));
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(wrong("has a query or a fragment"));
    }
    let path = uri.path().trim_end_matches('/');
    if path.contains("/api/") {
        return Err(wrong("goes on behind the service's own"));
    }
    Ok(format!(
        "{}://{authority}{path}",
        uri.scheme_str().unwrap_or("https")
    ))
}

/// Whom to trust: Mozilla's authorities, or those of a file alone.
fn tls(request: &PullRequest) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("TLS cannot be set up").with_source(error))?;
    let Some(path) = &request.cacert else {
        return Ok(builder.with_webpki_roots().with_no_client_auth());
    };
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::usage(format!(
            "--cacert {} is not what it should be: give it the authorities' certificates, as PEM",
            path.display()
        ))
        .with_source(error)
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.into()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.into()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.into()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none in it".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn an_address_is_what_stands_in_front_of_every_path() {
        for (given, base_of_it) in [
            ("http://a:8080", "http://a:8080"),
            ("https://a/", "https://a"),
            ("https://a/rows//", "https://a/rows"),
            ("https://[::1]:1", "https://[::1]:1"),
        ] {
            assert_eq!(base(given).unwrap(), base_of_it);
        }
        for wrong in [
            "a:8080",
            "ftp://a",
            "http://",
            "https://a?b=c",
            "https://a#b",
            "https://u:p@a",
            "https://a/api/websites/x/export",
            "",
        ] {
            let error = base(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_service_may_name_seconds_or_a_date_to_come_again_at() {
        let read = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("soon"), None);
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(read("Wed, 21 Oct 2099 07:28:00 GMT").unwrap() > Duration::from_secs(1_000));
    }
}
