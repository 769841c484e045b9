//! PostgreSQL functions that are asked at every statement, declared without the guard of pgrx's
//! bindings, which costs more than they do. Those that can raise an error say so.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, Oid, TimestampTz};

unsafe extern "C-unwind" {
    // miscadmin.h
    pub fn GetUserIdAndSecContext(user: *mut Oid, security_context: *mut i32);
    pub fn GetUserId() -> Oid;
    pub fn GetOuterUserId() -> Oid;
    pub fn GetSessionUserId() -> Oid;
    pub fn InLocalUserIdChange() -> bool;
    pub fn GetCurrentRoleId() -> Oid;
    pub fn GetAuthenticatedUserId() -> Oid;
    // access/xact.h
    pub fn GetCurrentTransactionStartTimestamp() -> TimestampTz;
    pub fn IsTransactionBlock() -> bool;
    pub fn IsInTransactionBlock(is_top_level: bool) -> bool;
    pub fn GetCurrentTransactionNestLevel() -> c_int;
    pub fn IsTransactionState() -> bool;
    pub fn GetTopFullTransactionIdIfAny() -> pg_sys::FullTransactionId;
    pub fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    pub fn IsInParallelMode() -> bool;
    pub fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    // utils/timestamp.h
    pub fn GetCurrentTimestamp() -> TimestampTz;
    // utils/inval.h; may raise errors: for unguarded hooks that own nothing
    pub fn AcceptInvalidationMessages();
    // utils/plancache.h
    pub fn ResetPlanCache();
    // utils/portal.h
    pub fn ThereAreNoReadyPortals() -> bool;
    // mb/pg_wchar.h
    pub fn GetMessageEncoding() -> c_int;
    // utils/guc.h; may raise errors: under a guard of the caller's
    pub fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: pg_sys::GucContext::Type,
        source: pg_sys::GucSource::Type,
        action: pg_sys::GucAction::Type,
        change_value: bool,
        error_level: c_int,
        is_reload: bool,
    ) -> c_int;
}
