//! What stands behind an error: others, who will be through.

use pgrx::prelude::*;

use crate::pg::xact::Failure;

impl Failure {
    /// Somebody else holds a lock.
    pub fn is_locked(&self) -> bool {
        matches!(
            self.code,
            PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
                | PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
        )
    }

    pub fn is_deadlock(&self) -> bool {
        self.code == PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
    }

    /// Worth trying again: somebody else's DDL came in between.
    pub fn is_transient(&self) -> bool {
        match self.code {
            PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
            | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE => true,
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR => {
                self.message.starts_with("tuple concurrently")
            }
            _ => false,
        }
    }
}
