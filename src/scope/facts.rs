//! From a request to a plan: reads the catalogues, and finds out what the caller may hand out.
//!
//! Everything is asked of the last commit, whatever the transaction's isolation level, since GRANT
//! works that way too.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;
use serde::Deserialize;

use super::plan::{Grant, Grantor, Holdings, Need, Object, Plan, Wanted};
use super::privilege::{Class, Named, Privilege, Verbs};
use super::{Error, may_hand_out};
use crate::pg::{catalog, identity, spi};

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub verbs: Verbs,
    pub tables: Vec<u32>,
    pub columns: Option<Vec<String>>,
    pub sequences: Vec<u32>,
    pub functions: Vec<u32>,
    pub schemas: Vec<u32>,
    /// With what will be created in the schemas.
    pub future: bool,
}

impl Request {
    pub fn named(&self) -> Named {
        Named {
            tables: !self.tables.is_empty(),
            columns: self.columns.is_some(),
            sequences: !self.sequences.is_empty(),
            functions: !self.functions.is_empty(),
            schemas: !self.schemas.is_empty(),
        }
    }
}

/// A plan with what has to be known around it.
pub struct Planned {
    pub plan: Plan,
    /// The name of the first object, for naming scopes.
    pub first: String,
    pub objects: usize,
    /// Sequences owned by the columns of the request's tables.
    pub sequences_of: BTreeMap<u32, BTreeSet<u32>>,
    /// Relations that the request reaches through their schema.
    pub through_schemas: Vec<u32>,
    /// Roles that create in the schemas, for which the caller may not speak.
    pub uncovered: Vec<String>,
    /// Schemas with future objects, of which somebody is covered.
    covered: BTreeSet<u32>,
    caller: pg_sys::Oid,
    /// The role that is to hold it, when it exists: what it owns needs no grant.
    holder: Option<u32>,
    owners: BTreeMap<u32, bool>,
}

/// What to grant so that the request is fulfilled. Fails when something does not exist or is not
/// for scopes; that the caller may grant it is a question to [`Planned::require_authority`].
pub fn plan(
    request: &Request,
    caller: pg_sys::Oid,
    holder: Option<pg_sys::Oid>,
) -> Result<Planned, Error> {
    request.verbs.check(request.named())?;
    if request.columns.is_some() && (request.tables.len() != 1 || !request.schemas.is_empty()) {
        return Err(Error::ColumnsOfWhat);
    }
    if request.columns.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::NoColumns);
    }
    if request.future && request.schemas.is_empty() {
        return Err(Error::FutureOfWhat);
    }
    let objects = request.tables.len()
        + request.sequences.len()
        + request.functions.len()
        + request.schemas.len();
    let mut planned = Planned::new(caller, holder, objects);
    // Read as the bootstrap superuser, since administrators may have closed catalogues; what the
    // caller may do is asked of them by OID.
    identity::elevated(|| planned.collect(request))?;
    Ok(planned)
}

/// What a scope holds already, and whether the caller may hand that out.
pub fn plan_of(
    held: &Holdings,
    caller: pg_sys::Oid,
    holder: pg_sys::Oid,
) -> Result<Planned, Error> {
    let mut planned = Planned::new(caller, Some(holder), 0);
    identity::elevated(|| planned.collect_held(held))?;
    Ok(planned)
}

impl Planned {
    fn new(caller: pg_sys::Oid, holder: Option<pg_sys::Oid>, objects: usize) -> Self {
        Self {
            plan: Plan::default(),
            first: String::new(),
            objects,
            sequences_of: BTreeMap::new(),
            through_schemas: Vec::new(),
            uncovered: Vec::new(),
            covered: BTreeSet::new(),
            caller,
            holder: holder.map(u32::from),
            owners: BTreeMap::new(),
        }
    }

