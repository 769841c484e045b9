//! Who is not offboarded, and why.

use pgrx::prelude::*;

use super::Error;
use crate::error::{READ_ONLY, Report};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) | Self::NoReason => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Whom | Self::IssuerOfWhat | Self::Empty(_) | Self::OwnSuccessor => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotALogin { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::Superuser { .. } | Self::Oneself => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Names(bad) => bad.code(),
            Self::Sessions(error) => error.code(),
            Self::Life(error) => error.code(),
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::NoReason => "It is kept in scope.audit_log.".into(),
            Self::Whom => "Both role and subject are given, or neither.".into(),
            Self::IssuerOfWhat => "An issuer says whose subject is meant, not whose role.".into(),
            Self::Empty(_) => "Nobody is called that.".into(),
            Self::OwnSuccessor => "Whoever leaves takes over nothing.".into(),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Unknown { .. } => "No role has that name.".into(),
            Self::NotALogin { kind, .. } => format!("It is a {}, and nobody's login.", kind.name()),
            Self::Superuser { .. } => "It is a superuser, and the caller is not.".into(),
            Self::Oneself => "It is the caller, or whoever the caller acts for.".into(),
            Self::Names(bad) => bad.detail(),
            Self::Sessions(error) => error.detail(),
            Self::Life(error) => error.detail(),
            Self::Sql(problem) => problem.clone(),
        }
    }
    fn hint(&self) -> String {
        const BY: &str =
            "Name one: scope.offboard(role => 'bob'), or scope.offboard(subject => 'user-4711').";
        match self {
            Self::Null(_) | Self::Empty(_) => "Leave it out for its default.".into(),
            Self::NoReason => "Say why: reason => 'left on 2026-11-20'.".into(),
            Self::Whom => BY.into(),
            Self::IssuerOfWhat => "Leave issuer out, or name a subject.".into(),
            Self::OwnSuccessor => "Name the role that is to manage it from now on.".into(),
            Self::ReadOnly => "Call it on the primary; without apply it works here as well.".into(),
            Self::Unknown { .. } => {
                "What a dropped role has made: scope.reassign(). The holder of tokens: subject => …."
                    .into()
            }
            Self::NotALogin { .. } => "Name the login of the person who leaves.".into(),
            Self::Superuser { .. } => "Have a superuser do it.".into(),
            Self::Oneself => "Have somebody else do it.".into(),
            Self::Names(bad) => bad.hint(),
            Self::Sessions(error) => error.hint(),
            Self::Life(error) => error.hint(),
            Self::Sql(_) => "Try again.".into(),
        }
    }
}
