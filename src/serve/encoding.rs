//! Which content coding a client gets: `Accept-Encoding`, as RFC 9110, 12.5.3 has it.

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderValue};

use crate::error::{Error, ErrorKind, Result};
use crate::request::Format;

/// How a response's body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 8878, within the window of RFC 9659.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

/// What compresses, the cheapest for its size first: among codings that a client likes as much, the first is taken.
const COMPRESSING: [Encoding; 3] = [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip];

/// Where a client takes any coding but refuses the file as it is, it gets what every client knows.
const WELL_KNOWN: Encoding = Encoding::Gzip;

impl Encoding {
    /// Whether files of this format are compressed for clients that ask. Parquet compresses its own pages, and its readers
    /// fetch parts of a file by their place.
    pub(super) fn is_for(format: Format) -> bool {
        match format {
            Format::Csv | Format::Json | Format::Ndjson | Format::Arrow => true,
            Format::Parquet => false,
        }
    }

    /// The coding for a file of this format: the one that the client likes best among those it named, and the file as it
    /// is where it named none.
    ///
    /// # Errors
    ///
    /// 406 where the client refuses the file as it is and takes nothing else that there is.
    pub(super) fn negotiate(headers: &HeaderMap, format: Format) -> Result<Self> {
        let accepted = Accepted::read(headers);
        let identity = accepted.identity();
        let possible = COMPRESSING.iter().filter(|_| Self::is_for(format));
        let mut best = (Self::Identity, identity.unwrap_or(0));
        for &coding in possible.clone() {
            let weight = accepted.named(coding).unwrap_or(0);
            let preferred = weight > best.1 || best.0 == Self::Identity && weight == best.1;
            if weight > 0 && preferred {
                best = (coding, weight);
            }
        }
        if best.0 != Self::Identity || accepted.takes_identity() {
            return Ok(best.0);
        }
        if possible.count() > 0 && accepted.named(WELL_KNOWN).or(accepted.any) > Some(0) {
            return Ok(WELL_KNOWN);
        }
        Err(Error::new(
            ErrorKind::BadRequest(406),
            if Self::is_for(format) {
                "Accept-Encoding refuses the file as it is: name zstd, br or gzip there, or leave `identity;q=0` out"
            } else {
                "Accept-Encoding refuses the file as it is, but this format has no other coding: leave `identity;q=0` out"
            },
        ))
    }

    /// The value of `Content-Encoding`, if there is to be one.
    pub(super) fn header(self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(match self {
            Self::Identity => return None,
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }))
    }

    /// The coding of a name, in any case.
    fn from_name(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("identity") => Some(Self::Identity),
            () if is("zstd") => Some(Self::Zstd),
            () if is("br") => Some(Self::Brotli),
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () => None,
        }
    }
}

/// What a client takes, each with its weight in thousandths.
#[derive(Default)]
struct Accepted {
    named: Vec<(Encoding, u16)>,
    /// What is not named.
    any: Option<u16>,
}

impl Accepted {
    /// Reads all `Accept-Encoding` fields. What cannot be read counts as not there: a file as it is serves everyone.
    fn read(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let fields = headers.get_all(ACCEPT_ENCODING).iter();
        let members = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','));
        for member in members {
            let (name, parameters) = member.split_once(';').unwrap_or((member, "q=1"));
            let Some(weight) = weight(parameters) else {
                continue;
            };
            let name = name.trim();
            if name == "*" {
                accepted.any = Some(weight);
            } else if let Some(coding) = Encoding::from_name(name) {
                accepted.named.push((coding, weight));
            }
        }
        accepted
    }

    /// The weight of a coding that is named, the highest if it is there twice.
    fn named(&self, coding: Encoding) -> Option<u16> {
        let named = self.named.iter().filter(|(known, _)| *known == coding);
        named.map(|(_, weight)| *weight).max()
    }

    /// How much the client likes the file as it is, where it says so.
    fn identity(&self) -> Option<u16> {
        self.named(Encoding::Identity)
    }

    /// Whether the file as it is may be sent: unless it is refused by name, or by `*` and not named.
    fn takes_identity(&self) -> bool {
        self.identity().or(self.any) != Some(0)
    }
}

/// A weight, `q=` and 0 to 1 with up to three digits, in thousandths.
fn weight(parameters: &str) -> Option<u16> {
    let (name, value) = parameters.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, digits) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failing test may panic

    use super::*;

    fn negotiated(fields: &[&str], format: Format) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, HeaderValue::try_from(*field).unwrap());
        }
        Encoding::negotiate(&headers, format).ok()
    }

    #[test]
    fn a_client_gets_what_it_likes_best_and_nothing_that_it_did_not_name() {
        use Encoding::{Brotli, Gzip, Identity, Zstd};
        for (field, expected) in [
            ("", Some(Identity)),
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZip;Q=0.5", Some(Gzip)),
            ("br", Some(Brotli)),
            ("zstd", Some(Zstd)),
            ("deflate", Some(Identity)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip;q=1.0, zstd;q=0.8", Some(Gzip)),
            ("gzip;q=0.5,br;q=0.501,zstd;q=0.5", Some(Brotli)),
            ("gzip;q=0", Some(Identity)),
            ("gzip;q=0, br ; q=0.001", Some(Brotli)),
            ("identity, gzip;q=0.5", Some(Identity)),
            ("identity, gzip", Some(Gzip)),
            ("identity;q=0.5, gzip", Some(Gzip)),
            ("*", Some(Identity)),
            ("gzip, *", Some(Gzip)),
            ("*;q=0", None),
            ("*;q=0, identity", Some(Identity)),
            ("*;q=0, gzip", Some(Gzip)),
            ("identity;q=0", None),
            ("identity;q=0, deflate", None),
            ("identity;q=0, *", Some(Gzip)),
            ("identity;q=0, gzip;q=0, *", None),
            ("identity;q=0, br;q=0.1", Some(Brotli)),
            ("identity;q=0, gzip;q=0", None),
            // What cannot be read is not there.
            ("gzip;q=2", Some(Identity)),
            ("gzip;q=0.1234", Some(Identity)),
            ("gzip;level=9", Some(Identity)),
            ("gzip;q=", Some(Identity)),
            (",, ,gzip,", Some(Gzip)),
        ] {
            assert_eq!(negotiated(&[field], Format::Csv), expected, "{field}");
        }
        assert_eq!(negotiated(&[], Format::Ndjson), Some(Identity));
        assert_eq!(
            negotiated(&["gzip;q=0.5", "br"], Format::Json),
            Some(Brotli)
        );
    }

    #[test]
    fn parquet_is_never_coded() {
        for (field, expected) in [
            ("gzip, br, zstd", Some(Encoding::Identity)),
            ("identity;q=0.1, gzip", Some(Encoding::Identity)),
            ("identity;q=0, gzip", None),
            ("identity;q=0, *", None),
            ("*;q=0", None),
        ] {
            assert_eq!(negotiated(&[field], Format::Parquet), expected, "{field}");
        }
    }
}
