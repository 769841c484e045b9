//! Claim paths.

use pgrx::prelude::*;

use super::Bad;
use crate::claim_path::PathError;
use crate::error::Report;

impl Report for Bad {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
    }
    fn detail(&self) -> String {
        path_problem(&self.0)
    }
    fn hint(&self) -> String {
        PATH_HINT.into()
    }
}

pub const PATH_HINT: &str = "Use a claim's name (role), a path (.realm_access.roles[0]), or JSONPath ($.realm_access.roles[0]). In a path a name with other characters than letters, digits, _, $ and @ is quoted: .\"cognito:groups\"[0].";

pub fn path_problem(PathError { position, message }: &PathError) -> String {
    format!("At character {position}: {message}.")
}
