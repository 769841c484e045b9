//! Sessions that are not ended.

use pgrx::prelude::*;

use super::Error;
use crate::error::Report;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoCriterion => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Empty(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoSuchRole(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::Names(bad) => bad.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NoCriterion => "subject, role and issuer are all NULL.".into(),
            Self::Empty(_) => "No session has that.".into(),
            Self::NoSuchRole(_) => "No login and no acting role is called that.".into(),
            Self::Names(bad) => bad.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NoCriterion => {
                "Give at least one of them: scope.end_sessions(subject => 'user-4711').".into()
            }
            Self::Empty(what) => format!("Leave {what} out, or NULL, for any."),
            Self::NoSuchRole(_) => "Look at login and acting_role in scope.sessions.".into(),
            Self::Names(bad) => bad.hint(),
        }
    }
}
