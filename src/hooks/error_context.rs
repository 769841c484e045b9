//! What is done around a piece of work of PostgreSQL's, on its stack of error contexts: while an error is being
//! reported whoever explains is asked, and the text of the statement that is running is found by its entry.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys;

use crate::pg::list::elements;
use crate::pg::statement::{self, Redact, Running, strike_out};
use crate::pg::{prepared, raw};

unsafe extern "C-unwind" {
    /// utils/elog.h
    fn errhidestmt(hide: bool) -> i32;
}

static EXPLAIN: OnceLock<unsafe fn()> = OnceLock::new();

/// Has `explain` called while an error is being reported inside [`explaining`]: it must not fail. Once, in the postmaster.
pub fn install(explain: unsafe fn()) {
    EXPLAIN.get_or_init(|| explain);
    statement::known_by(Running {
        hide,
        is_call_alone,
        is_run_whole,
    });
}

/// When the statement arrived that [`statement::hide`] was called in.
static mut STATEMENT_WITH_SECRET: pg_sys::TimestampTz = 0;
/// The text of its outermost entry, which has been looked at.
static mut OUTERMOST: *const c_char = std::ptr::null();

/// Runs what follows in a hook with [`explain`] at hand, and the text of the statement, if it is
/// one, where [`statement::hide`] finds it. After an error PostgreSQL takes the callback off its
/// list by itself.
///
/// # Safety
/// In the backend; `next` owns nothing, because an error jumps over it.
pub unsafe fn explaining(text: *const c_char, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe { inside(Entry::Text(text), next) }
}

/// The same around the run of a query, to its end or for some rows.
///
/// # Safety
/// As [`explaining`]; a query that has been started.
pub unsafe fn running(query: *mut pg_sys::QueryDesc, rows: u64, next: impl FnOnce()) {
    // SAFETY: by contract.
    unsafe { inside(Entry::Query(query, rows), next) }
}

unsafe fn inside(mut entry: Entry, next: impl FnOnce()) {
    // SAFETY: the callback is off the list again before it, and what it is told by, go out of scope.
    unsafe {
        let mut callback = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(explain),
            arg: (&raw mut entry).cast(),
        };
        pg_sys::error_context_stack = &mut callback;
        next();
        pg_sys::error_context_stack = callback.previous;
    }
}

/// An entry of ours. All have one callback: of two that do the same, a release build makes one, and could not tell them apart.
#[derive(Clone, Copy)]
enum Entry {
    /// With the text of a statement, or NULL.
    Text(*const c_char),
    /// 0 rows: all.
    Query(*mut pg_sys::QueryDesc, u64),
}

impl Entry {
    /// # Safety
    /// A valid entry of the list.
    unsafe fn of(entry: *mut pg_sys::ErrorContextCallback) -> Option<Entry> {
        // SAFETY: by contract; ours hold what they were made with, which is still running.
        unsafe {
            let is_ours = (*entry).callback? as usize == explain as *const () as usize;
            is_ours.then(|| *(*entry).arg.cast::<Entry>())
        }
    }

    /// # Safety
    /// While it is on the list.
    unsafe fn text(self) -> *const c_char {
        match self {
            Entry::Text(text) => text,
            // SAFETY: by contract.
            Entry::Query(query, _) => unsafe { (*query).sourceText },
        }
    }
}

/// Ours, the innermost first.
fn entries() -> impl Iterator<Item = Entry> {
    // SAFETY: backend-local; the list holds valid entries. PostgreSQL puts it back after every error.
    let mut entry = unsafe { pg_sys::error_context_stack };
    std::iter::from_fn(move || {
        while !entry.is_null() {
            // SAFETY: as above.
            let (this, previous) = unsafe { (Entry::of(entry), (*entry).previous) };
            entry = previous;
            if this.is_some() {
                return this;
            }
        }
        None
    })
}

/// The query that the client has sent, when nothing runs around or inside it; `None` also where there is none.
fn only_statement() -> Option<*mut pg_sys::QueryDesc> {
    let mut statements =
        entries().filter(|entry| !matches!(entry, Entry::Text(text) if text.is_null()));
    match (statements.next(), statements.next()) {
        (Some(Entry::Query(query, _)), None) => Some(query),
        _ => None,
    }
}

/// How many statements are running, each inside the one before.
pub fn depth() -> usize {
    entries()
        // SAFETY: on the list.
        .filter(|entry| !unsafe { entry.text() }.is_null())
        .count()
}

/// For [`statement::hide`].
fn hide(redact: Redact) -> Option<bool> {
    // SAFETY: backend-local; the list holds valid entries, and ours hold the text of a statement
    // that is running.
    unsafe {
        let since = raw::GetCurrentStatementStartTimestamp();
        let again = STATEMENT_WITH_SECRET == since;
        STATEMENT_WITH_SECRET = since;
        let mut found = false;
        let texts = entries().map(|entry| entry.text());
        let mut texts = texts.filter(|text| !text.is_null()).peekable();
        while let Some(text) = texts.next() {
            let is_outermost = texts.peek().is_none();
            // A loop may run many statements; what the client has sent is the same as before, and may be long.
            if is_outermost && again && text == OUTERMOST {
                return None;
            }
            found |= strike_out(text, redact);
            if is_outermost {
                OUTERMOST = text;
            }
        }
        Some(found)
    }
}

/// For [`statement::is_call_alone`].
fn is_call_alone(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: what PostgreSQL passes to the function that it calls; a query that runs is valid, and so is its plan.
    unsafe {
        let function = (*(*call).flinfo).fn_oid;
        let Some(query) = only_statement() else {
            return is_fast_path(call);
        };
        if !is_of_the_client(query) {
            return false;
        }
        let plan = (*query).plannedstmt;
        // A view has gone into the plan, and so has the body of an SQL function; both are kept in mind there.
        (*plan).relationOids.is_null()
            && elements((*plan).invalItems).all(|item| is_about(item.cast(), function))
            && (*plan).subplans.is_null()
            && is_only(only_call((*plan).planTree), function)
    }
}

