//! A statement for approval: what is approved is its exact text, its parameters, its number of rows and what its names mean. It runs once; but who
//! ends the session while the answer is sent has read what has come, and it has not run (docs/requests.md).

use aws_lc_rs::digest::{SHA256, digest};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::json;

use super::ask::{Wish, asks, own, state_error};
use super::decide::{may_look, sent_by_the_client};
use super::policy::Kind;
use super::store::{self, Request, Statement, Told};
use super::{Error, State, acting, start, writable};
use crate::audit::{self, Action, Value};
use crate::error::{report, require_preload};
use crate::pg::arguments::{Text, strings};
use crate::pg::given::{self, Named};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, json, search_path, server, spi, xact};
use crate::{bytes, text};

const MOST_BYTES: usize = 20_000;
const MOST_PARAMETERS: usize = 100;

asks!(
    /// Documented in `sql/requests.sql`.
    request_statement(
        target: Option<Name>,
        statement: Option<Text>,
        parameters: Option<Vec<Option<Text>>>,
        expected_rows: Option<i64>,
        reason: Option<Text>,
        ticket: Option<Text>,
        starts_at: Option<TimestampWithTimeZone>,
        policy: Option<Text>,
        call: pg_sys::FunctionCallInfo,
    ),
    (|| {
        writable()?;
        let text = statement.ok_or(Error::Null("statement"))?.0;
        let statement = given(text, strings(parameters).unwrap_or_default(), expected_rows)?;
        let judge = |request: &mut Request| {
            let (_, digest) = check(request)?;
            request.statement = request.statement.take().map(|statement| Statement {
                digest,
                ..statement
            });
            Ok(())
        };
        let wish = Wish::new(None, reason, ticket, starts_at, call);
        wish.ask(target, policy.as_deref(), false, Some(statement), judge)
    })()
);

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
fn run_approved(
    request: Option<i64>,
    call: pg_sys::FunctionCallInfo,
) -> Result<
    TableIterator<'static, (name!(rows, i64), name!(result, Option<json::Jsonb>))>,
    ErrorReport,
> {
    require_preload()?;
    let (rows, result) = run(request, call).map_err(report)?;
    let result = result.map(|result| json::Jsonb::of(&result));
    Ok(TableIterator::once((rows, result)))
}

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
fn explain_request(request: Option<i64>) -> Result<SetOfIterator<'static, String>, ErrorReport> {
    require_preload()?;
    let lines = explain(request).map_err(report)?;
    Ok(SetOfIterator::new(lines))
}

fn given(
    sql: String,
    parameters: Vec<Option<String>>,
    expected_rows: Option<i64>,
) -> Result<Statement, Error> {
    if sql.len() > MOST_BYTES {
        return Err(Error::bad("statement", "It is longer than 20,000 bytes."));
    }
    let is_seen = |character: char| {
        matches!(character, '\n' | '\r' | '\t')
            || !text::is_unseen(character)
            || bytes::stands_for(character).is_some()
    };
    if !sql.chars().all(is_seen) {
        return Err(Error::bad(
            "statement",
            "It has characters that nobody sees; write them as U&'\\200b'.",
        ));
    }
    if parameters.len() > MOST_PARAMETERS {
        return Err(Error::bad("parameters", "There are more than 100."));
    }
    if parameters.iter().flatten().map(String::len).sum::<usize>() > MOST_BYTES {
        return Err(Error::bad(
            "parameters",
            "Together they are longer than 20,000 bytes.",
        ));
    }
    if expected_rows.is_some_and(|rows| rows < 0) {
        return Err(Error::bad("expected_rows", "It is a number of rows."));
    }
    Ok(Statement {
        text: sql,
        parameters,
        expected_rows,
        digest: String::new(),
        search_path: safe_path()?,
        rows: None,
    })
}

/// The schemas of the session's search path in which whoever asks makes nothing: a name means the same when it runs.
fn safe_path() -> Result<Vec<String>, Error> {
    let roles = [identity::session_user(), identity::current_user()].map(u32::from);
    let schemas = search_path::schemas();
    let mut safe = Vec::new();
    for schema in schemas {
        if !may_create_in(&schema, &roles)? {
            safe.push(schema);
        }
    }
    Ok(safe)
}

fn may_create_in(schema: &str, roles: &[u32]) -> Result<bool, Error> {
    const SQL: &str = "SELECT bool_or(has_schema_privilege(r.oid, n.oid, 'CREATE'))::text
                         FROM pg_namespace n, json_array_elements_text($2::json) o(oid), pg_roles r
                        WHERE n.nspname = $1 AND r.oid = o.oid::oid";
    let found: Vec<bool> = store::facts(SQL, &[schema, &json!(roles).to_string()])?;
    // One that is gone is nobody's.
    Ok(found.first().copied().unwrap_or(true))
}

