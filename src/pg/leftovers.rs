//! What the transactions of a gated session leave in it: nothing that could reach into the next one.
//!
//! A pooled connection serves many users. Temporary objects shadow real ones for whoever comes next, and
//! their triggers run as them; `search_path` decides whose functions a name means; a prepared statement
//! can take the place of one that the pooler believes to be there. So all of these end with their
//! transaction, whether it was switched or not: the next user's token may pass through the very next
//! statement. Sessions switched by `scope.set_jwt_session` keep theirs until the switch ends.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{compat, switch_state};

/// Settings that decide what the next user's SQL means. The rest of what a session may set (time zone,
/// timeouts, …) drivers and poolers set for themselves, and none of it runs code or shows rows.
const SETTINGS: [&CStr; 9] = [
    c"search_path",
    c"session_replication_role",
    c"row_security",
    c"standard_conforming_strings",
    c"backslash_quote",
    c"transform_null_equals",
    c"array_nulls",
    c"plpgsql.check_asserts",
    c"default_text_search_config",
];

static WATCHING: AtomicBool = AtomicBool::new(false);
/// Something has been created or altered in this transaction, in a temporary schema perhaps.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// The switch of a session has been ended in this transaction.
static SESSION_ENDED: AtomicBool = AtomicBool::new(false);

/// The session is switched, as of the last commit: what a rollback goes back to.
static SWITCHED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Names given by PREPARE. Statements that the protocol has prepared are the client's own, and are
    /// not touched: no SQL can make one.
    static PREPARED: RefCell<Vec<CString>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C-unwind" {
    // commands/async.h, which pgrx does not bind. Queues an action for the commit.
    fn Async_UnlistenAll();
}

/// From now on, for this session. Once, when it turns out to be gated.
pub fn watch() {
    if !WATCHING.swap(true, Ordering::Relaxed) {
        // SAFETY: the callback has the right type and lives as long as the process.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), std::ptr::null_mut()) }
    }
}

/// PREPARE is about to run.
pub fn prepared(name: &CStr) {
    if WATCHING.load(Ordering::Relaxed) {
        PREPARED.with_borrow_mut(|names| names.push(name.to_owned()));
    }
}

/// An object has been created or altered.
pub fn changed() {
    CHANGED.store(true, Ordering::Relaxed);
}

/// The switch of the session ends, if this transaction commits.
pub fn session_ended() {
    SESSION_ENDED.store(true, Ordering::Relaxed);
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE
            if !switch_state::lasts_for_the_session() =>
        {
            let whole_session = SESSION_ENDED.load(Ordering::Relaxed);
            remove(whole_session);
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            SESSION_ENDED.store(false, Ordering::Relaxed);
            CHANGED.store(false, Ordering::Relaxed);
            SWITCHED.store(switch_state::lasts_for_the_session(), Ordering::Relaxed);
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            SESSION_ENDED.store(false, Ordering::Relaxed);
            CHANGED.store(false, Ordering::Relaxed);
            // A rollback takes all else back.
            if !SWITCHED.load(Ordering::Relaxed) {
                deallocate();
            }
        }
        _ => {}
    }
}

/// Before the commit, when the transaction can still do work, and fail.
fn remove(whole_session: bool) {
    // SAFETY: inside a transaction. Both functions do nothing when there is nothing to do.
    unsafe {
        // The flag is not set for objects that are no relations and were made by the schema's own
        // name (pg_temp_3.x).
        let used = pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0
            || CHANGED.load(Ordering::Relaxed);
        if used || whole_session {
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            pg_sys::ResetTempTableNamespace();
            pg_sys::PopActiveSnapshot();
        }
        Async_UnlistenAll();
    }
    deallocate();
    static PLACES: [compat::SettingPlace; SETTINGS.len()] =
        [const { compat::SettingPlace::unknown() }; SETTINGS.len()];
    for (name, place) in SETTINGS.into_iter().zip(&PLACES) {
        let setting = compat::find_setting(name, place);
        if setting.is_null() {
            continue;
        }
        if whole_session {
            reset(name);
            continue;
        }
        // SAFETY: a valid record; the entry, if any, is that of the transaction's own level.
        let changed = unsafe { keep_for_the_transaction(setting) };
        if changed && name == c"search_path" && !switch_state::is_locked() {
            warn_search_path();
        }
    }
}

fn deallocate() {
    for name in PREPARED.take() {
        // SAFETY: look-ups in the backend's own table; neither raises an error.
        unsafe {
            let statement = pg_sys::FetchPreparedStatement(name.as_ptr(), false);
            if !statement.is_null() && (*statement).from_sql {
                pg_sys::DropPreparedStatement(name.as_ptr(), false);
            }
        }
    }
}

/// Makes a SET of this transaction a SET LOCAL, so that the commit undoes it. True if there was one.
///
/// # Safety
/// A valid record; in the outermost level of the transaction.
unsafe fn keep_for_the_transaction(setting: *mut pg_sys::config_generic) -> bool {
    // SAFETY: by contract. Commit releases both values of an entry, whatever its state.
    unsafe {
        let entry = (*setting).stack;
        let kept = !entry.is_null()
            && ((*entry).state == pg_sys::GucStackState::GUC_SET
                || (*entry).state == pg_sys::GucStackState::GUC_SET_LOCAL);
        if kept {
            (*entry).state = pg_sys::GucStackState::GUC_LOCAL;
        }
        kept
    }
}

fn reset(name: &CStr) {
    // SAFETY: as RESET does, inside a transaction.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            std::ptr::null(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SET,
            true,
            0,
            false,
        );
    }
}

fn warn_search_path() {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "the search_path of an authenticator's session can only be set for a transaction",
        function_name!(),
    )
    .set_detail("It decides whose functions the next user of a pooled connection calls.")
    .set_hint("Set it in each transaction, or for the login with ALTER ROLE … SET search_path.")
    .report(PgLogLevel::WARNING);
}