    /// A grant for each that is held. Where the object is gone, so is the grant.
    fn collect_held(&mut self, held: &Holdings) -> Result<(), Error> {
        let caller = u32::from(self.caller).to_string();
        let grants: Vec<Grant> = held.grants.keys().copied().collect();
        let asked: Vec<_> = grants
            .iter()
            .enumerate()
            .map(|(place, grant)| {
                let (class, object, sub) = match grant.object {
                    Object::Table(oid) => ("table", oid, 0),
                    Object::Column(oid, number) => ("column", oid, number),
                    Object::Sequence(oid) => ("sequence", oid, 0),
                    Object::Function(oid) => ("function", oid, 0),
                    Object::Schema(oid) => ("schema", oid, 0),
                    Object::Database(oid) => ("database", oid, 0),
                    Object::Future { creator, .. } => ("role", creator, 0),
                };
                serde_json::json!({
                    "place": place, "class": class, "object": object, "sub": sub,
                    "privilege": grant.privilege.word(),
                })
            })
            .collect();
        self.plan.names.clone_from(&held.names);
        let asked = serde_json::to_string(&asked)?;
        for fact in spi::facts::<Authority>(AUTHORITY, &[&asked, &caller])? {
            let Some(grant) = grants.get(fact.place) else {
                continue;
            };
            if Some(fact.owner) == self.holder {
                continue;
            }
            let grantable = fact.may.then(|| grant.privilege.word().to_owned());
            self.want(
                grant.object,
                grant.privilege,
                needed(fact.everyones),
                grantable.as_slice(),
                fact.owner,
            );
        }
        Ok(())
    }

    fn collect(&mut self, request: &Request) -> Result<(), Error> {
        let caller = u32::from(self.caller).to_string();
        let mut namespaces: BTreeSet<u32> = request.schemas.iter().copied().collect();
        self.database(&caller)?;
        self.tables(request, &caller, &mut namespaces)?;
        self.sequences(request, &caller, &mut namespaces)?;
        self.functions(request, &caller, &mut namespaces)?;
        self.namespaces(request, &caller, &namespaces)?;
        if request.future {
            self.future(request, &caller)?;
        }
        Ok(())
    }

    /// Every scope may connect to its database.
    fn database(&mut self, caller: &str) -> Result<(), Error> {
        for fact in spi::facts::<Place>(DATABASE, &[caller])? {
            let object = Object::Database(fact.oid);
            self.plan.names.insert(object, fact.sql);
            self.want(
                object,
                Privilege::Connect,
                needed(fact.everyones),
                &fact.grantable,
                fact.owner,
            );
        }
        Ok(())
    }

    fn tables(
        &mut self,
        request: &Request,
        caller: &str,
        namespaces: &mut BTreeSet<u32>,
    ) -> Result<(), Error> {
        let verbs = request.verbs.on(Class::Table);
        let words = array(verbs.iter().map(|verb| verb.word()));
        let mut written = Vec::new();
        if !request.tables.is_empty() {
            let asked = array(&request.tables);
            for fact in spi::facts::<Relation>(RELATIONS, &[&asked, caller, &words])? {
                let fact = fact.existing()?;
                if let Some(kind) = not_a_table(&fact.kind) {
                    return Err(Error::WrongKind {
                        table: fact.shown(),
                        kind,
                    });
                }
                fact.require_ordinary()?;
                namespaces.insert(fact.namespace);
                written.push(fact.oid);
                if self.first.is_empty() {
                    self.first.clone_from(&fact.name);
                }
                match &request.columns {
                    None => self.relation(Object::Table(fact.oid), &fact, &verbs, Need::Asked),
                    Some(columns) => self.columns(&fact, columns, request, caller, &words)?,
                }
            }
        }
        if !request.schemas.is_empty() {
            let schemas = array(&request.schemas);
            let sequences = request.verbs.on_sequences_of_schema();
            for fact in spi::facts::<Relation>(RELATIONS_IN, &[&schemas, caller, &words])? {
                if fact.kind == "S" {
                    if !sequences.is_empty() {
                        self.through_schemas.push(fact.oid);
                        self.relation(Object::Sequence(fact.oid), &fact, &sequences, Need::Asked);
                    }
                } else if !verbs.is_empty() {
                    self.through_schemas.push(fact.oid);
                    self.relation(Object::Table(fact.oid), &fact, &verbs, Need::Asked);
                }
            }
        }
        if !written.is_empty() && request.verbs.writes() {
            for fact in spi::facts::<Relation>(SEQUENCES_OF, &[&array(&written), caller])? {
                let sequences = self.sequences_of.entry(fact.owned_by).or_default();
                sequences.insert(fact.oid);
                namespaces.insert(fact.namespace);
                // Identity columns draw their numbers without a privilege.
                let need = if fact.identity {
                    Need::Spare
                } else {
                    Need::Implied
                };
                let usage = BTreeSet::from([Privilege::Usage]);
                self.relation(Object::Sequence(fact.oid), &fact, &usage, need);
            }
        }
        Ok(())
    }

