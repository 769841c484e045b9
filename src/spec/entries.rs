//! What an entry of a spec's scope says: its privileges on the objects that it names.

use std::collections::BTreeSet;

use super::document::{FutureClass, Grants};
use super::steps::missing;
use super::{At, Error, names, state};
use crate::pg::{catalog, compat};
use crate::scope;
use crate::scope::plan::{Grant, Object};
use crate::scope::privilege::{Class, Privilege, Verbs};
use crate::scope::request::Request;

pub fn nothing(verbs: Verbs) -> Request {
    Request {
        verbs,
        tables: Vec::new(),
        columns: None,
        sequences: Vec::new(),
        functions: Vec::new(),
        schemas: Vec::new(),
        future: false,
    }
}

/// An entry as the arguments of scope.create_scope() would be.
pub fn request(at: &str, entry: &Grants) -> Result<Request, Error> {
    let verbs = Verbs::parse(&entry.privileges, compat::HAS_MAINTAIN)
        .map_err(scope::Error::from)
        .at(&format!("{at}/privileges"))?;
    let objects = objects(at, entry)?;
    let request = Request {
        verbs,
        tables: objects.tables,
        columns: entry.columns.clone(),
        sequences: objects.sequences,
        functions: objects.functions,
        schemas: objects.schemas,
        future: entry.future_tables,
    };
    if request.named().nothing() {
        return Err(Error::bad(at, "it names no object"));
    }
    Ok(request)
}

struct Objects {
    tables: Vec<u32>,
    sequences: Vec<u32>,
    functions: Vec<u32>,
    schemas: Vec<u32>,
}

/// The objects that an entry names, by OID.
fn objects(at: &str, entry: &Grants) -> Result<Objects, Error> {
    let relations = |key: &str, list: &[String]| -> Result<Vec<u32>, Error> {
        let mut oids = Vec::new();
        for (index, text) in list.iter().enumerate() {
            let at = format!("{at}/{key}/{index}");
            let found = match names::qualified(text) {
                Some(name) => state::relation(&name)?,
                None => None,
            };
            let what = if key == "tables" { "table" } else { "sequence" };
            oids.push(found.ok_or_else(|| missing(what, text, &at))?);
        }
        Ok(oids)
    };
    let mut functions = Vec::new();
    for (index, text) in entry.functions.iter().enumerate() {
        let at = format!("{at}/functions/{index}");
        functions.push(state::function(text)?.ok_or_else(|| missing("function", text, &at))?);
    }
    let mut schemas = Vec::new();
    for (index, name) in entry.schemas.iter().enumerate() {
        let at = format!("{at}/schemas/{index}");
        schemas.push(state::schema(name)?.ok_or_else(|| missing("schema", name, &at))?);
    }
    Ok(Objects {
        tables: relations("tables", &entry.tables)?,
        sequences: relations("sequences", &entry.sequences)?,
        functions,
        schemas,
    })
}

