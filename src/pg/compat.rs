//! The differences between PostgreSQL 15 and 19; with the files beside it the only place with version `cfg`s.

mod executor_run;
mod log;
pub mod oauth;
mod planner;
mod port;
mod settings;

use std::ffi::{CStr, c_char, c_void};

use super::text;
use pgrx::pg_sys;

pub use executor_run::{Running, install_executor_run};
pub use log::{
    has_log_collector, is_warning_at_login, language_of_messages, least_to_log,
    write_to_log_collector,
};
pub use planner::{Planning, install_planning};
pub use port::{Peer, Port, name_of_authentication_method};
pub use settings::{
    all_settings, changed_settings, define_mark_of_settings, find_setting, reserve_setting_prefix,
    setting_free, setting_name_of_value, setting_string, setting_value, text_setting,
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

/// As whom AFTER triggers run that a foreign key has queued: before 18 as whoever changed the referenced
/// table, or commits; since then as the owner of the referencing one, who queued them.
pub const CASCADES_FIRE_TRIGGERS_AS_WHO_BEGAN: bool =
    cfg!(not(any(feature = "pg18", feature = "pg19")));

/// The options of a GRANT of a role that is inherited: no SET ROLE, where that can be said.
pub const MEMBERSHIP_OPTIONS: &str = if cfg!(feature = "pg15") {
    ""
} else {
    " WITH INHERIT TRUE, SET FALSE"
};

/// The options of a GRANT of a role that is only switched to: SET ROLE, but no inheritance.
pub const SWITCH_ONLY_OPTIONS: &str = if cfg!(feature = "pg15") {
    ""
} else {
    " WITH INHERIT FALSE, SET TRUE"
};

/// The options of a GRANT of a role that gives its member nothing.
pub const NOTHING_OPTIONS: &str = if cfg!(feature = "pg15") {
    ""
} else {
    " WITH INHERIT FALSE, SET FALSE"
};

/// Do memberships have the options INHERIT and SET, and one row for each grantor?
pub const HAS_MEMBERSHIP_OPTIONS: bool = !cfg!(feature = "pg15");

/// catalog/pg_namespace.dat
pub const PUBLIC_SCHEMA: u32 = 2200;

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

/// Does COPY … TO take partitioned tables, with the rows of their partitions?
pub const COPIES_PARTITIONED_TABLES: bool = cfg!(feature = "pg19");

/// Looks at the relations that a plan's statement changes, by their places in its range table, from 1 on; at none of a query that only
/// reads. Ends as soon as `look` says true, and says so.
///
/// # Safety
/// A valid plan; `look` may raise an error, which jumps over this.
pub unsafe fn any_written(
    plan: *mut pg_sys::PlannedStmt,
    mut look: impl FnMut(usize) -> bool,
) -> bool {
    // SAFETY: by contract; both hold numbers of entries of the range table.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        {
            let relations = (*plan).resultRelations;
            let count = relations.as_ref().map_or(0, |relations| relations.length);
            (0..count).any(|index| {
                let number = (*(*relations).elements.add(index as usize)).int_value;
                usize::try_from(number).is_ok_and(&mut look)
            })
        }
        #[cfg(feature = "pg19")]
        {
            let mut number = -1;
            loop {
                number = pg_sys::bms_next_member((*plan).resultRelationRelids, number);
                match usize::try_from(number) {
                    Ok(number) if look(number) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
    }
}

/// Does COPY … TO take materialized views as it takes tables?
pub const COPIES_MATERIALIZED_VIEWS: bool = cfg!(any(feature = "pg18", feature = "pg19"));

/// The names in a list of names; `None` for NULL.
///
/// # Safety
/// NULL, or a valid list of string nodes.
pub unsafe fn names(list: *mut pg_sys::List) -> Option<Vec<String>> {
    if list.is_null() {
        return None;
    }
    // SAFETY: by contract; the strings are terminated.
    unsafe {
        let name = |node: *mut c_void| {
            let text = (*node.cast::<pg_sys::String>()).sval;
            text::read(CStr::from_ptr(text)).into_owned()
        };
        Some(super::list::elements(list).map(name).collect())
    }
}

/// Whether a row `m` of pg_auth_members inherits and allows SET ROLE; before 16 the first is an
/// attribute of the member, a row `r` of pg_authid, and the second is always so.
pub const MEMBERSHIP_INHERITS_AND_SETS: &str = if cfg!(feature = "pg15") {
    "r.rolinherit, true"
} else {
    "m.inherit_option, m.set_option"
};

/// Does the owner of the database inherit from pg_database_owner although it is NOINHERIT? The
/// membership is in no catalogue, so it has no options.
pub const DATABASE_OWNER_INHERITS: bool = !cfg!(feature = "pg15");

/// The column `roleid` of pg_auth_members (catalog/pg_auth_members.h), which pgrx does not bind.
pub const MEMBERSHIP_ROLE_COLUMN: i16 = if cfg!(feature = "pg15") { 1 } else { 2 };

/// The column `inherit_option` of pg_auth_members; before 16 inheriting is an attribute of the member.
pub const INHERIT_OPTION_COLUMN: Option<i16> = if HAS_MEMBERSHIP_OPTIONS {
    Some(6)
} else {
    None
};

/// Are memberships objects, with an OID and rows in pg_shdepend?
pub const MEMBERSHIPS_ARE_OBJECTS: bool = !cfg!(feature = "pg15");

/// Is this row `s` of pg_shdepend a membership that DROP ROLE takes away by itself? All but those
/// that the role has granted are.
pub const GOES_WITH_ROLE: &str = if cfg!(feature = "pg15") {
    "false"
} else {
    "s.classid = 'pg_catalog.pg_auth_members'::pg_catalog.regclass AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_auth_members m WHERE m.oid = s.objid AND m.grantor = s.refobjid)"
};

/// Adds to the roles that something depends on those of the array $1 that have granted a membership,
/// where pg_shdepend does not say so.
pub const UNION_GRANTORS: &str = if cfg!(feature = "pg15") {
    " UNION SELECT a.grantor FROM pg_catalog.pg_auth_members a WHERE a.grantor = ANY ($1)"
} else {
    ""
};

/// A timer that goes off at a moment, and from then on again and again.
///
/// # Safety
/// A registered timeout, outside signal handlers.
pub unsafe fn enable_timeout_every(id: u32, at: pg_sys::TimestampTz, interval_ms: i32) {
    // utils/timeout.h, which pgrx does not bind.
    unsafe extern "C-unwind" {
        fn enable_timeout_every(id: u32, at: pg_sys::TimestampTz, interval_ms: i32);
    }
    // SAFETY: by contract.
    unsafe { enable_timeout_every(id, at, interval_ms) }
}

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

/// What decides which role a session may take: what acl.c listens to, and rights on settings.
pub const ROLE_CACHES: &[i32] = &[
    pg_sys::SysCacheIdentifier::AUTHOID as i32,
    pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as i32,
    pg_sys::SysCacheIdentifier::DATABASEOID as i32,
    pg_sys::SysCacheIdentifier::PARAMETERACLNAME as i32,
];

/// Is this `pg_parameter_acl`?
pub fn is_parameter_acl(class: pg_sys::Oid) -> bool {
    // catalog/pg_parameter_acl.h
    u32::from(class) == 6243
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

/// The relations that a plan's statement names, with the rights on them that it needs.
///
/// # Safety
/// A valid plan.
pub unsafe fn accesses(plan: *mut pg_sys::PlannedStmt, mut look: impl FnMut(pg_sys::Oid, u64)) {
    // SAFETY: by contract; the lists hold nodes of these types.
    unsafe {
        #[cfg(feature = "pg15")]
        for entry in super::list::elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && (*entry).requiredPerms != 0 {
                look((*entry).relid, (*entry).requiredPerms.into());
            }
        }
        #[cfg(not(feature = "pg15"))]
        for entry in super::list::elements((*plan).permInfos) {
            let entry = entry.cast::<pg_sys::RTEPermissionInfo>();
            look((*entry).relid, (*entry).requiredPerms);
        }
    }
}

/// The roles, other than the current user, with whose rights a plan reads or changes: owners of views.
///
/// # Safety
/// A valid plan.
pub unsafe fn reads_as(plan: *mut pg_sys::PlannedStmt, mut look: impl FnMut(pg_sys::Oid)) {
    // SAFETY: by contract; the lists hold nodes of these types.
    unsafe {
        #[cfg(feature = "pg15")]
        for entry in super::list::elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                look((*entry).checkAsUser);
            }
        }
        #[cfg(not(feature = "pg15"))]
        for entry in super::list::elements((*plan).permInfos) {
            look((*entry.cast::<pg_sys::RTEPermissionInfo>()).checkAsUser);
        }
    }
}

