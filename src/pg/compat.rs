//! The differences between PostgreSQL 14 and 18; the only place with version `cfg`s.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicUsize;
#[cfg(any(feature = "pg14", feature = "pg15"))]
use std::sync::atomic::Ordering;

use pgrx::pg_sys;

use super::server::Peer;

/// May `session_user` do SET ROLE to `role`? From 16 on a membership may lack the SET option.
pub fn may_set_role(session_user: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::is_member_of_role(session_user, role);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::member_can_set_role(session_user, role);
    }
}

/// As whom AFTER triggers run that a foreign key has queued: before 18 as whoever changed the referenced
/// table, or commits; since then as the owner of the referencing one, who queued them.
pub const CASCADES_FIRE_TRIGGERS_AS_WHO_BEGAN: bool = cfg!(not(feature = "pg18"));

/// The options of `GRANT scope TO credential`: inherit, but no SET ROLE, where that can be said.
pub const MEMBERSHIP_OPTIONS: &str = if cfg!(any(feature = "pg14", feature = "pg15")) {
    ""
} else {
    " WITH INHERIT TRUE, SET FALSE"
};

/// The options of `GRANT role TO authenticator`: SET ROLE (by token), but no inheritance.
pub const SWITCH_ONLY_OPTIONS: &str = if cfg!(any(feature = "pg14", feature = "pg15")) {
    ""
} else {
    " WITH INHERIT FALSE, SET TRUE"
};

/// Do memberships have the options INHERIT and SET, and one row for each grantor?
pub const HAS_MEMBERSHIP_OPTIONS: bool = !cfg!(any(feature = "pg14", feature = "pg15"));

/// catalog/pg_namespace.dat
pub const PUBLIC_SCHEMA: u32 = 2200;

/// May the role create in the schema?
pub fn may_create_in(schema: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    let create = pg_sys::AclMode::from(pg_sys::ACL_CREATE);
    // SAFETY: catalogue reads inside a transaction.
    let result = unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let result = pg_sys::pg_namespace_aclcheck(schema, role, create);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let result = pg_sys::object_aclcheck(pg_sys::NamespaceRelationId, schema, role, create);
        result
    };
    result == pg_sys::AclResult::ACLCHECK_OK
}

/// Is there a privilege MAINTAIN?
pub const HAS_MAINTAIN: bool = cfg!(any(feature = "pg17", feature = "pg18"));

/// Does COPY … TO take materialized views as it takes tables?
pub const COPIES_MATERIALIZED_VIEWS: bool = cfg!(feature = "pg18");

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
            #[cfg(feature = "pg14")]
            let text = (*node.cast::<pg_sys::Value>()).val.str_;
            #[cfg(not(feature = "pg14"))]
            let text = (*node.cast::<pg_sys::String>()).sval;
            CStr::from_ptr(text).to_string_lossy().into_owned()
        };
        Some(super::list::elements(list).map(name).collect())
    }
}

/// Whether a row `m` of pg_auth_members inherits and allows SET ROLE; before 16 the first is an
/// attribute of the member, a row `r` of pg_authid, and the second is always so.
pub const MEMBERSHIP_INHERITS_AND_SETS: &str = if cfg!(any(feature = "pg14", feature = "pg15")) {
    "r.rolinherit, true"
} else {
    "m.inherit_option, m.set_option"
};

/// Does the owner of the database inherit from pg_database_owner although it is NOINHERIT? The
/// membership is in no catalogue, so it has no options.
pub const DATABASE_OWNER_INHERITS: bool = !cfg!(any(feature = "pg14", feature = "pg15"));

/// Are there privileges on settings?
pub const HAS_PARAMETER_PRIVILEGES: bool = !cfg!(feature = "pg14");

/// The column `roleid` of pg_auth_members (catalog/pg_auth_members.h), which pgrx does not bind.
pub const MEMBERSHIP_ROLE_COLUMN: i16 = if cfg!(any(feature = "pg14", feature = "pg15")) {
    1
} else {
    2
};

/// The column `inherit_option` of pg_auth_members; before 16 inheriting is an attribute of the member.
pub const INHERIT_OPTION_COLUMN: Option<i16> = if HAS_MEMBERSHIP_OPTIONS {
    Some(6)
} else {
    None
};

