//! What guards need of PostgreSQL: the rows on their way to the client, the classes of statements, and
//! whether a statement changes data. Called by `hooks`.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::list::elements;
use super::wire::{self, Message};
use super::{compat, identity, invalidation, raw, spi};
use crate::guard::rule::Class;
use crate::guard::{self, BLOCKS_ROWS, CLASSES, READS_ONLY, ROWS, meter, writers};
use crate::guc;

/// What was found out for a pair of login and role.
struct Known {
    generation: AtomicU64,
    login: AtomicU32,
    outer: AtomicU32,
    flags: AtomicU32,
}

static KNOWN: [Known; 8] = [const {
    Known {
        generation: AtomicU64::new(0),
        login: AtomicU32::new(0),
        outer: AtomicU32::new(0),
        flags: AtomicU32::new(0),
    }
}; 8];

/// What there is to do in this session, see `guard::flags`; the first question of every hook, and
/// most often the last. In a transaction that has not failed.
///
/// # Safety
/// In the backend; owns nothing, because an error may jump over it.
#[inline]
pub unsafe fn flags() -> u32 {
    // SAFETY: reads of backend globals; a worker's leader does what is to be done.
    let (login, outer, is_worker) = unsafe {
        (
            u32::from(raw::GetSessionUserId()),
            u32::from(raw::GetOuterUserId()),
            pg_sys::ParallelWorkerNumber >= 0,
        )
    };
    if is_worker {
        return 0;
    }
    let Some(known) = KNOWN.get(outer as usize % KNOWN.len()) else {
        return 0;
    };
    let is_known = known.generation.load(Ordering::Relaxed) == invalidation::roles()
        && known.login.load(Ordering::Relaxed) == login
        && known.outer.load(Ordering::Relaxed) == outer;
    if is_known {
        return known.flags.load(Ordering::Relaxed);
    }
    find_out(login, outer);
    known.flags.load(Ordering::Relaxed)
}

/// As [`flags`], after taking in what others have committed: for the beginning of a statement.
///
/// # Safety
/// As [`flags`].
#[inline]
pub unsafe fn flags_now() -> u32 {
    // SAFETY: by contract; allowed anywhere in a transaction.
    unsafe {
        raw::AcceptInvalidationMessages();
        flags()
    }
}

#[pg_guard]
extern "C-unwind" fn find_out(login: u32, outer: u32) {
    // SAFETY: a plain read of a backend global. Without a database there are no statements.
    if login == 0 || unsafe { pg_sys::MyDatabaseId } == pg_sys::InvalidOid {
        return;
    }
    let generation = invalidation::roles_generation();
    let flags = guard::flags(login.into(), outer.into());
    if flags & ROWS != 0 {
        wire::judge(before_message);
    }
    if let Some(known) = KNOWN.get(outer as usize % KNOWN.len()) {
        known.login.store(login, Ordering::Relaxed);
        known.outer.store(outer, Ordering::Relaxed);
        known.flags.store(flags, Ordering::Relaxed);
        known.generation.store(generation, Ordering::Relaxed);
    }
}

// ---- Statements inside statements

/// An entry of PostgreSQL's stack of error contexts, which is put back when an error is caught: so
/// it knows at any time what runs inside what.
#[repr(C)]
struct Frame {
    context: pg_sys::ErrorContextCallback,
    /// Rows of what runs inside go to the client.
    hands_on: bool,
    /// Rows of this query are being counted.
    counts: bool,
    /// Rows that have been counted inside.
    counted: u64,
}

unsafe extern "C-unwind" fn mark(_argument: *mut c_void) {}

impl Frame {
    fn new(hands_on: bool) -> Self {
        Self {
            context: pg_sys::ErrorContextCallback {
                // SAFETY: a plain read of a backend global.
                previous: unsafe { pg_sys::error_context_stack },
                callback: Some(mark),
                arg: null_mut(),
            },
            hands_on,
            counts: false,
            counted: 0,
        }
    }

    /// Runs what follows inside this frame.
    ///
    /// # Safety
    /// In the backend; `next` owns nothing, because an error jumps over it.
    unsafe fn around(&mut self, next: impl FnOnce()) {
        // SAFETY: the frame is off the stack again before it goes out of scope.
        unsafe {
            self.context.arg = (&raw mut *self).cast();
            pg_sys::error_context_stack = &raw mut self.context;
            next();
            pg_sys::error_context_stack = self.context.previous;
        }
    }

