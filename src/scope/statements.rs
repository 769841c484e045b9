//! Grants as statements, and in words. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::plan::{Grant, Names, Object};
use super::privilege::{Class, Privilege};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Grant,
    Revoke,
}

/// The statements for some grants: objects of one kind and privilege share one, since PostgreSQL
/// picks the grantor by object, but only one for all privileges of a statement.
pub fn statements<'a>(
    grants: impl IntoIterator<Item = &'a Grant>,
    names: &Names,
    role: &str,
    direction: Direction,
) -> Vec<String> {
    let name = |object: Object| names.get(&object).map_or("", String::as_str);
    let mut groups: BTreeMap<(Kind, Privilege), Vec<&str>> = BTreeMap::new();
    for grant in grants {
        let group = (Kind::of(grant.object), grant.privilege);
        groups.entry(group).or_default().push(name(grant.object));
    }
    let (verb, to, cascade) = match direction {
        Direction::Grant => ("GRANT", "TO", ""),
        Direction::Revoke => ("REVOKE", "FROM", " CASCADE"),
    };
    groups
        .into_iter()
        .map(|((kind, privilege), objects)| {
            let privilege = privilege.word();
            match kind {
                Kind::Plain(words) => format!(
                    "{verb} {privilege} ON {words} {} {to} {role}{cascade}",
                    objects.join(", ")
                ),
                Kind::Columns(table) => format!(
                    "{verb} {privilege} ({}) ON TABLE {} {to} {role}{cascade}",
                    objects.join(", "),
                    name(Object::Table(table))
                ),
                Kind::Future(words, creator, schema) => {
                    let place = match schema {
                        0 => String::new(),
                        _ => format!(" IN SCHEMA {}", name(Object::Schema(schema))),
                    };
                    let future = objects.first().copied().unwrap_or_default();
                    debug_assert!(creator != 0);
                    format!(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {future}{place} {verb} {privilege} ON {words} {to} {role}{cascade}"
                    )
                }
            }
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain(&'static str),
    Columns(u32),
    Future(&'static str, u32, u32),
}

impl Kind {
    fn of(object: Object) -> Self {
        match object {
            Object::Table(_) => Kind::Plain("TABLE"),
            Object::Column(table, _) => Kind::Columns(table),
            Object::Sequence(_) => Kind::Plain("SEQUENCE"),
            Object::Function(_) => Kind::Plain("ROUTINE"),
            Object::Schema(_) => Kind::Plain("SCHEMA"),
            Object::Database(_) => Kind::Plain("DATABASE"),
            Object::Future {
                creator,
                schema,
                class,
            } => {
                let words = match class {
                    Class::Sequence => "SEQUENCES",
                    Class::Function => "ROUTINES",
                    _ => "TABLES",
                };
                Kind::Future(words, creator, schema)
            }
        }
    }
}

/// For people: `SELECT on public.orders`.
pub fn describe(grant: &Grant, names: &[&Names]) -> String {
    let name = |object: &Object| {
        names
            .iter()
            .find_map(|names| names.get(object))
            .map_or("?", String::as_str)
    };
    let privilege = grant.privilege.word();
    match grant.object {
        Object::Table(_) | Object::Sequence(_) => {
            format!("{privilege} on {}", name(&grant.object))
        }
        Object::Column(table, _) => format!(
            "{privilege} on column {} of {}",
            name(&grant.object),
            name(&Object::Table(table))
        ),
        Object::Function(_) => format!("{privilege} on function {}", name(&grant.object)),
        Object::Schema(_) => format!("{privilege} on schema {}", name(&grant.object)),
        Object::Database(_) => format!("{privilege} on database {}", name(&grant.object)),
        Object::Future { schema, class, .. } => {
            let place = match schema {
                0 => String::new(),
                _ => format!(" in schema {}", name(&Object::Schema(schema))),
            };
            let what = match class {
                Class::Sequence => "sequences",
                Class::Function => "routines",
                _ => "tables",
            };
            format!(
                "{privilege} on future {what} of {}{place}",
                name(&grant.object)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: Object = Object::Table(1);
    const TICKETS: Object = Object::Table(2);
    const APP: Object = Object::Schema(9);

    fn grant(object: Object, privilege: Privilege) -> Grant {
        Grant { object, privilege }
    }

    #[test]
    fn plan_statements_group_by_kind_and_privilege() {
        use Privilege::{Insert, Select};
        let names = Names::from([
            (ORDERS, "public.orders".to_owned()),
            (TICKETS, "public.\"T\"".to_owned()),
            (Object::Column(1, 1), "id".to_owned()),
            (Object::Column(1, 2), "\"a b\"".to_owned()),
            (
                Object::Future {
                    creator: 20,
                    schema: 9,
                    class: Class::Sequence,
                },
                "alice".to_owned(),
            ),
            (APP, "app".to_owned()),
        ]);
        let grants = [
            grant(ORDERS, Select),
            grant(TICKETS, Select),
            grant(TICKETS, Insert),
            grant(Object::Column(1, 1), Insert),
            grant(Object::Column(1, 2), Insert),
            grant(
                Object::Future {
                    creator: 20,
                    schema: 9,
                    class: Class::Sequence,
                },
                Privilege::Usage,
            ),
        ];
        assert_eq!(
            statements(&grants, &names, "s", Direction::Grant),
            [
                "GRANT SELECT ON TABLE public.orders, public.\"T\" TO s",
                "GRANT INSERT ON TABLE public.\"T\" TO s",
                "GRANT INSERT (id, \"a b\") ON TABLE public.orders TO s",
                "ALTER DEFAULT PRIVILEGES FOR ROLE alice IN SCHEMA app GRANT USAGE ON SEQUENCES TO s",
            ]
        );
        assert_eq!(
            statements(&grants[2..3], &names, "s", Direction::Revoke),
            ["REVOKE INSERT ON TABLE public.\"T\" FROM s CASCADE"]
        );
    }
}