/// Looks at what it is and what it names, as its target; the digest of all that is approved. Raises PostgreSQL's errors.
pub fn check(request: &Request) -> Result<(Named, String), Error> {
    let statement = request.statement.as_ref().ok_or(Error::Vanished)?;
    let roles = [request.login_oid, request.person.role];
    for schema in &statement.search_path {
        if may_create_in(schema, &roles)? {
            return Err(Error::NotAnyMore(format!(
                "whoever asked may create objects in schema \"{schema}\" by now, or it is gone"
            )));
        }
    }
    let look = || given::look(&statement.text, statement.parameters.len());
    let named = as_target(request, statement, look).ok_or(Error::bad(
        "statement",
        "It is one SELECT, INSERT, UPDATE, DELETE or MERGE.",
    ))?;
    if let Some(what) = changeable(&named, &roles)? {
        return Err(Error::Changeable(what));
    }
    let approved = json!([
        statement.text,
        statement.parameters,
        statement.expected_rows,
        statement.search_path,
        request.target_oid,
        // What its names mean.
        named.functions,
        named.types,
        named.relations,
    ]);
    let hash = digest(&SHA256, approved.to_string().as_bytes());
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok((named, hex.collect()))
}

/// What it names, reads by a view or sets off, that whoever asked owns: they could make something else of it after it was approved. What it
/// sets off: triggers, checks, defaults and indexes of its relations and of those that follow them, checks of domains anywhere in its types.
fn changeable(named: &Named, roles: &[u32]) -> Result<Option<String>, Error> {
    const SQL: &str = "
        WITH RECURSIVE uses (class, id) AS (
          SELECT 'pg_proc'::regclass::oid, json_array_elements_text($1::json)::oid
          UNION SELECT 'pg_type'::regclass, json_array_elements_text($2::json)::oid
          UNION SELECT 'pg_class'::regclass, json_array_elements_text($3::json)::oid
          -- Of no class: relations that are written.
          UNION SELECT 0, json_array_elements_text($4::json)::oid
          UNION
          SELECT more.class, more.id FROM uses u CROSS JOIN LATERAL (
            SELECT d.refclassid, d.refobjid FROM pg_depend d
             WHERE d.classid = u.class AND d.objid = u.id
               AND d.refclassid = ANY ('{pg_proc,pg_type,pg_class,pg_operator}'::regclass[])
            UNION ALL
            SELECT 'pg_proc'::regclass, o.oprcode FROM pg_operator o WHERE u.class = 'pg_operator'::regclass AND o.oid = u.id
            UNION ALL
            SELECT part.class, part.id
              FROM pg_type t CROSS JOIN LATERAL (
                VALUES ('pg_class'::regclass, t.typrelid), ('pg_type'::regclass, t.typelem), ('pg_type'::regclass, t.typbasetype)
                UNION ALL SELECT 'pg_type'::regclass, r.rngsubtype FROM pg_range r WHERE t.oid = ANY (ARRAY[r.rngtypid, r.rngmultitypid])
                UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE c.contypid = t.oid) part (class, id)
             WHERE u.class = 'pg_type'::regclass AND t.oid = u.id AND part.id <> 0
            UNION ALL
            SELECT part.class, part.id
              FROM (SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c WHERE c.conrelid = u.id AND c.contype <> 'f'
                    UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i WHERE i.indrelid = u.id
                    UNION ALL SELECT 'pg_class'::regclass, h.inhrelid FROM pg_inherits h WHERE h.inhparent = u.id) part (class, id)
             WHERE u.class = 'pg_class'::regclass
            UNION ALL
            SELECT part.class, part.id
              FROM (SELECT 'pg_trigger'::regclass, g.oid FROM pg_trigger g WHERE g.tgrelid = u.id AND NOT g.tgisinternal
                    UNION ALL SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a WHERE a.adrelid = u.id
                    UNION ALL SELECT 0, h.inhrelid FROM pg_inherits h WHERE h.inhparent = u.id
                    UNION ALL SELECT written.class, c.conrelid FROM pg_constraint c CROSS JOIN (VALUES (0), ('pg_class'::regclass)) written (class)
                               WHERE c.confrelid = u.id AND c.contype = 'f'
                                 AND '{c,n,d}'::text[] && ARRAY[c.confdeltype::text, c.confupdtype::text]) part (class, id)
             WHERE u.class = 0) more (class, id)),
        named AS (
          SELECT 'function ' || p.oid::regprocedure::text AS what, p.proowner AS owner
            FROM uses u JOIN pg_proc p ON u.class = 'pg_proc'::regclass AND p.oid = u.id
          UNION ALL
          SELECT 'type ' || t.oid::regtype::text, t.typowner FROM uses u JOIN pg_type t ON u.class = 'pg_type'::regclass AND t.oid = u.id
          UNION ALL
          SELECT 'operator ' || o.oid::regoperator::text, o.oprowner
            FROM uses u JOIN pg_operator o ON u.class = 'pg_operator'::regclass AND o.oid = u.id
          UNION ALL
          SELECT 'relation ' || c.oid::regclass::text, c.relowner FROM uses u JOIN pg_class c ON u.class = 'pg_class'::regclass AND c.oid = u.id)
        SELECT to_json(n.what)::text FROM named n
         WHERE EXISTS (SELECT FROM json_array_elements_text($5::json) r(oid) JOIN pg_roles a ON a.oid = r.oid::oid
                        WHERE pg_has_role(a.oid, n.owner, 'MEMBER'))
         ORDER BY 1";
    let found: Vec<String> = store::facts(
        SQL,
        &[
            &json!(named.functions).to_string(),
            &json!(named.types).to_string(),
            &json!(named.relations).to_string(),
            &json!(named.written).to_string(),
            &json!(roles).to_string(),
        ],
    )?;
    Ok(found.into_iter().next())
}

