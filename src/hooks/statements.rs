//! What a statement is, for the audit trail: its tag, the relations that it reads and writes, its
//! rows, its text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char};
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compat;
use super::error_context;
use super::objects::objects;
use super::what_runs::{self, is_ddl, tag_of};
use crate::audit::line::{Line, MAX_TEXT, Value};
use crate::audit::running::{self, Running};
use crate::audit::{self, Class, redact, watched};
use crate::guc::{self, AuditText};
use crate::pg::invalidation::{self, Counted};
use crate::pg::statement::add_relation;
use crate::pg::{clock, connection, identity, server, xact};

unsafe extern "C-unwind" {
    // executor/executor.h
    fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
}

static mut PREVIOUS_EXECUTOR_END: pg_sys::ExecutorEnd_hook_type = None;

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_EXECUTOR_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(executor_end);
    }
}

unsafe extern "C-unwind" fn executor_end(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the argument goes on as it came.
    unsafe {
        if audit::wants(Class::Statement) {
            ended(query as usize);
        }
        PREVIOUS_EXECUTOR_END.unwrap_or(standard_ExecutorEnd)(query);
    }
}

/// The cheap question of every utility statement: one load, where nothing of them is recorded.
#[inline]
pub fn is_recorded() -> bool {
    running::is_wanted() && watched::is_watched()
}

/// The same of every query.
#[inline]
pub fn are_queries_recorded() -> bool {
    audit::wants(Class::Statement) && !identity::is_own_work() && watched::is_watched()
}

/// A query that has been started.
///
/// # Safety
/// The argument of the hook.
#[pg_guard]
pub unsafe extern "C-unwind" fn started(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: by contract.
    unsafe {
        if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 || pg_sys::ParallelWorkerNumber >= 0 {
            return;
        }
        let plan = (*query).plannedstmt;
        let statement = running::members(|line| {
            line.field("tag", Value::Text(tag_of(plan.cast())));
            with_accesses(plan, |members| line.members(members));
            text(line, plan, (*query).sourceText);
        });
        running::begin(Running {
            key: query as usize,
            is_utility: false,
            depth: error_context::depth() + 1,
            subtransaction: xact::current_subtransaction().unwrap_or(0),
            started: clock::now(),
            statement: Some(statement),
            ddl: None,
            rows: 0,
        });
    }
}

/// A part of a query has run.
///
/// # Safety
/// The argument of the hook, after the run.
pub unsafe fn ran(query: *mut pg_sys::QueryDesc) {
    if audit::wants(Class::Statement) {
        // SAFETY: by contract.
        let rows = unsafe { (*(*query).estate).es_processed };
        running::add_rows(query as usize, rows);
    }
}

#[pg_guard]
extern "C-unwind" fn ended(key: usize) {
    running::end(key);
}

/// A utility statement is about to run: true when its end is to be told by [`utility_ended`].
///
/// # Safety
/// The arguments of the hook.
#[pg_guard]
pub unsafe extern "C-unwind" fn utility_started(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
) -> bool {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        let node = (*statement).utilityStmt;
        if (*node).type_ == pg_sys::NodeTag::T_TransactionStmt {
            return false;
        }
        let tag = tag_of(node);
        let changes_objects = !matches!(
            (*node).type_,
            pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_ExplainStmt
        ) && is_ddl(node);
        let ddl = (audit::wants(Class::Ddl) && changes_objects).then(|| {
            running::members(|line| {
                line.field("tag", Value::Text(tag));
                line.field("objects", Value::Texts(&objects(node)));
            })
        });
        let statement = (audit::wants(Class::Statement) && !identity::is_own_work()).then(|| {
            running::members(|line| {
                line.field("tag", Value::Text(tag));
                let (reads, writes) = match (*node).type_ {
                    pg_sys::NodeTag::T_CopyStmt if !(*node.cast::<pg_sys::CopyStmt>()).is_from => {
                        (objects(node), Vec::new())
                    }
                    pg_sys::NodeTag::T_CopyStmt | pg_sys::NodeTag::T_TruncateStmt => {
                        (Vec::new(), objects(node))
                    }
                    _ if changes_objects => (Vec::new(), objects(node)),
                    _ => (Vec::new(), Vec::new()),
                };
                line.field("reads", Value::Texts(&reads));
                line.field("writes", Value::Texts(&writes));
                text(line, statement, query);
            })
        });
        if ddl.is_none() && statement.is_none() {
            return false;
        }
        running::begin(Running {
            key: node as usize,
            is_utility: true,
            depth: error_context::depth() + 1,
            subtransaction: xact::current_subtransaction().unwrap_or(0),
            started: clock::now(),
            statement,
            ddl,
            rows: 0,
        });
        true
    }
}

/// In place of the address of a statement.
const CALL: usize = 1;