    /// The innermost one; NULL outside all.
    fn innermost() -> *mut Frame {
        Self::innermost_where(|_| true)
    }

    fn innermost_where(is_wanted: impl Fn(&Frame) -> bool) -> *mut Frame {
        // SAFETY: the stack holds valid entries, and ours are frames.
        unsafe {
            let mut entry = pg_sys::error_context_stack;
            while !entry.is_null() {
                let is_ours = (*entry)
                    .callback
                    .is_some_and(|callback| callback as usize == mark as *const () as usize);
                if is_ours {
                    let frame: *mut Frame = (*entry).arg.cast();
                    if is_wanted(&*frame) {
                        return frame;
                    }
                }
                entry = (*entry).previous;
            }
        }
        null_mut()
    }
}

// ---- Rows

/// Stands between the executor and the client.
#[repr(C)]
struct Counter {
    receiver: pg_sys::DestReceiver,
    inner: *mut pg_sys::DestReceiver,
}

impl Counter {
    fn before(inner: *mut pg_sys::DestReceiver, start_up: StartUp, shut_down: ShutDown) -> Self {
        Self {
            receiver: pg_sys::DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(start_up),
                rShutdown: Some(shut_down),
                rDestroy: Some(destroy),
                // SAFETY: a valid receiver.
                mydest: unsafe { (*inner).mydest },
            },
            inner,
        }
    }
}

type StartUp = unsafe extern "C-unwind" fn(*mut pg_sys::DestReceiver, i32, pg_sys::TupleDesc);
type ShutDown = unsafe extern "C-unwind" fn(*mut pg_sys::DestReceiver);

/// How many rows may pass before the meter must be asked.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// These are called with the receiver that was given to the executor, or to a utility statement.
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        ask_for_more();
    } else {
        LEFT.store(left - 1, Ordering::Relaxed);
    }
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        match (*inner).receiveSlot {
            Some(receive) => receive(slot, inner),
            None => false,
        }
    }
}

#[pg_guard]
extern "C-unwind" fn ask_for_more() {
    LEFT.store(meter::more().saturating_sub(1), Ordering::Relaxed);
}

unsafe extern "C-unwind" fn start_up(
    receiver: *mut pg_sys::DestReceiver,
    operation: i32,
    description: pg_sys::TupleDesc,
) {
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        if let Some(start_up) = (*inner).rStartup {
            start_up(inner, operation, description);
        }
    }
}

unsafe extern "C-unwind" fn shut_down(receiver: *mut pg_sys::DestReceiver) {
    // SAFETY: by contract.
    unsafe {
        let inner = (*receiver.cast::<Counter>()).inner;
        if let Some(shut_down) = (*inner).rShutdown {
            shut_down(inner);
        }
    }
}

/// The rows of a utility statement are counted from the first to the last of them, and not while it makes
/// them: a procedure may run long, and write files meanwhile.
unsafe extern "C-unwind" fn answer_starts(
    receiver: *mut pg_sys::DestReceiver,
    operation: i32,
    description: pg_sys::TupleDesc,
) {
    begin_count();
    // SAFETY: by contract.
    unsafe { start_up(receiver, operation, description) }
}

unsafe extern "C-unwind" fn answer_ends(receiver: *mut pg_sys::DestReceiver) {
    // SAFETY: by contract.
    unsafe { shut_down(receiver) }
    end_count();
}

/// It is on the stack.
unsafe extern "C-unwind" fn destroy(_receiver: *mut pg_sys::DestReceiver) {}

thread_local! {
    /// Cursors and portals that have returned rows and may return more: name, when made, how many.
    static PORTALS: RefCell<Vec<(CString, i64, u64)>> = const { RefCell::new(Vec::new()) };
}
static ANY_PORTAL: AtomicBool = AtomicBool::new(false);

/// Runs a query; when its rows go to the client, through the counter.
///
/// # Safety
/// From ExecutorRun, with a started query; `next` runs it and owns nothing.
pub unsafe fn run_query(query: *mut pg_sys::QueryDesc, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe {
        // The start of a transaction takes in what others have committed.
        let flags = if raw::IsTransactionBlock() {
            flags_now()
        } else {
            flags()
        };
        if flags & ROWS == 0 {
            next();
            return;
        }
        if !goes_to_the_client(query) {
            Frame::new(false).around(next);
            return;
        }
        let inner = (*query).dest;
        // After an error nobody asks for the receiver any more.
        let mut counter = Counter::before(inner, start_up, shut_down);
        // A function may COPY to a file: these are rows of the statement that calls it.
        let is_outermost = Frame::innermost_where(|frame| frame.counts).is_null();
        if is_outermost {
            begin_count();
        }
        (*query).dest = (&raw mut counter).cast();
        let mut frame = Frame::new(false);
        frame.counts = true;
        frame.around(next);
        (*query).dest = inner;
        if is_outermost {
            end_count();
        }
    }
}

