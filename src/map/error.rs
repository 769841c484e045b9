//! The map of roles.

use pgrx::prelude::*;

use super::Error;
use crate::error::{Report, sentence};

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Format(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null | Self::Format(_) => "It is \"mermaid\", \"dot\" or \"json\".".into(),
            Self::Sql(error) => sentence(error),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null | Self::Format(_) => {
                "Leave it out for a diagram that Markdown pages show.".into()
            }
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}