/// Are memberships objects, with an OID and rows in pg_shdepend?
pub const MEMBERSHIPS_ARE_OBJECTS: bool = !cfg!(any(feature = "pg14", feature = "pg15"));

/// Is this row `s` of pg_shdepend a membership that DROP ROLE takes away by itself? All but those
/// that the role has granted are.
pub const GOES_WITH_ROLE: &str = if cfg!(any(feature = "pg14", feature = "pg15")) {
    "false"
} else {
    "s.classid = 'pg_catalog.pg_auth_members'::pg_catalog.regclass AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_auth_members m WHERE m.oid = s.objid AND m.grantor = s.refobjid)"
};

/// Adds to the roles that something depends on those of the array $1 that have granted a membership,
/// where pg_shdepend does not say so.
pub const UNION_GRANTORS: &str = if cfg!(any(feature = "pg14", feature = "pg15")) {
    " UNION SELECT a.grantor FROM pg_catalog.pg_auth_members a WHERE a.grantor = ANY ($1)"
} else {
    ""
};

/// A timer that goes off at a moment, and from then on again and again; once only on PostgreSQL 14.
///
/// # Safety
/// A registered timeout, outside signal handlers.
pub unsafe fn enable_timeout_every(id: u32, at: pg_sys::TimestampTz, interval_ms: i32) {
    // utils/timeout.h, which pgrx does not bind.
    unsafe extern "C-unwind" {
        #[cfg(feature = "pg14")]
        fn enable_timeout_at(id: u32, at: pg_sys::TimestampTz);
        #[cfg(not(feature = "pg14"))]
        fn enable_timeout_every(id: u32, at: pg_sys::TimestampTz, interval_ms: i32);
    }
    // SAFETY: by contract.
    unsafe {
        #[cfg(feature = "pg14")]
        let () = {
            let _ = interval_ms;
            enable_timeout_at(id, at);
        };
        #[cfg(not(feature = "pg14"))]
        enable_timeout_every(id, at, interval_ms);
    }
}

/// `USER_TIMEOUT` of `enum TimeoutId` (utils/timeout.h), which pgrx does not bind.
pub const USER_TIMEOUT: u32 = if cfg!(feature = "pg14") {
    10
} else if cfg!(any(feature = "pg15", feature = "pg16")) {
    12
} else {
    13
};

/// May `role` set this setting although only superusers may (GRANT SET ON PARAMETER, 15 and later)?
pub fn may_set_parameter(role: pg_sys::Oid, name: &CStr) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = (role, name);
        false
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a catalogue read inside a transaction.
    unsafe {
        pg_sys::pg_parameter_aclcheck(name.as_ptr(), role, pg_sys::ACL_SET as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// What decides which role a session may take by a token: what acl.c listens to, and rights on settings.
pub const ROLE_CACHES: &[i32] = &[
    pg_sys::SysCacheIdentifier::AUTHOID as i32,
    pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as i32,
    pg_sys::SysCacheIdentifier::DATABASEOID as i32,
    #[cfg(not(feature = "pg14"))]
    {
        pg_sys::SysCacheIdentifier::PARAMETERACLNAME as i32
    },
];

/// Is this `pg_parameter_acl` (15 and later)?
pub fn is_parameter_acl(class: pg_sys::Oid) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = class;
        false
    }
    #[cfg(not(feature = "pg14"))]
    {
        // catalog/pg_parameter_acl.h
        u32::from(class) == 6243
    }
}

/// Where a setting was found last, to look there first.
#[cfg_attr(
    not(any(feature = "pg14", feature = "pg15")),
    allow(dead_code, reason = "a hash needs no place")
)]
pub struct SettingPlace(AtomicUsize);