/// The text of a string node; NULL for any other.
///
/// # Safety
/// A valid node.
pub unsafe fn string_value(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_String {
            return std::ptr::null();
        }
        (*node.cast::<pg_sys::String>()).sval
    }
}

/// The text of a constant as the grammar leaves it; NULL for any other node.
///
/// # Safety
/// A valid node.
pub unsafe fn constant_text(node: *mut pg_sys::Node) -> *const c_char {
    // SAFETY: by contract; the tag says which struct the node is, and the value is a node too.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_A_Const {
            return std::ptr::null();
        }
        let constant = node.cast::<pg_sys::A_Const>();
        if (*constant).isnull {
            return std::ptr::null();
        }
        string_value((&raw mut (*constant).val).cast())
    }
}

/// Has PostgreSQL compute `queryId` for this process, unless `compute_query_id` is off.
pub fn enable_query_id() {
    unsafe extern "C-unwind" {
        fn EnableQueryId();
    }
    // SAFETY: sets a flag.
    unsafe { EnableQueryId() }
}

/// The statement that rewrites a table, CLUSTER before 19 and all of REPACK since, but for VACUUM FULL.
#[cfg(not(feature = "pg19"))]
pub const T_CLUSTER_STMT: pg_sys::NodeTag = pg_sys::NodeTag::T_ClusterStmt;
#[cfg(feature = "pg19")]
pub const T_CLUSTER_STMT: pg_sys::NodeTag = pg_sys::NodeTag::T_RepackStmt;

/// What that statement is called, and the relation that it names, or NULL.
///
/// # Safety
/// A valid statement of that type.
pub unsafe fn clustered(node: *mut pg_sys::Node) -> (&'static str, *mut pg_sys::RangeVar) {
    // SAFETY: by contract.
    unsafe {
        #[cfg(not(feature = "pg19"))]
        return ("CLUSTER", (*node.cast::<pg_sys::ClusterStmt>()).relation);
        #[cfg(feature = "pg19")]
        {
            let repack = node.cast::<pg_sys::RepackStmt>();
            let named = (*repack).relation;
            let relation = named
                .as_ref()
                .map_or(std::ptr::null_mut(), |named| named.relation);
            match (*repack).command {
                pg_sys::RepackCommand::REPACK_COMMAND_CLUSTER => ("CLUSTER", relation),
                _ => ("REPACK", relation),
            }
        }
    }
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
