//! What our texts may be. Messages name the setting, never its value.

use zeroize::Zeroizing;

use crate::claim_path::ClaimPath;
use crate::jwks::{Place, Trust};
use crate::jwt::KeySet;
use crate::pg::checked_setting::{self, Checked, Wrong};
use crate::pg::statement;

const SECRET_HINT: &str = "Use a random secret of at least 32 bytes, a JWK, a JWKS, a PEM public key, or @/path/of/a/file that holds one.";

/// May `scope_roles.jwt_secret` be this? In words of ours: PostgreSQL's would show the value.
pub fn is_secret(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    if let Some(path) = bytes.strip_prefix(b"@") {
        if checked_setting::is_heard()
            && let Err(wrong) = secret_file(&String::from_utf8_lossy(path))
        {
            checked_setting::warn(&wrong);
        }
        return true;
    }
    secret(bytes).map_or_else(
        |wrong| {
            // Nor does the statement go into the log.
            statement::hide(|_| false);
            checked_setting::refuse(&wrong)
        },
        |()| true,
    )
}

/// Whether it is base64 says another setting, which may be about to change.
fn secret(text: &[u8]) -> Result<(), Wrong> {
    match (KeySet::parse(text, false), KeySet::parse(text, true)) {
        (Err(problem), Err(_)) => Err(Wrong {
            message: "scope_roles.jwt_secret is not usable as a key",
            detail: sentence(&problem.to_string()),
            hint: SECRET_HINT,
        }),
        _ => Ok(()),
    }
}

/// The file that `scope_roles.jwt_secret` names. It may be put there later.
fn secret_file(path: &str) -> Result<(), Wrong> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| Wrong {
        message: "the file that scope_roles.jwt_secret names cannot be read",
        detail: format!("Reading it failed: {}.", error.kind()),
        hint: "Make it readable for the server's operating system user; until then every token is refused.",
    })?;
    secret(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).map_err(|wrong| Wrong {
        message: "the file that scope_roles.jwt_secret names holds no usable key",
        ..wrong
    })
}

pub struct RoleClaim;

impl Checked for RoleClaim {
    fn check(text: &str) -> Result<(), Wrong> {
        ClaimPath::parse(text).map(|_| ()).map_err(|error| Wrong {
            message: "scope_roles.jwt_role_claim is no claim path",
            detail: format!("At character {}: {}.", error.position, error.message),
            hint: "Use a claim's name (role), a path (.realm_access.roles[0]), or JSONPath ($.realm_access.roles[0]).",
        })
    }

    fn when_empty() -> Result<(), Wrong> {
        Err(Wrong {
            message: "scope_roles.jwt_role_claim is empty",
            detail: "It names the claim that holds the role.".into(),
            hint: "Name a claim; the default is role.",
        })
    }
}

pub struct Audience;

impl Checked for Audience {
    fn check(text: &str) -> Result<(), Wrong> {
        if text.split(',').any(|audience| audience.trim().is_empty()) {
            return Err(Wrong {
                message: "scope_roles.jwt_audience has an empty element",
                detail: "It lists audiences, separated by commas.".into(),
                hint: "Leave the comma out; an empty setting turns the check of aud off.",
            });
        }
        Ok(())
    }
}

pub struct Issuer;

impl Checked for Issuer {
    fn check(text: &str) -> Result<(), Wrong> {
        if text.trim() != text {
            return Err(Wrong {
                message: "scope_roles.jwt_issuer begins or ends with a space",
                detail: "It must equal the iss claim to the letter.".into(),
                hint: "Copy it from the identity provider's configuration; an empty setting turns the check of iss off.",
            });
        }
        Ok(())
    }
}

pub struct Hosts;

impl Checked for Hosts {
    fn check(text: &str) -> Result<(), Wrong> {
        let is_host = |host: &str| {
            Place::parse(&format!("https://{host}")).is_ok_and(|place| place.host == host)
        };
        let hosts = Trust::hosts(text);
        if hosts.len() == text.split(',').count() && hosts.iter().all(|host| is_host(host)) {
            return Ok(());
        }
        Err(Wrong {
            message: "scope_roles.jwks_hosts is no list of hosts",
            detail: "An element is no name and no address of a host.".into(),
            hint: "List names or addresses without schemes and ports, separated by commas: keys.example.org, 10.0.0.7, [fd00::7].",
        })
    }
}

pub struct Proxy;

impl Checked for Proxy {
    fn check(text: &str) -> Result<(), Wrong> {
        let authority = text
            .strip_prefix("http://")
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let is_proxy = authority.is_some_and(|authority| {
            !authority.contains(['/', '?']) && Place::parse(&format!("http://{authority}")).is_ok()
        });
        if is_proxy {
            return Ok(());
        }
        Err(Wrong {
            message: "scope_roles.jwks_proxy is no proxy",
            detail: "It is not of the form http://host:port.".into(),
            hint: "Name an HTTP proxy that needs no password, such as http://proxy.example.org:3128.",
        })
    }
}

pub struct AnonRole;

impl Checked for AnonRole {
    fn check(text: &str) -> Result<(), Wrong> {
        let problem = if text.len() > 63 {
            "Role names have at most 63 bytes."
        } else if text.starts_with("pg_") || text == "public" || text == "none" {
            "Tokens and calls without one never give such a role."
        } else {
            return Ok(());
        };
        Err(Wrong {
            message: "scope_roles.anon_role cannot be such a role",
            detail: problem.into(),
            hint: "Name a role that you made for requests without a token, or leave it empty.",
        })
    }
}

pub struct Host;

impl Checked for Host {
    fn check(text: &str) -> Result<(), Wrong> {
        let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.contains(':') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
        });
        let problem = if text.contains("://") {
            "It is a URI."
        } else if has_port {
            "It has a port."
        } else if text
            .contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '?' | '#'))
        {
            "It has characters that no host has."
        } else {
            return Ok(());
        };
        Err(Wrong {
            message: "scope_roles.connection_host is no host",
            detail: problem.into(),
            hint: "Set the host's name or address alone, such as db.example.org; the port is scope_roles.connection_port.",
        })
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let long = "x".repeat(32);
        assert_eq!(secret(long.as_bytes()), Ok(()));
        for wrong in [
            "short",
            "https://id.example.org/.well-known/jwks.json",
            " ",
            "{\"kty\":\"oct\"}",
        ] {
            let problem = secret(wrong.as_bytes()).unwrap_err();
            assert!(
                wrong == " " || !format!("{problem:?}").contains(wrong),
                "{problem:?}"
            );
        }
        for (text, is_host) in [
            ("db.example.org", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("2001:db8::5432", true),
            ("/var/run/postgresql", true),
            ("a,b", true),
            ("postgres://db", false),
            ("db:5432", false),
            ("me@db", false),
            ("db example", false),
        ] {
            assert_eq!(Host::check(text).is_ok(), is_host, "{text}");
        }
        for (text, is_right) in [
            ("a", true),
            ("a, b", true),
            ("a,", false),
            (",", false),
            (" ", false),
        ] {
            assert_eq!(Audience::check(text).is_ok(), is_right, "{text}");
        }
        for (text, is_right) in [
            ("role", true),
            (".a[0]", true),
            (".a[0", false),
            ("$..", false),
        ] {
            assert_eq!(RoleClaim::check(text).is_ok(), is_right, "{text}");
        }
    }
}
