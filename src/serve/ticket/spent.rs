//! The tickets that were used, until they would have expired.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::Moment;

/// Most tickets that are remembered, some 100 bytes each.
const MAX_SPENT: usize = 65_536;

/// How many more come before it is looked which can be forgotten.
const FORGET_EVERY: usize = 1_024;

/// By the export's id, when each expires.
#[derive(Default)]
pub(super) struct Spent(Mutex<State>);

#[derive(Default)]
struct State {
    expires: HashMap<String, Moment>,
    /// At how many it is looked again.
    look_at: usize,
}

impl Spent {
    /// Remembers a ticket that has not expired; whether it was new.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] where too many are remembered.
    pub(super) fn add(&self, ticket: &Ticket, now: Moment) -> Result<bool> {
        let mut state = self.lock();
        if state.expires.len() >= state.look_at.min(MAX_SPENT) {
            state.expires.retain(|_, expires| *expires > now);
            state.look_at = state.expires.len() + FORGET_EVERY;
        }
        let id = ticket.export_id.as_str();
        if state.expires.contains_key(id) {
            return Ok(false);
        }
        if state.expires.len() >= MAX_SPENT {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "too many tickets were used within a minute: try again in some seconds",
            )
            .with_retry_after(crate::serve::respond::RETRY_AFTER_SECONDS));
        }
        state.expires.insert(id.to_owned(), ticket.expires);
        Ok(true)
    }

    /// Whether a ticket is among them.
    pub(super) fn has(&self, ticket: &Ticket) -> bool {
        self.lock().expires.contains_key(ticket.export_id.as_str())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::export::ExportId;

    fn ticket(number: u64, expires: i64) -> Ticket {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Ticket {
            export_id: ExportId::of(id),
            key_id: String::new(),
            expires: Moment(expires),
        }
    }

    #[test]
    fn each_is_taken_once_and_forgotten_only_when_it_has_expired() {
        let spent = Spent::default();
        for number in 0..MAX_SPENT as u64 {
            let ticket = ticket(number, 10 + (number % 2) as i64);
            assert!(spent.add(&ticket, Moment(0)).unwrap());
            assert!(spent.has(&ticket));
            assert!(!spent.add(&ticket, Moment(9)).unwrap());
        }
        let more = ticket(u64::MAX, 100);
        let full = spent.add(&more, Moment(9)).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Unavailable);
        // Half of them have expired.
        assert!(spent.add(&more, Moment(10)).unwrap());
        assert!(!spent.has(&ticket(0, 10)) && spent.has(&ticket(1, 11)));
        assert!(!spent.add(&ticket(1, 11), Moment(10)).unwrap());
    }
}
