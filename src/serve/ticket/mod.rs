//! Download tickets: an export that is asked for with a key and fetched without one, so that a browser itself saves the file.
//!
//! A ticket is a signed text in an export's URL. It holds the export's id, the key's id and when it expires, and its signature
//! covers the website and all parameters besides, so nothing can be changed. Nothing is stored when one is made. One that
//! was used is remembered here until it would have expired anyway; where other instances take it too, they know it by the
//! export in the log.

mod issue;
mod spent;
mod token;

use hyper::Request;
use hyper::header::AUTHORIZATION;

pub(super) use self::issue::issue;
use self::spent::Spent;
use self::token::Signer;
pub(super) use self::token::Ticket;
use super::Service;
use crate::catalog::KeyRecord;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::export_log::ExportLog;
use crate::random;
use crate::receipt::Moment;
use crate::request::{Asked, WebsiteId, pairs};

/// The parameter of an export that a ticket stands in.
const TICKET: &str = "ticket";

/// How long a ticket can be used, in milliseconds.
const LIFE_MS: i64 = 60_000;

/// Makes tickets and takes them, each once.
pub(super) struct Tickets {
    signer: Signer,
    spent: Spent,
    /// Whether other instances take tickets of this one.
    shared: bool,
}

/// Who asks for an export, and for which.
pub(super) struct Asking {
    pub(super) key: KeyRecord,
    pub(super) asked: Asked,
    /// What it was asked with, instead of the key itself. Not used up yet.
    pub(super) ticket: Option<Ticket>,
}

impl Tickets {
    /// With the secret of the settings, or one that nobody else has.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub(super) fn new(config: &Config) -> Result<Self> {
        let secret = match &config.ticket_secret {
            Some(secret) => secret.as_bytes().to_vec(),
            None => random::bytes::<32>()?.to_vec(),
        };
        Ok(Self {
            signer: Signer::new(&secret)?,
            spent: Spent::default(),
            shared: config.ticket_secret.is_some(),
        })
    }

    /// Fails where the ticket was used before, here or, by the log, elsewhere.
    pub(super) async fn check_unused(&self, log: &ExportLog, ticket: &Ticket) -> Result<()> {
        if self.spent.has(ticket) {
            return Err(used());
        }
        self.check_log(log, ticket).await
    }

    /// Uses the ticket up. Of several at once, one is let pass; of several at two instances in the time that the log needs to
    /// learn of the first, one at each.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] where it was used before, [`ErrorKind::Unavailable`] where so many were that no more can be
    /// remembered.
    pub(super) async fn spend(&self, log: &ExportLog, ticket: &Ticket) -> Result<()> {
        let now = Moment::now();
        // Time has passed since it was read, and what has expired is not remembered.
        check_time(ticket, now)?;
        if !self.spent.add(ticket, now)? {
            return Err(used());
        }
        self.check_log(log, ticket).await
    }

    /// Fails where the ticket was used at another instance, as far as the log knows by now.
    pub(super) async fn check_log(&self, log: &ExportLog, ticket: &Ticket) -> Result<()> {
        if self.shared && log.find(ticket.export_id.as_str()).await?.is_some() {
            return Err(used());
        }
        Ok(())
    }
}

/// Reads who asks for an export of a website, by a key or by a ticket, and for which. HEAD and GET are the same here.
///
/// # Errors
///
/// [`ErrorKind::Unauthorized`] where neither opens anything, [`ErrorKind::Validation`] naming the parameter that is wrong.
pub(super) async fn asking<B>(
    service: &Service,
    request: &Request<B>,
    website: WebsiteId,
) -> Result<Asking> {
    let query = request.uri().query().unwrap_or("");
    if !has_ticket(query) {
        let key = service.authenticate(request).await?;
        let asked = Asked::from_query(website, query)?;
        let ticket = None;
        return Ok(Asking { key, asked, ticket });
    }
    if request.headers().contains_key(AUTHORIZATION) {
        service.authenticate(request).await?;
        return Err(Error::validation(
            TICKET,
            "the request has a ticket and a key: send one of them",
        ));
    }
    let (tickets, pairs): (Vec<_>, Vec<_>) = pairs(query)?
        .into_iter()
        .partition(|(name, _)| name == TICKET);
    let [(_, text)] = &tickets[..] else {
        return Err(Error::validation(
            TICKET,
            "ticket is given more than once: give it once",
        ));
    };
    let ticket = service.tickets.signer.open(&website, &pairs, text)?;
    check_time(&ticket, Moment::now())?;
    let key = service.keys.of_ticket(&service.catalog, &ticket.key_id);
    let key = key.await?;
    let asked = Asked::from_pairs(website, pairs)?;
    let ticket = Some(ticket);
    Ok(Asking { key, asked, ticket })
}

fn has_ticket(query: &str) -> bool {
    let mut names = query.split('&').map(|pair| pair.split('=').next());
    names.any(|name| name == Some(TICKET))
}

fn check_time(ticket: &Ticket, now: Moment) -> Result<()> {
    if ticket.expires <= now {
        return Err(refused("the ticket has expired, as each does in 60 s"));
    }
    Ok(())
}

/// A ticket that opens nothing.
fn refused(why: &str) -> Error {
    let remedy = "ask for a new one with the key";
    Error::new(ErrorKind::Unauthorized, format!("{why}: {remedy}"))
}

fn used() -> Error {
    refused("the ticket was used before, and each is for one download")
}
