//! Networks that a login may come from. Pure.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A block of addresses, as PostgreSQL's `cidr`. IPv4 addresses mapped into IPv6
/// (`::ffff:10.0.0.1`) count as IPv4, in rules as in clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl Network {
    pub fn contains(self, client: IpAddr) -> bool {
        match (self.address, client.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(client)) => {
                let mask = mask(self.bits, 32) as u32;
                network.to_bits() & mask == client.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(client)) => {
                let mask = mask(self.bits, 128);
                network.to_bits() & mask == client.to_bits() & mask
            }
            _ => false,
        }
    }

    fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return None;
        }
        // The last 32 bits of ::ffff:0:0/96 are the IPv4 addresses.
        match (address, bits.checked_sub(96)) {
            (IpAddr::V6(mapped), Some(bits)) => Some(match mapped.to_ipv4_mapped() {
                Some(address) => Network {
                    address: address.into(),
                    bits,
                },
                None => Network {
                    address,
                    bits: bits + 96,
                },
            }),
            _ => Some(Network { address, bits }),
        }
    }
}

/// The first `bits` of `width` bits.
fn mask(bits: u8, width: u8) -> u128 {
    let host = u32::from(width.saturating_sub(bits));
    let all = u128::MAX >> (128 - u32::from(width));
    all & u128::MAX.checked_shl(host).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None if text.contains(':') => (text, Some(128)),
            None => (text, Some(32)),
        };
        let address = address
            .parse::<Ipv4Addr>()
            .map(IpAddr::V4)
            .or_else(|_| address.parse::<Ipv6Addr>().map(IpAddr::V6));
        match (address, bits) {
            (Ok(address), Some(bits)) => Network::new(address, bits),
            _ => None,
        }
        .ok_or_else(|| NotANetwork(text.to_owned()))
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, client: &str) -> bool {
        let network = network.parse::<Network>();
        let client = client.parse::<IpAddr>();
        assert!(network.is_ok() && client.is_ok(), "{network:?} {client:?}");
        network.is_ok_and(|network| client.is_ok_and(|client| network.contains(client)))
    }

    #[test]
    fn network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.168.1.128/25", "192.168.1.128", "192.168.1.127"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1", "::1", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("2001:db8::/127", "2001:db8::1", "2001:db8::2"),
        ] {
            assert!(contains(network, inside), "{inside} in {network}");
            assert!(!contains(network, outside), "{outside} in {network}");
        }
    }

    #[test]
    fn network_takes_a_mapped_address_for_the_one_it_is() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
        assert!(!contains("::ffff:10.0.0.0/104", "11.0.0.0"));
        // An IPv6 network is no way to let every IPv4 address in.
        assert!(!contains("::/0", "::ffff:10.1.2.3"));
    }

    #[test]
    fn network_text_is_read_back() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(text.parse::<Network>().map(String::from), Ok(text.into()));
        }
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/-1",
            "a.b.c.d/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
