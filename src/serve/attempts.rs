//! Attempts with keys that do not exist, slowed by address.
//!
//! A key is 128 random bits, so nobody guesses one; this keeps those who try from costing ClickHouse a query each. An
//! address with too many failures behind it waits a second for every further attempt, and only so many may wait: a right key
//! behind the same address is slower at first, but not locked out, and a key that was found lately does not wait at all.
//! However many attempts an address makes at once, only so many are looked up together and the others take turns: right
//! keys that come as a crowd are no failures, and wrong ones are known as such before the crowd is through.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::{self, Limit};
use crate::config::masked;
use crate::error::{Error, ErrorKind, Result};

/// How long an attempt of an address with too many failures waits.
const SLOWED: Duration = Duration::from_secs(1);

/// Attempts of one address that may wait at once; one more is refused with 429.
const MAX_SLOWED: u32 = 4;

/// Keys that are looked up at once for one address.
const MAX_AT_ONCE: usize = 8;

/// How long an attempt waits for its turn: longer only where ClickHouse does not answer.
const TURN: Duration = Duration::from_secs(10);

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
    turns: Arc<Semaphore>,
}

/// An attempt whose outcome is not known yet, in its turn.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
    _turn: OwnedSemaphorePermit,
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
    /// [`ErrorKind::RateLimited`] where too many attempts of this address wait already, [`ErrorKind::Unavailable`] where its
    /// turn does not come.
    pub(super) async fn begin(&self, address: IpAddr) -> Result<Attempt<'_>> {
        let address = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(_) => masked(address, IPV6_PREFIX),
        };
        let (address, turns) = self.turns(address);
        let turn = tokio::time::timeout(TURN, turns.acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "too many keys wait to be looked up: try again in some seconds",
            )
            .with_retry_after(super::respond::RETRY_AFTER_SECONDS));
        };
        if let Some(_slowed) = self.slow(address)? {
            tokio::time::sleep(SLOWED).await;
        }
        Ok(Attempt {
            attempts: self,
            address,
            _turn: turn,
        })
    }

    /// The turns of an address, and the address that it counts as.
    fn turns(&self, address: IpAddr) -> (IpAddr, Arc<Semaphore>) {
        let mut by_address = self.lock();
        let is_full = |by_address: &HashMap<_, _>| {
            by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address)
        };
        if is_full(&by_address) {
            by_address.retain(|_, failures| {
                failures.now(f64::from(self.per_minute)) > 0.0
                    || Arc::strong_count(&failures.turns) > 1
            });
        }
        let full = is_full(&by_address);
        let address = if full { OTHERS } else { address };
        let failures = by_address.entry(address).or_insert_with(Failures::none);
        (address, failures.turns.clone())
    }

    /// How an attempt goes on whose turn it is: slowed, where so many of its address failed.
    fn slow(&self, address: IpAddr) -> Result<Option<Slowed<'_>>> {
        let allowed = f64::from(self.per_minute);
        let mut by_address = self.lock();
        // There while somebody has a turn.
        let failures = by_address.entry(address).or_insert_with(Failures::none);
        if failures.now(allowed) + 1.0 <= allowed {
            return Ok(None);
        }
        if failures.slowed >= MAX_SLOWED {
            metrics::limit_hit(Limit::FailedAttempts);
            return Err(Error::new(
                ErrorKind::RateLimited,
                "too many attempts with unknown keys came from this address: check the key, and wait some seconds",
            )
            .with_retry_after(super::respond::RETRY_AFTER_SECONDS));
        }
        failures.slowed += 1;
        Ok(Some(Slowed(self, address)))
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
    fn none() -> Self {
        Self {
            level: 0.0,
            at: Instant::now(),
            slowed: 0,
            turns: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }
    }

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
    pub(super) fn failed(self) {
        metrics::attempt_failed();
        let allowed = f64::from(self.attempts.per_minute);
        if let Some(failures) = self.attempts.lock().get_mut(&self.address) {
            // Beyond the limit the level stays, or a stubborn client would wait for ever.
            failures.level = (failures.now(allowed) + 1.0).min(allowed);
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
