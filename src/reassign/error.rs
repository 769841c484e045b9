//! What is not handed over, and why.

use pgrx::prelude::*;

use super::Error;
use crate::error::{READ_ONLY, Report};
use crate::text::identifier;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotAMember { .. }
            | Self::Former { .. }
            | Self::NotOfTheNewOne { .. }
            | Self::Outlasts => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Managed { .. } | Self::Predefined { .. } => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::Request(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Unknown { .. } => "What is handed over needs somebody to manage it.".into(),
            Self::NotAMember { caller, .. } => {
                format!("\"{caller}\" does not have the privileges of that role.")
            }
            Self::Former { .. } => {
                "No role has that name now, and who is a member of it nobody can tell.".into()
            }
            Self::NotOfTheNewOne { caller, .. } => format!(
                "\"{caller}\" does not have the privileges of that role, or it is a superuser."
            ),
            Self::Outlasts => {
                "The caller's login, token or temporary membership ends, and this would not.".into()
            }
            Self::Managed {
                kind: Some(kind), ..
            } => {
                format!("It is a {}, which ends or acts for others.", kind.name())
            }
            Self::Managed { kind: None, .. } => "Its label cannot be read.".into(),
            Self::Predefined { .. } => "It is one of PostgreSQL's own.".into(),
            Self::Request(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Call scope.reassign('who has made it', 'who is to manage it').".into(),
            Self::ReadOnly => "Call it on the primary; standbys follow.".into(),
            Self::Unknown { role } => format!(
                "Create it, or correct its name: CREATE ROLE {};",
                identifier(role)
            ),
            Self::NotAMember { .. } | Self::NotOfTheNewOne { .. } => {
                "Call it as a member of both roles, or as a superuser.".into()
            }
            Self::Former { .. } => "Call it as a superuser.".into(),
            Self::Outlasts => "Have a role do it whose right does not end.".into(),
            Self::Managed { .. } | Self::Predefined { .. } => {
                "Hand it to a role of your own, such as a NOLOGIN role that owns the application's objects, or a person's own login.".into()
            }
            Self::Request(error) => error.hint(),
        }
    }
}
