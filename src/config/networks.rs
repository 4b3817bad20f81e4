//! Networks in CIDR notation.

use std::net::IpAddr;

use crate::error::{Error, Result};

/// Addresses that belong together, such as those of one's own proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Reads addresses and networks with commas between them: `10.0.0.0/8, 192.0.2.1, 2001:db8::/32`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) naming the setting and the part that is neither.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let parts = text.split(',').map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(|part| {
                network(part).ok_or_else(|| {
                    Error::usage(format!(
                        "{name} has `{part}`, which is neither an address nor a network: write 192.0.2.1 or 10.0.0.0/8"
                    ))
                })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether an address lies in one of them. An IPv4 address in IPv6 form is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, prefix)| {
            let same_family = network.is_ipv4() == address.is_ipv4();
            same_family && masked(address, *prefix) == masked(*network, *prefix)
        })
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits)?,
        None => bits,
    };
    Some((address, prefix))
}

/// The first bits of an address, the others 0.
pub(crate) fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn an_address_lies_in_the_networks_whose_first_bits_it_has() {
        let networks = Networks::parse("x", "10.0.0.0/8, 192.0.2.1,2001:db8::/33,").unwrap();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.0", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("::a00:1", false),
        ] {
            assert_eq!(
                networks.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
        let all = Networks::parse("x", "0.0.0.0/0").unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for text in [
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "proxy.local",
            "10.0.0.1/-1",
            "1.2.3.4/",
        ] {
            let error = Networks::parse("trusted_proxies", text).unwrap_err();
            assert!(error.message().contains("trusted_proxies") && error.message().contains(text));
        }
    }
}
