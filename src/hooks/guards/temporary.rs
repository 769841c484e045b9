//! Temporary tables, views, sequences and indexes, by name and in statements.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::hooks::objects::found;
use crate::pg::list::elements;

pub fn is_temporary(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up inside a transaction.
    unsafe { pg_sys::get_rel_persistence(relation) as u8 == pg_sys::RELPERSISTENCE_TEMP }
}

/// # Safety
/// NULL, or a valid range variable, inside a transaction.
pub(super) unsafe fn is_temporary_table(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: by contract.
    let relation = unsafe { found(name) };
    relation != pg_sys::InvalidOid && is_temporary(relation)
}

/// Is it about temporary tables, views or sequences only, as far as can be told before it runs?
///
/// # Safety
/// A valid statement, inside a transaction.
pub(super) unsafe fn is_about_temporary(node: *mut pg_sys::Node) -> bool {
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
            pg_sys::NodeTag::T_CommentStmt => {
                let comment = node.cast::<pg_sys::CommentStmt>();
                is_of_temporary((*comment).objtype, (*comment).object)
            }
            pg_sys::NodeTag::T_SecLabelStmt => {
                let label = node.cast::<pg_sys::SecLabelStmt>();
                is_of_temporary((*label).objtype, (*label).object)
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

/// Is it a temporary relation, or a column of one?
///
/// # Safety
/// What COMMENT and SECURITY LABEL name, inside a transaction.
unsafe fn is_of_temporary(kind: pg_sys::ObjectType::Type, name: *mut pg_sys::Node) -> bool {
    use pg_sys::ObjectType::*;
    // SAFETY: by contract: relations and columns are named by lists. The list is the statement's own, so a copy is cut.
    unsafe {
        let name = name.cast::<pg_sys::List>();
        let relation = match kind {
            OBJECT_TABLE | OBJECT_VIEW | OBJECT_SEQUENCE | OBJECT_INDEX => name,
            OBJECT_COLUMN if (*name).length > 1 => {
                pg_sys::list_truncate(pg_sys::list_copy(name), (*name).length - 1)
            }
            _ => return false,
        };
        is_temporary_table(pg_sys::makeRangeVarFromNameList(relation))
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
