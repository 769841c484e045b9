//! From where keys may be fetched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

const LONGEST_URL: usize = 2_048;

/// What the server's configuration allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Hosts beside the issuer's own, in lower case; these may have private addresses.
    pub hosts: Vec<String>,
    /// May a listed host be asked by http, on this machine?
    pub loopback_http: bool,
}

impl Trust {
    /// As the setting lists them, separated by commas.
    pub fn hosts(text: &str) -> Vec<String> {
        text.split(',')
            .map(|host| host.trim().to_ascii_lowercase())
            .filter(|host| !host.is_empty())
            .collect()
    }

    pub fn lists(&self, host: &str) -> bool {
        self.hosts.iter().any(|listed| listed == host)
    }

    /// May keys of the issuer come from there?
    ///
    /// # Errors
    /// [`BadPlace`] says why not.
    pub fn check(&self, place: &Place, issuer: &str) -> Result<(), BadPlace> {
        if !(place.is_https || self.loopback_http && self.lists(&place.host)) {
            return Err(BadPlace::Http);
        }
        let own = Place::parse(issuer).is_ok_and(|issuer| issuer.host == place.host);
        if own || self.lists(&place.host) {
            Ok(())
        } else {
            Err(BadPlace::Host)
        }
    }

    /// May a connection to this address be made for the place?
    pub fn reaches(&self, place: &Place, address: IpAddr) -> bool {
        if place.is_https {
            self.lists(&place.host) || is_public(address)
        } else {
            self.loopback_http && self.lists(&place.host) && is_loopback(address)
        }
    }
}

/// Why keys are not fetched from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum BadPlace {
    #[error("it is not a URL that begins with https://")]
    Url,
    #[error("its scheme is http")]
    Http,
    #[error("its host is neither the issuer's nor in scope_roles.jwks_hosts")]
    Host,
}

/// A URL with a host, by its strictest form: what another parser could read otherwise is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub url: String,
    /// In lower case; an IPv6 address with its brackets.
    pub host: String,
    pub is_https: bool,
}