/// # Safety
/// A started query.
unsafe fn goes_to_the_client(query: *mut pg_sys::QueryDesc) -> bool {
    use pg_sys::CommandDest;
    // SAFETY: by contract; a portal in use is valid, and so are frames.
    unsafe {
        match (*(*query).dest).mydest {
            CommandDest::DestRemote
            | CommandDest::DestRemoteExecute
            | CommandDest::DestRemoteSimple
            | CommandDest::DestCopyOut => true,
            // Some statements are run to their end first: those that write, FETCH and EXECUTE.
            CommandDest::DestTuplestore => {
                let frame = Frame::innermost();
                let portal = pg_sys::ActivePortal;
                if !frame.is_null() {
                    (*frame).hands_on
                } else {
                    !portal.is_null()
                        && ((*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_RETURNING
                            || (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_MOD_WITH)
                }
            }
            _ => false,
        }
    }
}

/// The portal whose rows come a few at a time.
fn portal_in_parts() -> pg_sys::Portal {
    // SAFETY: a portal in use is valid.
    unsafe {
        let portal = pg_sys::ActivePortal;
        let in_parts =
            !portal.is_null() && (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_SELECT;
        if in_parts { portal } else { null_mut() }
    }
}

#[pg_guard]
extern "C-unwind" fn begin_count() {
    let used = returned_by(portal_in_parts());
    meter::begin(used, LEFT.swap(0, Ordering::Relaxed));
}

#[pg_guard]
extern "C-unwind" fn end_count() {
    let portal = portal_in_parts();
    let before = returned_by(portal);
    let after = meter::end(LEFT.swap(0, Ordering::Relaxed));
    remember(portal, after);
    let frame = Frame::innermost();
    if !frame.is_null() {
        // SAFETY: a frame on the stack.
        unsafe { (*frame).counted += after.saturating_sub(before) };
    }
}

// ---- Messages

/// Messages to the client since a statement of its arrived, and when that was.
static SENT: AtomicU64 = AtomicU64::new(0);
static SENT_SINCE: AtomicI64 = AtomicI64::new(i64::MIN);

/// May the client have what is no row of a result? Refused (54000), or false where no error can be raised.
///
/// # Safety
/// In the backend, about to send; owns nothing, because an error may jump over it.
unsafe fn before_message(message: Message) -> bool {
    // SAFETY: reads of backend globals. Where interrupts are held back, or no transaction is, nothing of a
    // user's can be running: those are messages of PostgreSQL's own.
    unsafe {
        let in_statement = pg_sys::InterruptHoldoffCount == 0
            && pg_sys::CritSectionCount == 0
            && raw::IsTransactionState();
        !in_statement || flags() & ROWS == 0 || count_message(message)
    }
}

#[pg_guard]
extern "C-unwind" fn count_message(message: Message) -> bool {
    if identity::is_own_work() {
        return true;
    }
    // SAFETY: a read of a backend global.
    let since = unsafe { raw::GetCurrentStatementStartTimestamp() };
    if SENT_SINCE.swap(since, Ordering::Relaxed) != since {
        SENT.store(0, Ordering::Relaxed);
    }
    let before = SENT.fetch_add(1, Ordering::Relaxed);
    match message {
        Message::Result | Message::Notice => {
            meter::count(before, 1);
            true
        }
        Message::Notification => meter::lets_pass(before, 1),
    }
}

fn returned_by(portal: pg_sys::Portal) -> u64 {
    if portal.is_null() || !ANY_PORTAL.load(Ordering::Relaxed) {
        return 0;
    }
    // SAFETY: a valid portal, whose name is terminated.
    let (name, made) = unsafe { (CStr::from_ptr((*portal).name), (*portal).creation_time) };
    PORTALS.with_borrow(|portals| {
        portals
            .iter()
            .find(|(known, at, _)| known.as_c_str() == name && *at == made)
            .map_or(0, |(_, _, rows)| *rows)
    })
}

fn remember(portal: pg_sys::Portal, rows: u64) {
    const MANY: usize = 32;
    if portal.is_null() {
        return;
    }
    // SAFETY: as in `returned_by`; PostgreSQL looks names up in its own table.
    unsafe {
        let name = CStr::from_ptr((*portal).name);
        let made = (*portal).creation_time;
        PORTALS.with_borrow_mut(|portals| {
            if portals.len() > MANY {
                portals.retain(|(name, _, _)| !pg_sys::GetPortalByName(name.as_ptr()).is_null());
            }
            match portals
                .iter_mut()
                .find(|(known, _, _)| known.as_c_str() == name)
            {
                Some(entry) => (entry.1, entry.2) = (made, rows),
                None => portals.push((name.to_owned(), made, rows)),
            }
        });
    }
    ANY_PORTAL.store(true, Ordering::Relaxed);
}

/// A query starts: if it is that of a new portal, it has returned nothing yet.
///
/// # Safety
/// From ExecutorStart.
pub unsafe fn before_start() {
    if !ANY_PORTAL.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: a portal in use is valid. Functions inside a query that runs find another status.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if !portal.is_null() && (*portal).status == pg_sys::PortalStatus::PORTAL_DEFINED {
            forget((*portal).name);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn forget(name: *const c_char) {
    // SAFETY: the terminated name of a portal.
    let name = unsafe { CStr::from_ptr(name) };
    PORTALS.with_borrow_mut(|portals| {
        portals.retain(|(known, _, _)| known.as_c_str() != name);
        ANY_PORTAL.store(!portals.is_empty(), Ordering::Relaxed);
    });
}

// ---- Data

/// A query has started: PostgreSQL has checked the rights to what it writes.
///
/// # Safety
/// From ExecutorStart, afterwards.
pub unsafe fn after_start(query: *mut pg_sys::QueryDesc) {
    // SAFETY: by contract.
    unsafe {
        if flags() & READS_ONLY == 0 {
            return;
        }
        learn_writers();
        if !(*(*query).plannedstmt).resultRelations.is_null() {
            judge_write((*query).plannedstmt);
        }
    }
}

#[pg_guard]
extern "C-unwind" fn learn_writers() {
    writers::learn();
}

#[pg_guard]
unsafe extern "C-unwind" fn judge_write(plan: *mut pg_sys::PlannedStmt) {
    if may_write() {
        return;
    }
    // SAFETY: a valid plan: the relations are numbers of entries in its range table.
    unsafe {
        let relations = (*plan).resultRelations;
        for index in 0..(*relations).length {
            let number = (*(*relations).elements.add(index as usize)).int_value;
            let place = usize::try_from(number - 1).unwrap_or(usize::MAX);
            let entry = elements((*plan).rtable).nth(place);
            let is_temporary = entry
                .is_some_and(|entry| is_temporary((*entry.cast::<pg_sys::RangeTblEntry>()).relid));
            if !is_temporary {
                guard::refuse_write(tag_of(plan.cast()));
            }
        }
    }
}

/// In a function that is allowed to write, or in a trigger that such a one has left for later.
fn may_write() -> bool {
    writers::is_running() || identity::is_own_work()
}

/// A function that may write has been called in this transaction.
static WROTE: AtomicBool = AtomicBool::new(false);

unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    if matches!(
        event,
        pg_sys::XactEvent::XACT_EVENT_COMMIT
            | pg_sys::XactEvent::XACT_EVENT_ABORT
            | pg_sys::XactEvent::XACT_EVENT_PREPARE
    ) {
        WROTE.store(false, Ordering::Relaxed);
    }
}

pub fn transaction_start() -> i64 {
    // SAFETY: a read of a backend global.
    unsafe { raw::GetCurrentTransactionStartTimestamp() }
}

/// Is `function` one that may write, in a session that only reads?
///
/// So is the function of a trigger once another has written in this transaction: deferred, it runs after that
/// one has returned. Such a session makes no triggers, and writes to nothing that has some but by functions that
/// may; nobody can call a trigger's function otherwise.
///
/// # Safety
/// As [`flags`].
pub unsafe fn is_writer(function: pg_sys::Oid) -> bool {
    // SAFETY: by contract. PostgreSQL's own functions have lower numbers, and no time to lose.
    unsafe {
        u32::from(function) >= pg_sys::FirstNormalObjectId
            && flags() & READS_ONLY != 0
            && (writers::is_allowed(function)
                || (WROTE.load(Ordering::Relaxed) && is_of_triggers(function)))
    }
}

fn is_of_triggers(function: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe { pg_sys::get_func_rettype(function) == pg_sys::TRIGGEROID }
}

pub fn writer_begins(function: pg_sys::Oid) {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    if !WATCHING.swap(true, Ordering::Relaxed) {
        // SAFETY: the callback has the right type and lives as long as the process.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), null_mut()) }
    }
    WROTE.store(true, Ordering::Relaxed);
    writers::begins(function);
}

pub fn writer_ends(function: pg_sys::Oid) {
    if writers::is_running() {
        writers::ends(function);
    }
}

fn is_temporary(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe { pg_sys::get_rel_persistence(relation) as u8 == pg_sys::RELPERSISTENCE_TEMP }
}

// ---- Utility statements

/// Is there anything to do about this statement? Most statements are not even looked at.
///
/// # Safety
/// A valid utility statement, in a transaction that has not failed unless it ends one.
pub unsafe fn concerns(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TransactionStmt => {
                prepares(node) && raw::IsTransactionState() && flags_now() & READS_ONLY != 0
            }
            _ => flags_now() != 0 || (guc::watches_ddl() && is_ddl(node)),
        }
    }
}

/// Runs a utility statement under guard. `next` takes the statement that is to run, and where its rows go.
///
/// # Safety
/// From ProcessUtility; `next` owns nothing.
pub unsafe fn run_utility(
    statement: *mut pg_sys::PlannedStmt,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
    next: impl FnOnce(*mut pg_sys::PlannedStmt, *mut pg_sys::DestReceiver),
) {
    // SAFETY: by contract.
    unsafe {
        let node = (*statement).utilityStmt;
        let flags = flags();
        let temporary = before_utility(node, flags);
        let mut statement = statement;
        if flags & BLOCKS_ROWS != 0 && copies_a_table(node) {
            statement = copy_by_query(statement);
        }
        let mut counter = Counter::before(destination, answer_starts, answer_ends);
        let receiver = if flags & ROWS != 0 && answers(node, destination) {
            (&raw mut counter).cast()
        } else {
            destination
        };
        let mut frame = Frame::new(hands_on(node, destination));
        frame.around(|| next(statement, receiver));
        let node = (*statement).utilityStmt;
        after_utility(node, temporary, flags, completion, frame.counted);
    }
}

/// Is it known to be about temporary objects only?
#[pg_guard]
unsafe extern "C-unwind" fn before_utility(node: *mut pg_sys::Node, flags: u32) -> bool {
    // SAFETY: a valid statement.
    unsafe {
        if flags & READS_ONLY != 0 {
            learn_writers();
            if changes_data(node) && !may_write() {
                guard::refuse_write(tag_of(node));
            }
        }
        let temporary = is_about_temporary(node);
        if flags & CLASSES != 0 {
            let classes = classes_of(node, temporary);
            if !classes.is_empty() {
                guard::judge_classes(&classes, tag_of(node));
            }
        }
        if !temporary && guc::watches_ddl() && is_ddl(node) && !pg_sys::creating_extension {
            guard::notice_ddl(tag_of(node));
        }
        temporary
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after_utility(
    node: *mut pg_sys::Node,
    temporary: bool,
    flags: u32,
    completion: *mut pg_sys::QueryCompletion,
    counted: u64,
) {
    // SAFETY: a valid statement that has run.
    unsafe {
        // What search_path, or a schema's name, has made temporary.
        let used = pg_sys::MyXactFlags & pg_sys::XACT_FLAGS_ACCESSEDTEMPNAMESPACE as i32 != 0;
        if flags & CLASSES != 0 && used && !temporary && makes_something(node) {
            guard::judge_classes(&[Class::Temp], tag_of(node));
        }
        if flags & ROWS == 0 || completion.is_null() {
            return;
        }
        // Rows that did not come from the executor: of a cursor WITH HOLD, of a table as it is.
        let done = (*completion).nprocessed;
        match (*node).type_ {
            pg_sys::NodeTag::T_FetchStmt
                if (*completion).commandTag == pg_sys::CommandTag::CMDTAG_FETCH =>
            {
                let name = (*node.cast::<pg_sys::FetchStmt>()).portalname;
                let portal = pg_sys::GetPortalByName(name);
                let rows = done.saturating_sub(counted);
                if rows > 0 && hands_on_now() {
                    let used = returned_by(portal);
                    meter::count(used, rows);
                    remember(portal, used.saturating_add(rows));
                }
            }
            pg_sys::NodeTag::T_CopyStmt if !(*node.cast::<pg_sys::CopyStmt>()).is_from => {
                meter::count(counted, done.saturating_sub(counted));
            }
            _ => {}
        }
    }
}

/// Outside functions: what the client itself has sent, or EXECUTE hands on.
fn hands_on_now() -> bool {
    let frame = Frame::innermost();
    // SAFETY: a frame on the stack.
    frame.is_null() || unsafe { (*frame).hands_on }
}

/// Do the rows of what runs inside this statement go to the client?
///
/// # Safety
/// A valid statement and its receiver.
unsafe fn hands_on(node: *mut pg_sys::Node, destination: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: by contract.
    unsafe {
        matches!(
            (*node).type_,
            pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_FetchStmt
        ) && hands_on_now()
            && (*destination).mydest != pg_sys::CommandDest::DestSPI
            && (*destination).mydest != pg_sys::CommandDest::DestNone
    }
}

/// Does this statement make rows for the client by itself: CALL, EXPLAIN, SHOW? Those of FETCH and EXECUTE are
/// counted where they are run.
///
/// # Safety
/// A valid statement and its receiver.
unsafe fn answers(node: *mut pg_sys::Node, destination: *mut pg_sys::DestReceiver) -> bool {
    use pg_sys::CommandDest;
    // SAFETY: by contract.
    unsafe {
        hands_on_now()
            && !matches!(
                (*node).type_,
                pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_FetchStmt
            )
            && matches!(
                (*destination).mydest,
                CommandDest::DestRemote
                    | CommandDest::DestRemoteExecute
                    | CommandDest::DestRemoteSimple
                    | CommandDest::DestTuplestore
            )
    }
}

/// COPY of a table as it is, without a query.
///
/// # Safety
/// A valid statement.
unsafe fn copies_a_table(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_CopyStmt && {
            let copy = node.cast::<pg_sys::CopyStmt>();
            !(*copy).is_from && !(*copy).relation.is_null()
        }
    }
}

/// The same COPY, of a query that reads the table: its rows can be counted before they are sent. As
/// PostgreSQL itself does for tables with row-level security. The statement as it was when the
/// table is not one that COPY reads.
#[pg_guard]
unsafe extern "C-unwind" fn copy_by_query(
    statement: *mut pg_sys::PlannedStmt,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: a valid statement; changes are made in a copy, which lives as long as the memory
    // context of the statement.
    unsafe {
        let copy = (*statement).utilityStmt.cast::<pg_sys::CopyStmt>();
        let relation = pg_sys::RangeVarGetRelidExtended(
            (*copy).relation,
            pg_sys::AccessShareLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            null_mut(),
        );
        let kind = pg_sys::get_rel_relkind(relation) as u8;
        let is_table = kind == pg_sys::RELKIND_RELATION
            || (compat::COPIES_MATERIALIZED_VIEWS && kind == pg_sys::RELKIND_MATVIEW);
        if relation == pg_sys::InvalidOid || !is_table {
            return statement;
        }
        let columns = compat::names((*copy).attlist).map(|names| {
            let quoted: Vec<String> = names.iter().map(|name| spi::identifier(name)).collect();
            quoted.join(", ")
        });
        let Some(query) = select_of(relation, columns) else {
            return statement;
        };
        let parsed = pg_sys::raw_parser(query.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let Some(select) = elements(parsed).next() else {
            return statement;
        };
        let select = (*select.cast::<pg_sys::RawStmt>()).stmt;
        let changed =
            pg_sys::copyObjectImpl(statement.cast::<c_void>()).cast::<pg_sys::PlannedStmt>();
        let copy = (*changed).utilityStmt.cast::<pg_sys::CopyStmt>();
        (*copy).relation = null_mut();
        (*copy).attlist = null_mut();
        (*copy).query = select;
        changed
    }
}

/// `SELECT … FROM ONLY …`, of these columns or of all that COPY takes.
fn select_of(relation: pg_sys::Oid, columns: Option<String>) -> Option<CString> {
    let rows = identity::elevated(|| {
        spi::query(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
                    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
                       FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND a.attgenerated = '')
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.oid = $1",
            &[relation.into()],
            |row| Ok((row.get::<String>(1)?, row.get::<String>(2)?)),
        )
    });
    let (table, all) = super::xact::raised(rows).into_iter().next()?;
    let columns = columns.or(all).unwrap_or_default();
    CString::new(format!("SELECT {columns} FROM ONLY {}", table?)).ok()
}

/// Does a statement change data, or what holds them? Temporary objects are the session's own.
///
/// # Safety
/// A valid statement, inside a transaction.
unsafe fn changes_data(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_TruncateStmt => {
                let truncate = node.cast::<pg_sys::TruncateStmt>();
                !elements((*truncate).relations).all(|name| is_temporary_table(name.cast()))
            }
            pg_sys::NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                (*copy).is_from && !is_temporary_table((*copy).relation)
            }
            // It keeps its locks, and the snapshot of others' VACUUM, after the login is gone.
            pg_sys::NodeTag::T_TransactionStmt => prepares(node),
            // Of what is its own, which are temporary objects only.
            pg_sys::NodeTag::T_CommentStmt | pg_sys::NodeTag::T_SecLabelStmt => false,
            // Roles and rights are no data, but stay behind: not by the reader itself.
            pg_sys::NodeTag::T_CreateRoleStmt
            | pg_sys::NodeTag::T_AlterRoleStmt
            | pg_sys::NodeTag::T_AlterRoleSetStmt
            | pg_sys::NodeTag::T_DropRoleStmt
            | pg_sys::NodeTag::T_GrantStmt
            | pg_sys::NodeTag::T_GrantRoleStmt
            | pg_sys::NodeTag::T_AlterDefaultPrivilegesStmt => !identity::in_security_definer(),
            _ => is_ddl(node) && !is_about_temporary(node),
        }
    }
}

