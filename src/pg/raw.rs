//! PostgreSQL functions that are asked at every statement, declared without the guard of pgrx's
//! bindings, which costs more than they do. Unless noted they cannot raise an error; the others are
//! for unguarded hooks only.

use pgrx::pg_sys::{AttrNumber, Datum, HeapTuple, Oid, TimestampTz};

unsafe extern "C-unwind" {
    // miscadmin.h
    pub fn GetUserIdAndSecContext(user: *mut Oid, security_context: *mut i32);
    pub fn GetOuterUserId() -> Oid;
    pub fn GetSessionUserId() -> Oid;
    pub fn InLocalUserIdChange() -> bool;
    pub fn GetCurrentRoleId() -> Oid;
    // access/xact.h
    pub fn GetCurrentTransactionStartTimestamp() -> TimestampTz;
    pub fn IsTransactionBlock() -> bool;
    pub fn IsInParallelMode() -> bool;
    pub fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    // utils/timestamp.h
    pub fn GetCurrentTimestamp() -> TimestampTz;
    // utils/syscache.h; these may raise errors
    pub fn SearchSysCache1(cache: i32, key: Datum) -> HeapTuple;
    pub fn SysCacheGetAttr(
        cache: i32,
        tuple: HeapTuple,
        attribute: AttrNumber,
        is_null: *mut bool,
    ) -> Datum;
    pub fn ReleaseSysCache(tuple: HeapTuple);
    // utils/portal.h
    pub fn ThereAreNoReadyPortals() -> bool;
}