impl SettingPlace {
    pub const fn unknown() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// The record of a setting, NULL when there is none of that name. Never raises an error and
/// allocates nothing, so that assign hooks may call it.
#[cfg_attr(
    not(any(feature = "pg14", feature = "pg15")),
    allow(unused_variables, reason = "a hash needs no place")
)]
pub fn find_setting(name: &CStr, place: &SettingPlace) -> *mut pg_sys::config_generic {
    // Declared without the guard of pgrx's bindings: nothing here raises an error.
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        unsafe extern "C-unwind" {
            fn get_guc_variables() -> *mut *mut pg_sys::config_generic;
            fn GetNumConfigOptions() -> i32;
        }
        // SAFETY: the array holds GetNumConfigOptions() valid pointers, sorted by name without
        // regard to ASCII case (guc.c, guc_var_compare).
        let settings = unsafe {
            let count = usize::try_from(GetNumConfigOptions()).unwrap_or(0);
            std::slice::from_raw_parts(get_guc_variables(), count)
        };
        let wanted = name.to_bytes();
        let name_of = |setting: *mut pg_sys::config_generic| {
            // SAFETY: every entry is a valid record with a terminated name.
            unsafe { CStr::from_ptr((*setting).name) }.to_bytes()
        };
        let last = settings.get(place.0.load(Ordering::Relaxed)).copied();
        if let Some(setting) = last
            && name_of(setting) == wanted
        {
            return setting;
        }
        let found = settings.binary_search_by(|&setting| {
            name_of(setting)
                .iter()
                .map(u8::to_ascii_lowercase)
                .cmp(wanted.iter().map(u8::to_ascii_lowercase))
        });
        let Ok(index) = found else {
            return std::ptr::null_mut();
        };
        place.0.store(index, Ordering::Relaxed);
        settings.get(index).copied().unwrap_or(std::ptr::null_mut())
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        unsafe extern "C-unwind" {
            fn find_option(
                name: *const c_char,
                create_placeholders: bool,
                skip_errors: bool,
                level: i32,
            ) -> *mut pg_sys::config_generic;
        }
        // SAFETY: a look-up in the settings' hash; skip_errors, no placeholder is made.
        unsafe { find_option(name.as_ptr(), false, true, pg_sys::DEBUG5 as i32) }
    }
}

/// Defines the setting by which [`changed_settings`] finds the others: from 16 on they are on a list
/// whose head is PostgreSQL's own, and what was pushed last leads to all.
pub fn define_mark_of_settings() {
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
        static MARK: GucSetting<bool> = GucSetting::<bool>::new(false);
        GucRegistry::define_bool_guc(
            MARK_OF_SETTINGS,
            c"Leads to what a transaction has set.",
            c"Internal.",
            &MARK,
            GucContext::Suset,
            GucFlags::NO_SHOW_ALL | GucFlags::NO_RESET_ALL | GucFlags::DISALLOW_IN_FILE,
        );
    }
}

#[cfg(not(any(feature = "pg14", feature = "pg15")))]
const MARK_OF_SETTINGS: &CStr = c"scope.mark";

/// Looks at each setting that has been changed, or set for a while, in this transaction.
pub fn changed_settings(mut look: impl FnMut(*mut pg_sys::config_generic)) {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    all_settings(|setting| {
        // SAFETY: a valid record.
        if unsafe { !(*setting).stack.is_null() } {
            look(setting);
        }
    });
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        // SAFETY: inside a transaction; each link is part of a valid record, and the last is NULL.
        unsafe {
            pg_sys::set_config_option(
                MARK_OF_SETTINGS.as_ptr(),
                c"on".as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
            let mark = find_setting(MARK_OF_SETTINGS, &SettingPlace::unknown());
            if mark.is_null() {
                return;
            }
            let mut link = (*mark).stack_link.next;
            while !link.is_null() {
                let offset = std::mem::offset_of!(pg_sys::config_generic, stack_link);
                look(link.byte_sub(offset).cast());
                link = (*link).next;
            }
        }
    }
}

/// Looks at every setting. No setting may be defined or changed meanwhile.
pub fn all_settings(mut look: impl FnMut(*mut pg_sys::config_generic)) {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as in find_setting.
    let settings = unsafe {
        unsafe extern "C-unwind" {
            fn get_guc_variables() -> *mut *mut pg_sys::config_generic;
            fn GetNumConfigOptions() -> i32;
        }
        let count = usize::try_from(GetNumConfigOptions()).unwrap_or(0);
        std::slice::from_raw_parts(get_guc_variables(), count)
    };
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: an array of so many valid records, which goes with the memory context.
    let settings = unsafe {
        let mut count = 0;
        let settings = pg_sys::get_guc_variables(&mut count);
        std::slice::from_raw_parts(settings, usize::try_from(count).unwrap_or(0))
    };
    for &setting in settings {
        look(setting);
    }
}

