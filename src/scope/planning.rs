//! From a request, or from what a scope holds, to a plan: reads the catalogues, and finds out what the caller may hand out.
//!
//! Everything is asked of the last commit, whatever the transaction's isolation level, since GRANT
//! works that way too.

use std::collections::BTreeSet;

use pgrx::pg_sys;

use super::Error;
use super::facts::{
    AUTHORITY, Authority, COLUMNS, CREATORS, Column, Creator, DATABASE, Place, RELATIONS,
    RELATIONS_IN, ROUTINES, ROUTINES_IN, Relation, Routine, SCHEMAS, SEQUENCES_OF, array,
    is_system_schema, not_a_table,
};
use super::plan::{Grant, Grantor, Holdings, Need, Object, Wanted};
use super::planned::Planned;
use super::privilege::{Class, Privilege};
use super::request::Request;
use crate::pg::{identity, spi};

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
}

fn needed(everyones: bool) -> Need {
    if everyones {
        Need::Spare
    } else {
        Need::Implied
    }
}
