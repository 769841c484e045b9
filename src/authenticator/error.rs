//! Authenticators.

use pgrx::prelude::*;

use super::Error;
use crate::error::Report;
use crate::text::identifier;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoRoles | Self::NoIssuers | Self::SubjectLimit => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::UnknownIssuer { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NoGroup => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::TooManyRoles => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::MayNotGrant { .. } | Self::MayNotConnect { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Replaced => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::Role(error) => error.code(),
            Self::Credential(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::NoRoles => "Without one its tokens could switch to nothing.".into(),
            Self::NoIssuers => "Without one nobody's tokens would be taken.".into(),
            Self::SubjectLimit => "It is how many sessions one subject may have at a time.".into(),
            Self::UnknownIssuer { .. } => "None of this name is registered in this database.".into(),
            Self::NoGroup => "The setting scope_roles.token_login_group is empty.".into(),
            Self::TooManyRoles => "Their names, with the purpose and the login policy, do not fit into the role's label.".into(),
            Self::Replaced => "Another role has one of the names now.".into(),
            Self::MayNotGrant { caller, .. } => {
                format!("\"{caller}\" has no ADMIN OPTION on it.")
            }
            Self::MayNotConnect { caller, .. } => {
                format!("\"{caller}\" neither owns it nor holds CONNECT WITH GRANT OPTION.")
            }
            Self::Role(error) => error.detail(),
            Self::Credential(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) | Self::NoRoles => {
                "Pass the name of the login and the roles that its tokens may name.".into()
            }
            Self::NoIssuers | Self::UnknownIssuer { .. } => {
                "Pass names of scope.jwt_issuers, or register an issuer with scope.add_jwt_issuer().".into()
            }
            Self::SubjectLimit => "Leave it out, or pass NULL, for no limit.".into(),
            Self::NoGroup => "Set it to the name of a role, and give that a line in pg_hba.conf.".into(),
            Self::TooManyRoles => "Make several authenticators, or use shorter names.".into(),
            Self::Replaced => "Look at the roles, and call it again.".into(),
            Self::MayNotGrant { role, caller } => {
                format!(
                    "GRANT {} TO {} WITH ADMIN OPTION;",
                    identifier(role),
                    identifier(caller)
                )
            }
            Self::MayNotConnect { database, caller } => format!(
                "GRANT CONNECT ON DATABASE {} TO {} WITH GRANT OPTION;",
                identifier(database),
                identifier(caller)
            ),
            Self::Role(error) => error.hint(),
            Self::Credential(error) => error.hint(),
        }
    }
}
