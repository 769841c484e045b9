//! Memberships for a time.

use pgrx::prelude::*;

use super::{Error, HasEnded, Lapsed, StillThere};
use crate::error::Report;
use crate::text::identifier;
use crate::timestamp;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::Superuser { .. } | Self::MayNotGrant { .. } | Self::Outlasts { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Managed { .. } | Self::ManagedMember { .. } | Self::NotALogin { .. } => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::Circle { .. } => PgSqlErrorCode::ERRCODE_INVALID_GRANT_OPERATION,
            Self::AlreadyMember { .. } => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::Deadline(error) => error.code(),
            Self::Life(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::Unknown { .. } => "No role has that name.".into(),
            Self::Superuser { .. } => {
                "Superusers may act as everybody, and nothing stops them at a deadline.".into()
            }
            Self::Managed { kind, .. } | Self::ManagedMember { kind, .. } => {
                format!("It is a {}.", kind.name())
            }
            Self::NotALogin { .. } => "A temporary membership is for a person's own login.".into(),
            Self::Circle { .. } => "It is the login itself, or a member of it.".into(),
            Self::AlreadyMember { .. } => {
                "That membership has no deadline, so nothing would end.".into()
            }
            Self::MayNotGrant { caller, .. } => {
                format!("\"{caller}\" did not make it and has no ADMIN OPTION on it.")
            }
            Self::Outlasts { .. } => {
                "The caller's login or temporary membership ends, and this would not.".into()
            }
            Self::Deadline(error) => error.detail(),
            Self::Life(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Pass the role, the login that gets it, and for how long.".into(),
            Self::Unknown { .. } => "Create the role, or correct its name.".into(),
            Self::Superuser { .. } => "Grant an ordinary role to an ordinary login.".into(),
            Self::Managed { .. } => "Grant a scope or an ordinary role.".into(),
            Self::ManagedMember { .. } => {
                "Issue a credential that has the scope, with scope.create_credential().".into()
            }
            Self::NotALogin { .. } => "Grant it to each login that is to have it.".into(),
            Self::Circle { .. } => "Grant another role.".into(),
            Self::AlreadyMember { role, to } => format!(
                "REVOKE {} FROM {}; first.",
                identifier(role),
                identifier(to)
            ),
            Self::MayNotGrant { role, caller } => {
                format!(
                    "GRANT {} TO {} WITH ADMIN OPTION;",
                    identifier(role),
                    identifier(caller)
                )
            }
            Self::Outlasts { .. } => {
                "Use scope.grant_temporary(), or have a role that does not end apply the spec."
                    .into()
            }
            Self::Deadline(error) => error.hint(),
            Self::Life(error) => error.hint(),
        }
    }
}

impl Report for HasEnded {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        "Its deadline has passed, or it was revoked; the session still acts as the role.".into()
    }
    fn hint(&self) -> String {
        "RESET ROLE, after ROLLBACK inside a transaction; connect anew where a token has switched the session.".into()
    }
}

impl Report for Lapsed {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        "Its rows are what the membership gave.".into()
    }
    fn hint(&self) -> String {
        "ROLLBACK, or CLOSE the cursor if it is one WITH HOLD.".into()
    }
}

impl Report for StillThere {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        let inheritor = &self.inheritor;
        match self.since {
            i64::MIN => format!("It was revoked; role \"{inheritor}\" still inherits through it."),
            since => format!(
                "It ended at {}; role \"{inheritor}\" inherits through it until the worker has revoked it.",
                timestamp::rfc3339(since)
            ),
        }
    }
    fn hint(&self) -> String {
        "Try again when the worker has revoked it, or have an administrator call scope.expire_roles().".into()
    }
}
