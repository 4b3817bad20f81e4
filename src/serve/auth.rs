//! Who asks: the Bearer key, looked up by its hash and remembered for a moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::attempts::Attempts;
use super::metrics::{self, Limit};
use crate::catalog::{Catalog, KeyHash, KeyRecord};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// How long a key that was found is believed. Its absence is never remembered.
const REMEMBERED: Duration = Duration::from_secs(2);

/// Most keys that are remembered.
const MAX_REMEMBERED: usize = 1_024;

/// The keys that asked lately, and how often each may ask.
pub(super) struct Keys {
    found: Mutex<HashMap<KeyHash, (Instant, KeyRecord)>>,
    rate: DefaultKeyedRateLimiter<String>,
    attempts: Attempts,
}

impl Keys {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            found: Mutex::default(),
            rate: RateLimiter::keyed(Quota::per_minute(config.requests_per_minute)),
            attempts: Attempts::new(config.failed_attempts_per_minute.get()),
        }
    }

    /// The key of a request, within its rate. `client` is where the request comes from.
    pub(super) async fn authenticate(
        &self,
        catalog: &Catalog,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<KeyRecord> {
        let plain = bearer(headers).ok_or_else(no_key)?;
        let hash = KeyHash::of(plain);
        let record = self.find(catalog, hash, client).await?;
        self.check_rate(&record.id)?;
        Ok(record)
    }

    /// The key that a ticket was made with, within its rate, by what ClickHouse says of it now: a key that was revoked meanwhile
    /// opens nothing.
    pub(super) async fn of_ticket(&self, catalog: &Catalog, id: &str) -> Result<KeyRecord> {
        self.check_rate(id)?;
        catalog.find_key_by_id(id).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Unauthorized,
                "the key of the ticket was revoked or has expired: ask for a new one with another key",
            )
        })
    }

    /// Counts a request of a key.
    fn check_rate(&self, id: &str) -> Result<()> {
        if let Err(early) = self.rate.check_key(&id.to_owned()) {
            metrics::limit_hit(Limit::RequestsPerMinute);
            let wait = early.wait_time_from(DefaultClock::default().now());
            return Err(Error::new(
                ErrorKind::RateLimited,
                "this key asked too often: ask less often, or raise requests_per_minute",
            )
            .with_retry_after(whole_seconds(wait)));
        }
        Ok(())
    }

    /// The record of a key, remembered or looked up.
    async fn find(&self, catalog: &Catalog, hash: KeyHash, client: IpAddr) -> Result<KeyRecord> {
        if let Some(record) = self.remembered(&hash) {
            return Ok(record);
        }
        let attempt = self.attempts.begin(client).await?;
        // Another request may have found it meanwhile.
        if let Some(record) = self.remembered(&hash) {
            return Ok(record);
        }
        let Some(record) = catalog.find_key(&hash).await? else {
            attempt.failed();
            return Err(unknown_key());
        };
        self.remember(hash, record.clone());
        Ok(record)
    }

    fn remembered(&self, hash: &KeyHash) -> Option<KeyRecord> {
        let found = self
            .found
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (at, record) = found.get(hash)?;
        (at.elapsed() < REMEMBERED).then(|| record.clone())
    }

    fn remember(&self, hash: KeyHash, record: KeyRecord) {
        let mut found = self
            .found
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if found.len() >= MAX_REMEMBERED {
            found.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
            self.rate.retain_recent();
        }
        if found.len() < MAX_REMEMBERED {
            found.insert(hash, (Instant::now(), record));
        }
    }
}

/// A time in whole seconds, not less and not none.
fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// The key of exactly one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim_matches(' '))
}

fn no_key() -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        "a key is needed: send the header `Authorization: Bearer spk_selfhosted_…`",
    )
}

fn unknown_key() -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        "the key is not known, was revoked or has expired: make one with `rowspout key create`",
    )
}
