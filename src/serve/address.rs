//! Where a request comes from: the connection's address, or what one's own proxies say of it.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::config::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The client's address. `X-Forwarded-For` is believed from its end backwards as long as a trusted proxy wrote it, since
/// everything before was written by whoever liked to.
pub(super) fn of_client(peer: Peer, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let mut address = peer.0.ip().to_canonical();
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let said = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
    for said in said {
        if !trusted.contains(address) {
            break;
        }
        match parse(said.trim()) {
            Some(before) => address = before.to_canonical(),
            None => break,
        }
    }
    address
}

/// An address, with a port or without.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted = Networks::parse("x", "127.0.0.1, 10.0.0.0/8").unwrap();
        for (peer, lines, client) in [
            ("192.0.2.9:80", &["203.0.113.1"][..], "192.0.2.9"),
            ("127.0.0.1:80", &[], "127.0.0.1"),
            ("127.0.0.1:80", &["203.0.113.1"], "203.0.113.1"),
            ("127.0.0.1:80", &["6.6.6.6, 203.0.113.1"], "203.0.113.1"),
            ("127.0.0.1:80", &["203.0.113.1, 10.1.1.1"], "203.0.113.1"),
            (
                "127.0.0.1:80",
                &["6.6.6.6", "203.0.113.1:1234", "10.1.1.1"],
                "203.0.113.1",
            ),
            ("127.0.0.1:80", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("127.0.0.1:80", &["203.0.113.1, unknown"], "127.0.0.1"),
            ("127.0.0.1:80", &["203.0.113.1, , 10.1.1.1"], "10.1.1.1"),
            (
                "[::ffff:127.0.0.1]:80",
                &["::ffff:203.0.113.1"],
                "203.0.113.1",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            let found = of_client(Peer(peer.parse().unwrap()), &headers, &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }
}
