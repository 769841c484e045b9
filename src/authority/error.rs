//! What to say when a role is not the caller's to manage.

use pgrx::prelude::*;

use super::Error;
use crate::error::{READ_ONLY, Report, sentence};
use crate::label::Kind;
use crate::text::identifier;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotOurs { .. } | Self::Kind { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::Superuser { .. } | Self::NotYours { .. } | Self::Oneself { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Unreadable { .. } | Self::Ended { .. } => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Unknown { .. } => {
                "No role has that name. A credential that has ended is dropped.".into()
            }
            Self::NotOurs { .. } => "It was not made by scope_roles.".into(),
            Self::Unreadable { problem, .. } => sentence(problem),
            Self::Kind { kind, .. } => format!("It is a {}.", kind.name()),
            Self::Superuser { .. } => "It is a superuser: somebody has changed it by hand.".into(),
            Self::NotYours { caller, .. } => {
                format!("\"{caller}\" is neither its creator nor a member of that role.")
            }
            Self::Oneself { .. } => {
                "A credential cannot renew, rotate or revoke itself, nor change its own rules."
                    .into()
            }
            Self::Ended { .. } => {
                "Its deadline has passed, or it has been revoked; nothing brings it back.".into()
            }
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) | Self::Unknown { .. } => "See the view scope.credentials.".into(),
            Self::ReadOnly => "Change credentials on the primary; standbys follow.".into(),
            Self::NotOurs { .. } => {
                "Manage it with PostgreSQL's own ALTER ROLE and DROP ROLE.".into()
            }
            Self::Unreadable { .. } => {
                "Have a superuser put the label right with SECURITY LABEL, or drop the role.".into()
            }
            Self::Kind { kind, .. } => match kind {
                Kind::Scope => "Use scope.alter_scope() and scope.drop_scope().".into(),
                Kind::Temporary => {
                    "Use scope.grant_temporary() and scope.revoke_temporary().".into()
                }
                Kind::Composite => "It ends by itself when no token needs it.".into(),
                Kind::Guarded => "Use scope.guard_login() and scope.unguard_login().".into(),
                _ => "See the view scope.credentials.".into(),
            },
            Self::Superuser { role } => {
                format!(
                    "ALTER ROLE {} NOSUPERUSER; and try again.",
                    identifier(role)
                )
            }
            Self::NotYours { .. } | Self::Oneself { .. } => {
                "Ask the role shown as created_by in scope.credentials, or a superuser.".into()
            }
            Self::Ended { .. } => "Issue a new credential.".into(),
        }
    }
}