    fn columns(
        &mut self,
        table: &Relation,
        columns: &[String],
        request: &Request,
        caller: &str,
        words: &str,
    ) -> Result<(), Error> {
        self.plan
            .names
            .insert(Object::Table(table.oid), table.sql.clone());
        let oid = table.oid.to_string();
        let facts = spi::facts::<Column>(COLUMNS, &[&oid, caller, words])?;
        for name in columns {
            let Some(fact) = facts.iter().find(|fact| &fact.name == name) else {
                return Err(Error::NoSuchColumn {
                    table: table.shown(),
                    column: name.clone(),
                });
            };
            let object = Object::Column(table.oid, fact.number);
            self.plan.names.insert(object, fact.sql.clone());
            self.plan.schemas.insert(object, table.namespace);
            for verb in request.verbs.on(Class::Column) {
                self.want(object, verb, Need::Asked, &fact.grantable, table.owner);
            }
        }
        Ok(())
    }

    fn sequences(
        &mut self,
        request: &Request,
        caller: &str,
        namespaces: &mut BTreeSet<u32>,
    ) -> Result<(), Error> {
        if request.sequences.is_empty() {
            return Ok(());
        }
        let verbs = request.verbs.on(Class::Sequence);
        let asked = array(&request.sequences);
        for fact in spi::facts::<Relation>(RELATIONS, &[&asked, caller, "{}"])? {
            let fact = fact.existing()?;
            if fact.kind != "S" {
                return Err(Error::NotASequence {
                    object: fact.shown(),
                });
            }
            fact.require_ordinary()?;
            namespaces.insert(fact.namespace);
            if self.first.is_empty() {
                self.first.clone_from(&fact.name);
            }
            self.relation(Object::Sequence(fact.oid), &fact, &verbs, Need::Asked);
        }
        Ok(())
    }

    fn functions(
        &mut self,
        request: &Request,
        caller: &str,
        namespaces: &mut BTreeSet<u32>,
    ) -> Result<(), Error> {
        if !request.functions.is_empty() {
            let asked = array(&request.functions);
            for fact in spi::facts::<Routine>(ROUTINES, &[&asked, caller])? {
                let fact = fact.existing()?;
                namespaces.insert(fact.namespace);
                if self.first.is_empty() {
                    self.first.clone_from(&fact.name);
                }
                self.routine(&fact, Need::Asked);
            }
        }
        if !request.schemas.is_empty() && request.verbs.has(Privilege::Execute) {
            let schemas = array(&request.schemas);
            for fact in spi::facts::<Routine>(ROUTINES_IN, &[&schemas, caller])? {
                self.through_schemas.push(fact.oid);
                let need = if fact.everyones {
                    Need::Spare
                } else {
                    Need::Asked
                };
                self.routine(&fact, need);
            }
        }
        Ok(())
    }

