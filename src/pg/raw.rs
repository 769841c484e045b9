//! PostgreSQL functions that are asked at every statement and cannot raise an error, declared without
//! the guard of pgrx's bindings, which costs more than they do.

use pgrx::pg_sys::{Oid, TimestampTz};

unsafe extern "C-unwind" {
    // miscadmin.h
    pub fn GetUserIdAndSecContext(user: *mut Oid, security_context: *mut i32);
    pub fn GetOuterUserId() -> Oid;
    pub fn GetSessionUserId() -> Oid;
    pub fn InLocalUserIdChange() -> bool;
    // access/xact.h
    pub fn IsTransactionBlock() -> bool;
    pub fn IsInParallelMode() -> bool;
    pub fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    // utils/timestamp.h
    pub fn GetCurrentTimestamp() -> TimestampTz;
    // utils/portal.h
    pub fn ThereAreNoReadyPortals() -> bool;
}
