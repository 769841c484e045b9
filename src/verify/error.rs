//! Tokens that are not accepted, issuers, revocations.

use pgrx::prelude::*;

use super::{Error, issuer, revocation};
use crate::claims::error::{PATH_HINT, path_problem};
use crate::error::{READ_ONLY, Report, sentence};
use crate::jwt;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoSecret
            | Self::BadSecret(_)
            | Self::SecretFile { .. }
            | Self::BadIssuer { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Token(_) | Self::UnknownIssuer | Self::Revoked => {
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
            }
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
            Self::Token(refusal) => format!("{}: {refusal}.", refusal.reason()),
            Self::UnknownIssuer => {
                "unknown_issuer: the iss claim names no registered issuer.".into()
            }
            Self::NoRandomness => "Tokens cannot be told apart without it.".into(),
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
                format!("Give the issuer usable keys with scope.set_jwt_keys('{name}', …).")
            }
            Self::Token(refusal) => refusal.hint().into(),
            Self::UnknownIssuer => {
                "Register the issuer with scope.add_jwt_issuer(), or use a token of one that is."
                    .into()
            }
            Self::Revoked => "Obtain a new token.".into(),
            Self::NoRandomness => "Check the operating system's random source.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
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
            | Self::Duration(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
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
            Self::Duration(_) => "It is a length of time.".into(),
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
            Self::Duration(_) => "Pass an interval such as '30 seconds', or NULL.".into(),
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
