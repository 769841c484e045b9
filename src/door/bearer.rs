//! What a line of pg_hba.conf with the method oauth asks of a token. Pure.
#![forbid(unsafe_code)]

use crate::claim_path::ClaimPath;

/// Is it the issuer that the line says, by its name or by the address of its metadata, which has lost a slash at the end of the name (OpenID
/// Connect Discovery 1.0, section 4; RFC 8414, section 3)?
pub fn is_issuer_of(line: &str, issuer: &str) -> bool {
    const DOCUMENTS: [&str; 2] = [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ];
    let named = DOCUMENTS.iter().find_map(|document| {
        let (before, after) = line.split_once(document)?;
        (after.is_empty() || after.starts_with('/')).then(|| [before, after].concat())
    });
    match named {
        Some(named) => named == issuer.strip_suffix('/').unwrap_or(issuer),
        None => line == issuer,
    }
}

/// What OpenID Connect itself means by them (Core 1.0, sections 5.4 and 11): no token says more by having one.
const OF_OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// The first of the scopes that the token lacks, by its `scope` (RFC 9068, section 2.2.3) or, as Entra ID and Okta have it, by `scp`, which names those
/// of an application without its address.
pub fn missing_scope<'a>(scopes: &'a str, payload: &str) -> Option<&'a str> {
    let list = |claim: &str| -> Vec<String> {
        let values = ClaimPath::parse(claim).ok();
        let values = values.and_then(|path| path.strings(payload).ok());
        let values = values.unwrap_or_default();
        let each = values.iter().flat_map(|value| value.split(' '));
        each.map(str::to_owned).collect()
    };
    let (scope, scp) = (list("scope"), list("scp"));
    let is_there = |wanted: &str| {
        let short = wanted.rsplit_once('/').map_or(wanted, |(_, short)| short);
        OF_OPENID.contains(&wanted)
            || scope.iter().chain(&scp).any(|has| has == wanted)
            || scp.iter().any(|has| has == short)
    };
    let mut wanted = scopes.split(' ').filter(|wanted| !wanted.is_empty());
    wanted.find(|wanted| !is_there(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_of_a_line_is_told_by_its_metadata_too() {
        const OPENID: &str = "https://a.example/t/.well-known/openid-configuration";
        const OAUTH: &str = "https://a.example/.well-known/oauth-authorization-server/t";
        for (line, issuer, is_its) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example/", false),
            (OPENID, "https://a.example/t", true),
            (OPENID, "https://a.example/t/", true),
            (OPENID, "https://a.example", false),
            (OAUTH, "https://a.example/t", true),
            (OAUTH, "https://a.example/u", false),
        ] {
            assert_eq!(is_issuer_of(line, issuer), is_its, "{line} {issuer}");
        }
    }

    #[test]
    fn a_token_has_the_scopes_of_a_line() {
        for (scopes, payload, missing) in [
            ("openid", "{}", None),
            ("", "{}", None),
            ("openid db", r#"{"scope":"openid db email"}"#, None),
            ("db", r#"{"scope":"dbx xdb"}"#, Some("db")),
            ("db", r#"{"scope":["db"]}"#, None),
            ("api://app/db.read openid", r#"{"scp":"db.read"}"#, None),
            (
                "api://app/db.read",
                r#"{"scope":"db.read"}"#,
                Some("api://app/db.read"),
            ),
            ("a b", r#"{"scp":["a","b"]}"#, None),
            ("a b", r#"{"scp":["a"]}"#, Some("b")),
            ("a", r#"{"scope":5}"#, Some("a")),
        ] {
            assert_eq!(
                missing_scope(scopes, payload),
                missing,
                "{scopes} {payload}"
            );
        }
    }
}