/// As the target, with the search path that was approved and all other settings pinned. Temporary objects come last, which without a word
/// come first, before PostgreSQL's own: they are those of whoever asked.
fn as_target<R>(request: &Request, statement: &Statement, work: impl FnOnce() -> R) -> R {
    let mut path: Vec<String> = statement
        .search_path
        .iter()
        .map(|schema| spi::identifier(schema))
        .collect();
    path.push("pg_temp".into());
    identity::acting_as(request.target_oid.into(), || {
        server::set_for_subtransaction(c"search_path", &path.join(", "));
        work()
    })
}

fn run(id: Option<i64>, call: pg_sys::FunctionCallInfo) -> Result<(i64, Option<String>), Error> {
    writable()?;
    sent_by_the_client(call, "run_approved")?;
    // What the caller has left for later is done as the caller, and before anything is looked at. What the statement sets off is done as the
    // target then, and before its rows are counted.
    xact::fire_deferred();
    let mut request = own(id, |_| Ok(()))?;
    let now = clock::now();
    if request.kind != Kind::Statement
        || request.state_at(now) != State::Approved
        || request.starts_at.is_some_and(|at| at > now)
    {
        return Err(state_error(&request, "run"));
    }
    let policy = store::policy_of(&request)?;
    start::may_begin(&request, &policy)?;
    let (named, digest) = check(&request)?;
    let statement = request.statement.clone().ok_or(Error::Vanished)?;
    if digest != statement.digest {
        return Err(Error::NotAnyMore("it is not what was approved".into()));
    }
    // Who could roll back could read it again and again.
    if named.returns_rows && !xact::ends_at_once() {
        return Err(Error::InBlock(request.id));
    }
    let outcome = as_target(&request, &statement, || {
        given::run(&statement.text, &statement.parameters)
    })?;
    let rows = i64::try_from(outcome.processed).unwrap_or(i64::MAX);
    if let Some(expected) = statement.expected_rows
        && rows != expected
    {
        return Err(Error::Rows {
            id: request.id,
            rows,
            expected,
        });
    }
    request.state = State::Ended;
    request.active_from = Some(now);
    request.ends_at = Some(clock::now());
    request.statement = Some(Statement {
        rows: Some(rows),
        ..statement
    });
    let person = acting::now();
    store::save(&request, &Told::of("ran").by(&person))?;
    let fields = [
        ("request", Value::Number(request.id)),
        ("policy", Value::Text(&request.policy)),
        ("rows", Value::Number(rows)),
    ];
    audit::administered(Action::Request, "run_approved", &request.target, &fields);
    let result = named
        .returns_rows
        .then(|| format!("[{}]", outcome.rows.join(",")));
    Ok((rows, result))
}

/// For those who may decide, and for who asked once it is approved: as it would run now, and nothing of it stays.
fn explain(id: Option<i64>) -> Result<Vec<String>, Error> {
    let request = store::find(id.ok_or(Error::Null("request"))?)?;
    may_look(&request)?;
    if request.kind != Kind::Statement {
        return Err(state_error(&request, "explained"));
    }
    if catalog::role_by_oid(request.target_oid.into()).is_none() {
        return Err(Error::Vanished);
    }
    check(&request)?;
    let statement = request.statement.as_ref().ok_or(Error::Vanished)?;
    let sql = format!("EXPLAIN (VERBOSE) {}", statement.text);
    let plan = || given::lines(&sql, &statement.parameters);
    let lines = xact::rehearsed(|| {
        // Whatever the planner runs in place of calls, it writes nothing.
        server::read_only_for_subtransaction();
        as_target(&request, statement, plan)
    });
    Ok(lines?)
}
