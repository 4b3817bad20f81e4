//! Values as they were given to values that can be used, or an error that names the setting and its remedy.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{DEFAULT_CLICKHOUSE_URL, DEFAULT_LISTEN};
use crate::error::{Error, Result};

/// Longest time that a setting may give, in seconds: a week.
const MAX_SECONDS: u64 = 7 * 24 * 3_600;

/// Longest first pause that a setting may give, in milliseconds.
pub(super) const MAX_PAUSE_MS: u64 = 60_000;

/// Most exports at once that a setting may allow.
pub(super) const MAX_EXPORTS: usize = 10_000;

/// Most connections at once that a setting may allow.
pub(super) const MAX_CONNECTIONS: usize = 100_000;

/// What a setting may give to a URI or to the header fields, in bytes. A request without room for a key would be none, and
/// beyond the upper bound nothing is read at all.
pub(super) const HEAD_BYTES: std::ops::RangeInclusive<usize> = 512..=(60 << 10);

/// Checks that a number lies where it makes sense.
pub(super) fn within(
    name: &str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Error::usage(format!(
        "{name} is {value}: give {} to {}",
        range.start(),
        range.end()
    )))
}

/// Reads a time that must pass some day.
pub(super) fn seconds(name: &str, value: u64) -> Result<Duration> {
    if (1..=MAX_SECONDS).contains(&value) {
        return Ok(Duration::from_secs(value));
    }
    Err(Error::usage(format!(
        "{name} is {value}: give 1 to {MAX_SECONDS}"
    )))
}

/// Reads a text, or a list of texts as one with commas.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected an address or a list of addresses")]
    enum Addresses {
        One(String),
        Several(Vec<String>),
    }
    Ok(Some(match Addresses::deserialize(from)? {
        Addresses::One(address) => address,
        Addresses::Several(addresses) => addresses.join(","),
    }))
}

/// Checks the address of an HTTP interface. Messages do not repeat it: it may hold a password.
pub(super) fn interface(url: &str) -> Result<()> {
    let remedy = format!("write it as {DEFAULT_CLICKHOUSE_URL}");
    let uri: hyper::Uri = url
        .parse()
        .map_err(|_| Error::usage(format!("clickhouse_url is not a URL: {remedy}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(Error::usage(format!(
            "clickhouse_url is not the address of an HTTP interface: {remedy}"
        )));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(Error::usage(
            "clickhouse_url holds a user or password, which would stand in logs: give them as clickhouse_user and \
             clickhouse_password",
        ));
    }
    if uri.query().is_some() {
        return Err(Error::usage(format!(
            "clickhouse_url has parameters, which would be dropped: {remedy}"
        )));
    }
    Ok(())
}

/// Reads `ADDRESS:PORT`.
pub(super) fn address(name: &str, text: &str) -> Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    text.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| {
            Error::usage(format!(
                "{name} `{text}` is not an address and port: write it as {DEFAULT_LISTEN}"
            ))
        })
}

/// Checks `name` or `database.name`, since identifiers cannot be query parameters everywhere.
pub(super) fn identifier(name: &str, text: &str) -> Result<()> {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !part.as_bytes()[0].is_ascii_digit()
    };
    let parts: Vec<_> = text.split('.').collect();
    if parts.len() <= 2 && parts.into_iter().all(part) {
        Ok(())
    } else {
        Err(Error::usage(format!(
            "{name} `{text}` is not a table's name: letters, digits and _ are allowed, with one dot behind a database"
        )))
    }
}

/// A variable of the environment; an empty one is none.
pub(crate) fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::usage(format!(
            "the environment variable {name} is not UTF-8"
        ))),
    }
}

/// `true` or `false` of the environment.
pub(super) fn truth(name: &str) -> Result<Option<bool>> {
    variable(name)?
        .map(|value| {
            value.parse().map_err(|_| {
                Error::usage(format!(
                    "the environment variable {name} is `{value}`: give true or false"
                ))
            })
        })
        .transpose()
}

/// A whole number of the environment.
pub(super) fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    variable(name)?
        .map(|value| {
            value.parse().map_err(|_| {
                Error::usage(format!(
                    "the environment variable {name} is `{value}`, which is not a whole number"
                ))
            })
        })
        .transpose()
}