    /// The way to the objects, and the schemas that were named themselves.
    fn namespaces(
        &mut self,
        request: &Request,
        caller: &str,
        namespaces: &BTreeSet<u32>,
    ) -> Result<(), Error> {
        if namespaces.is_empty() {
            return Ok(());
        }
        for fact in spi::facts::<Place>(SCHEMAS, &[&array(namespaces), caller])? {
            let named = request.schemas.contains(&fact.oid);
            if !fact.exists {
                return Err(Error::NoSuchSchema { oid: fact.oid });
            }
            if is_system_schema(&fact.name) {
                return Err(Error::System {
                    table: fact.name.clone(),
                });
            }
            if named && self.first.is_empty() {
                self.first.clone_from(&fact.name);
            }
            let object = Object::Schema(fact.oid);
            self.plan.names.insert(object, fact.sql.clone());
            self.plan.schemas.insert(object, fact.oid);
            self.want(
                object,
                Privilege::Usage,
                needed(fact.everyones),
                &fact.grantable,
                fact.owner,
            );
            if named && request.verbs.has(Privilege::Create) {
                self.want(
                    object,
                    Privilege::Create,
                    Need::Asked,
                    &fact.grantable,
                    fact.owner,
                );
            }
        }
        Ok(())
    }

    /// Default privileges, for those who create there now and for whom the caller may speak.
    fn future(&mut self, request: &Request, caller: &str) -> Result<(), Error> {
        let classes = [
            (Class::Table, request.verbs.on(Class::Table)),
            (Class::Sequence, request.verbs.on_sequences_of_schema()),
            (
                Class::Function,
                if request.verbs.has(Privilege::Execute) {
                    request.verbs.on(Class::Function)
                } else {
                    BTreeSet::new()
                },
            ),
        ];
        for fact in spi::facts::<Creator>(CREATORS, &[&array(&request.schemas), caller])? {
            if Some(fact.role) == self.holder {
                self.covered.insert(fact.schema);
                continue;
            }
            let grantor = if fact.may {
                Grantor::Caller
            } else if self.is_own_scope(fact.role) {
                Grantor::Scope(fact.role)
            } else {
                Grantor::Nobody
            };
            let need = if grantor == Grantor::Nobody {
                self.uncovered.push(fact.sql.clone());
                Need::Spare
            } else {
                self.covered.insert(fact.schema);
                Need::Asked
            };
            for (class, verbs) in &classes {
                let object = Object::Future {
                    creator: fact.role,
                    schema: fact.schema,
                    class: *class,
                };
                self.plan.names.insert(object, fact.sql.clone());
                self.plan.schemas.insert(object, fact.schema);
                for &verb in verbs {
                    self.plan.add(object, verb, Wanted { need, grantor });
                }
            }
        }
        self.uncovered.sort_unstable();
        self.uncovered.dedup();
        Ok(())
    }

    fn relation(
        &mut self,
        object: Object,
        fact: &Relation,
        verbs: &BTreeSet<Privilege>,
        need: Need,
    ) {
        if Some(fact.owner) == self.holder {
            return;
        }
        self.plan.names.insert(object, fact.sql.clone());
        self.plan.schemas.insert(object, fact.namespace);
        for &verb in verbs {
            self.want(object, verb, need, &fact.grantable, fact.owner);
        }
    }

    fn routine(&mut self, fact: &Routine, need: Need) {
        if Some(fact.owner) == self.holder {
            return;
        }
        let object = Object::Function(fact.oid);
        self.plan.names.insert(object, fact.sql.clone());
        self.plan.schemas.insert(object, fact.namespace);
        self.want(
            object,
            Privilege::Execute,
            need,
            &fact.grantable,
            fact.owner,
        );
    }

    fn want(
        &mut self,
        object: Object,
        verb: Privilege,
        need: Need,
        grantable: &[String],
        owner: u32,
    ) {
        let grantor = if grantable.iter().any(|word| word == verb.word()) {
            Grantor::Caller
        } else if self.is_own_scope(owner) {
            Grantor::Scope(owner)
        } else {
            Grantor::Nobody
        };
        self.plan.add(object, verb, Wanted { need, grantor });
    }

