//! What PostgreSQL knows of this session and transaction, for audit lines.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::server::Peer;
use super::{compat, log, raw, server, switch_state};
use crate::audit::line::{Line, MAX_TEXT};
use crate::audit::{self, Class, End, Event, Problem, class, redact, running};
use crate::guc::{self, AuditText};

unsafe extern "C-unwind" {
    // commands/async.h
    fn Async_Notify(channel: *const c_char, payload: *const c_char);
}

static SETTING: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(
    c"login, switch, admin, expire, lock, ddl, denied, export",
));
/// The bits of the classes that are recorded.
static CLASSES: AtomicU32 = AtomicU32::new(0);
/// Is anything waiting for the end of the transaction?
static EXPECTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The members that stay the same as long as the process lives, and its id.
    static CONNECTION: RefCell<(i32, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    /// The names of the last line.
    static USERS: RefCell<Names<2>> = const { RefCell::new(Names::NONE) };
    static APPLICATION: RefCell<Names<1>> = const { RefCell::new(Names::NONE) };
}

/// Defines `scope_roles.audit`.
pub fn define() {
    // SAFETY: both hooks are guarded and have the types that PostgreSQL asks for.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"scope_roles.audit",
            c"The classes of events that are written into the server log as JSON.",
            c"Of login, switch, admin, expire, lock, ddl, denied, export and statement, separated by commas; all; none.",
            &SETTING,
            GucContext::Sighup,
            GucFlags::empty(),
            Some(check),
            Some(assign),
            None,
        );
    }
}

/// While an error is being reported: no catalogue may be read, and our own lines are no errors.
static REPORTING: AtomicBool = AtomicBool::new(false);
type EmitLog = unsafe extern "C-unwind" fn(*mut pg_sys::ErrorData);
static mut PREVIOUS_EMIT_LOG: pg_sys::emit_log_hook_type = None;

/// Errors that nobody sees inside [`super::error_context::explaining`]: of parsing, of commits, and of connecting.
unsafe extern "C-unwind" fn emit_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the error that it is about to write, and is still reporting.
    unsafe {
        crate::hooks::explain::explain_end();
        if (*error).sqlerrcode == DENIED && audit::wants(Class::Denied) && is_watched_now() {
            denied(error);
        }
        if !log::is_writing() && classes() != 0 && (*error).output_to_server {
            before_log(error);
        }
        if let Some(previous) = PREVIOUS_EMIT_LOG {
            previous(error);
        }
    }
}

/// Does nobody else hear of what is written into the log?
pub fn hears_alone() -> bool {
    // SAFETY: reads of function pointers; single-threaded.
    unsafe {
        let previous = PREVIOUS_EMIT_LOG;
        previous.is_none()
            && pg_sys::emit_log_hook
                .is_some_and(|hook| std::ptr::fn_addr_eq(hook, emit_log as EmitLog))
    }
}

/// RAISE LOG writes what anybody likes: a message that begins as our lines do is not written as it
/// came.
///
/// # Safety
/// Terminated, or NULL.
unsafe fn poses_as_ours(message: *const c_char) -> bool {
    // SAFETY: by contract.
    let message = unsafe { bytes(message) }.unwrap_or_default();
    message
        .trim_ascii_start()
        .starts_with(audit::PREFIX.trim_ascii().as_bytes())
}

/// What somebody has made PostgreSQL write next to our lines, and where a reader would find one of ours in it, is told as a forgery and not
/// written: the whole message, or the text of the statement that goes with it.
///
/// # Safety
/// A valid error.
unsafe fn before_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract; terminated strings or NULL.
    unsafe {
        let texts = [
            (*error).message,
            (*error).detail,
            (*error).detail_log,
            (*error).hint,
            (*error).context,
            (*error).internalquery,
        ];
        let forged = texts
            .into_iter()
            .find(|&text| bytes(text).is_some_and(audit::forges));
        if poses_as_ours((*error).message) {
            forgery((*error).message);
            (*error).output_to_server = false;
        } else if let Some(text) = forged {
            forgery(text);
            (*error).output_to_server = false;
        } else if !(*error).hide_stmt
            && (*error).elevel >= PgLogLevel::LOG as i32
            && bytes(pg_sys::debug_query_string).is_some_and(audit::forges)
        {
            (*error).hide_stmt = true;
            forgery((*error).message);
        }
    }
}

