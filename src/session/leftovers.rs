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
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::parsing;
use super::switch_state;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{dblink, discard, prepared, session_settings, xact};
use crate::switch_text::Extent;

static WATCHING: AtomicBool = AtomicBool::new(false);
/// Something has been created or altered in this transaction, in a temporary schema perhaps.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// The switch of a session has been ended in this transaction.
static SESSION_ENDED: AtomicBool = AtomicBool::new(false);

/// The session is switched, as of the last commit: what a rollback goes back to.
static SWITCHED: AtomicBool = AtomicBool::new(false);

/// A token has been presented in this session: users' statements may follow.
static IN_SERVICE: AtomicBool = AtomicBool::new(false);
/// The session has been told that its settings are undone: again for each SET would flood the log.
static TOLD: AtomicBool = AtomicBool::new(false);
/// A function of dblink has been called since connections were last closed.
static CONNECTED: AtomicBool = AtomicBool::new(false);
/// The transaction of which has been rolled back, when nothing could be called.
static LEFT_CONNECTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What the session had set for itself before it was switched.
    static BEFORE: RefCell<Vec<(CString, CString)>> = const { RefCell::new(Vec::new()) };
    /// Seeds of random(), which tell nothing of each other.
    static SEEDS: RandomState = RandomState::new();
    /// Names given by PREPARE. Statements that the protocol has prepared are the client's own, and are
    /// not touched: no SQL can make one.
    static PREPARED: RefCell<Vec<CString>> = const { RefCell::new(Vec::new()) };
}

/// From now on, for this session. Once, when it turns out to be gated.
pub fn watch() {
    if !WATCHING.swap(true, Ordering::Relaxed) {
        xact_end::tell::<Transactions>();
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
    if WATCHING.load(Ordering::Relaxed) {
        parsing::settle();
    }
}

/// The session is about to be switched. Where the switch of another has been ended in the same transaction, what that one
/// has left goes first.
pub fn switch_begins(extent: Extent) {
    if !WATCHING.load(Ordering::Relaxed) {
        return;
    }
    if SESSION_ENDED.load(Ordering::Relaxed) {
        remove(true);
        parsing::make_ready_anew();
    } else if extent == Extent::Session {
        let mut before = session_settings::committed();
        before.retain(|(name, _)| !is_identity(name));
        BEFORE.set(before);
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

struct Transactions;

impl Ending for Transactions {
    fn at(moment: Moment) {
        at_end(moment);
    }
}

fn at_end(moment: Moment) {
    match moment {
        Moment::BeforeCommit | Moment::BeforePrepare if !switch_state::lasts_for_the_session() => {
            let whole_session = SESSION_ENDED.load(Ordering::Relaxed);
            remove(whole_session);
        }
        Moment::Committed | Moment::Prepared => {
            let session_ended = SESSION_ENDED.swap(false, Ordering::Relaxed);
            CHANGED.store(false, Ordering::Relaxed);
            let lasts = switch_state::lasts_for_the_session();
            SWITCHED.store(lasts, Ordering::Relaxed);
            // Another switch may have begun where one ended.
            if session_ended || !lasts {
                forget();
            }
            if !lasts {
                parsing::forget(session_ended);
            }
        }
        Moment::Aborted => {
            SESSION_ENDED.store(false, Ordering::Relaxed);
            CHANGED.store(false, Ordering::Relaxed);
            // A rollback takes all else back.
            if !SWITCHED.load(Ordering::Relaxed) {
                deallocate();
                forget();
                parsing::forget(false);
                if CONNECTED.load(Ordering::Relaxed) {
                    LEFT_CONNECTED.store(true, Ordering::Relaxed);
                }
            }
        }
        Moment::BeforeCommit | Moment::BeforePrepare => {}
    }
}

/// Before the commit, when the transaction can still do work, and fail.
fn remove(whole_session: bool) {
    // The first does not tell of objects that are no relations and were made by the schema's own
    // name (pg_temp_3.x).
    let used = discard::has_used_temporary_schema() || CHANGED.load(Ordering::Relaxed);
    if used || whole_session {
        discard::temporary_objects();
    }
    discard::listening();
    deallocate();
    disconnect();
    if whole_session {
        put_settings_back();
    } else if IN_SERVICE.load(Ordering::Relaxed) {
        let undone = session_settings::keep_for_the_transaction(is_identity);
        if !undone.is_empty() && !switch_state::is_locked() && !TOLD.swap(true, Ordering::Relaxed) {
            warn(&undone);
        }
    }
}

/// What is no matter of transactions, and cannot fail: at the end of one, however it ends.
fn forget() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = SEEDS.with(|seeds| seeds.hash_one(count));
    // From -1 to 1, as setseed() asks for.
    let seed = (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
    discard::sequences();
    discard::random_numbers(seed);
    discard::advisory_locks();
}

/// Closes the connections of dblink. A failure is no reason to fail: none is open, most likely.
fn disconnect() {
    if CONNECTED.swap(false, Ordering::Relaxed) {
        let names = xact::subtransaction(dblink::connections).unwrap_or_default();
        for name in names.into_iter().map(Some).chain([None]) {
            let _closed = xact::subtransaction(|| dblink::disconnect(name));
        }
    }
}

fn deallocate() {
    for name in PREPARED.take() {
        if prepared::is_from_sql(&name) == Some(true) {
            prepared::drop(&name);
        }
    }
}

/// The settings of the session are what they were before the switch, once the transaction has committed.
fn put_settings_back() {
    BEFORE.with_borrow(|before| {
        for name in session_settings::names() {
            if !is_identity(&name) && !before.iter().any(|(known, _)| *known == name) {
                session_settings::set_back(&name, None);
            }
        }
        for (name, value) in before {
            session_settings::set_back(name, Some(value));
        }
    });
}

/// The end of a switch looks after these itself.
fn is_identity(name: &CStr) -> bool {
    switch_state::identity_settings().any(|own| own == name)
}

/// In ASCII: the encoding of the client may be one of the settings.
fn warn(undone: &[String]) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "settings of an authenticator's session can only be set for a transaction once a token has been presented",
        function_name!(),
    )
    .set_detail(format!(
        "They decide what the statements of the next user of a pooled connection mean and show. Undone: {}. This is said once in a session.",
        undone.join(", ")
    ))
    .set_hint("Set them in each transaction, when connecting, or for the login with ALTER ROLE ... SET.")
    .report(PgLogLevel::WARNING);
}