    /// Is this role a scope that the caller controls? What sessions of such a scope have created is
    /// the caller's to hand out: a login of that scope is theirs for the asking.
    fn is_own_scope(&mut self, role: u32) -> bool {
        let caller = self.caller;
        *self
            .owners
            .entry(role)
            .or_insert_with(|| may_hand_out(caller, role.into()))
    }

    /// Nobody hands out what they do not have.
    pub fn require_authority(&self, grants: &[(Grant, Wanted)]) -> Result<(), Error> {
        let refused: Vec<Grant> = grants
            .iter()
            .filter(|(_, wanted)| wanted.grantor == Grantor::Nobody)
            .map(|&(grant, _)| grant)
            .collect();
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(Error::MayNotGrant {
                object: self.sql_of(first.object),
                privilege: first.privilege.word(),
                caller: catalog::role_by_oid(self.caller)
                    .map(|role| role.name)
                    .unwrap_or_default(),
                others: refused.len() - 1,
            }),
        }
    }

    /// Future objects of a schema in which the caller may speak for nobody would be an empty promise.
    pub fn require_future(&self, request: &Request) -> Result<(), Error> {
        let lacking = request
            .schemas
            .iter()
            .find(|&schema| request.future && !self.covered.contains(schema));
        match lacking {
            None => Ok(()),
            Some(&schema) => Err(Error::MayNotActForCreators {
                schema: self
                    .plan
                    .names
                    .get(&Object::Schema(schema))
                    .cloned()
                    .unwrap_or_default(),
                creators: self.uncovered.clone(),
            }),
        }
    }

    /// As GRANT … ON names it.
    fn sql_of(&self, object: Object) -> String {
        let name = |object| self.plan.names.get(&object).cloned().unwrap_or_default();
        match object {
            Object::Column(table, _) => {
                format!("column {} of {}", name(object), name(Object::Table(table)))
            }
            Object::Sequence(_) => format!("SEQUENCE {}", name(object)),
            Object::Function(_) => format!("ROUTINE {}", name(object)),
            Object::Schema(_) => format!("SCHEMA {}", name(object)),
            Object::Database(_) => format!("DATABASE {}", name(object)),
            Object::Table(_) | Object::Future { .. } => name(object),
        }
    }
}

/// One function, with what the caller may do to it.
pub fn routine(function: u32, caller: pg_sys::Oid) -> Result<Routine, Error> {
    let caller = u32::from(caller).to_string();
    let facts = identity::elevated(|| spi::facts(ROUTINES, &[&array([function]), &caller]))?;
    match facts.into_iter().next() {
        Some(fact) => Routine::existing(fact),
        None => Err(Error::NoSuchFunction { oid: function }),
    }
}

fn needed(everyones: bool) -> Need {
    if everyones {
        Need::Spare
    } else {
        Need::Implied
    }
}

/// PostgreSQL's own schemas; their objects have OIDs of their own range, extensions' do not.
pub fn is_system_schema(name: &str) -> bool {
    name.starts_with("pg_") || name == "information_schema"
}

/// What the relation is, when it is nothing with rows of its own.
fn not_a_table(relkind: &str) -> Option<&'static str> {
    match relkind {
        "r" | "p" | "v" | "m" | "f" => None,
        "S" => Some("a sequence"),
        "i" | "I" => Some("an index"),
        "c" => Some("a composite type"),
        "t" => Some("a TOAST table"),
        _ => Some("another kind of relation"),
    }
}

/// An array literal of numbers or plain words.
fn array<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(","))
}

#[derive(Deserialize)]
struct Relation {
    oid: u32,
    exists: bool,
    #[serde(default)]
    name: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    namespace: u32,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    owner: u32,
    #[serde(default)]
    sql: String,
    #[serde(default)]
    grantable: Vec<String>,
    /// The table that a sequence belongs to.
    #[serde(default)]
    owned_by: u32,
    #[serde(default)]
    identity: bool,
}

