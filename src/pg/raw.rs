//! PostgreSQL functions that are asked at every statement, declared without the guard of pgrx's
//! bindings, which costs more than they do. All but those under "guard" cannot raise an error.

use std::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, Oid, TimestampTz};

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
    // Under a guard of the caller's only: utils/guc.h
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
