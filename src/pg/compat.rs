//! The differences between PostgreSQL 15 and 19; with the files beside it, and `hooks::compat`, the only place with version `cfg`s.

mod port;
mod settings;
mod walkers;

use std::ffi::CStr;

use pgrx::pg_sys;

pub use walkers::{Walker, expression_tree_walker, is_json_expression, query_tree_walker};

pub use port::{Peer, Port, name_of_authentication_method};
pub use settings::{
    all_settings, changed_settings, define_mark_of_settings, find_setting, reserve_setting_prefix,
    setting_free, setting_string, setting_value, text_setting,
};

/// May `session_user` do SET ROLE to `role`? From 16 on a membership may lack the SET option.
pub fn may_set_role(session_user: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe {
        #[cfg(feature = "pg15")]
        return pg_sys::is_member_of_role(session_user, role);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::member_can_set_role(session_user, role);
    }
}

/// Do memberships have the options INHERIT and SET, and one row for each grantor?
pub const HAS_MEMBERSHIP_OPTIONS: bool = !cfg!(feature = "pg15");

/// Has the role the right on a database, schema or function, given by its catalogue and its number? Inside a transaction.
pub fn may((class, object): (pg_sys::Oid, pg_sys::Oid), role: pg_sys::Oid, right: u32) -> bool {
    let right = pg_sys::AclMode::from(right);
    // SAFETY: a catalogue look-up inside a transaction.
    let result = unsafe {
        #[cfg(feature = "pg15")]
        match class {
            pg_sys::DatabaseRelationId => pg_sys::pg_database_aclcheck(object, role, right),
            pg_sys::NamespaceRelationId => pg_sys::pg_namespace_aclcheck(object, role, right),
            _ => pg_sys::pg_proc_aclcheck(object, role, right),
        }
        #[cfg(not(feature = "pg15"))]
        pg_sys::object_aclcheck(class, object, role, right)
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// Is there a privilege MAINTAIN?
pub const HAS_MAINTAIN: bool = !cfg!(any(feature = "pg15", feature = "pg16"));

/// Do pg_read_all_data and pg_write_all_data give large objects too?
pub const ALL_DATA_HAS_LARGE_OBJECTS: bool = cfg!(feature = "pg19");

/// Does the owner of the database inherit from pg_database_owner although it is NOINHERIT? The
/// membership is in no catalogue, so it has no options.
pub const DATABASE_OWNER_INHERITS: bool = !cfg!(feature = "pg15");

/// The column `inherit_option` of pg_auth_members; before 16 inheriting is an attribute of the member.
pub const INHERIT_OPTION_COLUMN: Option<i16> = if HAS_MEMBERSHIP_OPTIONS {
    Some(6)
} else {
    None
};

/// Are memberships objects, with an OID and rows in pg_shdepend?
pub const MEMBERSHIPS_ARE_OBJECTS: bool = !cfg!(feature = "pg15");

/// `USER_TIMEOUT` of `enum TimeoutId` (utils/timeout.h), which pgrx does not bind.
pub const USER_TIMEOUT: u32 = if cfg!(any(feature = "pg15", feature = "pg16")) {
    12
} else {
    13
};

/// May `role` set this setting although only superusers may (GRANT SET ON PARAMETER)?
pub fn may_set_parameter(role: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a catalogue read inside a transaction.
    unsafe {
        pg_sys::pg_parameter_aclcheck(name.as_ptr(), role, pg_sys::ACL_SET as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// PostgreSQL's own handlers, for a background worker: SIGHUP reads the configuration again, and
/// SIGTERM ends it, also out of a wait for a lock (a worker's default handler does not).
pub fn install_signal_handlers() {
    // Declared here because pgrx's bindings of them are guarded Rust functions, not C functions.
    #[cfg(not(feature = "pg19"))]
    unsafe extern "C-unwind" {
        fn die(signal: i32);
        fn SignalHandlerForConfigReload(signal: i32);
    }
    #[cfg(feature = "pg19")]
    unsafe extern "C-unwind" {
        fn die(signal: i32, info: *const pg_sys::pg_signal_info);
        fn SignalHandlerForConfigReload(signal: i32, info: *const pg_sys::pg_signal_info);
    }
    // SAFETY: both are made to be signal handlers; signals are still blocked.
    unsafe {
        #[cfg(not(any(feature = "pg18", feature = "pg19")))]
        {
            pg_sys::pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal(libc::SIGTERM, Some(die));
        }
        #[cfg(any(feature = "pg18", feature = "pg19"))]
        {
            pg_sys::pqsignal_be(libc::SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
        }
    }
}

/// Has PostgreSQL compute `queryId` for this process, unless `compute_query_id` is off.
pub fn enable_query_id() {
    // SAFETY: sets a flag.
    unsafe { pg_sys::EnableQueryId() }
}

/// Takes a role out of an extension's recorded initial privileges (17 and later; pg_shdepend's type `i`). Inside a transaction.
pub fn remove_role_from_initial_privileges(
    role: pg_sys::Oid,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
) {
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: for an entry just read from pg_shdepend.
    unsafe {
        pg_sys::RemoveRoleFromInitPriv(role, class, object, sub_object);
        pg_sys::CommandCounterIncrement();
    }
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let _ = (role, class, object, sub_object);
}

/// `log_min_messages` of this process.
pub fn least_to_log() -> i32 {
    let all = &raw const pg_sys::log_min_messages;
    // SAFETY: reads of backend globals; from 19 on it is an array with one for each type of process, of a length that
    // its declaration does not say.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        return *all;
        #[cfg(feature = "pg19")]
        *all.cast::<i32>().add(pg_sys::MyBackendType as usize)
    }
}
