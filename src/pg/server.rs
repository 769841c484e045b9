//! Facts about this server and this client connection.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys;

use super::compat::{self, Port};
use super::scan::Scan;
use super::{setting, text};

/// The current database: its OID, 0 in a worker without one.
pub fn database() -> pg_sys::Oid {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyDatabaseId }
}

/// Is somebody waiting to drop the current database, or to copy it? They need it without sessions,
/// and lock it first. Inside a transaction.
pub fn is_database_wanted() -> bool {
    // SAFETY: a complete tag on our stack, as LockSharedObject() makes it for a session that
    // connects; the lock ends with the transaction.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: 0,
            locktag_field2: pg_sys::DatabaseRelationId.into(),
            locktag_field3: pg_sys::MyDatabaseId.into(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::RowExclusiveLock as i32;
        pg_sys::LockAcquire(&tag, mode, false, true)
            == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

/// The number of this process.
pub fn pid() -> i32 {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyProcPid }
}

/// When this process began, in PostgreSQL's time.
pub fn start_of_process() -> pg_sys::TimestampTz {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyStartTimestamp }
}

/// When the statement of the client arrived that is running.
pub fn statement_time() -> i64 {
    // SAFETY: a plain read of a backend global.
    unsafe { super::raw::GetCurrentStatementStartTimestamp() }
}

pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory; no preconditions.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The TCP port that the server listens on.
pub fn port() -> i32 {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::PostPortNumber }
}

/// A setting as the server shows it; `None` where this version has none of that name.
pub fn setting(name: &CStr) -> Option<String> {
    // SAFETY: missing_ok, not restricted; the result points into PostgreSQL's memory and is copied.
    unsafe { text::owned(pg_sys::GetConfigOption(name.as_ptr(), true, false)) }
}

/// What the server's own configuration says, before what is set for databases and roles.
pub fn session_preload_libraries() -> CString {
    // SAFETY: NULL or terminated.
    unsafe {
        let libraries = pg_sys::session_preload_libraries_string;
        if libraries.is_null() {
            CString::default()
        } else {
            CStr::from_ptr(libraries).to_owned()
        }
    }
}

/// Overrides a setting that every session may set, until the (sub)transaction ends, either way.
pub fn set_for_subtransaction(name: &CStr, value: &str) {
    let value = text::written(value).unwrap_or_default();
    // The innermost level of the transaction undoes it.
    let action = pg_sys::GucAction::GUC_ACTION_SAVE;
    setting::change(
        name,
        Some(&value),
        pg_sys::GucContext::PGC_USERSET,
        action,
        0,
    );
}

/// Nothing may be written until the subtransaction ends.
pub fn read_only_for_subtransaction() {
    // Those that belong to a transaction are not saved by functions.
    let action = pg_sys::GucAction::GUC_ACTION_LOCAL;
    setting::change(
        c"transaction_read_only",
        Some(c"on"),
        pg_sys::GucContext::PGC_USERSET,
        action,
        0,
    );
}

/// The current database's name.
pub fn database_name() -> String {
    name_of_database(database()).unwrap_or_default()
}

/// Inside a transaction, that of a login too.
pub fn name_of_database(database: pg_sys::Oid) -> Option<String> {
    // SAFETY: inside a transaction; the copy is freed with the memory context.
    unsafe { text::owned(pg_sys::get_database_name(database)) }
}

/// The OID of the database of this name; inside a transaction, that of a login too.
pub fn database_of_name(name: &str) -> Option<pg_sys::Oid> {
    // SAFETY: a read of a backend global.
    if !unsafe { pg_sys::criticalSharedRelcachesBuilt } {
        // A login before the indexes of the shared catalogues have been read, because one of them has just been changed:
        // PostgreSQL's own look-up needs an index.
        let mut found = None;
        Scan::all(pg_sys::DatabaseRelationId).each(|row| {
            // SAFETY: the catalogue's own struct; the name is terminated.
            let (oid, is_it) = unsafe {
                let database: &pg_sys::FormData_pg_database = row.fixed();
                let its_name = CStr::from_ptr(database.datname.data.as_ptr());
                (database.oid, text::read(its_name) == name)
            };
            found = is_it.then_some(oid);
            !is_it
        });
        return found;
    }
    let name = text::written(name).ok()?;
    // SAFETY: a terminated string; missing_ok.
    let found = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (found != pg_sys::InvalidOid).then_some(found)
}

/// What tells this cluster from others: each has its own since initdb, standbys share their primary's.
pub fn system_identifier() -> i64 {
    // As pg_control_system() shows it. SAFETY: reads shared memory; no preconditions.
    unsafe { pg_sys::GetSystemIdentifier() }.cast_signed()
}

/// May the role connect to this database, by whatever right of its own, of its groups' or everyone's? Inside a transaction.
pub fn may_connect(role: pg_sys::Oid) -> bool {
    compat::may(
        (pg_sys::DatabaseRelationId, database()),
        role,
        pg_sys::ACL_CONNECT,
    )
}

/// When the configuration was last read; changes with every reload.
pub fn configuration_time() -> i64 {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::PgReloadTime }
}

/// Does any text in UTF-8 fit into the database as it is? SQL_ASCII takes all bytes.
pub fn takes_utf8() -> bool {
    // SAFETY: a plain read of a backend global.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    encoding == pg_sys::pg_enc::PG_UTF8 as i32 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32
}

/// A text in UTF-8 as the database can show and keep it, whatever its encoding.
pub fn fitted(text: &str) -> Cow<'_, str> {
    if takes_utf8() {
        return Cow::Borrowed(text);
    }
    crate::text::in_ascii(text)
}

/// A text in UTF-8 in the database's encoding: the same, or a copy; 22P05 when it has no such character.
///
/// # Safety
/// Terminated.
pub unsafe fn from_utf8(text: *const c_char) -> *const c_char {
    // SAFETY: by contract; it gives the same pointer, or a new terminated string.
    unsafe {
        let bytes = CStr::from_ptr(text).to_bytes();
        if takes_utf8() || bytes.is_ascii() {
            return text;
        }
        let length = i32::try_from(bytes.len()).unwrap_or(0);
        pg_sys::pg_any_to_server(text, length, pg_sys::pg_enc::PG_UTF8 as i32)
    }
}

/// The transaction's commit waits for this server's disk, and for no other's.
pub fn commit_locally() {
    // SAFETY: a plain read of a backend global.
    let waits = unsafe { pg_sys::synchronous_commit };
    if waits > pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_LOCAL_FLUSH as i32 {
        set_for_subtransaction(c"synchronous_commit", "local");
    }
}

/// Is this a connection for replication? It takes commands that no hook sees.
pub fn is_replication_connection() -> bool {
    // SAFETY: a plain read of a backend global, set before authentication.
    unsafe { pg_sys::am_walsender }
}

/// Started by pg_upgrade.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: a plain read of a global of the postmaster.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Is this session in CREATE EXTENSION, or an update of one?
pub fn creates_extension() -> bool {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::creating_extension }
}

/// Does the server accept TLS connections?
pub fn offers_tls() -> bool {
    setting(c"ssl").as_deref() == Some("on")
}

/// The name of the database that the client asks for; also while it logs in.
pub fn database_asked_for() -> Option<String> {
    Some(text::of(Port::current()?.database()?).into_owned())
}

/// Can there be transactions that are prepared for a commit in two phases?
pub fn takes_prepared_transactions() -> bool {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::max_prepared_xacts != 0 }
}