/// Memory that the settings machinery will free itself. NULL when there is none left.
pub fn setting_alloc(size: usize) -> *mut c_void {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: PostgreSQL frees it with free().
    unsafe {
        libc::malloc(size)
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: at LOG level it returns NULL instead of raising an error.
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

/// Gives back what [`setting_alloc`], or the settings machinery itself, has allocated.
///
/// # Safety
/// Such memory, which nobody uses any more.
pub unsafe fn setting_free(memory: *mut c_void) {
    // SAFETY: by contract; each version allocates as it frees.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        libc::free(memory);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        pg_sys::guc_free(memory);
    }
}

/// A copy of a string in memory that the settings machinery will free itself; NULL when there is
/// none left.
pub fn setting_string(text: &CStr) -> *mut c_char {
    let bytes = text.to_bytes_with_nul();
    let memory = setting_alloc(bytes.len()).cast::<u8>();
    if !memory.is_null() {
        // SAFETY: fresh memory of that length.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
    }
    memory.cast()
}

/// Nobody but this library may define settings with our prefix.
pub fn reserve_setting_prefix(prefix: &CStr) {
    // SAFETY: called once from _PG_init, after our settings are defined.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// PostgreSQL's own handlers, for a background worker: SIGHUP reads the configuration again, and
/// SIGTERM ends it, also out of a wait for a lock (a worker's default handler does not).
pub fn install_signal_handlers() {
    // Declared here because pgrx's bindings of them are guarded Rust functions, not C functions.
    unsafe extern "C-unwind" {
        fn die(signal: i32);
        fn SignalHandlerForConfigReload(signal: i32);
    }
    // SAFETY: both are made to be signal handlers; signals are still blocked.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        {
            pg_sys::pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal(libc::SIGTERM, Some(die));
        }
        #[cfg(feature = "pg18")]
        {
            pg_sys::pqsignal_be(libc::SIGHUP, Some(SignalHandlerForConfigReload));
            pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
        }
    }
}

static mut PREVIOUS_EXECUTOR_RUN: pg_sys::ExecutorRun_hook_type = None;

/// What is done around ExecutorRun.
pub trait Running {
    /// # Safety
    /// From the hook, with a query that has been started; `next` runs it and owns nothing, because an error jumps over it.
    unsafe fn run(query: *mut pg_sys::QueryDesc, next: impl FnOnce());
}

/// Hooks ExecutorRun, whose arguments differ.
///
/// # Safety
/// Once, in the postmaster.
pub unsafe fn install_executor_run<R: Running>() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_EXECUTOR_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(executor_run::<R>);
    }
}

#[cfg(not(feature = "pg18"))]
unsafe extern "C-unwind" fn executor_run<R: Running>(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    execute_once: bool,
) {
    unsafe extern "C-unwind" {
        fn standard_ExecutorRun(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: u64,
            execute_once: bool,
        );
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        let next = PREVIOUS_EXECUTOR_RUN.unwrap_or(standard_ExecutorRun);
        R::run(query, || next(query, direction, count, execute_once));
    }
}

#[cfg(feature = "pg18")]
unsafe extern "C-unwind" fn executor_run<R: Running>(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
) {
    unsafe extern "C-unwind" {
        fn standard_ExecutorRun(
            query: *mut pg_sys::QueryDesc,
            direction: pg_sys::ScanDirection::Type,
            count: u64,
        );
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        let next = PREVIOUS_EXECUTOR_RUN.unwrap_or(standard_ExecutorRun);
        R::run(query, || next(query, direction, count));
    }
}

/// The beginning of `struct Port` (libpq/libpq-be.h), which pgrx does not bind.
/// The tests of logins fail if a version moves a field.
#[repr(C)]
struct PortPrefix {
    sock: i32,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: *mut c_char,
    remote_hostname: *mut c_char,
    remote_hostname_resolv: i32,
    remote_hostname_errcode: i32,
    remote_port: *mut c_char,
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    can_accept_connections: i32,
    #[cfg(feature = "pg18")]
    local_host: [c_char; 64],
    database_name: *mut c_char,
    user_name: *mut c_char,
    cmdline_options: *mut c_char,
    guc_options: *mut c_void,
    application_name: *mut c_char,
    hba: *mut c_void,
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    authn_id: *const c_char,
    /// Default and current keepalives_idle, _interval, _count and tcp_user_timeout.
    tcp_settings: [i32; 8],
    #[cfg(feature = "pg18")]
    scram_keys: [u8; 64],
    #[cfg(feature = "pg18")]
    has_scram_keys: bool,
    gss: *mut c_void,
    ssl_in_use: bool,
}

