//! Rows of _scope.scope_declaration: as they are stored, and with what they mean today.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pg::spi;
use crate::scope::declaration::{Declaration, Stance};
use crate::scope::plan::{Grant, Object};
use crate::scope::privilege::{Class, Privilege};

/// A row as it is stored.
#[derive(Serialize)]
pub struct Row<'a> {
    class: &'static str,
    object: &'a str,
    object_oid: u32,
    part: &'a str,
    part_oid: u32,
    privilege: &'static str,
    stance: &'static str,
}

impl<'a> Row<'a> {
    pub fn of(declaration: &'a Declaration, grant: &Grant, stance: Stance) -> Self {
        let name = |object| declaration.names.get(&object).map_or("", String::as_str);
        let whole = |class, object_oid| (class, name(grant.object), object_oid, "", 0);
        let (class, object, object_oid, part, part_oid) = match grant.object {
            Object::Table(oid) => whole("table", oid),
            Object::Sequence(oid) => whole("sequence", oid),
            Object::Function(oid) => whole("function", oid),
            Object::Schema(oid) => whole("schema", oid),
            Object::Database(oid) => whole("database", oid),
            Object::Column(table, number) => (
                "column",
                name(Object::Table(table)),
                table,
                name(grant.object),
                u32::try_from(number).unwrap_or(0),
            ),
            Object::Future {
                creator,
                schema,
                class,
            } => (
                match class {
                    Class::Sequence => "future sequences",
                    Class::Function => "future functions",
                    Class::Table | Class::Column => "future tables",
                },
                name(Object::Schema(schema)),
                schema,
                name(grant.object),
                creator,
            ),
        };
        Row {
            class,
            object,
            object_oid,
            part,
            part_oid,
            privilege: grant.privilege.word(),
            stance: stance.word(),
        }
    }
}

/// A row with what it means today.
#[derive(Deserialize)]
pub struct Fact {
    role: u32,
    class: String,
    object: u32,
    part: u32,
    schema: u32,
    sql: String,
    /// The table of a column, the schema of future objects.
    place: String,
    owner: u32,
    privilege: String,
    stance: String,
}

impl Fact {
    fn object(&self) -> Option<Object> {
        let future = |class| Object::Future {
            creator: self.part,
            schema: self.object,
            class,
        };
        Some(match self.class.as_str() {
            "table" => Object::Table(self.object),
            "sequence" => Object::Sequence(self.object),
            "column" => Object::Column(self.object, i16::try_from(self.part).ok()?),
            "function" => Object::Function(self.object),
            "schema" => Object::Schema(self.object),
            "database" => Object::Database(self.object),
            "future tables" => future(Class::Table),
            "future sequences" => future(Class::Sequence),
            "future functions" => future(Class::Function),
            _ => return None,
        })
    }
}

/// Another object has the name under which one was declared.
#[derive(Deserialize)]
pub struct Replaced {
    pub role: u32,
    class: String,
    /// As SQL names it.
    pub name: String,
    /// The column, as SQL names it, and as it is.
    part: String,
    column: String,
    /// How the declared one is named now; nothing for one that is gone.
    pub today: String,
    pub privileges: Vec<String>,
}

impl Replaced {
    /// As a review shows it.
    pub fn shown(&self) -> String {
        let Self {
            class, name, part, ..
        } = self;
        match class.as_str() {
            "table" | "sequence" => name.clone(),
            "column" => format!("column {part} of {name}"),
            class if class.starts_with("future ") => format!("{class} in schema {name}"),
            class => format!("{class} {name}"),
        }
    }

    /// The call that adds it to a scope.
    pub fn added_to(&self, scope: &str) -> String {
        let array = |text: &str| format!("ARRAY[{}]", spi::literal(text));
        let name = array(&self.name);
        let privileges: Vec<String> = self
            .privileges
            .iter()
            .map(|word| spi::literal(word))
            .collect();
        let objects = match self.class.as_str() {
            "table" => format!("tables => {name}::regclass[]"),
            "column" => format!(
                "tables => {name}::regclass[], columns => {}",
                array(&self.column)
            ),
            "sequence" => format!("sequences => {name}::regclass[]"),
            "function" => format!("functions => {name}::regprocedure[]"),
            "schema" => format!("schemas => {name}::regnamespace[]"),
            _ => format!("schemas => {name}::regnamespace[], future_tables => true"),
        };
        format!(
            "SELECT scope.alter_scope({}, 'add', ARRAY[{}], {objects});",
            spi::literal(scope),
            privileges.join(", ")
        )
    }
}

#[derive(Deserialize)]
pub struct Newcomer {
    pub class: String,
    pub object: u32,
    pub schema: u32,
    pub owner: u32,
    pub sql: String,
}

pub fn collect(facts: Vec<Fact>) -> BTreeMap<u32, Declaration> {
    let mut declarations: BTreeMap<u32, Declaration> = BTreeMap::new();
    for fact in facts {
        let declaration = declarations.entry(fact.role).or_default();
        let (Some(object), Some(privilege), Some(stance)) = (
            fact.object(),
            Privilege::of_word(&fact.privilege),
            Stance::of_word(&fact.stance),
        ) else {
            continue;
        };
        declaration
            .grants
            .insert(Grant { object, privilege }, stance);
        if fact.owner == fact.role {
            declaration.owned.insert(object);
        }
        let place = match object {
            Object::Column(table, _) => Some(Object::Table(table)),
            Object::Future { schema, .. } => Some(Object::Schema(schema)),
            _ => None,
        };
        if let Some(place) = place {
            declaration.names.insert(place, fact.place);
        }
        if fact.schema != 0 {
            declaration.schemas.insert(object, fact.schema);
        }
        declaration.names.insert(object, fact.sql);
    }
    declarations
}
