//! Tokens that are not exchanged.

use pgrx::prelude::*;

use super::Error;
use crate::error::Report;
use crate::timestamp;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Switch(error) => error.code(),
            Self::NoSubject | Self::TooLong => {
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
            }
            Self::TooMany { .. } => PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            Self::Replaced => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::InBlock => PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::Credential(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Switch(error) => error.detail(),
            Self::NoSubject => {
                "missing_sub: the token has no sub claim, which says whose login it would be."
                    .into()
            }
            Self::TooLong => {
                "too_long_to_keep: its iss, sub, jti and iat have more than 400 bytes together, as JSON.".into()
            }
            Self::TooMany { most: 0, .. } => "The setting scope_roles.exchange_limit is 0.".into(),
            Self::TooMany { most, first_end } => {
                let mut text =
                    format!("It has {most}, as many as scope_roles.exchange_limit says.");
                if let Some(end) = first_end {
                    text += &format!(" The first of them ends at {}.", timestamp::rfc3339(*end));
                }
                text
            }
            Self::Replaced => "The token's role has another name now, or is gone.".into(),
            Self::InBlock => {
                "Until it is committed, nobody else can be given the role, nor lose it.".into()
            }
            Self::Credential(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Switch(error) => error.hint(),
            Self::NoSubject => "Have the identity provider set sub.".into(),
            Self::TooLong => "Have the identity provider issue shorter identifiers.".into(),
            Self::TooMany { .. } => {
                "Use one that there is, or have one ended by scope.revoke_role(); or raise scope_roles.exchange_limit."
                    .into()
            }
            Self::Replaced => "Try again.".into(),
            Self::InBlock => {
                "Call it as a statement of its own, without BEGIN: drivers call that autocommit.".into()
            }
            Self::Credential(error) => error.hint(),
        }
    }
}