/// # Safety
/// Terminated, or NULL.
#[pg_guard]
unsafe extern "C-unwind" fn forgery(message: *const c_char) {
    // SAFETY: by contract.
    let message = unsafe { bytes(message) }.unwrap_or_default();
    audit::record(Event::Forgery { message });
}

const DENIED: i32 = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32;

fn is_watched_now() -> bool {
    let before = REPORTING.swap(true, Ordering::Relaxed);
    let watched = is_watched();
    REPORTING.store(before, Ordering::Relaxed);
    watched
}

/// For the context callback, which sees errors that are caught later, too.
///
/// # Safety
/// Inside error reporting.
pub unsafe fn while_reporting() {
    // SAFETY: by contract; the copy is made in memory that outlives it and freed.
    unsafe {
        if pg_sys::geterrcode() == DENIED && audit::wants(Class::Denied) && is_watched_now() {
            let context = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let error = pg_sys::CopyErrorData();
            denied(error);
            pg_sys::FreeErrorData(error);
            pg_sys::MemoryContextSwitchTo(context);
        }
    }
}

/// Once for each error: it passes several callbacks, and then the log.
///
/// # Safety
/// A valid error.
#[pg_guard]
unsafe extern "C-unwind" fn denied(error: *mut pg_sys::ErrorData) {
    // SAFETY: by contract; terminated strings or NULL.
    unsafe {
        let is_error = (*error).elevel >= PgLogLevel::ERROR as i32;
        if !is_error || pg_sys::ParallelWorkerNumber >= 0 {
            return;
        }
        let message = bytes((*error).message).unwrap_or_default();
        if !audit::is_first(message) {
            return;
        }
        let wanted = guc::audit_text();
        let text = match wanted {
            AuditText::Full => {
                super::statement::sent_text(MAX_TEXT).map(|text| redact::redact(&text))
            }
            _ => None,
        };
        audit::record(Event::Denied {
            tag: super::statement::running_tag(),
            query_id: super::statement::sent_query_id().filter(|_| wanted != AuditText::Off),
            text: text.as_deref(),
            problem: Problem {
                sqlstate: "42501",
                message,
                detail: bytes((*error).detail),
            },
        });
    }
}

/// When the statement of the client arrived that is running.
pub fn statement_time() -> i64 {
    // SAFETY: a plain read of a backend global.
    unsafe { raw::GetCurrentStatementStartTimestamp() }
}

/// Hears of the ends of transactions; in the postmaster, inherited by every backend.
pub fn init() {
    // SAFETY: static callbacks of the right types, registered once.
    unsafe {
        pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
        PREVIOUS_EMIT_LOG = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(emit_log);
    }
}

/// Is the login a managed one?
static WATCHED_LOGIN: AtomicBool = AtomicBool::new(false);

pub fn watch_login() {
    WATCHED_LOGIN.store(true, Ordering::Relaxed);
}

/// Are this session's statements recorded? Of managed logins, of switched sessions, and of those that
/// have SET ROLE to a managed role.
pub fn is_watched() -> bool {
    if switch_state::is_locked() || WATCHED_LOGIN.load(Ordering::Relaxed) {
        return true;
    }
    // SAFETY: reads of backend globals.
    let (outer, login, is_worker) = unsafe {
        (
            raw::GetOuterUserId(),
            raw::GetSessionUserId(),
            pg_sys::ParallelWorkerNumber >= 0,
        )
    };
    outer != login && !is_worker && is_managed(outer)
}

/// Looked up once for each role that is taken; outside transactions, and while an error is under
/// way, what is known counts.
fn is_managed(role: pg_sys::Oid) -> bool {
    thread_local! {
        static KNOWN: Cell<(u32, bool)> = const { Cell::new((0, false)) };
    }
    let (known, answer) = KNOWN.get();
    if known == u32::from(role) {
        return answer;
    }
    // SAFETY: a read of the transaction's state.
    if REPORTING.load(Ordering::Relaxed) || !unsafe { raw::IsTransactionState() } {
        return false;
    }
    let answer = look_up(role);
    KNOWN.set((role.into(), answer));
    answer
}

