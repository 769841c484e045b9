//! Scopes whose grants are others than those that they declare, with both sides.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::check::{Severity, has_part_here, parts};
use super::findings::{SCOPE_NARROWED, SCOPE_UNDECLARED, SCOPE_WIDENED};
use super::{Error, Finding, WITH_THE_FIX};
use crate::pg::{catalog, identity, spi};
use crate::scope::declaration::{Declaration, Found};
use crate::scope::declared::Replaced;
use crate::scope::plan::{Grant, Holdings, Names, Object, Other};
use crate::scope::statements::{Direction, describe, statements};
use crate::scope::{declared, held};
use crate::text::some_of;

/// Findings of one kind about one scope: more objects than these are one finding.
const SHOWN_OBJECTS: usize = 20;

pub fn of_scopes() -> Result<Vec<Finding>, Error> {
    let scopes = scopes()?;
    let declarations = declared::all()?;
    let (newcomers, names) = declared::newcomers(&declarations)?;
    let nothing = Declaration::default();
    let oids: Vec<u32> = scopes.iter().map(|scope| scope.oid.into()).collect();
    let held = held::by_each(&oids)?;
    let nothing_held = Holdings::default();
    let replaced = declared::replaced()?;
    let mut found = Vec::new();
    for scope in &scopes {
        pgrx::check_for_interrupts!();
        let declaration = declarations.get(&scope.oid.into());
        // What a dump has brought where no database is known to have a part is one. A copy of a database that goes on is none.
        let is_here = scope.is_here || scope.is_nowhere && declaration.is_some();
        if !is_here && !scope.holds_here {
            continue;
        }
        if is_here && declaration.is_none() {
            found.push(scope.undeclared());
            continue;
        }
        if !is_here && declaration.is_some() {
            found.push(scope.unadopted());
            continue;
        }
        let declaration = declaration.unwrap_or(&nothing);
        // Dropped meanwhile.
        if catalog::role_by_oid(scope.oid).is_none() {
            continue;
        }
        let held = held.get(&scope.oid.into()).unwrap_or(&nothing_held);
        let drift = Drift {
            holder: &scope.holder,
            declaration,
            held,
            names: [&held.names, &declaration.names, &names],
            elsewhere: (!is_here).then_some(scope.databases.as_str()),
        };
        found.extend(drift.findings(&newcomers));
        if is_here {
            let theirs = |replaced: &&Replaced| replaced.role == u32::from(scope.oid);
            found.extend(
                replaced
                    .iter()
                    .filter(theirs)
                    .map(|object| scope.lost(object)),
            );
        }
    }
    Ok(found)
}

struct Scope {
    oid: pg_sys::Oid,
    holder: Holder,
    /// The databases that have a part of it.
    databases: String,
    is_here: bool,
    /// No database is known to have a part of it.
    is_nowhere: bool,
    /// Something in this database depends on it.
    holds_here: bool,
}

