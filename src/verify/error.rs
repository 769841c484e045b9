//! Tokens that are not accepted, issuers, revocations.

use pgrx::prelude::*;

use super::{By, Error, Spent, Unbound, issuer, revocation};
use crate::claims::error::{PATH_HINT, path_problem};
use crate::error::{READ_ONLY, Report, sentence};
use crate::jwks::BadPlace;
use crate::jwt::{self, Refusal};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Spent {
                spent: Spent::NoRoom,
                ..
            } => PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::NoSecret
            | Self::BadSecret(_)
            | Self::SecretFile { .. }
            | Self::BadIssuer { .. }
            | Self::NotAtHand { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Token { .. }
            | Self::ClaimRequired { .. }
            | Self::Unbound { .. }
            | Self::UnknownIssuer { .. }
            | Self::KeysExpired { .. }
            | Self::Revoked
            | Self::Spent { .. } => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NoRandomness | Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NoSecret => {
                "The setting scope_roles.jwt_secret is empty and no issuer is registered.".into()
            }
            Self::BadSecret(problem) => sentence(&problem.to_string()),
            Self::SecretFile { kind, .. } => format!("Reading the file failed: {kind}."),
            Self::BadIssuer { problem, .. } | Self::Sql(problem) => sentence(problem),
            Self::Token { refusal, by } => {
                format!("{}: {refusal}.{}", refusal.reason(), judged(by))
            }
            Self::ClaimRequired { claim, by } => format!(
                "claim_required: the claim \"{claim}\" is absent or has a value that is not accepted.{}",
                judged(by)
            ),
            Self::Unbound { problem, by } => {
                format!("{}.{}", unbound(*problem), judged(by))
            }
            Self::UnknownIssuer { tried, near } => {
                let mut text =
                    "unknown_issuer: the iss claim names no registered issuer".to_owned();
                if let Some(refusal) = tried {
                    text.push_str(&format!(
                        ", and scope_roles.jwt_secret, which was tried because of that, does not verify the token: {refusal}"
                    ));
                }
                text.push('.');
                if let Some(name) = near {
                    text.push_str(&format!(
                        " It differs from that of the issuer \"{name}\" by a slash at its end alone."
                    ));
                }
                text
            }
            Self::KeysExpired {
                issuer,
                is_fetched: false,
            } => format!(
                "keys_expired: the issuer \"{}\" has no keys. A secret is in no dump.",
                crate::text::visible(issuer)
            ),
            Self::KeysExpired { issuer, .. } => format!(
                "keys_expired: no key of the issuer \"{}\" could be fetched in time.",
                crate::text::visible(issuer)
            ),
            Self::NotAtHand { bytes: Some(bytes) } => format!(
                "issuers_not_at_hand: the issuers of the database take {} kB, for which scope_roles.issuer_memory has no room.",
                bytes.div_ceil(1_024)
            ),
            Self::NotAtHand { bytes: None } => {
                "issuers_not_at_hand: no background worker has read the issuers of the database in time: max_worker_processes or scope_roles.issuer_memory is too low.".into()
            }
            Self::NoRandomness => "Tokens cannot be told apart without it.".into(),
            Self::Spent { spent, by } => format!("{}.{}", spent_words(*spent), judged(by)),
            Self::Revoked => "revoked: an administrator has revoked it, or its subject.".into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NoSecret | Self::BadSecret(_) => {
                "Set scope_roles.jwt_secret in postgresql.conf to a secret of at least 32 bytes, a JWK, a JWKS, a PEM public key, or @/path/of/a/file, and reload; or register an issuer with scope.add_jwt_issuer()."
                    .into()
            }
            Self::SecretFile { path, .. } => format!(
                "Make {path}, named by scope_roles.jwt_secret, readable for the server's operating system user."
            ),
            Self::BadIssuer { name, .. } => {
                format!("Correct it with scope.set_jwt_keys('{name}', …) or scope.alter_jwt_issuer('{name}', …).")
            }
            Self::Token { refusal, by } => match configured(*refusal, by) {
                Some(place) => format!("{} {place}", refusal.hint()),
                None => refusal.hint().into(),
            },
            Self::ClaimRequired { by, .. } => format!(
                "Have the identity provider issue the claim, or use another token; what is accepted is in the required_claims of {}.",
                name(by)
            ),
            Self::Unbound { by, .. } => format!(
                "Connect with the certificate that the token was issued to, by sslcert and sslkey, or let bound be 'ignored' for {}.",
                name(by)
            ),
            Self::UnknownIssuer { near: Some(_), .. } => {
                "Issuers are compared to the letter: register the iss as tokens have it (scope.drop_jwt_issuer() and scope.add_jwt_issuer())."
                    .into()
            }
            Self::UnknownIssuer { tried, .. } => {
                let mut text =
                    "Register the issuer in this database with scope.add_jwt_issuer(), or use a token of one that is."
                        .to_owned();
                if tried.is_some() {
                    text.push_str(" Where the token is one for scope_roles.jwt_secret, check that it is the signer's, and jwt_secret_is_base64.");
                }
                text
            }
            Self::Spent {
                spent: Spent::Standby,
                ..
            } => "Use the primary. If this is one that has just been started or promoted, try again in a moment.".into(),
            Self::Spent {
                spent: Spent::NoRoom,
                ..
            } => "Raise scope_roles.single_use_tokens, which takes effect at a restart, or have the identity provider issue tokens of shorter life.".into(),
            Self::Spent { by, .. } => format!(
                "Obtain a new token: each is good once, because {} has single_use.",
                name(by)
            ),
            Self::Revoked => "Obtain a new token.".into(),
            Self::KeysExpired {
                issuer,
                is_fetched: false,
            } => format!(
                "After a restore: scope.set_jwt_keys('{}', …).",
                crate::text::visible(issuer).replace('\'', "''")
            ),
            Self::KeysExpired { .. } => {
                "Try again in a moment. If it stays so, last_error in scope.jwt_issuers says why; scope.refresh_jwt_keys() tries once more.".into()
            }
            Self::NotAtHand { .. } => {
                "Raise scope_roles.issuer_memory or max_worker_processes, which take effect at a restart.".into()
            }
            Self::NoRandomness => "Check the operating system's random source.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}

/// Whose rules the token was judged by, as a sentence more.
fn judged(by: &By) -> String {
    match by {
        By::Nobody => String::new(),
        By::Settings { slash: false } => " It was judged by scope_roles.jwt_secret and the settings beside it.".into(),
        By::Settings { slash: true } => " It was judged by scope_roles.jwt_secret and the settings beside it, and scope_roles.jwt_issuer differs from its iss by a slash at the end alone.".into(),
        By::Issuer(name) => format!(" It was judged by the issuer \"{name}\"."),
    }
}

fn name(by: &By) -> String {
    match by {
        By::Issuer(name) => format!("the issuer \"{name}\""),
        By::Settings { .. } | By::Nobody => "an issuer of its own".into(),
    }
}

/// Where what has refused the token is configured.
fn configured(refusal: Refusal, by: &By) -> Option<String> {
    let (attribute, setting) = match refusal {
        Refusal::Algorithm => ("algorithms and keys", "jwt_secret"),
        Refusal::UnknownKey | Refusal::BadSignature => ("keys", "jwt_secret"),
        Refusal::TokenType => ("token_types", ""),
        Refusal::Audience => ("audiences", "jwt_audience"),
        Refusal::Issuer => ("issuer", "jwt_issuer"),
        Refusal::MissingExp => ("require_exp", "jwt_require_exp"),
        Refusal::MissingIat => ("max_age and single_use", "jwt_max_age"),
        Refusal::MissingId => ("single_use", ""),
        Refusal::TooOld => ("max_age", "jwt_max_age"),
        Refusal::Expired | Refusal::NotYetValid | Refusal::IssuedInFuture => {
            ("leeway", "jwt_leeway")
        }
        _ => return None,
    };
    match by {
        By::Nobody => None,
        By::Issuer(name) => Some(format!("See {attribute} of the issuer \"{name}\".")),
        By::Settings { .. } => Some(format!("See scope_roles.{setting}.")),
    }
}

fn spent_words(spent: Spent) -> &'static str {
    match spent {
        Spent::Replayed => "replayed: the token has been used",
        Spent::IssuedBefore => {
            "issued_before_start: the token was issued before the server began to count, or less than 2 seconds later, and may have been used"
        }
        Spent::Standby => {
            "standby: a token that is good once is not taken where others would not know of it"
        }
        Spent::NoRoom => "no_room: as many used tokens as there is room for have not ended",
    }
}

