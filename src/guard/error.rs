//! Guards.

use pgrx::prelude::*;

use super::{Error, Refusal};
use crate::error::{READ_ONLY, Report};

impl Report for Refusal {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Rows { .. } | Self::Window { .. } => {
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Self::Class { .. } | Self::ReadOnly { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Rows { rows, of } => {
                format!("max_rows: the guard of role \"{of}\" lets a statement return {rows} rows.")
            }
            Self::Window { rows, seconds, of } => format!(
                "window_rows: the guard of role \"{of}\" lets it return {rows} rows in {seconds} seconds, in all sessions together."
            ),
            Self::Class { of, class } => {
                format!("forbid: the guard of role \"{of}\" names {}.", class.name())
            }
            Self::ReadOnly { .. } => {
                "Its scopes only read, and that holds inside functions too, no matter who owns them."
                    .into()
            }
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Rows { .. } => {
                "Ask for fewer rows, or have an administrator change the guard by scope.set_guard()."
                    .into()
            }
            Self::Window { .. } => {
                "Try again later, or have an administrator change the guard by scope.set_guard()."
                    .into()
            }
            Self::Class { .. } => {
                "An administrator can change the guard by scope.set_guard().".into()
            }
            Self::ReadOnly { .. } => {
                "An administrator can let a function write by scope.allow_writes(), or give the role a scope that writes.".into()
            }
        }
    }
}

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NoSuchFunction { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            Self::Action(_)
            | Self::Class(_)
            | Self::Rows(_)
            | Self::HalfAWindow
            | Self::Window
            | Self::Superuser { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotYours { .. } | Self::Oneself { .. } | Self::OfADba { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(argument) => format!("The argument {argument} must have a value."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Unknown { .. } => "No role has this name.".into(),
            Self::NoSuchFunction { oid } => format!("No function has the OID {oid}."),
            Self::Action(_) => "It is \"alert\" or \"block\".".into(),
            Self::Class(_) => {
                "There are ddl, copy_program, copy_to, listen, lock, do, temp, large_objects and set."
                    .into()
            }
            Self::Rows(_) => "It must not be negative.".into(),
            Self::HalfAWindow => "window_rows and window are given together, or not at all.".into(),
            Self::Window => {
                "It must be between 1 second and 366 days, without months or years.".into()
            }
            Self::Superuser { .. } => "Guards do not limit superusers.".into(),
            Self::NotYours { caller, .. } => format!(
                "Role \"{caller}\" did not make it and has no ADMIN OPTION on it."
            ),
            Self::Oneself { .. } => "Nobody changes the guards that hold for their own session.".into(),
            Self::OfADba { .. } => "A superuser has set this guard.".into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Leave an argument out to take its default.".into(),
            Self::ReadOnly => {
                "Set guards on the primary server, in a transaction that writes.".into()
            }
            Self::Unknown { .. } => "See scope.roles for the roles that are managed here.".into(),
            Self::NoSuchFunction { .. } => {
                "Name it with its argument types, as \\df shows them.".into()
            }
            Self::Action(_) => "Pass action => 'alert' or action => 'block'.".into(),
            Self::Class(_) => "See docs/guards.md for what each of them means.".into(),
            Self::Rows(_) => "Leave it out for no limit.".into(),
            Self::HalfAWindow => {
                "Pass both, for example window_rows => 10000, \"window\" => '1 hour'.".into()
            }
            Self::Window => "Pass a positive interval such as '1 hour'.".into(),
            Self::Superuser { .. } => "Take SUPERUSER from the role, or guard another.".into(),
            Self::NotYours { .. } | Self::Oneself { .. } => {
                "Ask the role's creator, or a superuser.".into()
            }
            Self::OfADba { .. } => "Ask a superuser to change it.".into(),
        }
    }
}
