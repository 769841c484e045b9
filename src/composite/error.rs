//! Why roles cannot be taken together.

use pgrx::prelude::*;

use super::Error;
use crate::error::{Report, sentence};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::ReadOnly { .. } => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::TooMany => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::Taken { .. } | Self::Changed { .. } | Self::Gone => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Busy => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::ReadOnly { role } => format!(
                "composite_role: nobody has taken these roles together yet, and \"{role}\" cannot be made in a read-only transaction."
            ),
            Self::TooMany => "composite_role: their names do not fit into a label.".into(),
            Self::Taken { role } => {
                format!("composite_role: \"{role}\" is another role, or is being dropped.")
            }
            Self::Changed { role } => {
                format!("composite_role: \"{role}\" has other memberships by now, or has ended.")
            }
            Self::Busy => {
                "composite_role: others have been changing these roles for five seconds.".into()
            }
            Self::Gone => "composite_role: one of them has been dropped.".into(),
            Self::Sql(error) => sentence(&error.to_string()),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::ReadOnly { .. } => "Take them on the primary once; standbys follow.".into(),
            Self::TooMany => "Map to fewer roles, or use shorter names.".into(),
            Self::Taken { .. } => "Rename that role.".into(),
            Self::Changed { .. } | Self::Busy | Self::Gone | Self::Sql(_) => "Try again.".into(),
        }
    }
}