impl Relation {
    fn existing(self) -> Result<Self, Error> {
        if self.exists {
            Ok(self)
        } else {
            Err(Error::NoSuchTable { oid: self.oid })
        }
    }

    fn shown(&self) -> String {
        self.sql.clone()
    }

    fn require_ordinary(&self) -> Result<(), Error> {
        if self.temporary {
            return Err(Error::Temporary {
                table: self.shown(),
            });
        }
        if self.oid < pg_sys::FirstNormalObjectId || is_system_schema(&self.schema) {
            return Err(Error::System {
                table: self.shown(),
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Column {
    name: String,
    number: i16,
    sql: String,
    grantable: Vec<String>,
}

#[derive(Deserialize)]
pub struct Routine {
    oid: u32,
    exists: bool,
    #[serde(default)]
    name: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    namespace: u32,
    #[serde(default)]
    pub owner: u32,
    #[serde(default)]
    pub sql: String,
    #[serde(default)]
    grantable: Vec<String>,
    #[serde(default)]
    everyones: bool,
}

impl Routine {
    fn existing(self) -> Result<Self, Error> {
        if !self.exists {
            Err(Error::NoSuchFunction { oid: self.oid })
        } else if self.oid < pg_sys::FirstNormalObjectId || is_system_schema(&self.schema) {
            Err(Error::System { table: self.sql })
        } else {
            Ok(self)
        }
    }
}

/// A schema or the database.
#[derive(Deserialize)]
struct Place {
    oid: u32,
    exists: bool,
    #[serde(default)]
    name: String,
    #[serde(default)]
    sql: String,
    #[serde(default)]
    owner: u32,
    #[serde(default)]
    everyones: bool,
    #[serde(default)]
    grantable: Vec<String>,
}

#[derive(Deserialize)]
struct Creator {
    schema: u32,
    role: u32,
    sql: String,
    may: bool,
}

/// What the caller may do with one grant of another's.
#[derive(Deserialize)]
struct Authority {
    place: usize,
    owner: u32,
    everyones: bool,
    may: bool,
}

// In all: $2 (or $1 of DATABASE) is the caller. They run with search_path pinned.

macro_rules! relations {
    ($from:literal) => {
        concat!(
            "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
                'name', c.relname, 'schema', n.nspname, 'namespace', n.oid::bigint,
                'kind', c.relkind, 'temporary', c.relpersistence = 't', 'owner', c.relowner::bigint,
                'sql', pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                'owned_by', asked.owned_by::bigint, 'identity', asked.identity,
                'grantable', CASE
                    WHEN c.relkind = 'S' THEN
                        ARRAY(SELECT v FROM pg_catalog.unnest('{SELECT,UPDATE,USAGE}'::text[]) v
                               WHERE pg_catalog.has_sequence_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION'))
                    ELSE
                        ARRAY(SELECT v FROM pg_catalog.unnest(", $from
        )
    };
}

const RELATIONS: &str = concat!(
    relations!("$3::text[]) v"),
    "          WHERE pg_catalog.has_table_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION')) END))::text
     FROM (SELECT DISTINCT o AS oid, NULL::oid AS owned_by, NULL::boolean AS identity
             FROM pg_catalog.unnest($1::oid[]) o) asked
     LEFT JOIN pg_catalog.pg_class c ON c.oid = asked.oid
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    ORDER BY pg_catalog.array_position($1::oid[], asked.oid)"
);

const RELATIONS_IN: &str = concat!(
    relations!("$3::text[]) v"),
    "          WHERE pg_catalog.has_table_privilege($2::text::oid, c.oid, v || ' WITH GRANT OPTION')) END))::text
     FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT c.oid, NULL::oid AS owned_by, NULL::boolean AS identity) asked
    WHERE c.relnamespace = ANY ($1::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ORDER BY c.oid"
);

/// Sequences that belong to columns (serial, identity, OWNED BY) of the tables $1.
const SEQUENCES_OF: &str = concat!(
    relations!("'{}'::text[]) v"),
    ") END))::text
     FROM (SELECT objid AS oid, refobjid AS owned_by, deptype = 'i' AS identity
             FROM pg_catalog.pg_depend
            WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND refobjid = ANY ($1::oid[]) AND refobjsubid > 0 AND deptype IN ('a', 'i')) asked
     JOIN pg_catalog.pg_class c ON c.oid = asked.oid AND c.relkind = 'S'
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    ORDER BY c.oid"
);

/// $1 the table, $3 privileges.
const COLUMNS: &str = "
SELECT pg_catalog.jsonb_build_object(
         'name', a.attname, 'number', a.attnum, 'sql', pg_catalog.quote_ident(a.attname),
         'grantable', ARRAY(SELECT v FROM pg_catalog.unnest($3::text[]) v
             WHERE pg_catalog.has_column_privilege($2::text::oid, a.attrelid, a.attnum, v || ' WITH GRANT OPTION')))::text
  FROM pg_catalog.pg_attribute a
 WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped";

macro_rules! routines {
    ($from:literal) => {
        concat!(
            "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
                'name', p.proname, 'schema', n.nspname, 'namespace', n.oid::bigint, 'owner', p.proowner::bigint,
                'sql', p.oid::pg_catalog.regprocedure::text,
                'everyones', pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE'),
                'grantable', CASE WHEN pg_catalog.has_function_privilege($2::text::oid, p.oid, 'EXECUTE WITH GRANT OPTION')
                                  THEN '{EXECUTE}'::text[] ELSE '{}' END))::text ",
            $from
        )
    };
}

const ROUTINES: &str = routines!(
    "FROM (SELECT DISTINCT o AS oid FROM pg_catalog.unnest($1::oid[]) o) asked
     LEFT JOIN pg_catalog.pg_proc p ON p.oid = asked.oid
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    ORDER BY pg_catalog.array_position($1::oid[], asked.oid)"
);

const ROUTINES_IN: &str = routines!(
    "FROM pg_catalog.pg_proc p
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    CROSS JOIN LATERAL (SELECT p.oid) asked
    WHERE p.pronamespace = ANY ($1::oid[])
    ORDER BY p.oid"
);

const SCHEMAS: &str = "
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'oid', asked.oid::bigint, 'exists', n.oid IS NOT NULL,
         'name', n.nspname, 'sql', pg_catalog.quote_ident(n.nspname), 'owner', n.nspowner::bigint,
         'everyones', pg_catalog.has_schema_privilege('public', n.oid, 'USAGE'),
         'grantable', ARRAY(SELECT v FROM pg_catalog.unnest('{USAGE,CREATE}'::text[]) v
             WHERE pg_catalog.has_schema_privilege($2::text::oid, n.oid, v || ' WITH GRANT OPTION'))))::text
  FROM (SELECT DISTINCT o AS oid FROM pg_catalog.unnest($1::oid[]) o) asked
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = asked.oid
 ORDER BY pg_catalog.array_position($1::oid[], asked.oid)";

const DATABASE: &str = "
SELECT pg_catalog.jsonb_build_object(
         'oid', d.oid::bigint, 'exists', true,
         'name', d.datname, 'sql', pg_catalog.quote_ident(d.datname), 'owner', d.datdba::bigint,
         'everyones', pg_catalog.has_database_privilege('public', d.oid, 'CONNECT'),
         'grantable', CASE WHEN pg_catalog.has_database_privilege($1::text::oid, d.oid, 'CONNECT WITH GRANT OPTION')
                           THEN '{CONNECT}'::text[] ELSE '{}' END)::text
  FROM pg_catalog.pg_database d
 WHERE d.datname = pg_catalog.current_database()";

/// $1: grants as JSON. Default privileges are for those to give who may act for their role.
const AUTHORITY: &str = "
SELECT pg_catalog.jsonb_build_object(
         'place', g.place, 'owner', o.owner::bigint,
         'everyones', CASE g.class
             WHEN 'table' THEN pg_catalog.has_table_privilege('public', g.object, g.privilege)
             WHEN 'column' THEN pg_catalog.has_column_privilege('public', g.object, g.sub, g.privilege)
             WHEN 'sequence' THEN pg_catalog.has_sequence_privilege('public', g.object, g.privilege)
             WHEN 'function' THEN pg_catalog.has_function_privilege('public', g.object, g.privilege)
             WHEN 'schema' THEN pg_catalog.has_schema_privilege('public', g.object, g.privilege)
             WHEN 'database' THEN pg_catalog.has_database_privilege('public', g.object, g.privilege)
             ELSE false END,
         'may', CASE g.class
             WHEN 'table' THEN pg_catalog.has_table_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'column' THEN pg_catalog.has_column_privilege($2::text::oid, g.object, g.sub, g.privilege || ' WITH GRANT OPTION')
             WHEN 'sequence' THEN pg_catalog.has_sequence_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'function' THEN pg_catalog.has_function_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'schema' THEN pg_catalog.has_schema_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             WHEN 'database' THEN pg_catalog.has_database_privilege($2::text::oid, g.object, g.privilege || ' WITH GRANT OPTION')
             ELSE pg_catalog.pg_has_role($2::text::oid, g.object, 'USAGE') END)::text
  FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS g(place int, class text, object oid, sub smallint, privilege text)
 CROSS JOIN LATERAL (
       SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = g.object AND g.class IN ('table', 'column', 'sequence')
        UNION ALL SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.oid = g.object AND g.class = 'function'
        UNION ALL SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.oid = g.object AND g.class = 'schema'
        UNION ALL SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.oid = g.object AND g.class = 'database'
        UNION ALL SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.oid = g.object AND g.class = 'role') o(owner)";

/// Who creates in the schemas $1: their owners, those with CREATE, the owners of what is there, and
/// the members of all these who have CREATE by it. Not our logins, which own nothing.
const CREATORS: &str = "
WITH RECURSIVE place AS (
       SELECT n.oid, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1::oid[])),
     named(schema, role) AS (
       SELECT oid, nspowner FROM place
       UNION SELECT p.oid, a.grantee FROM place p, pg_catalog.aclexplode(p.nspacl) a
              WHERE a.privilege_type = 'CREATE' AND a.grantee <> 0
       UNION SELECT c.relnamespace, c.relowner FROM pg_catalog.pg_class c
              WHERE c.relnamespace IN (SELECT oid FROM place) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')),
     -- The owner of the database is a member of pg_database_owner that no catalogue lists.
     real(schema, role) AS (
       SELECT n.schema, CASE WHEN r.rolname = 'pg_database_owner' THEN d.datdba ELSE n.role END
         FROM named n JOIN pg_catalog.pg_roles r ON r.oid = n.role
         JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()),
     reach(schema, role) AS (
       SELECT schema, role FROM real
       UNION SELECT r.schema, m.member FROM reach r JOIN pg_catalog.pg_auth_members m ON m.roleid = r.role)
SELECT pg_catalog.jsonb_build_object(
         'schema', c.schema::bigint, 'role', c.role::bigint, 'sql', pg_catalog.quote_ident(r.rolname),
         'may', pg_catalog.pg_has_role($2::text::oid, c.role, 'USAGE'))::text
  FROM reach c
  JOIN pg_catalog.pg_roles r ON r.oid = c.role
 WHERE (EXISTS (SELECT FROM real WHERE real.schema = c.schema AND real.role = c.role)
        OR pg_catalog.has_schema_privilege(c.role, c.schema, 'CREATE'))
   AND NOT EXISTS (
         SELECT FROM pg_catalog.pg_shseclabel l
          WHERE l.objoid = c.role AND l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
            AND l.provider = 'scope_roles' AND l.label::pg_catalog.jsonb ->> 'kind' <> 'scope')
 ORDER BY 1";