/// PREPARE TRANSACTION.
///
/// # Safety
/// A valid statement.
unsafe fn prepares(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*node.cast::<pg_sys::TransactionStmt>()).kind
                == pg_sys::TransactionStmtKind::TRANS_STMT_PREPARE
    }
}

/// As `log_statement = 'ddl'` has it.
///
/// # Safety
/// A valid statement, inside a transaction.
unsafe fn is_ddl(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract. What EXECUTE runs comes by itself.
    unsafe {
        (*node).type_ != pg_sys::NodeTag::T_ExecuteStmt
            && raw::GetCommandLogLevel(node) == pg_sys::LogStmtLevel::LOGSTMT_DDL
    }
}

/// DDL that makes something new.
///
/// # Safety
/// As [`is_ddl`].
unsafe fn makes_something(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        is_ddl(node)
            && !matches!(
                (*node).type_,
                pg_sys::NodeTag::T_DropStmt | pg_sys::NodeTag::T_DropOwnedStmt
            )
    }
}

/// # Safety
/// As [`is_ddl`].
unsafe fn classes_of(node: *mut pg_sys::Node, temporary: bool) -> Vec<Class> {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_DoStmt => vec![Class::Do],
            pg_sys::NodeTag::T_ListenStmt => vec![Class::Listen],
            pg_sys::NodeTag::T_LockStmt => vec![Class::Lock],
            pg_sys::NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                let mut classes = Vec::new();
                if (*copy).is_program {
                    classes.push(Class::CopyProgram);
                }
                if !(*copy).is_from {
                    classes.push(Class::CopyTo);
                }
                classes
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                if sets(node.cast()) {
                    vec![Class::Set]
                } else {
                    Vec::new()
                }
            }
            _ if !is_ddl(node) => Vec::new(),
            _ if !temporary => vec![Class::Ddl],
            _ if makes_something(node) => vec![Class::Temp],
            _ => Vec::new(),
        }
    }
}