impl Place {
    /// # Errors
    /// [`BadPlace::Url`].
    pub fn parse(url: &str) -> Result<Self, BadPlace> {
        let (is_https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(BadPlace::Url),
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !br##"#\"<>^`{|}"##.contains(&byte);
        if url.len() > LONGEST_URL || !url.bytes().all(is_plain) {
            return Err(BadPlace::Url);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        let host = host(authority).ok_or(BadPlace::Url)?;
        Ok(Self {
            url: url.to_owned(),
            host,
            is_https,
        })
    }

    /// Where an issuer describes itself (OpenID Connect Discovery 1.0, section 4).
    ///
    /// # Errors
    /// [`BadPlace::Url`]: the issuer is no URL, or has a query.
    pub fn of_description(issuer: &str) -> Result<Self, BadPlace> {
        if issuer.contains('?') {
            return Err(BadPlace::Url);
        }
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        Self::parse(&format!("{base}/.well-known/openid-configuration"))
    }
}

/// The host of `host`, `host:port`, `[address]` or `[address]:port`.
fn host(authority: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        (format!("[{address}]"), port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at(end);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_name) {
            return None;
        }
        // Four numbers and nothing shorter: 127.1 and 0x7f000001 are addresses to some, names to others.
        let last = host.rsplit('.').find(|part| !part.is_empty())?;
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
        if is_number && host.parse::<Ipv4Addr>().is_err() {
            return None;
        }
        (host.to_owned(), port)
    };
    let has_port = match port.strip_prefix(':') {
        // A plus would be read, too.
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && port.len() <= 5
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    has_port.then(|| host.to_ascii_lowercase())
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Is it an address of the public internet? What stands for another address is judged as that.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHID, benchmarks, documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // The rest of the global unicast addresses; all else is unassigned or of this network.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn jwks_places_are_strict_urls() {
        for (url, host) in [
            ("https://id.example.org", "id.example.org"),
            ("https://ID.example.org/keys?p=1", "id.example.org"),
            ("https://id.example.org:8443/keys", "id.example.org"),
            ("https://10.0.0.1/keys", "10.0.0.1"),
            ("https://[::1]:8443/keys", "[::1]"),
            ("http://localhost/keys", "localhost"),
        ] {
            assert_eq!(Place::parse(url).unwrap().host, host, "{url}");
        }
        let long = format!("https://id.example.org/{}", "x".repeat(LONGEST_URL));
        for url in [
            "",
            "id.example.org",
            "ftp://id.example.org/",
            "file:///etc/passwd",
            "HTTPS://id.example.org/",
            "https://",
            "https:///keys",
            "https://:443/",
            "https://id.example.org:/",
            "https://id.example.org:0/",
            "https://id.example.org:65536/",
            "https://id.example.org:+443/",
            "https://user@id.example.org/",
            "https://id.example.org@evil.example.org/",
            "https://id.example.org\\@evil.example.org/",
            "https://id.example.org/#part",
            "https://id.example.org/ keys",
            "https://id.example.org/\nkeys",
            "https://id.example.org/ké",
            "https://id%2eexample.org/",
            "https://127.1/keys",
            "https://2130706433/keys",
            "https://0x7f000001/keys",
            "https://0x7f.0.0.1./keys",
            "https://[::1/keys",
            "https://[::1]x/keys",
            "https://[fe80::1%25eth0]/keys",
            &long,
        ] {
            assert_eq!(Place::parse(url), Err(BadPlace::Url), "{url}");
        }
    }

    #[test]
    fn attack_jwks_of_another_host_is_not_asked() {
        let trust = Trust {
            hosts: Trust::hosts(" keys.example.org, 127.0.0.1,"),
            loopback_http: false,
        };
        let check = |url| trust.check(&Place::parse(url).unwrap(), "https://id.example.org/a");
        assert_eq!(check("https://id.example.org/keys"), Ok(()));
        assert_eq!(check("https://id.example.org:8443/keys"), Ok(()));
        assert_eq!(check("https://keys.example.org/"), Ok(()));
        for other in [
            "https://evil.example.org/",
            "https://id.example.org.evil.org/",
            "https://xkeys.example.org/",
        ] {
            assert_eq!(check(other), Err(BadPlace::Host), "{other}");
        }
        assert_eq!(check("http://id.example.org/keys"), Err(BadPlace::Http));
        assert_eq!(check("http://127.0.0.1/keys"), Err(BadPlace::Http));
        let local = Trust {
            loopback_http: true,
            ..trust.clone()
        };
        let place = Place::parse("http://127.0.0.1/keys").unwrap();
        assert_eq!(local.check(&place, "https://id.example.org"), Ok(()));
        assert!(local.reaches(&place, "127.0.0.1".parse().unwrap()));
        assert!(!local.reaches(&place, "192.0.2.1".parse().unwrap()));
        let unlisted = Place::parse("http://localhost/keys").unwrap();
        assert!(!local.reaches(&unlisted, "127.0.0.1".parse().unwrap()));
        // An issuer that is no URL has no host.
        let place = Place::parse("https://id.example.org/").unwrap();
        assert_eq!(trust.check(&place, "id.example.org"), Err(BadPlace::Host));
    }

    #[test]
    fn attack_jwks_addresses_of_this_network_are_not_reached() {
        let trust = Trust {
            hosts: vec!["k8s.internal".into()],
            ..Trust::default()
        };
        let public = Place::parse("https://id.example.org/").unwrap();
        let listed = Place::parse("https://k8s.internal/").unwrap();
        for address in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "4000::1",
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert!(!trust.reaches(&public, parsed), "{address}");
            assert!(trust.reaches(&listed, parsed), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "223.255.255.255",
            "2606:4700::1",
            "2a00:1450:4001::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert!(
                trust.reaches(&public, address.parse().unwrap()),
                "{address}"
            );
        }
    }

    #[test]
    fn jwks_descriptions_are_where_the_standard_says() {
        let of = |issuer| Place::of_description(issuer).map(|place| place.url);
        let expected = "https://id.example.org/realms/a/.well-known/openid-configuration";
        assert_eq!(of("https://id.example.org/realms/a").unwrap(), expected);
        assert_eq!(of("https://id.example.org/realms/a/").unwrap(), expected);
        assert_eq!(of("https://id.example.org/?a=b"), Err(BadPlace::Url));
        assert_eq!(of("accounts.example.org"), Err(BadPlace::Url));
    }
}
