//! What a statement is, for the audit trail: its tag, the relations that it reads and writes, its
//! rows, its text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::hooks::elements;
use super::{audit, compat, hooks, identity, invalidation, xact};
use crate::audit::line::{Line, MAX_TEXT, Value};
use crate::audit::running::{self, Running};
use crate::audit::{self as trail, Class, redact};
use crate::guc::{self, AuditText};
use crate::pg::clock;

unsafe extern "C-unwind" {
    // tcop/utility.h
    fn CreateCommandTag(statement: *mut pg_sys::Node) -> pg_sys::CommandTag::Type;
    fn GetCommandTagName(tag: pg_sys::CommandTag::Type) -> *const c_char;
    fn GetCommandLogLevel(statement: *mut pg_sys::Node) -> u32;
    // executor/executor.h
    fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
}

/// `LOGSTMT_DDL` (tcop/tcopprot.h).
const DDL: u32 = 1;

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
        if trail::wants(Class::Statement) {
            ended(query as usize);
        }
        PREVIOUS_EXECUTOR_END.unwrap_or(standard_ExecutorEnd)(query);
    }
}

/// The cheap question of every utility statement: one load, where nothing of them is recorded.
#[inline]
pub fn is_recorded() -> bool {
    running::is_wanted() && audit::is_watched()
}

/// The same of every query.
#[inline]
pub fn are_queries_recorded() -> bool {
    trail::wants(Class::Statement) && !identity::is_own_work() && audit::is_watched()
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
            line.field("tag", Value::Text(tag(plan.cast())));
            with_accesses(plan, |members| line.members(members));
            text(line, plan, (*query).sourceText);
        });
        running::begin(Running {
            key: query as usize,
            is_utility: false,
            depth: hooks::depth() + 1,
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
    if trail::wants(Class::Statement) {
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
        let tag = tag(node);
        let changes_objects = !matches!(
            (*node).type_,
            pg_sys::NodeTag::T_ExecuteStmt | pg_sys::NodeTag::T_ExplainStmt
        ) && GetCommandLogLevel(node) == DDL;
        let objects = || {
            let mut names = Vec::new();
            objects(node, &mut names);
            names
        };
        let ddl = (trail::wants(Class::Ddl) && changes_objects).then(|| {
            running::members(|line| {
                line.field("tag", Value::Text(tag));
                line.field("objects", Value::Texts(&objects()));
            })
        });
        let statement = (trail::wants(Class::Statement) && !identity::is_own_work()).then(|| {
            running::members(|line| {
                line.field("tag", Value::Text(tag));
                let (reads, writes) = match (*node).type_ {
                    pg_sys::NodeTag::T_CopyStmt if !(*node.cast::<pg_sys::CopyStmt>()).is_from => {
                        (objects(), Vec::new())
                    }
                    pg_sys::NodeTag::T_CopyStmt | pg_sys::NodeTag::T_TruncateStmt => {
                        (Vec::new(), objects())
                    }
                    _ if changes_objects => (Vec::new(), objects()),
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
            depth: hooks::depth() + 1,
            subtransaction: xact::current_subtransaction().unwrap_or(0),
            started: clock::now(),
            statement,
            ddl,
            rows: 0,
        });
        true
    }
}

/// It has run; `rows` as its completion says.
#[pg_guard]
pub extern "C-unwind" fn utility_ended(key: usize, rows: u64) {
    running::add_rows(key, rows);
    running::end(key);
}

/// # Safety
/// A valid statement.
unsafe fn tag(statement: *mut pg_sys::Node) -> &'static str {
    // SAFETY: by contract; the names are constants in ASCII.
    unsafe {
        CStr::from_ptr(GetCommandTagName(CreateCommandTag(statement)))
            .to_str()
            .unwrap_or_default()
    }
}

/// `query_id` and `text`, as configured.
///
/// # Safety
/// A valid statement, and the terminated text that it is a part of, or NULL.
unsafe fn text(line: &mut Line, statement: *mut pg_sys::PlannedStmt, source: *const c_char) {
    let wanted = guc::audit_text();
    // SAFETY: by contract.
    unsafe {
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

/// The command that is being run; not while it is still being analysed.
pub fn running_tag() -> Option<&'static str> {
    // SAFETY: NULL, or the portal that is running; the names are constants in ASCII.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if portal.is_null() {
            return None;
        }
        CStr::from_ptr(GetCommandTagName((*portal).commandTag))
            .to_str()
            .ok()
    }
}

/// Of what the client has sent, if the server computes it and has come so far.
pub fn sent_query_id() -> Option<i64> {
    // SAFETY: a read of this backend's own entry.
    let id = unsafe { pg_sys::pgstat_get_my_query_id() } as i64;
    (id != 0).then_some(id)
}

/// What the client has sent, without secrets.
pub fn sent_text() -> Option<String> {
    // SAFETY: NULL, or the terminated text of the statement that runs.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return None;
        }
        let text = CStr::from_ptr(text).to_bytes();
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        Some(redact::redact(String::from_utf8_lossy(text).trim()))
    }
}