#[pg_guard]
extern "C-unwind" fn look_up(role: pg_sys::Oid) -> bool {
    crate::label::read(role).is_some()
}

#[inline]
pub fn classes() -> u32 {
    CLASSES.load(Ordering::Relaxed)
}

/// [`audit::ended`] is to be called.
pub fn expect_the_end() {
    EXPECTING.store(true, Ordering::Relaxed);
}

pub fn pid() -> i32 {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyProcPid }
}

/// Members whose values tend to be those of the line before: comparing them costs less than writing them anew.
struct Names<const N: usize> {
    values: [Option<Vec<u8>>; N],
    members: Vec<u8>,
}

impl<const N: usize> Names<N> {
    const NONE: Self = Self {
        values: [const { None }; N],
        members: Vec::new(),
    };

    fn write(&mut self, line: &mut Line, names: [(&str, Option<&[u8]>); N]) {
        let same = names
            .iter()
            .zip(&self.values)
            .all(|((_, name), known)| *name == known.as_deref());
        if !same || self.members.is_empty() {
            let mut part = Line::part();
            for (key, name) in names {
                part.name(key, name);
            }
            self.members = part.into_members();
            self.values = names.map(|(_, name)| name.map(<[u8]>::to_vec));
        }
        line.members(&self.members);
    }
}

/// `session_user` and `role`, without a look into the catalogues: an error may be under way.
pub fn write_session(line: &mut Line) {
    // SAFETY: reads of backend globals; the strings are terminated and not changed meanwhile.
    unsafe {
        let port = pg_sys::MyProcPort;
        let session = raw::GetSessionUserId();
        let login = raw::GetAuthenticatedUserId();
        let user = if !port.is_null() && (session == login || session == pg_sys::InvalidOid) {
            compat::port_user(port)
        } else if !port.is_null() || pg_sys::ParallelWorkerNumber >= 0 {
            switch_state::text_of(c"session_authorization")
        } else {
            // A worker of ours.
            std::ptr::null()
        };
        let outer = raw::GetOuterUserId();
        let role = if user.is_null() || outer == session || outer == pg_sys::InvalidOid {
            user
        } else {
            switch_state::text_of(c"role")
        };
        USERS.with_borrow_mut(|known| {
            known.write(line, [("session_user", bytes(user)), ("role", bytes(role))]);
        });
    }
}

/// `client`, `port`, `database`, `pid`, `application_name` and `xid`.
pub fn write_connection(line: &mut Line) {
    CONNECTION.with_borrow_mut(|(known, members)| {
        let pid = pid();
        if *known != pid {
            let mut part = Line::part();
            let is_whole = write_place(&mut part);
            *members = part.into_members();
            if is_whole {
                *known = pid;
            }
        }
        line.members(members);
    });
    // SAFETY: reads of backend globals; terminated strings.
    unsafe {
        let mut name = pg_sys::application_name.cast_const();
        let port = pg_sys::MyProcPort;
        if !port.is_null() && pg_sys::ClientAuthInProgress {
            name = compat::port_application_name(port);
        }
        APPLICATION.with_borrow_mut(|known| known.write(line, [("application_name", bytes(name))]));
        match raw::GetTopFullTransactionIdIfAny().value {
            0 => line.field("xid", audit::Value::Null),
            xid => line.field("xid", audit::Value::Number(xid.cast_signed())),
        }
    }
}

/// False when the database has no name yet.
fn write_place(line: &mut Line) -> bool {
    let mut is_whole = true;
    // SAFETY: reads of backend globals; the port is this process's connection.
    unsafe {
        let port = pg_sys::MyProcPort;
        let mut worker_database = None;
        let (client, number, database) = if port.is_null() {
            if server::database() != pg_sys::InvalidOid {
                is_whole = raw::IsTransactionState();
                worker_database = is_whole.then(server::database_name);
            }
            (None, None, worker_database.as_ref().map(String::as_bytes))
        } else {
            let client = match compat::remote_peer(port) {
                Peer::Tcp(address) => Some(address.to_canonical().to_string()),
                Peer::Socket(_) => Some("local".to_owned()),
                Peer::Unknown => None,
            };
            let database = bytes(compat::port_database(port)).filter(|name| !name.is_empty());
            (client, compat::remote_port(port), database)
        };
        line.name("client", client.as_ref().map(String::as_bytes));
        line.field(
            "port",
            number.map_or(audit::Value::Null, |number| {
                audit::Value::Number(number.into())
            }),
        );
        line.name("database", database);
        line.field("pid", audit::Value::Number(pid().into()));
    }
    is_whole
}

