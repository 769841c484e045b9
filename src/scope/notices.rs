//! What whoever makes or widens a scope is told of it.

use pgrx::pg_sys;
use serde::Deserialize;

use super::Error;
use super::facts::array;
use super::planned::Planned;
use super::privilege::{Class, Privilege};
use super::request::Request;
use crate::error;
use crate::pg::{identity, spi};
use crate::text::some_of;

/// What whoever made the call is to know of it, once the scope holds what was asked for.
pub fn tell(scope: pg_sys::Oid, request: &Request, planned: &Planned) -> Result<(), Error> {
    tell_uncovered(planned);
    tell_planting(request);
    tell_numbers(scope, request, planned)?;
    tell_left_out(scope, request)
}

/// Sequences that an INSERT will ask for: by a default that names one which the table does not own, or behind a view, whose owner's rights
/// do not count for them.
fn tell_numbers(scope: pg_sys::Oid, request: &Request, planned: &Planned) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Number {
        table: String,
        sequence: String,
        scope: String,
    }
    const NUMBERS: &str = "
        WITH RECURSIVE reached(relation, source) AS (
            SELECT o.oid, o.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS o(oid)
            UNION
            SELECT d.refobjid, r.source
              FROM reached r
              JOIN pg_catalog.pg_class v ON v.oid = r.relation AND v.relkind = 'v'
               AND pg_catalog.pg_relation_is_updatable(v.oid, false) & 8 <> 0
              JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid
              JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
               AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> w.ev_class)
        SELECT DISTINCT pg_catalog.json_build_object('table', r.source::pg_catalog.regclass::text,
                   'sequence', s.oid::pg_catalog.regclass::text, 'scope', h.rolname)::text
          FROM reached r
          JOIN pg_catalog.pg_attrdef f ON f.adrelid = r.relation
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
           AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
          JOIN pg_catalog.pg_authid h ON h.oid = $2::pg_catalog.oid
         WHERE NOT pg_catalog.has_sequence_privilege(h.oid, s.oid, 'USAGE, UPDATE')
         ORDER BY 1";
    if !request.verbs.on(Class::Table).contains(&Privilege::Insert) {
        return Ok(());
    }
    let tables = array(request.tables.iter().chain(&planned.through_schemas));
    let scope = u32::from(scope).to_string();
    let numbers = identity::elevated(|| spi::facts::<Number>(NUMBERS, &[&tables, &scope]))?;
    let Some(first) = numbers.first() else {
        return Ok(());
    };
    let uses: Vec<String> = numbers
        .iter()
        .map(|number| format!("{} takes numbers of {}", number.table, number.sequence))
        .collect();
    let hint = format!(
        "SELECT scope.alter_scope({}, 'add', '{{USAGE}}', sequences => {});",
        spi::literal(&first.scope),
        spi::literal(&names_in_array(
            numbers.iter().map(|number| number.sequence.as_str())
        ))
    );
    error::notice(
        "INSERT needs sequences that have not been granted".to_owned(),
        &format!("{}.", some_of(&uses)),
        Some(hint.as_str()),
    );
    Ok(())
}

/// As the text of an array.
fn names_in_array<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names
        .map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    names.sort_unstable();
    names.dedup();
    format!("{{{}}}", names.join(","))
}

/// Scopes that were to have the future tables of the schemas too do not have those that this one makes.
fn tell_left_out(scope: pg_sys::Oid, request: &Request) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct LeftOut {
        scope: String,
        schema: String,
        privileges: String,
    }
    const LEFT_OUT: &str = "
        SELECT pg_catalog.json_build_object('scope', d.scope, 'schema', pg_catalog.quote_ident(n.nspname),
                   'privileges', pg_catalog.string_agg(DISTINCT d.privilege, ',' ORDER BY d.privilege))::text
          FROM _scope.scope_declaration d
          JOIN pg_catalog.pg_authid h ON h.rolname = d.scope AND h.oid <> $2::pg_catalog.oid
          JOIN pg_catalog.pg_namespace n ON n.oid = d.object_oid AND n.oid = ANY ($1::pg_catalog.oid[])
         WHERE d.class = 'future tables' AND d.stance = 'required'
         GROUP BY d.scope, n.nspname
        HAVING NOT pg_catalog.bool_or(d.part_oid = $2::pg_catalog.oid)
         ORDER BY d.scope, n.nspname";
    if request.schemas.is_empty() || !request.verbs.has(Privilege::Create) {
        return Ok(());
    }
    let (schemas, scope) = (array(&request.schemas), u32::from(scope).to_string());
    let left_out = identity::elevated(|| spi::facts::<LeftOut>(LEFT_OUT, &[&schemas, &scope]))?;
    for LeftOut {
        scope,
        schema,
        privileges,
    } in left_out
    {
        let hint = format!(
            "SELECT scope.alter_scope({}, 'add', {}, schemas => {}, future_tables => true);",
            spi::literal(&scope),
            spi::literal(&format!("{{{privileges}}}")),
            spi::literal(&names_in_array([schema.as_str()].into_iter())),
        );
        error::notice(
            format!(
                "what this login creates in schema {schema} will not be covered by scope \"{scope}\""
            ),
            "The scope has the future tables of those who created there when it was made.",
            Some(hint.as_str()),
        );
    }
    Ok(())
}

/// Some privileges are more than they look.
fn tell_planting(request: &Request) {
    let words: Vec<&str> = request
        .verbs
        .that_plant_code()
        .into_iter()
        .map(Privilege::word)
        .collect();
    if !words.is_empty() {
        error::notice(
            format!(
                "{} lets the login leave code that others run",
                words.join(", ")
            ),
            "A trigger (TRIGGER) runs as the role that writes to the table, its owner and superusers too; a foreign key (REFERENCES) acts on \
             each change to the table that it names; a function or an operator (CREATE) can be taken for another by whoever has the \
             schema in their search_path. They stay when the login has ended.",
            Some("scope.review() lists such privileges, and triggers that others have left."),
        );
    }
}

/// Promises nothing about the tables of roles for whom the caller may not speak.
fn tell_uncovered(planned: &Planned) {
    if !planned.uncovered.is_empty() {
        error::notice(
            "future tables of some roles are not covered".to_owned(),
            &format!(
                "Only {} and superusers can set their default privileges.",
                planned.uncovered.join(", ")
            ),
            None,
        );
    }
}