/// RESET, and the properties of the transaction, which BEGIN can have too, are nobody's way out.
///
/// # Safety
/// A valid statement.
unsafe fn sets(set: *mut pg_sys::VariableSetStmt) -> bool {
    // SAFETY: by contract; the name is NULL or terminated.
    unsafe {
        let kind = (*set).kind;
        let is_reset = kind == pg_sys::VariableSetKind::VAR_RESET
            || kind == pg_sys::VariableSetKind::VAR_RESET_ALL;
        let of_transaction = kind == pg_sys::VariableSetKind::VAR_SET_MULTI
            && !(*set).name.is_null()
            && CStr::from_ptr((*set).name) == c"TRANSACTION";
        !is_reset && !of_transaction
    }
}

/// Is it about temporary tables, views or sequences only, as far as can be told before it runs?
///
/// # Safety
/// A valid statement, inside a transaction.
unsafe fn is_about_temporary(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_CreateStmt => {
                makes_temporary((*node.cast::<pg_sys::CreateStmt>()).relation)
            }
            pg_sys::NodeTag::T_CreateTableAsStmt => {
                makes_temporary((*(*node.cast::<pg_sys::CreateTableAsStmt>()).into).rel)
            }
            pg_sys::NodeTag::T_ViewStmt => makes_temporary((*node.cast::<pg_sys::ViewStmt>()).view),
            pg_sys::NodeTag::T_CreateSeqStmt => {
                makes_temporary((*node.cast::<pg_sys::CreateSeqStmt>()).sequence)
            }
            pg_sys::NodeTag::T_IndexStmt => {
                is_temporary_table((*node.cast::<pg_sys::IndexStmt>()).relation)
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                is_temporary_table((*node.cast::<pg_sys::AlterTableStmt>()).relation)
            }
            pg_sys::NodeTag::T_DropStmt => {
                let drop = node.cast::<pg_sys::DropStmt>();
                let kind = (*drop).removeType;
                let are_relations = kind == pg_sys::ObjectType::OBJECT_TABLE
                    || kind == pg_sys::ObjectType::OBJECT_VIEW
                    || kind == pg_sys::ObjectType::OBJECT_SEQUENCE
                    || kind == pg_sys::ObjectType::OBJECT_INDEX;
                are_relations
                    && elements((*drop).objects).all(|name| {
                        is_temporary_table(pg_sys::makeRangeVarFromNameList(name.cast()))
                    })
            }
            pg_sys::NodeTag::T_ExplainStmt => {
                let query = (*node.cast::<pg_sys::ExplainStmt>())
                    .query
                    .cast::<pg_sys::Query>();
                let is_query = !query.is_null() && (*query).type_ == pg_sys::NodeTag::T_Query;
                is_query
                    && !(*query).utilityStmt.is_null()
                    && is_about_temporary((*query).utilityStmt)
            }
            _ => false,
        }
    }
}