fn scopes() -> Result<Vec<Scope>, Error> {
    let none: [DatumWithOid<'_>; 0] = [];
    Ok(identity::elevated(|| {
        spi::read(SCOPES, &none, |row| {
            Ok(Scope {
                oid: row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                holder: Holder {
                    name: row.get::<String>(2)?.unwrap_or_default(),
                    widened: SCOPE_WIDENED,
                },
                databases: row.get::<String>(3)?.unwrap_or_default(),
                is_here: row.get::<bool>(4)?.unwrap_or(false),
                is_nowhere: row.get::<bool>(5)?.unwrap_or(false),
                holds_here: row.get::<bool>(6)?.unwrap_or(false),
            })
        })
    })?)
}

const SCOPES: &str = concat!(
    "
SELECT r.oid, r.rolname::text,
       coalesce((SELECT string_agg(quote_ident(d.datname), ', ' ORDER BY d.datname) FROM pg_database d WHERE p.parts @> to_jsonb(d.oid::bigint)),
                quote_ident(l.label::jsonb ->> 'database')), ",
    has_part_here!("l.label::jsonb", "r.oid"),
    ",
       NOT EXISTS (SELECT FROM pg_database d WHERE p.parts @> to_jsonb(d.oid::bigint)),
       EXISTS (SELECT FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
                WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid)
  FROM pg_authid r JOIN pg_shseclabel l ON l.objoid = r.oid AND l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles'
 CROSS JOIN LATERAL (SELECT ",
    parts!("l.label::jsonb", "r.oid"),
    ") p(parts)
 WHERE l.label::jsonb ->> 'kind' = 'scope' AND l.label::jsonb ->> 'state' = 'active'
 ORDER BY r.oid"
);

impl Holder {
    fn finding(&self, code: &'static str, severity: Severity, what: String) -> Finding {
        Finding {
            severity,
            code,
            role: Some(self.name.clone()),
            object: None,
            what,
            since: None,
            fix: None,
        }
    }
}

impl Scope {
    fn lost(&self, object: &Replaced) -> Finding {
        Finding {
            object: Some(object.shown()),
            fix: Some(object.added_to(&self.holder.name)),
            ..self.holder.finding(
                SCOPE_NARROWED,
                Severity::Low,
                format!(
                    "declared {} on the object that had this name and is {} now; it holds nothing on the one that has the name now",
                    object.privileges.join(", "),
                    match object.today.as_str() {
                        "" => "gone".to_owned(),
                        today => format!("{today} today"),
                    }
                ),
            )
        }
    }

    /// Its privileges are not to be taken away: they are what is declared.
    fn unadopted(&self) -> Finding {
        let what = format!(
            "holds what this database declares, a restored or copied one: nobody has adopted that, being of database {}",
            self.databases
        );
        Finding {
            fix: Some("SELECT * FROM scope.adopt_restored();".to_owned()),
            ..self.holder.finding(SCOPE_WIDENED, Severity::High, what)
        }
    }

    fn undeclared(&self) -> Finding {
        Finding {
            fix: Some(format!(
                "SELECT * FROM scope.apply(scope.export_spec(ARRAY[{}]::name[]));",
                spi::literal(&self.holder.name)
            )),
            ..self.holder.finding(
                SCOPE_UNDECLARED,
                Severity::Low,
                "declares nothing, so what it was made with cannot be told from what was granted by hand"
                    .to_owned(),
            )
        }
    }
}

/// Whose grants they are.
pub struct Holder {
    pub name: String,
    /// The code for what it holds and should not.
    pub widened: &'static str,
}

pub struct Drift<'a> {
    pub holder: &'a Holder,
    pub declaration: &'a Declaration,
    pub held: &'a Holdings,
    pub names: [&'a Names; 3],
    /// The databases that have a part of it, where this one has none.
    pub elsewhere: Option<&'a str>,
}

impl Drift<'_> {
    fn findings(&self, newcomers: &[Found]) -> Vec<Finding> {
        let drift = self.declaration.drift(self.held, newcomers);
        let mut found = self.of(
            &drift.excess,
            self.holder.widened,
            Severity::High,
            newcomers,
        );
        let owns = |other: &Other| matches!(other, Other::Owns { .. });
        for finding in &mut found {
            finding.what += WITH_THE_FIX;
            finding.what += "its logins lose what it does not declare";
            if self.held.all_others().any(owns) {
                finding.what += ", and so do its own views and functions, for all who use them";
            }
        }
        found.extend(self.others());
        found.extend(self.of(&drift.missing, SCOPE_NARROWED, Severity::Low, newcomers));
        found
    }

    /// A finding for each object, or one where there are too many.
    pub fn of(
        &self,
        grants: &[Grant],
        code: &'static str,
        severity: Severity,
        newcomers: &[Found],
    ) -> Vec<Finding> {
        let mut by_object: BTreeMap<Object, Vec<Grant>> = BTreeMap::new();
        for grant in grants {
            by_object.entry(grant.object).or_default().push(*grant);
        }
        let count = by_object.len();
        let mut shown = by_object.into_iter().map(|(object, grants)| {
            let name = self.shown(object);
            let what = self.both_sides(object, newcomers);
            (name, what, grants)
        });
        if count <= SHOWN_OBJECTS {
            return shown
                .map(|(name, what, grants)| Finding {
                    object: Some(name),
                    fix: Some(self.fix(&grants, code)),
                    ..self.holder.finding(code, severity, what)
                })
                .collect();
        }
        let words: Vec<String> = shown
            .by_ref()
            .map(|(name, what, _)| format!("on {name} {what}"))
            .collect();
        let what = format!("on {count} objects: {}", some_of(&words));
        vec![Finding {
            fix: Some(self.fix(grants, code)),
            ..self.holder.finding(code, severity, what)
        }]
    }

    /// What was declared of an object, and what is held.
    fn both_sides(&self, object: Object, newcomers: &[Found]) -> String {
        let schema = self
            .held
            .schemas
            .get(&object)
            .or_else(|| self.declaration.schemas.get(&object))
            .copied()
            .or_else(|| {
                let newcomer = newcomers.iter().find(|found| found.object == object);
                newcomer.map(|found| found.schema)
            });
        let held: Vec<&str> = self
            .held
            .grants
            .keys()
            .filter(|grant| grant.object == object)
            .map(|grant| grant.privilege.word())
            .collect();
        let declared = self.declaration.on(object, schema);
        let of_another = self.elsewhere.map_or_else(String::new, |databases| {
            format!(", being of database {databases}")
        });
        format!(
            "declares {}{of_another}, and holds {}",
            words(&declared),
            words(&held)
        )
    }

    /// What no declaration contains; attributes, memberships and grant options are findings of their
    /// own, and policies its administrator's.
    pub fn others(&self) -> Vec<Finding> {
        let creates_in: BTreeSet<u32> = self
            .declaration
            .grants
            .keys()
            .filter_map(|grant| match (grant.object, grant.privilege) {
                (Object::Schema(schema), crate::scope::privilege::Privilege::Create) => {
                    Some(schema)
                }
                _ => None,
            })
            .collect();
        let others = self.held.all_others().filter_map(|other| match other {
            Other::Owns { schema, .. } if creates_in.contains(schema) => None,
            Other::Policy { .. } | Other::Temporary { .. } => None,
            Other::Else { what }
                if what.starts_with("attribute ")
                    || what.starts_with("membership in ")
                    || what.ends_with(" with grant option") =>
            {
                None
            }
            // Its own database tells of what is there, and of what is shared.
            Other::Owns { what, .. } | Other::Else { what }
                if self.elsewhere.is_some()
                    && (is_elsewhere(what) || what.starts_with("privileges on database ")) =>
            {
                None
            }
            Other::Owns { what, .. } | Other::Else { what } => Some(what.clone()),
        });
        let others: BTreeSet<String> = others.collect();
        others
            .into_iter()
            .map(|what| Finding {
                fix: Some(format!(
                    "-- {} by hand, {}",
                    if what.starts_with("owner of ") {
                        "give it another owner"
                    } else {
                        "revoke it"
                    },
                    if is_elsewhere(&what) {
                        "in that database"
                    } else {
                        "as a superuser"
                    }
                )),
                object: Some(what.clone()),
                ..self.holder.finding(
                    self.holder.widened,
                    Severity::High,
                    format!("does not declare it, and has {what}"),
                )
            })
            .collect()
    }

    fn shown(&self, object: Object) -> String {
        let named = Grant {
            object,
            privilege: crate::scope::privilege::Privilege::Select,
        };
        let text = describe(&named, &self.names);
        text.trim_start_matches("SELECT on ").to_owned()
    }

    fn fix(&self, grants: &[Grant], code: &str) -> String {
        let role = spi::identifier(&self.holder.name);
        let mut names = Names::new();
        let places = grants.iter().map(|grant| match grant.object {
            Object::Column(table, _) => Object::Table(table),
            Object::Future { schema, .. } => Object::Schema(schema),
            other => other,
        });
        for object in grants.iter().map(|grant| grant.object).chain(places) {
            let known = self.names.iter().find_map(|names| names.get(&object));
            names.extend(known.map(|name| (object, name.clone())));
        }
        let statements = |grants: &[&Grant], direction| {
            statements(grants.iter().copied(), &names, &role, direction)
                .into_iter()
                .map(|statement| statement + ";")
                .collect::<Vec<_>>()
                .join(" ")
        };
        if code == SCOPE_NARROWED {
            let grants: Vec<&Grant> = grants.iter().collect();
            return statements(&grants, Direction::Grant);
        }
        let mut by_grantor: BTreeMap<u32, Vec<&Grant>> = BTreeMap::new();
        for grant in grants {
            for &grantor in self.held.grants.get(grant).into_iter().flatten() {
                // Default privileges are their role's, whoever takes them away.
                let grantor = match grant.object {
                    Object::Future { .. } => 0,
                    _ => grantor,
                };
                let list = by_grantor.entry(grantor).or_default();
                if !list.contains(&grant) {
                    list.push(grant);
                }
            }
        }
        let fixes: Vec<String> = by_grantor
            .into_iter()
            .map(|(grantor, grants)| {
                let revokes = statements(&grants, Direction::Revoke);
                // A REVOKE takes back the grants of the one who runs it.
                match catalog::role_by_oid(grantor.into()) {
                    Some(grantor) => {
                        let grantor = spi::identifier(&grantor.name);
                        format!("SET ROLE {grantor}; {revokes} RESET ROLE;")
                    }
                    None => revokes,
                }
            })
            .collect();
        fixes.join(" ")
    }
}

/// As the holdings word what is in other databases.
pub fn is_elsewhere(what: &str) -> bool {
    ["an object", "a function"]
        .iter()
        .any(|object| what.contains(&format!("{object} in database ")))
}

fn words(privileges: &[&str]) -> String {
    if privileges.is_empty() {
        "nothing".to_owned()
    } else {
        privileges.join(", ")
    }
}