/// # Safety
/// NULL, or a terminated string that outlives the use of the result.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

thread_local! {
    /// Notifications that wait for a commit.
    static NOTIFICATIONS: RefCell<Vec<(&'static CStr, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}
/// How many wait at most; more are in the log only.
const MOST_NOTIFICATIONS: usize = 100;

/// NOTIFY, with the next commit of this session, whatever becomes of this transaction. Nothing where
/// that is not possible.
pub fn notify(channel: &'static CStr, payload: &[u8]) {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    // SAFETY: reads of backend globals; a static callback of the right type, registered once.
    unsafe {
        if pg_sys::RecoveryInProgress() || pg_sys::ParallelWorkerNumber >= 0 {
            return;
        }
        if !WATCHING.swap(true, Ordering::Relaxed) {
            pg_sys::RegisterXactCallback(Some(before_commit), std::ptr::null_mut());
        }
    }
    NOTIFICATIONS.with_borrow_mut(|waiting| {
        if waiting.len() < MOST_NOTIFICATIONS {
            waiting.push((channel, payload.to_vec()));
        }
    });
}

/// Not before PREPARE TRANSACTION, which PostgreSQL refuses to transactions that notify.
#[pg_guard]
unsafe extern "C-unwind" fn before_commit(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if event != pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
        return;
    }
    for (channel, payload) in NOTIFICATIONS.take() {
        // SAFETY: inside the transaction, which is about to commit; both are terminated and short
        // enough, and PostgreSQL copies them.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                Async_Notify(channel.as_ptr(), payload.as_ptr().cast());
            });
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers; the memory for `extra` is its own from now on.
    unsafe {
        let text = bytes(*new_value).unwrap_or_default();
        let Some(bits) = std::str::from_utf8(text).ok().and_then(class::parse) else {
            return false;
        };
        let memory = compat::setting_alloc(size_of::<u32>()).cast::<u32>();
        if memory.is_null() {
            return false;
        }
        memory.write(bits);
        *extra = memory.cast();
        true
    }
}

/// Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn assign(_new_value: *const c_char, extra: *mut c_void) {
    let bits = if extra.is_null() {
        0
    } else {
        // SAFETY: what `check` made for this value.
        unsafe { *extra.cast::<u32>() }
    };
    if bits & Class::Statement as u32 != 0 {
        compat::enable_query_id();
    }
    CLASSES.store(bits, Ordering::Relaxed);
}

/// Every transaction ends: without a guard as long as there is nothing to do.
unsafe extern "C-unwind" fn at_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    if EXPECTING.load(Ordering::Relaxed) || event == pg_sys::XactEvent::XACT_EVENT_ABORT {
        tell_the_end(event);
    }
}

/// Must not fail: the transaction has already committed, or is being aborted.
#[pg_guard]
extern "C-unwind" fn tell_the_end(event: pg_sys::XactEvent::Type) {
    let end = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => End::Committed,
        pg_sys::XactEvent::XACT_EVENT_PREPARE => End::Prepared,
        pg_sys::XactEvent::XACT_EVENT_ABORT => End::Aborted,
        _ => return,
    };
    if end == End::Aborted && running::is_wanted() {
        running::transaction_ended(super::error_context::depth());
    }
    if !EXPECTING.load(Ordering::Relaxed) {
        return;
    }
    EXPECTING.store(false, Ordering::Relaxed);
    audit::ended(end);
}

/// Must not fail, as [`at_transaction_end`].
#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut c_void,
) {
    if event != pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        return;
    }
    if running::is_wanted() {
        running::subtransaction_aborted(subtransaction);
    }
    if EXPECTING.load(Ordering::Relaxed) {
        audit::ended(End::Subtransaction(subtransaction));
    }
}