#[repr(C)]
struct SockAddr {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl SockAddr {
    fn peer(&self) -> Peer {
        let storage = &raw const self.address;
        match i32::from(self.address.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which struct the storage holds.
                let address = unsafe { (*storage.cast::<libc::sockaddr_in>()).sin_addr };
                Peer::Tcp(Ipv4Addr::from(address.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let address = unsafe { (*storage.cast::<libc::sockaddr_in6>()).sin6_addr };
                Peer::Tcp(Ipv6Addr::from(address.s6_addr).into())
            }
            libc::AF_UNIX => {
                let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
                let end = usize::try_from(self.length).unwrap_or(0);
                let length = end
                    .min(size_of::<libc::sockaddr_storage>())
                    .saturating_sub(start);
                // SAFETY: inside the storage; the kernel has filled it up to `length`.
                let path =
                    unsafe { std::slice::from_raw_parts(storage.cast::<u8>().add(start), length) };
                let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
                let path = (!path.is_empty()).then(|| OsStr::from_bytes(path).into());
                Peer::Socket(path)
            }
            _ => Peer::Unknown,
        }
    }
}

/// The role name in the start-up packet.
///
/// # Safety
/// `port` is the one that PostgreSQL passes to ClientAuthentication_hook.
pub unsafe fn port_user_name(port: *mut pg_sys::Port) -> Option<String> {
    // SAFETY: by contract; user_name is set before authentication starts.
    unsafe {
        let name = (*port.cast::<PortPrefix>()).user_name;
        if name.is_null() {
            None
        } else {
            Some(CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }
}

/// The role, the database and the application name in the start-up packet: terminated, or NULL.
///
/// # Safety
/// `port` is this process's connection.
pub unsafe fn port_user(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).user_name }
}

/// # Safety
/// As [`port_user`].
pub unsafe fn port_database(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).database_name }
}

/// # Safety
/// As [`port_user`].
pub unsafe fn port_application_name(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).application_name }
}

/// The client's TCP port.
///
/// # Safety
/// As [`port_user`].
pub unsafe fn remote_port(port: *mut pg_sys::Port) -> Option<u16> {
    // SAFETY: by contract; the family says which struct the storage holds.
    unsafe {
        let storage = &raw const (*port.cast::<PortPrefix>()).raddr.address;
        match i32::from((*storage).ss_family) {
            libc::AF_INET => Some((*storage.cast::<libc::sockaddr_in>()).sin_port),
            libc::AF_INET6 => Some((*storage.cast::<libc::sockaddr_in6>()).sin6_port),
            _ => None,
        }
        .map(u16::from_be)
    }
}

/// The server's end of a connection.
///
/// # Safety
/// `port` is a connection of this process.
pub unsafe fn local_peer(port: *mut pg_sys::Port) -> Peer {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).laddr.peer() }
}

/// The client's end of a connection.
///
/// # Safety
/// As [`local_peer`].
pub unsafe fn remote_peer(port: *mut pg_sys::Port) -> Peer {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).raddr.peer() }
}

/// Is the connection encrypted by TLS?
///
/// # Safety
/// As [`local_peer`].
pub unsafe fn uses_tls(port: *mut pg_sys::Port) -> bool {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).ssl_in_use }
}

/// The relations that a plan's statement names, with the rights on them that it needs.
///
/// # Safety
/// A valid plan.
pub unsafe fn accesses(plan: *mut pg_sys::PlannedStmt, mut look: impl FnMut(pg_sys::Oid, u64)) {
    // SAFETY: by contract; the lists hold nodes of these types.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        for entry in super::list::elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION && (*entry).requiredPerms != 0 {
                look((*entry).relid, (*entry).requiredPerms.into());
            }
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        for entry in super::list::elements((*plan).rtable) {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                look((*entry).checkAsUser);
            }
        }
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
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
        #[cfg(feature = "pg14")]
        return (*node.cast::<pg_sys::Value>()).val.str_;
        #[cfg(not(feature = "pg14"))]
        return (*node.cast::<pg_sys::String>()).sval;
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
        #[cfg(not(feature = "pg14"))]
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