/// A function is executed outside of any portal. By a function call of the protocol, it is what the client has sent: the first one
/// of its message, and not what that one calls.
#[pg_guard]
pub extern "C-unwind" fn called(function: pg_sys::Oid) {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    let arrived = server::statement_time();
    if !what_runs::is_function_call() || LAST.swap(arrived, Ordering::Relaxed) == arrived {
        return;
    }
    let name = signature(function);
    let statement = running::members(|line| {
        line.field("tag", Value::Text("FUNCTION CALL"));
        line.field("reads", Value::Texts(&[]));
        line.field("writes", Value::Texts(&[]));
        line.field("query_id", Value::Null);
        // Its arguments are not known here.
        let text = (guc::audit_text() == AuditText::Full).then_some(name.as_str());
        line.field("text", text.into());
    });
    running::begin(Running {
        key: CALL,
        is_utility: false,
        depth: 1,
        subtransaction: xact::current_subtransaction().unwrap_or(0),
        started: clock::now(),
        statement: Some(statement),
        ddl: None,
        rows: 0,
    });
    // Its answer is its end.
    connection::watch();
}

/// A function's name with its schema and the types of its arguments.
fn signature(function: pg_sys::Oid) -> String {
    // SAFETY: a catalogue look-up inside a transaction; a terminated string.
    unsafe {
        let name = pg_sys::format_procedure_qualified(function);
        crate::pg::text::read(CStr::from_ptr(name)).into_owned()
    }
}

/// The answer to a function call is about to be sent.
#[pg_guard]
pub extern "C-unwind" fn answered() {
    running::add_rows(CALL, 1);
    running::end(CALL);
}

/// It has run; `rows` as its completion says.
#[pg_guard]
pub extern "C-unwind" fn utility_ended(key: usize, rows: u64) {
    running::add_rows(key, rows);
    running::end(key);
}

/// `query_id` and `text`, as configured.
///
/// # Safety
/// A valid statement, and the terminated text that it is a part of, or NULL.
unsafe fn text(line: &mut Line, statement: *mut pg_sys::PlannedStmt, source: *const c_char) {
    let wanted = guc::audit_text();
    // SAFETY: by contract.
    unsafe {
        #[allow(clippy::unnecessary_cast, reason = "unsigned before 18")]
        let id = (*statement).queryId as i64;
        line.field(
            "query_id",
            if wanted == AuditText::Off || id == 0 {
                Value::Null
            } else {
                Value::Number(id)
            },
        );
        if wanted != AuditText::Full || source.is_null() {
            line.field("text", Value::Null);
            return;
        }
        let whole = CStr::from_ptr(source).to_bytes();
        let begin = usize::try_from((*statement).stmt_location).unwrap_or(0);
        let length = match (*statement).stmt_len {
            length if length > 0 => usize::try_from(length).unwrap_or(MAX_TEXT),
            _ => usize::MAX,
        };
        let part = whole.get(begin..).unwrap_or(whole);
        let part = part.get(..length.min(part.len())).unwrap_or(part);
        // What is cut off here is cut off before it is searched for secrets, not after.
        let part = part.get(..MAX_TEXT).unwrap_or(part);
        let text = redact::redact(String::from_utf8_lossy(part).trim());
        line.field("text", Value::Text(&text));
    }
}

/// Which relations a statement asks for, with which rights, as it names them.
type Accesses = Vec<(pg_sys::Oid, u64)>;

/// `reads` and `writes` of the statements before, as long as no relation and no schema has changed.
#[derive(Default)]
struct KnownAccesses {
    generation: [u64; 2],
    members: HashMap<Accesses, Rc<[u8]>>,
    /// The buffer of the last look.
    wanted: Accesses,
    /// The last answer: statements tend to be alike.
    last: Option<(Accesses, Rc<[u8]>)>,
}

/// How many are known at most.
const MOST_ACCESSES: usize = 256;

thread_local! {
    static ACCESSES: RefCell<KnownAccesses> = RefCell::default();
}

/// `reads` and `writes` of a query.
///
/// # Safety
/// A valid plan whose relations are locked.
unsafe fn with_accesses(plan: *mut pg_sys::PlannedStmt, write: impl FnOnce(&[u8])) {
    ACCESSES.with_borrow_mut(|known| {
        let generation = invalidation::counts([Counted::Objects, Counted::Schemas]);
        if known.generation != generation || known.members.len() >= MOST_ACCESSES {
            known.members.clear();
            known.last = None;
            known.generation = generation;
        }
        known.wanted.clear();
        // SAFETY: by contract.
        unsafe {
            compat::accesses(plan, |relation, permissions| {
                known.wanted.push((relation, permissions));
            });
        }
        if let Some((accesses, members)) = &known.last
            && *accesses == known.wanted
        {
            write(members);
            return;
        }
        if let Some(members) = known.members.get(&known.wanted) {
            write(members);
            known.last = Some((known.wanted.clone(), members.clone()));
            return;
        }
        let members: Rc<[u8]> = running::members(|line| {
            line.field(
                "reads",
                Value::Texts(&named(&known.wanted, pg_sys::ACL_SELECT)),
            );
            let change =
                pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE | pg_sys::ACL_TRUNCATE;
            line.field("writes", Value::Texts(&named(&known.wanted, change)));
        })
        .into();
        write(&members);
        known.members.insert(known.wanted.clone(), members);
    });
}

/// Those that are asked for with one of these rights.
fn named(accesses: &Accesses, rights: u32) -> Vec<String> {
    let mut names = Vec::new();
    for &(relation, permissions) in accesses {
        if permissions & u64::from(rights) != 0 {
            add_relation(&mut names, relation);
        }
    }
    names
}
