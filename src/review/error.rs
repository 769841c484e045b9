//! Reviews.

use pgrx::prelude::*;

use super::Error;
use crate::error::{READ_ONLY, Report, sentence};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoSuchCode { .. } | Self::NoSuchFinding { .. } | Self::NoSuchRole { .. } => {
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            }
            Self::Oneself { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Text { .. } | Self::Duration => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Access(error) => error.code(),
            Self::Scope(error) => error.code(),
            Self::Request(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The call gives no {what}."),
            Self::NoSuchCode { .. } => "No finding of scope.review() has this code.".into(),
            Self::NoSuchFinding { about, .. } => {
                format!("{about}, and scope.review() finds nothing of that code there now.")
            }
            Self::NoSuchRole { .. } => "It may have been dropped meanwhile.".into(),
            Self::Oneself { .. } => "It is the role that would sign.".into(),
            Self::Text { bytes, .. } => format!("It has {bytes}."),
            Self::Duration => "valid_for must be positive and at most a year.".into(),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
            Self::Access(error) => error.detail(),
            Self::Scope(error) => error.detail(),
            Self::Request(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Pass a value.".into(),
            Self::NoSuchCode { .. } => "docs/review.md lists the codes.".into(),
            Self::NoSuchFinding { .. } => {
                "Pass role_name and object_name as scope.review() shows them, NULL where it shows none."
                    .into()
            }
            Self::NoSuchRole { .. } => "See pg_roles.".into(),
            Self::Oneself { .. } => "Have somebody else review it.".into(),
            Self::Text { .. } => "Say why, in a sentence.".into(),
            Self::Duration => "Say '90 days', for instance; it can be accepted again then.".into(),
            Self::ReadOnly => "Run it on the primary server, in a transaction that may write.".into(),
            Self::Sql(_) => "See the server log.".into(),
            Self::Access(error) => error.hint(),
            Self::Scope(error) => error.hint(),
            Self::Request(error) => error.hint(),
        }
    }
}