/// # Safety
/// NULL, or a valid range variable.
unsafe fn makes_temporary(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: by contract; the schema's name is NULL or terminated.
    unsafe {
        !name.is_null()
            && ((*name).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
                || (!(*name).schemaname.is_null()
                    && CStr::from_ptr((*name).schemaname)
                        .to_bytes()
                        .starts_with(b"pg_temp")))
    }
}

/// # Safety
/// NULL, or a valid range variable, inside a transaction.
unsafe fn is_temporary_table(name: *mut pg_sys::RangeVar) -> bool {
    if name.is_null() {
        return false;
    }
    // SAFETY: by contract.
    unsafe {
        let relation = pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            null_mut(),
        );
        relation != pg_sys::InvalidOid && is_temporary(relation)
    }
}

/// The command tag.
fn tag_of(node: *mut pg_sys::Node) -> &'static str {
    // SAFETY: a valid statement; the names of tags are static.
    unsafe {
        CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(node)))
            .to_str()
            .unwrap_or_default()
    }
}

// ---- Functions that are what statements of a class do

/// pg_proc.dat: what reads and writes large objects, by `be_lo_…`.
const LARGE_OBJECTS: [u32; 20] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458,
    3459, 3460,
];
/// Those of them that write.
const LARGE_OBJECT_WRITERS: [u32; 10] = [715, 764, 767, 955, 957, 964, 1004, 3172, 3457, 3460];
/// `pg_advisory_lock` and `pg_try_advisory_lock`, shared and for a transaction.
const ADVISORY_LOCKS: [u32; 16] = [
    2880, 2881, 2882, 2883, 2886, 2887, 2888, 2889, 3089, 3090, 3091, 3092, 3093, 3094, 3095, 3096,
];
const SET_CONFIG: u32 = 2078;

/// A function is about to be executed.
///
/// # Safety
/// From the object access hook, as [`flags`].
pub unsafe fn before_function(function: pg_sys::Oid) {
    let function = u32::from(function);
    // SAFETY: by contract.
    let flags = unsafe { flags() };
    if flags & (CLASSES | READS_ONLY) == 0 || function >= pg_sys::FirstNormalObjectId {
        return;
    }
    if function == SET_CONFIG
        || LARGE_OBJECTS.contains(&function)
        || ADVISORY_LOCKS.contains(&function)
    {
        judge_function(function);
    }
}

#[pg_guard]
extern "C-unwind" fn judge_function(function: u32) {
    let class = match function {
        SET_CONFIG => Class::Set,
        _ if ADVISORY_LOCKS.contains(&function) => Class::Lock,
        _ => Class::LargeObjects,
    };
    guard::judge_classes(&[class], "SELECT");
    let writes = class == Class::LargeObjects && LARGE_OBJECT_WRITERS.contains(&function);
    // SAFETY: in the hook's session.
    if writes && unsafe { flags() } & READS_ONLY != 0 && !may_write() {
        guard::refuse_write("SELECT");
    }
}
