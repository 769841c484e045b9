//! Specs. DETAIL names the place in the spec, as a JSON pointer (RFC 6901).

use pgrx::prelude::*;

use super::{Bad, Error};
use crate::error::{READ_ONLY, Report, sentence};

impl Report for Bad {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
    }
    fn detail(&self) -> String {
        sentence(&self.problem)
    }
    fn hint(&self) -> String {
        "docs/specs.md lists what a spec may say; scope.export_spec() writes one.".into()
    }
}

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Bad(error) => error.code(),
            Self::Missing { what, .. } => match *what {
                "table" | "sequence" => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                "function" => PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
                "schema" => PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
                "column" => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                _ => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            },
            Self::OfOurs { .. } | Self::NotAnAuthenticator { .. } | Self::OtherLogin { .. } => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::Circle { .. } => PgSqlErrorCode::ERRCODE_INVALID_GRANT_OPERATION,
            Self::TooNew { .. } => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::MayNotCall { .. } | Self::NotReached { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Changed { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Mode(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Scope(error) => error.code(),
            Self::Placed { error, .. } => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed, without NULL elements."),
            Self::Bad(error) => error.detail(),
            Self::Missing { pointer, .. } if pointer.is_empty() => "No role has this name.".into(),
            Self::Missing { pointer, .. } => format!("The spec names it at \"{pointer}\"."),
            Self::OfOurs { pointer, .. } => format!(
                "The spec names it at \"{pointer}\"; its memberships come from the function that made it."
            ),
            Self::NotAnAuthenticator { pointer, .. } => {
                format!("The spec declares it as one at \"{pointer}\".")
            }
            Self::OtherLogin { pointer, .. } => {
                format!("Either it has a password, or issuers: \"{pointer}\" says otherwise.")
            }
            Self::Circle { pointer, .. } => {
                format!("What the spec declares at \"{pointer}\" would make it one.")
            }
            Self::TooNew { pointer, .. } => {
                format!("It came with PostgreSQL 16; the spec has it at \"{pointer}\".")
            }
            Self::MayNotCall { pointer, .. } => {
                format!("What the spec declares at \"{pointer}\" takes EXECUTE on it.")
            }
            Self::Changed { expected, found } => {
                format!("The expected digest is {expected}; now it is {found}.")
            }
            Self::NotReached { left } => format!("Still to do: {left}."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Mode(_) => "It is \"additive\" or \"authoritative\".".into(),
            Self::Sql(error) => sentence(error),
            Self::Scope(error) => error.detail(),
            Self::Placed { pointer, error } if pointer.is_empty() => error.detail(),
            Self::Placed { pointer, error } => {
                let detail = error.detail();
                format!("{detail} The spec asks for it at \"{pointer}\".")
            }
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) | Self::Mode(_) => "See \\df+ scope.*".into(),
            Self::Bad(error) => error.hint(),
            Self::Missing { what: "role", .. } => {
                "Create the role first; a spec makes scopes and authenticators only.".into()
            }
            Self::Missing { what: "schema" | "column", .. } => {
                "Create it first, or correct the name; it is written without quotes.".into()
            }
            Self::Missing { .. } => {
                "Create it first, or correct the name: schema.name, quoted as SQL does.".into()
            }
            Self::OfOurs { .. } => {
                "Declare the roles of authenticators with them; issue credentials with scope.create_credential()."
                    .into()
            }
            Self::NotAnAuthenticator { .. } => {
                "Choose another name; scope.credentials shows what it is.".into()
            }
            Self::OtherLogin { .. } => {
                "Choose another name, or revoke it with scope.revoke_role() first.".into()
            }
            Self::Circle { .. } => {
                "Leave out one of the memberships between them, there or on this server.".into()
            }
            Self::TooNew { .. } => "Leave it out.".into(),
            Self::MayNotCall { function, .. } => format!(
                "Have a superuser run: GRANT EXECUTE ON FUNCTION scope.{function} TO the caller, or apply the spec as a role that has it."
            ),
            Self::Changed { .. } => {
                "Review scope.plan() again: the spec or the database has changed since.".into()
            }
            Self::NotReached { .. } => {
                "Nothing was changed. See who has granted what (\\dp), and have them change it."
                    .into()
            }
            Self::ReadOnly => "Apply specs on the primary; standbys follow.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
            Self::Scope(error) => error.hint(),
            Self::Placed { error, .. } => error.hint(),
        }
    }
}
