//! Who may speak to the engine: programs of this machine that know the password, and no web page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use subtle::ConstantTimeEq;

use super::exception::{Exception, code};

/// ClickHouse's header for the password.
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");

/// The rules of one engine.
pub(crate) struct Access {
    password: Option<String>,
    /// Whether only names of this machine are taken as `Host`.
    loopback: bool,
}

impl Access {
    /// `loopback` says that the engine listens on this machine only.
    pub(crate) fn new(password: Option<String>, loopback: bool) -> Self {
        Self { password, loopback }
    }

    /// Refuses what a browser sends. A page of another site can make its visitor's browser send requests to this
    /// machine, by address (then there is an `Origin`) or by a name that it points here (then `Host` is that name).
    pub(crate) fn check_source(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if headers.contains_key(ORIGIN) {
            return Err("requests of web pages are refused: this one has an Origin header\n");
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        match host {
            Some(host) if !self.loopback || is_this_machine(host) => Ok(()),
            _ => Err(
                "the Host header must be localhost or a loopback address: this engine listens on this machine only\n",
            ),
        }
    }

    /// Checks the password, which may come in the URL, ClickHouse's header or the standard one.
    pub(crate) fn check_password(
        &self,
        headers: &HeaderMap,
        in_url: Option<&str>,
    ) -> Result<(), Exception> {
        let Some(password) = &self.password else {
            return Ok(());
        };
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let given = header(KEY)
            .map(str::to_owned)
            .or_else(|| header(AUTHORIZATION).and_then(basic_password))
            .or_else(|| in_url.map(str::to_owned))
            .unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(password.as_bytes())) {
            return Ok(());
        }
        Err(Exception::new(
            code::AUTHENTICATION_FAILED,
            "AUTHENTICATION_FAILED",
            "Authentication failed: password is incorrect, or there is no user with such name",
        ))
    }
}

/// The password of `Basic base64(user:password)`.
fn basic_password(value: &str) -> Option<String> {
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(credentials.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Whether `Host` names this machine: localhost or a loopback address, with any port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
