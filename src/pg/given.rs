//! A statement whose text somebody else has given (executor/spi.h): what it is, what it names, and running it.

use std::ffi::c_void;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::compat::{expression_tree_walker, is_json_expression, query_tree_walker};
use super::list::{elements, oids};
use super::{catalog, spi, text};

/// What a statement names, by OIDs, in the views that it reads too.
#[derive(Debug, Default)]
pub struct Named {
    pub functions: Vec<u32>,
    /// Of all that it computes and reads.
    pub types: Vec<u32>,
    pub relations: Vec<u32>,
    /// Of the relations, those that it inserts into, updates or deletes from.
    pub written: Vec<u32>,
    /// Does it return rows?
    pub returns_rows: bool,
}

/// Analyses the text, whose parameters are text; `None`: it is not one SELECT, INSERT, UPDATE, DELETE or MERGE. Raises PostgreSQL's errors.
pub fn look(sql: &str, parameters: usize) -> Option<Named> {
    spi::analysed(sql, parameters, |plan| {
        // SAFETY: NULL, or a valid plan; tags say which struct a node is; OIDs in a list of OIDs.
        unsafe {
            let sources = (!plan.is_null()).then(|| pg_sys::SPI_plan_get_plan_sources(plan))?;
            let mut sources = elements(sources);
            let (Some(source), None) = (sources.next(), sources.next()) else {
                return None;
            };
            let source = source.cast::<pg_sys::CachedPlanSource>();
            if !is_plain((*source).raw_parse_tree) {
                return None;
            }
            let mut named = Named {
                returns_rows: !(*source).resultDesc.is_null(),
                ..Named::default()
            };
            named.relations = oids((*source).relationOids).collect();
            for query in elements((*source).query_list) {
                note(query.cast(), (&raw mut named).cast());
            }
            named.relations.sort_unstable();
            named.relations.dedup();
            named.functions.sort_unstable();
            named.functions.dedup();
            named.types.sort_unstable();
            named.types.dedup();
            Some(named)
        }
    })
}

/// # Safety
/// NULL, or a valid statement as it was parsed.
unsafe fn is_plain(raw: *mut pg_sys::RawStmt) -> bool {
    // SAFETY: by contract; the tag says which struct it is.
    unsafe {
        let Some(statement) = raw.as_ref().map(|raw| raw.stmt) else {
            return false;
        };
        match (*statement).type_ {
            pg_sys::NodeTag::T_SelectStmt => into_nothing(statement.cast()),
            pg_sys::NodeTag::T_InsertStmt
            | pg_sys::NodeTag::T_UpdateStmt
            | pg_sys::NodeTag::T_DeleteStmt
            | pg_sys::NodeTag::T_MergeStmt => true,
            _ => false,
        }
    }
}

/// No SELECT INTO, which makes a table. In what is put together by UNION it stands in the first.
///
/// # Safety
/// A valid statement.
unsafe fn into_nothing(select: *mut pg_sys::SelectStmt) -> bool {
    // SAFETY: by contract.
    unsafe {
        (*select).intoClause.is_null() && ((*select).larg.is_null() || into_nothing((*select).larg))
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn note(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL passes valid nodes, and NULL; the context is what the walk began with.
    unsafe {
        if node.is_null() {
            return false;
        }
        let named = context.cast::<Named>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Query => {
                let query = node.cast::<pg_sys::Query>();
                let target = usize::try_from((*query).resultRelation).unwrap_or(0);
                let place = target.checked_sub(1);
                let entry = place.and_then(|place| elements((*query).rtable).nth(place));
                if let Some(entry) = entry {
                    let relation = (*entry.cast::<pg_sys::RangeTblEntry>()).relid;
                    (*named).written.push(relation.into());
                }
                return query_tree_walker(query, note, context, 0);
            }
            pg_sys::NodeTag::T_RangeTblFunction => {
                let function = node.cast::<pg_sys::RangeTblFunction>();
                (*named).types.extend(oids((*function).funccoltypes));
            }
            pg_sys::NodeTag::T_TableFunc => {
                let function = node.cast::<pg_sys::TableFunc>();
                (*named).types.extend(oids((*function).coltypes));
            }
            tag => {
                if has_type(tag) {
                    (*named).types.push(pg_sys::exprType(node).into());
                }
                pg_sys::check_functions_in_node(node, Some(note_function), context);
            }
        }
        expression_tree_walker(node, note, context)
    }
}

/// Is it an expression that has a type by itself, rather than that of a part?
fn has_type(tag: pg_sys::NodeTag) -> bool {
    use pg_sys::NodeTag::*;
    matches!(
        tag,
        T_Var
            | T_Const
            | T_Param
            | T_Aggref
            | T_WindowFunc
            | T_SubscriptingRef
            | T_FuncExpr
            | T_OpExpr
            | T_NullIfExpr
            | T_FieldSelect
            | T_FieldStore
            | T_RelabelType
            | T_CoerceViaIO
            | T_ArrayCoerceExpr
            | T_ConvertRowtypeExpr
            | T_CaseExpr
            | T_ArrayExpr
            | T_RowExpr
            | T_CoalesceExpr
            | T_MinMaxExpr
            | T_CoerceToDomain
            | T_CoerceToDomainValue
    ) || is_json_expression(tag)
}

#[pg_guard]
unsafe extern "C-unwind" fn note_function(function: pg_sys::Oid, context: *mut c_void) -> bool {
    // SAFETY: the context is what the walk began with.
    unsafe { (*context.cast::<Named>()).functions.push(function.into()) };
    false
}

/// The first column of what a text returns, as text, with parameters as text.
pub fn lines(sql: &str, parameters: &[Option<String>]) -> spi::SpiResult<Vec<String>> {
    let mut lines = Vec::new();
    spi::counted(sql, &arguments(parameters), &mut |description, tuple| {
        // SAFETY: a row of the result, and its description; NULL, or a terminated copy.
        lines.extend(unsafe { text::owned(pg_sys::SPI_getvalue(tuple, description, 1)) });
        Ok(())
    })?;
    Ok(lines)
}

fn arguments(parameters: &[Option<String>]) -> Vec<DatumWithOid<'static>> {
    let parameters = parameters.iter();
    parameters
        .map(|text| spi::argument(text.as_deref()))
        .collect()
}

/// What came of it: how many rows it has returned or changed, and those that it has returned as JSON.
pub struct Outcome {
    pub processed: u64,
    pub rows: Vec<String>,
}

/// Runs the text as the current user, with its parameters as text.
pub fn run(sql: &str, parameters: &[Option<String>]) -> spi::SpiResult<Outcome> {
    let arguments = arguments(parameters);
    let mut rows = Vec::new();
    let processed = spi::counted(sql, &arguments, &mut |description, tuple| {
        // SAFETY: a row of the result, and its description, which has a type from here on; the JSON is a text.
        unsafe {
            let row = pg_sys::heap_copy_tuple_as_datum(tuple, pg_sys::BlessTupleDesc(description));
            let json = pgrx::direct_function_call_as_datum(pg_sys::row_to_json, &[Some(row)]);
            rows.extend(json.map(|json| catalog::text(json)));
        }
        Ok(())
    })?;
    Ok(Outcome { processed, rows })
}
