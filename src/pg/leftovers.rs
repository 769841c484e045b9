//! What the transactions of a gated session leave in it: nothing that the next one could see or use.
//!
//! A pooled connection serves many users. Temporary objects shadow real ones for whoever comes next, and
//! their triggers run as them; settings decide what a statement means and what it shows; a prepared
//! statement can take the place of one that the pooler believes to be there; a connection of dblink is
//! another's session. So all of these end with their transaction, whether it was switched or not: the next
//! user's token may pass through the very next statement. Sessions switched by `scope.set_jwt_session` keep
//! theirs until the switch ends.
//!
//! What the login sets before its first token is the session's own, as what the start-up packet and ALTER
//! ROLE say is: drivers set their connections up once. From the first token on every SET is a SET LOCAL,
//! for nothing tells a service's from that of SQL injected with a COMMIT.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_void};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::{session_settings, switch_state, xact};

static WATCHING: AtomicBool = AtomicBool::new(false);
/// Something has been created or altered in this transaction, in a temporary schema perhaps.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// The switch of a session has been ended in this transaction.
static SESSION_ENDED: AtomicBool = AtomicBool::new(false);

/// The session is switched, as of the last commit: what a rollback goes back to.
static SWITCHED: AtomicBool = AtomicBool::new(false);

/// A token has been presented in this session: users' statements may follow.
static IN_SERVICE: AtomicBool = AtomicBool::new(false);
/// A function of dblink has been called since connections were last closed.
static CONNECTED: AtomicBool = AtomicBool::new(false);
/// The transaction of which has been rolled back, when nothing could be called.
static LEFT_CONNECTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Seeds of random(), which tell nothing of each other.
    static SEEDS: RandomState = RandomState::new();
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

/// A token has been presented: the session's set-up is over.
pub fn token_presented() {
    IN_SERVICE.store(true, Ordering::Relaxed);
}

/// The session is about to be switched as a whole.
pub fn session_begins() {
    if WATCHING.load(Ordering::Relaxed) {
        session_settings::remember();
    }
}

/// A function of dblink is about to be called.
pub fn connected() {
    CONNECTED.store(true, Ordering::Relaxed);
}

/// Before a statement of a gated session that may use what a rolled back transaction has left.
pub fn before_statement() {
    if LEFT_CONNECTED.swap(false, Ordering::Relaxed) {
        disconnect();
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
            if !switch_state::lasts_for_the_session() {
                forget();
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT => {
            SESSION_ENDED.store(false, Ordering::Relaxed);
            CHANGED.store(false, Ordering::Relaxed);
            // A rollback takes all else back.
            if !SWITCHED.load(Ordering::Relaxed) {
                deallocate();
                forget();
                if CONNECTED.load(Ordering::Relaxed) {
                    LEFT_CONNECTED.store(true, Ordering::Relaxed);
                }
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
    disconnect();
    if whole_session {
        session_settings::put_back();
    } else if IN_SERVICE.load(Ordering::Relaxed) {
        let undone = session_settings::keep_for_the_transaction();
        if !undone.is_empty() && !switch_state::is_locked() {
            warn(&undone);
        }
    }
}

/// What is no matter of transactions, and cannot fail: at the end of one, however it ends.
fn forget() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C-unwind" {
        // commands/sequence.h, which pgrx does not bind.
        fn ResetSequenceCaches();
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = SEEDS.with(|seeds| seeds.hash_one(count));
    // From -1 to 1, as setseed() asks for.
    let seed = (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
    // SAFETY: each works on the backend's own state, which all three leave as in a fresh session.
    unsafe {
        ResetSequenceCaches();
        pgrx::direct_function_call_as_datum(pg_sys::setseed, &[seed.into_datum()]);
        pg_sys::LockReleaseAll(pg_sys::USER_LOCKMETHOD as u16, true);
    }
}

/// Closes the connections of dblink. A failure is no reason to fail: none is open, most likely.
fn disconnect() {
    if !CONNECTED.swap(false, Ordering::Relaxed) {
        return;
    }
    let call = |name: &CStr, arguments: &[Option<pg_sys::Datum>]| {
        // SAFETY: inside a transaction. The library is loaded, or the function would not have been called;
        // these take no more than the arguments that they are given.
        unsafe {
            let function = pg_sys::load_external_function(
                c"$libdir/dblink".as_ptr(),
                name.as_ptr(),
                false,
                std::ptr::null_mut(),
            );
            if function.is_null() {
                return None;
            }
            let function = std::mem::transmute::<
                *mut c_void,
                unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
            >(function);
            pgrx::direct_pg_extern_function_call_as_datum(function, arguments)
        }
    };
    let names = xact::subtransaction(|| {
        let names = call(c"dblink_get_connections", &[]);
        // SAFETY: an array of texts, or NULL.
        names.and_then(|names| unsafe { Vec::<Option<String>>::from_datum(names, false) })
    });
    for name in names
        .ok()
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .flatten()
    {
        let _closed = xact::subtransaction(|| {
            call(c"dblink_disconnect", &[name.into_datum()]);
        });
    }
    let _closed = xact::subtransaction(|| {
        call(c"dblink_disconnect", &[]);
    });
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

/// In ASCII: the encoding of the client may be one of the settings.
fn warn(undone: &[String]) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "settings of an authenticator's session can only be set for a transaction once a token has been presented",
        function_name!(),
    )
    .set_detail(format!(
        "They decide what the statements of the next user of a pooled connection mean and show. Undone: {}.",
        undone.join(", ")
    ))
    .set_hint("Set them in each transaction, when connecting, or for the login with ALTER ROLE ... SET.")
    .report(PgLogLevel::WARNING);
}