/// Which relations a statement asks for, with which rights, as it names them.
type Accesses = Vec<(pg_sys::Oid, u64)>;

/// `reads` and `writes` of the statements before, as long as no relation and no schema has changed.
#[derive(Default)]
struct KnownAccesses {
    generation: (u64, u64),
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
        let generation = invalidation::known_relations_and_schemas();
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
            add(&mut names, relation);
        }
    }
    names
}

/// The qualified name of a relation, once.
fn add(names: &mut Vec<String>, relation: pg_sys::Oid) {
    // SAFETY: catalogue look-ups inside a transaction; the copies go with the memory context.
    let name = unsafe {
        let name = pg_sys::get_rel_name(relation);
        if name.is_null() {
            return;
        }
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let mut parts = vec![name];
        if !schema.is_null() {
            parts.insert(0, schema);
        }
        qualified(parts.into_iter().map(|part| part.cast_const()))
    };
    if !names.contains(&name) {
        names.push(name);
    }
}

/// # Safety
/// Terminated strings.
unsafe fn qualified(parts: impl Iterator<Item = *const c_char>) -> String {
    let mut name = String::new();
    for part in parts {
        if !name.is_empty() {
            name.push('.');
        }
        // SAFETY: by contract; the result is terminated.
        let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(part)) };
        name += &quoted.to_string_lossy();
    }
    name
}

