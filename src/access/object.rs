//! Which object a text means: `orders`, `sales.orders`, `sales.total(integer)`, or with its kind
//! before it as `effective_access()` shows it: `schema sales`, `column sales.orders.id`.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::Error;
use super::rights::Class;
use crate::pg::{identity, search_path, spi};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Object {
        class: Class,
        oid: u32,
        column: i16,
    },
    Role(u32),
    /// A setting on which nothing has been granted.
    Parameter(String),
}

/// What may come before the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Tables, views and what else has rows, and sequences.
    Relation,
    Column,
    Function,
    Schema,
    Database,
    Type,
    Language,
    Wrapper,
    Server,
    LargeObject,
    Parameter,
    Tablespace,
    Role,
}

/// Longer ones first where one begins another.
const WORDS: [(&str, Kind); 20] = [
    ("materialized view", Kind::Relation),
    ("foreign table", Kind::Relation),
    ("table", Kind::Relation),
    ("view", Kind::Relation),
    ("sequence", Kind::Relation),
    ("column", Kind::Column),
    ("function", Kind::Function),
    ("procedure", Kind::Function),
    ("aggregate", Kind::Function),
    ("routine", Kind::Function),
    ("schema", Kind::Schema),
    ("database", Kind::Database),
    ("type", Kind::Type),
    ("domain", Kind::Type),
    ("language", Kind::Language),
    ("foreign-data wrapper", Kind::Wrapper),
    ("foreign server", Kind::Server),
    ("large object", Kind::LargeObject),
    ("parameter", Kind::Parameter),
    ("tablespace", Kind::Tablespace),
];

/// The kind, if one is said, and the rest.
fn split(text: &str) -> (Option<Kind>, &str) {
    let text = text.trim();
    let role = ("role", Kind::Role);
    for (word, kind) in WORDS.into_iter().chain([role]) {
        if let Some((start, rest)) = text.split_at_checked(word.len())
            && start.eq_ignore_ascii_case(word)
            && rest.starts_with(char::is_whitespace)
        {
            return (Some(kind), rest.trim_start());
        }
    }
    (None, text)
}

/// The arguments of a function begin at the first parenthesis outside of quotes.
fn split_arguments(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let at = text.char_indices().find_map(|(at, character)| {
        if character == '"' {
            quoted = !quoted;
        }
        (character == '(' && !quoted).then_some(at)
    })?;
    text.split_at_checked(at)
}

