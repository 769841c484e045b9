//! The map of access.

use pgrx::prelude::*;

use super::Error;
use crate::error::{Report, sentence};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoSuchRole { .. } | Self::NoSuchObject { .. } => {
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            }
            Self::NoSuchRight { .. } | Self::Misfit { .. } => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::NotYours { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The call gives no {what}."),
            Self::NoSuchRole { .. } => "It may have been dropped meanwhile.".into(),
            Self::NoSuchObject { .. } => {
                "Nothing in this database or shared by all databases has this name.".into()
            }
            Self::NoSuchRight { .. } => "PostgreSQL has no privilege of this name.".into(),
            Self::Misfit { fitting, .. } => format!("There are {}.", fitting.join(", ")),
            Self::NotYours { caller, .. } => format!(
                "\"{caller}\" is not a member of pg_monitor and does not have the privileges of that role."
            ),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Pass a value.".into(),
            Self::NoSuchRole { .. } => "See pg_roles.".into(),
            Self::NoSuchObject { .. } => {
                "Write sales.orders, sales.total(integer), or the kind and the name as effective_access() shows them: schema sales, column sales.orders.id, foreign server far."
                    .into()
            }
            Self::NoSuchRight { .. } => {
                "Use a single word of GRANT, such as SELECT; for roles USAGE, SET or ADMIN.".into()
            }
            Self::Misfit { .. } => "Name one of these.".into(),
            Self::NotYours { .. } => {
                "Ask for a role of yours, or have pg_monitor granted to you.".into()
            }
            Self::Sql(_) => "See the server log.".into(),
        }
    }
}