/// The grants of an exact entry: each privilege on each object that it fits.
pub fn listed(at: &str, entry: &Grants) -> Result<BTreeSet<Grant>, Error> {
    let mut words = Vec::new();
    for (index, word) in entry.privileges.iter().enumerate() {
        match Privilege::of_word(&word.trim().to_ascii_uppercase()) {
            Some(Privilege::Maintain) if !compat::HAS_MAINTAIN => {
                return Err(Error::bad(
                    &format!("{at}/privileges/{index}"),
                    "MAINTAIN came with PostgreSQL 17",
                ));
            }
            Some(privilege) => words.push(privilege),
            None => {
                return Err(Error::bad(
                    &format!("{at}/privileges/{index}"),
                    "it is no privilege that a scope can hold",
                ));
            }
        }
    }
    let named = objects(at, entry)?;
    let mut listed = BTreeSet::new();
    let mut add = |object: Object, fits: &dyn Fn(Privilege) -> bool| {
        for &privilege in words.iter().filter(|&&privilege| fits(privilege)) {
            listed.insert(Grant { object, privilege });
        }
    };
    match &entry.columns {
        None => {
            for &table in &named.tables {
                add(Object::Table(table), &|word| word.fits(Class::Table));
            }
        }
        Some(columns) => {
            let [table] = named.tables.as_slice() else {
                return Err(scope::Error::ColumnsOfWhat).at(at);
            };
            let known = state::columns(*table)?;
            for (index, name) in columns.iter().enumerate() {
                let column = known.iter().find(|column| column.name == *name);
                let at = format!("{at}/columns/{index}");
                let column = column.ok_or_else(|| missing("column", name, &at))?;
                add(Object::Column(*table, column.number), &|word| {
                    word.fits(Class::Column)
                });
            }
        }
    }
    for &sequence in &named.sequences {
        add(Object::Sequence(sequence), &|word| {
            word.fits(Class::Sequence)
        });
    }
    for &function in &named.functions {
        add(Object::Function(function), &|word| {
            word.fits(Class::Function)
        });
    }
    for &schema in &named.schemas {
        add(Object::Schema(schema), &|word| {
            matches!(word, Privilege::Usage | Privilege::Create)
        });
    }
    if entry.database {
        add(Object::Database(state::database()?), &|word| {
            word == Privilege::Connect
        });
    }
    for (index, future) in entry.future.iter().enumerate() {
        let at = format!("{at}/future/{index}");
        let creator = catalog::role_by_name(&future.creator)
            .ok_or_else(|| missing("role", &future.creator, &at))?;
        let schema = match &future.schema {
            None => 0,
            Some(name) => state::schema(name)?.ok_or_else(|| missing("schema", name, &at))?,
        };
        let class = class(future.of);
        add(
            Object::Future {
                creator: creator.oid.into(),
                schema,
                class,
            },
            &|word| word.fits(class),
        );
    }
    if listed.is_empty() {
        return Err(Error::bad(
            at,
            "none of its privileges fits any of its objects",
        ));
    }
    Ok(listed)
}

pub fn class(of: FutureClass) -> Class {
    match of {
        FutureClass::Tables => Class::Table,
        FutureClass::Sequences => Class::Sequence,
        FutureClass::Functions => Class::Function,
    }
}

/// Requests whose plans contain the grants, one for each kind of object and privilege.
pub fn requests(grants: &BTreeSet<Grant>, at: &str) -> Result<Vec<Request>, Error> {
    let mut requests = Vec::new();
    for grant in grants {
        let word = [grant.privilege.word().to_owned()];
        let verbs = |words: &[String]| {
            Verbs::parse(words, compat::HAS_MAINTAIN)
                .map_err(scope::Error::from)
                .at(at)
        };
        let request = match grant.object {
            Object::Table(table) => Request {
                tables: vec![table],
                ..nothing(verbs(&word)?)
            },
            Object::Column(table, number) => {
                let names = state::columns(table)?;
                let name = names.into_iter().find(|column| column.number == number);
                Request {
                    tables: vec![table],
                    columns: Some(name.into_iter().map(|column| column.name).collect()),
                    ..nothing(verbs(&word)?)
                }
            }
            Object::Sequence(sequence) => Request {
                sequences: vec![sequence],
                ..nothing(verbs(&word)?)
            },
            Object::Function(function) => Request {
                functions: vec![function],
                ..nothing(verbs(&word)?)
            },
            // Both privileges of a schema are in the plan of CREATE.
            Object::Schema(schema) => Request {
                schemas: vec![schema],
                ..nothing(verbs(&["CREATE".to_owned()])?)
            },
            Object::Database(_) => nothing(Verbs::read()),
            Object::Future { schema: 0, .. } => {
                return Err(Error::bad(
                    at,
                    "default privileges in any schema cannot be given to a scope",
                ));
            }
            Object::Future { schema, class, .. } => Request {
                schemas: vec![schema],
                future: true,
                // Those on sequences come as with CREATE.
                ..nothing(match class {
                    Class::Sequence => verbs(&[word[0].clone(), "CREATE".to_owned()])?,
                    _ => verbs(&word)?,
                })
            },
        };
        requests.push(request);
    }
    Ok(requests)
}