/// Names without a schema are looked for in the caller's search_path. Nothing of the caller's is
/// executed: the name is taken apart and compared with the catalogues.
pub fn find(text: &str) -> Result<Target, Error> {
    let path = search_path::schemas();
    let (kind, name) = split(text);
    let found = identity::elevated(|| match kind {
        Some(kind) => look(kind, name, &path),
        None if split_arguments(name).is_some() => look(Kind::Function, name, &path),
        None => {
            for kind in [Kind::Relation, Kind::Schema, Kind::Database] {
                if let Some(found) = look(kind, name, &path)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
    })?;
    found.ok_or_else(|| Error::NoSuchObject {
        object: text.to_owned(),
    })
}

fn look(kind: Kind, name: &str, path: &[String]) -> Result<Option<Target>, Error> {
    let object = |class| move |(oid, column): (u32, i16)| Target::Object { class, oid, column };
    let named = |class, catalogue, column| -> Result<Option<Target>, Error> {
        let sql = format!(
            "SELECT c.oid, 0::int2 FROM pg_catalog.{catalogue} c, pg_catalog.parse_ident($1) p
              WHERE pg_catalog.cardinality(p) = 1 AND c.{column} = p[1]::name"
        );
        Ok(first(&sql, &[name])?.map(object(class)))
    };
    match kind {
        Kind::Relation => Ok(first_in(RELATION, &[name], path)?.map(object(Class::Relation))),
        Kind::Column => Ok(first_in(COLUMN, &[name], path)?.map(object(Class::Column))),
        Kind::Type => Ok(first_in(TYPE, &[name], path)?.map(object(Class::Type))),
        Kind::Function => match split_arguments(name) {
            Some((name, arguments)) => {
                Ok(first_in(FUNCTION, &[name, arguments], path)?.map(object(Class::Function)))
            }
            None => Ok(None),
        },
        Kind::Schema => named(Class::Schema, "pg_namespace", "nspname"),
        Kind::Database => named(Class::Database, "pg_database", "datname"),
        Kind::Language => named(Class::Language, "pg_language", "lanname"),
        Kind::Wrapper => named(Class::Wrapper, "pg_foreign_data_wrapper", "fdwname"),
        Kind::Server => named(Class::Server, "pg_foreign_server", "srvname"),
        Kind::Tablespace => named(Class::Tablespace, "pg_tablespace", "spcname"),
        Kind::Role => {
            let found = named(Class::Role, "pg_authid", "rolname")?;
            Ok(found.map(|target| match target {
                Target::Object { oid, .. } => Target::Role(oid),
                other => other,
            }))
        }
        Kind::LargeObject => {
            let Ok(oid) = name.parse::<u32>() else {
                return Ok(None);
            };
            let oid = oid.to_string();
            Ok(first(LARGE_OBJECT, &[&oid])?.map(object(Class::LargeObject)))
        }
        Kind::Parameter => {
            let name = name.to_ascii_lowercase();
            if let Some(found) = first(PARAMETER, &[&name])? {
                return Ok(Some(object(Class::Parameter)(found)));
            }
            Ok(first(SETTING, &[&name])?.map(|_| Target::Parameter(name)))
        }
    }
}

fn first(sql: &str, arguments: &[&str]) -> Result<Option<(u32, i16)>, Error> {
    found(sql, arguments.iter().map(|&text| text.into()).collect())
}

/// The schemas to look in come last.
fn first_in(sql: &str, arguments: &[&str], path: &[String]) -> Result<Option<(u32, i16)>, Error> {
    let texts = arguments.iter().map(|&text| text.into());
    found(sql, texts.chain([path.to_vec().into()]).collect())
}

fn found(sql: &str, arguments: Vec<DatumWithOid<'_>>) -> Result<Option<(u32, i16)>, Error> {
    let rows = spi::read(sql, &arguments, |row| {
        Ok((row.get::<pg_sys::Oid>(1)?, row.get::<i16>(2)?))
    })?;
    Ok(rows
        .first()
        .and_then(|&(oid, column)| Some((u32::from(oid?), column.unwrap_or(0)))))
}

// $1 is the name, the last one the schemas to look in.

const RELATION: &str = "
SELECT c.oid, 0::int2
  FROM pg_catalog.parse_ident($1) p
  JOIN pg_catalog.pg_class c ON c.relname = p[pg_catalog.cardinality(p)]::name
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND CASE pg_catalog.cardinality(p) WHEN 1 THEN n.nspname = ANY ($2::name[]) WHEN 2 THEN n.nspname = p[1]::name ELSE false END
 ORDER BY pg_catalog.array_position($2::name[], n.nspname) LIMIT 1";

const COLUMN: &str = "
SELECT c.oid, a.attnum
  FROM pg_catalog.parse_ident($1) p
  JOIN pg_catalog.pg_class c ON c.relname = p[pg_catalog.cardinality(p) - 1]::name
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = p[pg_catalog.cardinality(p)]::name AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND CASE pg_catalog.cardinality(p) WHEN 2 THEN n.nspname = ANY ($2::name[]) WHEN 3 THEN n.nspname = p[1]::name ELSE false END
 ORDER BY pg_catalog.array_position($2::name[], n.nspname) LIMIT 1";

const TYPE: &str = "
SELECT c.oid, 0::int2
  FROM pg_catalog.parse_ident($1) p
  JOIN pg_catalog.pg_type c ON c.typname = p[pg_catalog.cardinality(p)]::name
  JOIN pg_catalog.pg_namespace n ON n.oid = c.typnamespace
 WHERE CASE pg_catalog.cardinality(p) WHEN 1 THEN n.nspname = ANY ($2::name[]) WHEN 2 THEN n.nspname = p[1]::name ELSE false END
 ORDER BY pg_catalog.array_position($2::name[], n.nspname) LIMIT 1";

/// $2: its arguments in parentheses, whose types are PostgreSQL's own or have their schema.
const FUNCTION: &str = "
SELECT c.oid, 0::int2
  FROM pg_catalog.parse_ident($1) p
 CROSS JOIN pg_catalog.unnest($3::name[]) WITH ORDINALITY s(name, place)
 CROSS JOIN LATERAL (SELECT pg_catalog.to_regprocedure(
          CASE pg_catalog.cardinality(p) WHEN 1 THEN pg_catalog.quote_ident(s.name) || '.' || pg_catalog.quote_ident(p[1])
                                         WHEN 2 THEN pg_catalog.quote_ident(p[1]) || '.' || pg_catalog.quote_ident(p[2]) END
          || $2)::oid) c(oid)
 WHERE c.oid IS NOT NULL
 ORDER BY s.place LIMIT 1";

const LARGE_OBJECT: &str =
    "SELECT c.oid, 0::int2 FROM pg_catalog.pg_largeobject_metadata c WHERE c.oid = $1::oid";

const PARAMETER: &str =
    "SELECT c.oid, 0::int2 FROM pg_catalog.pg_parameter_acl c WHERE c.parname = $1";

const SETTING: &str =
    "SELECT 0::oid, 0::int2 FROM pg_catalog.pg_settings c WHERE pg_catalog.lower(c.name) = $1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_names_may_say_their_kind() {
        assert_eq!(split("orders"), (None, "orders"));
        assert_eq!(split(" Table  a.b "), (Some(Kind::Relation), "a.b"));
        assert_eq!(split("\"table x\""), (None, "\"table x\""));
        assert_eq!(split("schema"), (None, "schema"));
        assert_eq!(split("schemas x"), (None, "schemas x"));
        assert_eq!(split("materialized view m"), (Some(Kind::Relation), "m"));
        assert_eq!(split("role r"), (Some(Kind::Role), "r"));
        assert_eq!(split(""), (None, ""));
        assert_eq!(split("é"), (None, "é"));
    }

    #[test]
    fn access_functions_have_their_arguments_split_off() {
        assert_eq!(split_arguments("f(int)"), Some(("f", "(int)")));
        assert_eq!(
            split_arguments("\"a(b\".\"c)\"(x)"),
            Some(("\"a(b\".\"c)\"", "(x)"))
        );
        assert_eq!(split_arguments("\"f(int)\""), None);
    }
}
