//! Attempts with keys that do not exist, slowed by address.
//!
//! A key is 128 random bits, so nobody guesses one; this keeps those who try from costing ClickHouse a query each. An
//! address with too many failures behind it waits a second for every further attempt, and only so many may wait: a right key
//! behind the same address is slower at first, but not locked out, and a key that was found lately does not wait at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::{self, Limit};
use crate::config::masked;
use crate::error::{Error, ErrorKind, Result};

/// How long an attempt of an address with too many failures waits.
const SLOWED: Duration = Duration::from_secs(1);

/// Attempts of one address that may wait at once; one more is refused with 429.
const MAX_SLOWED: u32 = 4;

/// Addresses that are told apart. All others share one place, so that their number is no way around the limit.
const MAX_ADDRESSES: usize = 10_000;

/// Whoever has an IPv6 address has at least so many bits' worth of them.
const IPV6_PREFIX: u8 = 64;

/// The addresses with failures behind them.
pub(super) struct Attempts {
    by_address: Mutex<HashMap<IpAddr, Failures>>,
    per_minute: u32,
}

/// Failures of one address; each is forgotten in time.
struct Failures {
    level: f64,
    at: Instant,
    slowed: u32,
}

/// An attempt whose outcome is not known yet. It counts as a failure until it is dropped, so that many at once count too.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
    failed: bool,
}

/// An attempt that waits.
struct Slowed<'a>(&'a Attempts, IpAddr);

impl Attempts {
    /// So many failures of an address are let pass in a minute.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            by_address: Mutex::default(),
            per_minute,
        }
    }

    /// Before a key is looked up: at once, or after waiting. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RateLimited`] where too many attempts of this address wait already.
    pub(super) async fn begin(&self, address: IpAddr) -> Result<Attempt<'_>> {
        let address = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(_) => masked(address, IPV6_PREFIX),
        };
        let (attempt, wait) = self.count(address)?;
        if let Some(_slowed) = wait {
            tokio::time::sleep(SLOWED).await;
        }
        Ok(attempt)
    }

    fn count(&self, address: IpAddr) -> Result<(Attempt<'_>, Option<Slowed<'_>>)> {
        let allowed = f64::from(self.per_minute);
        let mut by_address = self.lock();
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, failures| failures.now(allowed) > 0.0 || failures.slowed > 0);
        }
        let full = by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address);
        let address = if full { OTHERS } else { address };
        let failures = by_address.entry(address).or_insert_with(|| Failures {
            level: 0.0,
            at: Instant::now(),
            slowed: 0,
        });
        let level = failures.now(allowed);
        let is_slow = level + 1.0 > allowed;
        if is_slow && failures.slowed >= MAX_SLOWED {
            metrics::limit_hit(Limit::FailedAttempts);
            return Err(Error::new(
                ErrorKind::RateLimited,
                "too many attempts with unknown keys came from this address: check the key, and wait some seconds",
            )
            .with_retry_after(super::respond::RETRY_AFTER_SECONDS));
        }
        // Beyond the limit the level stays, or a stubborn client would wait for ever.
        failures.level = (level + 1.0).min(allowed);
        let attempt = Attempt {
            attempts: self,
            address,
            failed: false,
        };
        let wait = is_slow.then(|| {
            failures.slowed += 1;
            Slowed(self, address)
        });
        Ok((attempt, wait))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for the addresses that there is no room for.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Failures {
    /// The level of now: `allowed` failures are forgotten in a minute.
    fn now(&mut self, allowed: f64) -> f64 {
        let forgotten = self.at.elapsed().as_secs_f64() / 60.0 * allowed;
        self.at = Instant::now();
        self.level = (self.level - forgotten).max(0.0);
        self.level
    }
}

impl Attempt<'_> {
    /// There is no such key.
    pub(super) fn failed(mut self) {
        self.failed = true;
        metrics::attempt_failed();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.failed {
            return;
        }
        if let Some(failures) = self.attempts.lock().get_mut(&self.address) {
            failures.level = (failures.level - 1.0).max(0.0);
        }
    }
}

impl Drop for Slowed<'_> {
    fn drop(&mut self) {
        if let Some(failures) = self.0.lock().get_mut(&self.1) {
            failures.slowed = failures.slowed.saturating_sub(1);
        }
    }
}