/// Policies can mention a role; this takes the mention away, or drops the policy (DROP OWNED).
///
/// # Safety
/// Inside a transaction, for a dependency of type `r` found in pg_shdepend.
pub unsafe fn remove_role_from_policy(role: pg_sys::Oid, class: pg_sys::Oid, policy: pg_sys::Oid) {
    unsafe extern "C-unwind" {
        // commands/policy.h, which pgrx does not bind.
        fn RemoveRoleFromObjectPolicy(
            role: pg_sys::Oid,
            class: pg_sys::Oid,
            policy: pg_sys::Oid,
        ) -> bool;
    }
    // SAFETY: by contract. It answers false when this was the policy's only role: the policy goes.
    unsafe {
        let remains = pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
            RemoveRoleFromObjectPolicy(role, class, policy)
        });
        if !remains {
            let object = pg_sys::ObjectAddress {
                classId: class,
                objectId: policy,
                objectSubId: 0,
            };
            pg_sys::performDeletion(&object, pg_sys::DropBehavior::DROP_RESTRICT, 0);
        }
    }
}

/// Takes a role out of an extension's recorded initial privileges (17 and later).
///
/// # Safety
/// Inside a transaction, for a dependency of type `i` found in pg_shdepend.
pub unsafe fn remove_role_from_initial_privileges(
    role: pg_sys::Oid,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
) {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: by contract.
    unsafe {
        pg_sys::RemoveRoleFromInitPriv(role, class, object, sub_object);
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    let _ = (role, class, object, sub_object);
}

mod log_globals {
    use std::ffi::c_char;

    unsafe extern "C" {
        // utils/error/elog.c
        pub static mut redirection_done: bool;
        // utils/pg_locale.h
        pub static mut locale_messages: *mut c_char;
    }
    #[cfg(not(feature = "pg14"))]
    unsafe extern "C-unwind" {
        // utils/elog.h, without the guard of pgrx's bindings: it writes into a pipe and does nothing else
        pub fn write_pipe_chunks(data: *mut c_char, length: i32, destination: i32);
    }
}

/// Does the server log go through the logging collector?
pub fn has_log_collector() -> bool {
    // SAFETY: a read of a backend global.
    unsafe { log_globals::redirection_done }
}

/// Hands a line to the logging collector; false where only PostgreSQL itself can (14).
pub fn write_to_log_collector(line: &mut [u8]) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = line;
        false
    }
    #[cfg(not(feature = "pg14"))]
    {
        let Ok(length) = i32::try_from(line.len()) else {
            return false;
        };
        // SAFETY: the bytes are valid.
        unsafe {
            log_globals::write_pipe_chunks(
                line.as_mut_ptr().cast(),
                length,
                pg_sys::LOG_DESTINATION_STDERR as i32,
            );
        }
        true
    }
}

/// `lc_messages`: terminated, or NULL.
pub fn language_of_messages() -> *const c_char {
    // SAFETY: a read of a backend global.
    unsafe { log_globals::locale_messages }
}

/// The server's settings, in the order of their names or in none.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
pub fn settings() -> Vec<*const pg_sys::config_generic> {
    // SAFETY: the array has as many entries as it says.
    unsafe {
        let count = usize::try_from(pg_sys::GetNumConfigOptions()).unwrap_or(0);
        let first = pg_sys::get_guc_variables();
        (0..count)
            .map(|index| (*first.add(index)).cast_const())
            .collect()
    }
}

/// The server's settings, in the order of their names or in none.
#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
pub fn settings() -> Vec<*const pg_sys::config_generic> {
    // SAFETY: the array has as many entries as it says, and goes with the memory context.
    unsafe {
        let mut count = 0;
        let first = pg_sys::get_guc_variables(&mut count);
        let count = usize::try_from(count).unwrap_or(0);
        (0..count)
            .map(|index| (*first.add(index)).cast_const())
            .collect()
    }
}