/// The objects that a utility statement names, as far as it says so.
///
/// # Safety
/// A valid utility statement.
unsafe fn objects(node: *mut pg_sys::Node, names: &mut Vec<String>) {
    macro_rules! field {
        ($statement:ident, $field:ident) => {
            (*node.cast::<pg_sys::$statement>()).$field.cast::<c_void>()
        };
    }
    use pg_sys::NodeTag::*;
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        let object = match (*node).type_ {
            T_CreateStmt | T_CreateForeignTableStmt => field!(CreateStmt, relation),
            T_CreateTableAsStmt => {
                let into = (*node.cast::<pg_sys::CreateTableAsStmt>()).into;
                (*into).rel.cast()
            }
            T_IndexStmt => field!(IndexStmt, relation),
            T_ViewStmt => field!(ViewStmt, view),
            T_RuleStmt => field!(RuleStmt, relation),
            T_AlterTableStmt => field!(AlterTableStmt, relation),
            T_CreateSeqStmt => field!(CreateSeqStmt, sequence),
            T_AlterSeqStmt => field!(AlterSeqStmt, sequence),
            T_CreateTrigStmt => field!(CreateTrigStmt, relation),
            T_CreatePolicyStmt => field!(CreatePolicyStmt, table),
            T_AlterPolicyStmt => field!(AlterPolicyStmt, table),
            T_RefreshMatViewStmt => field!(RefreshMatViewStmt, relation),
            T_CopyStmt => field!(CopyStmt, relation),
            T_TruncateStmt => {
                add_all((*node.cast::<pg_sys::TruncateStmt>()).relations, names);
                return;
            }
            T_DropStmt => {
                add_all((*node.cast::<pg_sys::DropStmt>()).objects, names);
                return;
            }
            T_GrantStmt => {
                add_all((*node.cast::<pg_sys::GrantStmt>()).objects, names);
                return;
            }
            T_DropRoleStmt => {
                add_all((*node.cast::<pg_sys::DropRoleStmt>()).roles, names);
                return;
            }
            T_CreateFunctionStmt => field!(CreateFunctionStmt, funcname),
            T_AlterFunctionStmt => field!(AlterFunctionStmt, func),
            T_CommentStmt => field!(CommentStmt, object),
            T_RenameStmt => {
                let statement = node.cast::<pg_sys::RenameStmt>();
                if (*statement).relation.is_null() {
                    (*statement).object.cast()
                } else {
                    (*statement).relation.cast()
                }
            }
            T_AlterOwnerStmt => field!(AlterOwnerStmt, object),
            T_AlterObjectSchemaStmt => field!(AlterObjectSchemaStmt, relation),
            T_AlterRoleStmt => field!(AlterRoleStmt, role),
            T_CreateSchemaStmt => {
                add_text((*node.cast::<pg_sys::CreateSchemaStmt>()).schemaname, names);
                return;
            }
            T_CreateRoleStmt => {
                add_text((*node.cast::<pg_sys::CreateRoleStmt>()).role, names);
                return;
            }
            T_CreateExtensionStmt => {
                add_text((*node.cast::<pg_sys::CreateExtensionStmt>()).extname, names);
                return;
            }
            _ => return,
        };
        add_node(object.cast(), names);
    }
}

/// # Safety
/// A valid list of nodes, or NULL.
unsafe fn add_all(list: *mut pg_sys::List, names: &mut Vec<String>) {
    // SAFETY: by contract.
    unsafe { elements(list).for_each(|node| add_node(node.cast(), names)) }
}

/// # Safety
/// Terminated, or NULL.
unsafe fn add_text(name: *const c_char, names: &mut Vec<String>) {
    // SAFETY: by contract.
    unsafe {
        if !name.is_null() {
            names.push(qualified(std::iter::once(name)));
        }
    }
}

/// A name in one of the forms that the grammar has for it.
///
/// # Safety
/// A valid node, or NULL.
unsafe fn add_node(node: *mut pg_sys::Node, names: &mut Vec<String>) {
    // SAFETY: by contract; the tag says which struct the node is.
    unsafe {
        if node.is_null() {
            return;
        }
        match (*node).type_ {
            pg_sys::NodeTag::T_RangeVar => {
                let relation = node.cast::<pg_sys::RangeVar>();
                let parts = [(*relation).schemaname, (*relation).relname];
                let parts = parts.into_iter().filter(|part| !part.is_null());
                names.push(qualified(parts.map(|part| part.cast_const())));
            }
            pg_sys::NodeTag::T_List => {
                let list = node.cast::<pg_sys::List>();
                let parts = elements(list).map(|part| compat::string_value(part.cast()));
                let parts: Vec<_> = parts.filter(|part| !part.is_null()).collect();
                names.push(qualified(parts.into_iter()));
            }
            pg_sys::NodeTag::T_ObjectWithArgs => {
                add_node(
                    (*node.cast::<pg_sys::ObjectWithArgs>()).objname.cast(),
                    names,
                );
            }
            pg_sys::NodeTag::T_TypeName => {
                add_node((*node.cast::<pg_sys::TypeName>()).names.cast(), names);
            }
            pg_sys::NodeTag::T_RoleSpec => {
                add_text((*node.cast::<pg_sys::RoleSpec>()).rolename, names);
            }
            _ => add_text(compat::string_value(node), names),
        }
    }
}