fn unbound(problem: Unbound) -> &'static str {
    match problem {
        Unbound::Not => "not_bound: the token has no cnf claim, and must be bound to a certificate",
        Unbound::Otherwise | Unbound::Form(_) => {
            "not_bound: the cnf claim names no certificate (x5t#S256), and the token must be bound to one"
        }
        Unbound::NoCertificate => {
            "bound_elsewhere: the token is bound to a certificate, and the client of this session has shown none"
        }
        Unbound::Elsewhere => {
            "bound_elsewhere: the token is bound to another certificate than that of this session's client"
        }
    }
}

impl Report for issuer::Bad {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) | Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Exists => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Empty(_)
            | Self::Keys(_)
            | Self::Algorithm(_)
            | Self::Unserved
            | Self::LongSecrets
            | Self::RoleClaim(_)
            | Self::TokenType(_)
            | Self::Required(_)
            | Self::RoleMap(_)
            | Self::Bound(_)
            | Self::Endless
            | Self::Duration(_)
            | Self::Sources
            | Self::NotFetched(_)
            | Self::Place(..)
            | Self::Path(_)
            | Self::Changes(_)
            | Self::Renamed => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Fetched(_) | Self::Pasted(_) => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Files => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) | Self::Empty(what) => format!("The argument {what} is needed."),
            Self::NullElement(what) => format!("An element of {what} is NULL."),
            Self::Keys(problem) => sentence(&problem.to_string()),
            Self::Algorithm(_) => {
                "Known are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA."
                    .into()
            }
            Self::Unserved => "No token could ever be verified.".into(),
            Self::LongSecrets => "With a secret among them they have at most 7,000 bytes.".into(),
            Self::RoleClaim(path) => path_problem(path),
            Self::TokenType(_) => "It is a media type such as at+jwt, or absent, for tokens without typ.".into(),
            Self::Required(problem) | Self::RoleMap(problem) => sentence(&problem.to_string()),
            Self::Bound(_) => "It says whether the cnf claim binds a token to the client's certificate.".into(),
            Self::Endless => "What was used is remembered until the token's end.".into(),
            Self::Duration(_) => "It is a length of time.".into(),
            Self::Sources => {
                "Give one of keys, keys_url and discover: what is pasted, or where it is fetched from.".into()
            }
            Self::Fetched(_) => "The worker fetches them from the issuer's keys_url, or from where its description says.".into(),
            Self::Pasted(_) | Self::NotFetched(_) => "The issuer has neither a keys_url nor discover.".into(),
            Self::Place(_, problem) => sentence(&problem.to_string()),
            Self::Path(_) => "It begins with a slash and has at most 1,024 bytes.".into(),
            Self::Files => "The server's process reads the file, and sends a token's to where the keys are.".into(),
            Self::Changes(problem) => sentence(problem),
            Self::Renamed => "Settings, audit lines and revocations name it.".into(),
            Self::Exists => "Names are unique, and each iss has one issuer.".into(),
            Self::Unknown(_) => "Issuers belong to one database.".into(),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Keys(_) => {
                "Pass the text itself of a JWKS, a JWK, a PEM public key, or a random secret of at least 32 bytes."
                    .into()
            }
            Self::Unserved => {
                "Secrets serve HS256, HS384 and HS512 as far as they are long enough, RSA keys RS and PS, keys on P-256, P-384 and P-521 ES256, ES384 and ES512, Ed25519 EdDSA."
                    .into()
            }
            Self::LongSecrets => {
                "Register the secret and the public keys as issuers of their own, or leave out what is not needed."
                    .into()
            }
            Self::RoleClaim(_) => PATH_HINT.into(),
            Self::Null("keys") => {
                "Pass keys, or say where they are: keys_url => 'https://…', or discover => true."
                    .into()
            }
            Self::Required(_) => {
                "Pass an object such as {\"client_id\": [\"app1\", \"app2\"], \"email_verified\": true, \"sub\": {\"present\": true}}."
                    .into()
            }
            Self::RoleMap(_) => {
                "Pass an object such as {\"/db/writers\": \"writer\", \"/db/readers\": \"reader\"}, the role that is to be found first first."
                    .into()
            }
            Self::Endless => "Leave require_exp true, or single_use false.".into(),
            Self::Duration(_) => "Pass an interval such as '30 seconds', or NULL.".into(),
            Self::Fetched(name) => format!(
                "To paste keys from now on: scope.alter_jwt_issuer('{}', '{{\"keys_url\": null, \"discover\": null}}') first.",
                name.replace('\'', "''")
            ),
            Self::Place(_, BadPlace::Url) => {
                "Name it as https://host/path, without user, fragment or spaces.".into()
            }
            Self::Place(_, BadPlace::Http) => {
                "Use https. For tests on this machine: scope_roles.jwks_loopback_http, and the host in scope_roles.jwks_hosts.".into()
            }
            Self::Place(_, BadPlace::Host) => {
                "List the host in scope_roles.jwks_hosts in postgresql.conf, and reload.".into()
            }
            Self::Files => "Have a superuser or a member of pg_read_server_files register the issuer.".into(),
            Self::Pasted(_) => {
                "Say where they are by scope.alter_jwt_issuer(), or pass new ones to scope.set_jwt_keys().".into()
            }
            Self::Changes(_) => {
                "Pass attributes by the names that they have in a spec, such as '{\"audiences\": [\"api\"], \"max_age\": 3600}'; null: what it is when it is not given.".into()
            }
            Self::Renamed => "Leave name out; drop the issuer and register it anew to call it otherwise.".into(),
            Self::Exists => {
                "Use scope.set_jwt_keys() to change its keys, or scope.drop_jwt_issuer() first."
                    .into()
            }
            Self::ReadOnly => "Change issuers on the primary; standbys follow.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
            _ => "See the view scope.jwt_issuers and \\df+ scope.add_jwt_issuer.".into(),
        }
    }
}

impl Report for revocation::Bad {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Missing(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::TooLong { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Missing(what) => format!("The argument {what} is needed."),
            Self::TooLong { bytes, .. } => format!(
                "It has {bytes} bytes; at most {} are accepted.",
                jwt::MAX_ID_BYTES
            ),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::ReadOnly => "Revoke on the primary; standbys follow.".into(),
            Self::TooLong { what: "issuer", .. } => "Leave issuer out: NULL stands for any.".into(),
            Self::TooLong { .. } => {
                "There is nothing to do: tokens with so long a claim are refused anyway.".into()
            }
            Self::Missing(_) => "Pass the jti or sub claim as the token has it, and a time.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}
