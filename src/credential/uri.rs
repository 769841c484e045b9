//! Connection URIs (PostgreSQL documentation, section 34.1.1.2). Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

use zeroize::Zeroizing;

#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// A host name, an IP address, or the folder of a Unix socket; `None` for the client's default.
    pub host: Option<&'a str>,
    pub port: i32,
    pub database: &'a str,
    /// Whether the client must use TLS.
    pub require_tls: bool,
}

/// `postgresql://role:password@host:port/database`, everything percent-encoded; without a password where there is none.
pub fn compose(target: &Target<'_>, role: &str, password: Option<&str>) -> Zeroizing<String> {
    let host = target.host.map(|host| {
        // A colon inside a host is an IPv6 address, which needs brackets.
        if host.contains(':') && !host.starts_with('/') {
            format!("[{}]", encode(host).replace("%3A", ":"))
        } else {
            encode(host)
        }
    });
    let password =
        password.map(|password| Zeroizing::new(format!(":{}", *Zeroizing::new(encode(password)))));
    let mut uri = Zeroizing::new(format!(
        "postgresql://{}{}@{}:{}/{}",
        encode(role),
        password.as_deref().map_or("", String::as_str),
        host.unwrap_or_default(),
        target.port,
        encode(target.database)
    ));
    if target.require_tls {
        uri.push_str("?sslmode=require");
    }
    uri
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(host: Option<&str>, database: &str, require_tls: bool) -> String {
        let target = Target {
            host,
            port: 5432,
            database,
            require_tls,
        };
        compose(&target, "reader", Some("s3cret")).to_string()
    }

    #[test]
    fn uri_names_host_port_and_database() {
        assert_eq!(
            uri(Some("db.example.org"), "app", false),
            "postgresql://reader:s3cret@db.example.org:5432/app"
        );
        assert_eq!(
            uri(None, "app", false),
            "postgresql://reader:s3cret@:5432/app"
        );
        assert_eq!(
            uri(Some("127.0.0.1"), "app", true),
            "postgresql://reader:s3cret@127.0.0.1:5432/app?sslmode=require"
        );
    }

    #[test]
    fn uri_encodes_what_would_change_its_meaning() {
        assert_eq!(
            uri(Some("/run/pg"), "a/b?c@d:e f\u{e9}", false),
            "postgresql://reader:s3cret@%2Frun%2Fpg:5432/a%2Fb%3Fc%40d%3Ae%20f%C3%A9"
        );
        assert_eq!(
            uri(Some("::1"), "app", false),
            "postgresql://reader:s3cret@[::1]:5432/app"
        );
    }
}