/// For [`statement::is_run_whole`].
fn is_run_whole() -> bool {
    match entries().last() {
        Some(Entry::Query(_, rows)) => rows == 0,
        _ => true,
    }
}

/// Is it the protocol's own call of the function? Much else runs without a portal and a statement: what the planner works out in advance, the
/// checks of domains while a text is parsed, triggers at COMMIT, functions in indexes under autovacuum. All of that calls from an expression.
///
/// # Safety
/// As [`is_call_alone`].
unsafe fn is_fast_path(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: by contract; reads of backend globals.
    unsafe { pg_sys::ActivePortal.is_null() && (*(*call).flinfo).fn_expr.is_null() }
}

/// Does what the client has sent run by this query itself? Triggers run when the statement that has set them off is done, or at COMMIT:
/// nothing runs around theirs. Only the protocol makes a portal without a name. What PREPARE has made, in a function of somebody else's perhaps,
/// may have taken the name of a statement of the client's.
///
/// # Safety
/// A query that runs.
unsafe fn is_of_the_client(query: *mut pg_sys::QueryDesc) -> bool {
    // SAFETY: NULL, or the portal that is running; its name is terminated.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() || (*portal).queryDesc != query || *(*portal).name != 0 {
            return false;
        }
        let prepared = (*portal).prepStmtName;
        prepared.is_null() || prepared::is_from_sql(CStr::from_ptr(prepared)) == Some(false)
    }
}

/// Does the plan depend on this function there, and on nothing else?
///
/// # Safety
/// A valid item, inside a transaction.
unsafe fn is_about(item: *mut pg_sys::PlanInvalItem, function: pg_sys::Oid) -> bool {
    // SAFETY: by contract; the key has the cache's type.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let none = pg_sys::Datum::null();
        (*item).cacheId == cache
            && (*item).hashValue
                == pg_sys::GetSysCacheHashValue(cache, function.into(), none, none, none)
    }
}

/// The expression that is all that a plan computes: of `SELECT f()`, where f may return rows, and of `SELECT * FROM f()`.
///
/// # Safety
/// A valid plan.
unsafe fn only_call(tree: *mut pg_sys::Plan) -> Option<*mut pg_sys::Node> {
    // SAFETY: by contract; tags say which struct a node is.
    unsafe {
        if !(*tree).qual.is_null() {
            return None;
        }
        match (*tree).type_ {
            pg_sys::NodeTag::T_Result => {
                let result = tree.cast::<pg_sys::Result>();
                let is_bare = (*result).resconstantqual.is_null() && (*tree).lefttree.is_null();
                is_bare.then(|| only_column((*tree).targetlist)).flatten()
            }
            pg_sys::NodeTag::T_ProjectSet => {
                let below = (*tree).lefttree;
                let is_bare = (*below).type_ == pg_sys::NodeTag::T_Result
                    && (*below).lefttree.is_null()
                    && (*below).targetlist.is_null();
                is_bare.then(|| only_column((*tree).targetlist)).flatten()
            }
            pg_sys::NodeTag::T_FunctionScan => {
                let are_columns = elements((*tree).targetlist).all(|column| {
                    let column = (*column.cast::<pg_sys::TargetEntry>()).expr;
                    (*column.cast::<pg_sys::Node>()).type_ == pg_sys::NodeTag::T_Var
                });
                let mut functions = elements((*tree.cast::<pg_sys::FunctionScan>()).functions);
                match (are_columns, functions.next(), functions.next()) {
                    (true, Some(function), None) => {
                        Some((*function.cast::<pg_sys::RangeTblFunction>()).funcexpr)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// # Safety
/// A valid list of columns of a plan.
unsafe fn only_column(columns: *mut pg_sys::List) -> Option<*mut pg_sys::Node> {
    // SAFETY: by contract.
    unsafe {
        let mut columns = elements(columns);
        match (columns.next(), columns.next()) {
            (Some(column), None) => Some((*column.cast::<pg_sys::TargetEntry>()).expr.cast()),
            _ => None,
        }
    }
}

/// Is it a call of this function with values?
///
/// # Safety
/// A valid node of an expression.
unsafe fn is_only(call: Option<*mut pg_sys::Node>, function: pg_sys::Oid) -> bool {
    // SAFETY: by contract; tags say which struct a node is.
    call.is_some_and(|call| unsafe {
        (*call).type_ == pg_sys::NodeTag::T_FuncExpr
            && (*call.cast::<pg_sys::FuncExpr>()).funcid == function
            && elements((*call.cast::<pg_sys::FuncExpr>()).args)
                .all(|argument| is_value(argument.cast()))
    })
}

/// A constant or a parameter, under another name of its type perhaps.
///
/// # Safety
/// A valid node of an expression.
unsafe fn is_value(node: *mut pg_sys::Node) -> bool {
    // SAFETY: by contract.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_Const | pg_sys::NodeTag::T_Param => true,
            pg_sys::NodeTag::T_RelabelType => {
                is_value((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            _ => false,
        }
    }
}

/// Called while an error is being reported; unguarded, because nothing in it can fail.
unsafe extern "C-unwind" fn explain(_entry: *mut c_void) {
    // SAFETY: inside error reporting, where errhidestmt is meant to be called, and so is what is asked.
    unsafe {
        if STATEMENT_WITH_SECRET == raw::GetCurrentStatementStartTimestamp() {
            errhidestmt(true);
        }
        if let Some(explain) = EXPLAIN.get() {
            explain();
        }
    }
}
