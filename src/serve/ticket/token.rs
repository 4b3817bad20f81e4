//! A ticket as text: `ticket_` and, in base64url, the export's id (16 bytes), when it expires (milliseconds since 1970, 8
//! bytes), the key's id, and an HMAC-SHA-256 (RFC 2104) of 32 bytes over these, the website and the parameters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{LIFE_MS, refused};
use crate::error::{Error, Result};
use crate::export::ExportId;
use crate::random;
use crate::receipt::Moment;
use crate::request::{TICKET_PREFIX, WebsiteId};

/// What is signed begins with this, so that no signature of anything else is one of a ticket.
const DOMAIN: &[u8] = b"rowspout download ticket 1";

const ID_BYTES: usize = 16;
const EXPIRES_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 32;

/// Longest id of a key, in bytes.
const MAX_KEY_ID_BYTES: usize = 64;

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Ticket {
    /// What the export will be called.
    pub(in crate::serve) export_id: ExportId,
    /// With whose key it was asked for.
    pub(super) key_id: String,
    /// The first instant at which it opens nothing.
    pub(super) expires: Moment,
}

/// Names and values, decoded, in their order.
type Pairs = [(String, String)];

/// Signs tickets, and tells its own from others.
pub(super) struct Signer(Hmac<Sha256>);

impl Signer {
    /// # Errors
    ///
    /// None: HMAC takes secrets of any length.
    pub(super) fn new(secret: &[u8]) -> Result<Self> {
        Hmac::new_from_slice(secret)
            .map(Self)
            .map_err(|error| Error::internal("tickets cannot be signed").with_source(error))
    }

    /// A new ticket for one export of these parameters, and its text.
    ///
    /// # Errors
    ///
    /// The operating system has no random numbers.
    pub(super) fn make(
        &self,
        website: &WebsiteId,
        pairs: &Pairs,
        key_id: &str,
        now: Moment,
    ) -> Result<(Ticket, String)> {
        let id = random::bytes::<ID_BYTES>()?;
        let expires = Moment(now.0.saturating_add(LIFE_MS));
        let mut bytes = id.to_vec();
        bytes.extend(expires.0.to_be_bytes());
        bytes.extend(key_id.as_bytes());
        let signature = self.over(website, pairs, &bytes).finalize().into_bytes();
        bytes.extend(signature);
        let ticket = Ticket {
            export_id: ExportId::of(id),
            key_id: key_id.to_owned(),
            expires,
        };
        let text = format!("{TICKET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        Ok((ticket, text))
    }

    /// The ticket of a text, if it was made by this signer for this website and these parameters. Compared in constant time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`](crate::error::ErrorKind::Unauthorized): it was not.
    pub(super) fn open(&self, website: &WebsiteId, pairs: &Pairs, text: &str) -> Result<Ticket> {
        self.read(website, pairs, text).ok_or_else(|| {
            refused("the ticket is not of this service, or of another request, or from before its restart")
        })
    }

    fn read(&self, website: &WebsiteId, pairs: &Pairs, text: &str) -> Option<Ticket> {
        let text = text.strip_prefix(TICKET_PREFIX)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (said, signature) =
            bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        self.over(website, pairs, said)
            .verify_slice(signature)
            .ok()?;
        let (id, rest) = said.split_first_chunk::<ID_BYTES>()?;
        let (expires, key_id) = rest.split_first_chunk::<EXPIRES_BYTES>()?;
        if key_id.len() > MAX_KEY_ID_BYTES {
            return None;
        }
        Some(Ticket {
            export_id: ExportId::of(*id),
            key_id: String::from_utf8(key_id.to_vec()).ok()?,
            expires: Moment(i64::from_be_bytes(*expires)),
        })
    }

    /// Every part with its length in front, so that no two requests are the same bytes.
    fn over(&self, website: &WebsiteId, pairs: &Pairs, said: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        let mut add = |part: &[u8]| {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        };
        add(DOMAIN);
        add(website.as_str().as_bytes());
        add(said);
        for (name, value) in pairs {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_ticket_is_what_was_signed_and_any_change_is_noticed() {
        let signer = Signer::new(b"secret").unwrap();
        let website = WebsiteId::parse("site_a").unwrap();
        let asked = pairs(&[("format", "csv"), ("country", "DE")]);
        let now = Moment(1_000);
        let (ticket, text) = signer.make(&website, &asked, "key_1", now).unwrap();
        assert_eq!(ticket.expires, Moment(1_000 + LIFE_MS));
        assert_eq!(signer.open(&website, &asked, &text).unwrap(), ticket);
        let (other, _) = signer.make(&website, &asked, "key_1", now).unwrap();
        assert_ne!(other.export_id, ticket.export_id);

        for changed in [
            pairs(&[("format", "csv")]),
            pairs(&[("format", "csv"), ("country", "AT")]),
            pairs(&[("country", "DE"), ("format", "csv")]),
            pairs(&[("format", "csvc"), ("ountry", "DE")]),
            pairs(&[("format", "csv"), ("country", "DE"), ("limit", "1")]),
            pairs(&[]),
        ] {
            assert!(signer.open(&website, &changed, &text).is_err());
        }
        let elsewhere = WebsiteId::parse("site_b").unwrap();
        assert!(signer.open(&elsewhere, &asked, &text).is_err());
        let stranger = Signer::new(b"another").unwrap();
        assert!(stranger.open(&website, &asked, &text).is_err());
        let bytes = URL_SAFE_NO_PAD
            .decode(&text[TICKET_PREFIX.len()..])
            .unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = format!("{TICKET_PREFIX}{}", URL_SAFE_NO_PAD.encode(changed));
            assert!(signer.open(&website, &asked, &changed).is_err(), "{at}");
        }
        for end in 0..text.len() {
            assert!(signer.open(&website, &asked, &text[..end]).is_err());
        }
        assert!(signer.open(&website, &asked, &format!("{text}A")).is_err());
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2: a key that is shorter than a block.
        let signer = Signer::new(b"Jefe").unwrap();
        let mut mac = signer.0;
        mac.update(b"what do ya want for nothing?");
        assert_eq!(
            random::hex(&mac.finalize().into_bytes()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
