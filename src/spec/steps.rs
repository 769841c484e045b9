//! From a spec and what there is to the steps between them, in the order in which they are made.
//!
//! Nothing is changed here. What a step needs is asked of the caller now, so that a plan that is shown
//! is one that its caller could apply.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::document::{Authenticator, Document, FutureClass, Grants, Mode, Scope};
use super::state::{self, Member};
use super::{At, Error, guards, memberships, names, policies};
use crate::credential::authority::is_over;
use crate::guard::rule::{Action, Rule};
use crate::label;
use crate::pg::{catalog, compat, identity, spi};
use crate::scope::plan::{self, Direction, Grant, Grantor, Holdings, Need, Object, Wanted};
use crate::scope::planned::Planned;
use crate::scope::privilege::{Class, Privilege, Verbs};
use crate::scope::request::Request;
use crate::scope::{self, held, name, planning};

/// Something to be done, and what does it.
pub struct Step {
    /// What it is about, in words.
    pub object: String,
    pub statement: String,
    pub reason: String,
    pub work: Work,
}

pub enum Work {
    CreateScope {
        name: String,
        purpose: Option<String>,
    },
    DropScope {
        name: String,
    },
    /// The statement itself, as somebody.
    Sql(Actor),
    /// The label of a scope or login of the caller's.
    Label {
        role: String,
        change: policies::Change,
    },
    CreateAuthenticator(Authenticator),
    /// The row of an issuer.
    Issuer(policies::IssuerChange),
    Guard {
        role: String,
        action: Action,
        rule: Rule,
    },
    /// Whether a function may write for roles that only read.
    Writes {
        function: u32,
        allowed: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    Caller,
    /// A grantor: a REVOKE takes back the grants of the one who runs it.
    Role(u32),
    /// Where the caller's authority has been asked for already.
    Extension,
}

/// All that is to be done, in order, and what to tell about it.
pub struct Plan {
    pub steps: Vec<Step>,
    /// Others will create in schemas whose future objects are declared.
    pub changes_creators: bool,
    pub notices: Vec<Notice>,
    /// What scopes declare from now on, once the steps are made.
    pub declared: Vec<Declared>,
}

/// What a spec makes of a scope's declaration.
pub struct Declared {
    pub scope: String,
    pub change: Declares,
}

pub enum Declares {
    /// All this, besides what it declares already.
    Also(plan::Plan),
    /// This and nothing else.
    Only(plan::Plan),
    /// No longer these.
    Without(BTreeSet<Grant>),
}

pub struct Notice {
    pub message: String,
    pub detail: String,
    pub hint: &'static str,
}

pub fn plan(document: &Document) -> Result<Plan, Error> {
    let mut found = Found::default();
    for (index, scope) in document.scopes.iter().enumerate() {
        let at = format!("/scopes/{index}");
        if scope.absent {
            found.drop_scope(&at, scope)?;
        } else {
            found
                .scope(&at, scope, document.mode)
                .map_err(|error| error.placed(&at))?;
        }
    }
    if document.mode == Mode::Authoritative {
        found.undeclared(document)?;
    }
    memberships::steps(document, &mut found)?;
    policies::steps(document, &mut found)?;
    guards::steps(document, &mut found)?;
    // What is made comes before what refers to it. REVOKE on a table takes its columns along, so that
    // these are granted after it. Who loses a membership does before others get it,
    // since roles cannot be members of each other. Who gets a role is guarded from the first.
    let Found {
        created,
        granted,
        revoked,
        guarded,
        left,
        joined,
        policies,
        dropped,
        notices,
        declared,
    } = found;
    let has_future = |scope: &Scope| scope.grants.iter().any(|entry| entry.future_tables);
    let creates = |step: &Step| step.statement.contains("CREATE ON SCHEMA");
    let changes_creators = document.scopes.iter().any(has_future)
        && (!left.is_empty() || !joined.is_empty() || granted.iter().chain(&revoked).any(creates));
    let steps = [
        created, revoked, granted, guarded, left, joined, policies, dropped,
    ];
    Ok(Plan {
        steps: steps.into_iter().flatten().collect(),
        changes_creators,
        notices,
        declared,
    })
}

/// Steps by their turn.
#[derive(Default)]
pub struct Found {
    pub created: Vec<Step>,
    granted: Vec<Step>,
    revoked: Vec<Step>,
    pub guarded: Vec<Step>,
    /// Memberships that end, and that begin.
    pub left: Vec<Step>,
    pub joined: Vec<Step>,
    pub policies: Vec<Step>,
    dropped: Vec<Step>,
    pub notices: Vec<Notice>,
    declared: Vec<Declared>,
}

/// The plan of a scope, put together from its entries.
#[derive(Default)]
struct Whole {
    plan: plan::Plan,
    /// The entry that asked for a grant first.
    entries: BTreeMap<Grant, usize>,
    uncovered: BTreeSet<String>,
}

impl Found {
    fn scope(&mut self, at: &str, declared: &Scope, mode: Mode) -> Result<(), Error> {
        let existing = match catalog::role_by_name(&declared.name) {
            Some(_) => Some(scope::own(&declared.name)?),
            None => None,
        };
        let held = match &existing {
            Some(existing) => {
                existing.require_usable()?;
                held::by(existing.oid)?
            }
            None => {
                name::check(&declared.name)
                    .map_err(scope::Error::from)
                    .at(&format!("{at}/name"))?;
                if spi::identifier(&declared.name) != declared.name {
                    return Err(scope::Error::from(name::BadName::Keyword).into());
                }
                Holdings::default()
            }
        };
        check_purpose(at, declared.purpose.as_deref())?;
        let holder = existing.as_ref().map(|existing| existing.oid);
        let mut whole = self::whole(at, declared, holder, &held)?;
        let mut stays = held.clone();
        let excess = match mode {
            Mode::Additive => Vec::new(),
            Mode::Authoritative => whole.plan.difference(&held).excess,
        };
        let lost = held.columns_lost_with(&excess);
        if !lost.is_empty() {
            stays.grants.retain(|grant, _| !lost.contains(grant));
            whole = self::whole(at, declared, holder, &stays)?;
        }
        match &existing {
            None => {
                require_function("create_scope", at)?;
                let mut statement =
                    format!("SELECT scope.create_scope({}", spi::literal(&declared.name));
                if let Some(purpose) = &declared.purpose {
                    statement += &format!(", purpose => {}", spi::literal(purpose));
                }
                self.created.push(Step {
                    object: format!("scope {}", declared.name),
                    statement: statement + ")",
                    reason: format!("declared at {at}, and not there"),
                    work: Work::CreateScope {
                        name: declared.name.clone(),
                        purpose: declared.purpose.clone(),
                    },
                });
            }
            Some(existing) => {
                if let Some(purpose) = &declared.purpose
                    && existing.metadata.purpose.as_ref() != Some(purpose)
                {
                    require_function("create_scope", at)?;
                    let change = policies::Change::Purpose(purpose.clone());
                    let step = policies::label_step(&declared.name, &existing.metadata, change);
                    self.policies.push(Step {
                        reason: format!("another purpose is declared at {at}/purpose"),
                        ..step
                    });
                }
            }
        }
        self.grants(at, declared, &whole, &stays, existing.is_none())?;
        self.declared.push(Declared {
            scope: declared.name.clone(),
            change: match mode {
                Mode::Additive => Declares::Also(whole.plan),
                Mode::Authoritative => Declares::Only(whole.plan),
            },
        });
        if !excess.is_empty() {
            require_function("alter_scope", at)?;
            let reason = format!("not declared at {at}, which is authoritative");
            self.revoke(&declared.name, &held, &excess, &reason);
        }
        let others = held.others.iter().filter_map(|other| match other {
            plan::Other::Owns { what, .. } | plan::Other::Policy { what } => Some(what),
            // Memberships have a place of their own.
            plan::Other::Else { what } if what.starts_with("membership in ") => None,
            plan::Other::Else { what } => Some(what),
        });
        let others: Vec<String> = others.cloned().collect();
        if !others.is_empty() && mode == Mode::Authoritative {
            self.notices.push(Notice {
                message: format!("scope \"{}\" has what no spec can say", declared.name),
                detail: format!("It has {}.", scope::some_of(&others)),
                hint: "Nothing of that is changed; scope.scopes shows it.",
            });
        }
        if !whole.uncovered.is_empty() && existing.is_none() {
            let uncovered: Vec<String> = whole.uncovered.into_iter().collect();
            self.notices.push(Notice {
                message: format!(
                    "future tables of some roles are not covered by scope \"{}\"",
                    declared.name
                ),
                detail: format!(
                    "Only {} and superusers can set their default privileges.",
                    uncovered.join(", ")
                ),
                hint: "Apply the spec as a member of these roles too.",
            });
        }
        Ok(())
    }

    /// What a scope lacks, a statement for each entry, way and kind.
    fn grants(
        &mut self,
        at: &str,
        declared: &Scope,
        whole: &Whole,
        held: &Holdings,
        is_new: bool,
    ) -> Result<(), Error> {
        let mut groups: BTreeMap<(usize, bool, Grantor), Vec<&Grant>> = BTreeMap::new();
        for (grant, wanted) in &whole.plan.grants {
            // A scope that is made may connect already. What works without is granted at first only.
            let done = held.grants.contains_key(grant)
                || is_new && matches!(grant.object, Object::Database(_));
            let spare = wanted.need == Need::Spare;
            if done || spare && (!is_new || wanted.grantor == Grantor::Nobody) {
                continue;
            }
            let entry = whole.entries.get(grant).copied().unwrap_or_default();
            let group = (entry, wanted.need != Need::Asked, wanted.grantor);
            groups.entry(group).or_default().push(grant);
        }
        if !groups.is_empty() {
            require_function(
                if is_new {
                    "create_scope"
                } else {
                    "alter_scope"
                },
                at,
            )?;
        }
        let role = spi::identifier(&declared.name);
        for ((entry, comes_along, grantor), grants) in groups {
            let actor = match grantor {
                Grantor::Caller => Actor::Caller,
                Grantor::Scope(owner) => Actor::Role(owner),
                Grantor::Nobody => continue,
            };
            let reason = if comes_along {
                format!("what {at}/grants/{entry} declares does not work without")
            } else {
                format!("declared at {at}/grants/{entry}, and not held")
            };
            for statement in plan::statements(grants, &whole.plan.names, &role, Direction::Grant) {
                self.granted.push(Step {
                    object: format!("scope {}", declared.name),
                    statement,
                    reason: reason.clone(),
                    work: Work::Sql(actor),
                });
            }
        }
        Ok(())
    }

    fn revoke(&mut self, scope: &str, held: &Holdings, excess: &[Grant], reason: &str) {
        let mut by_grantor: BTreeMap<u32, Vec<&Grant>> = BTreeMap::new();
        for grant in excess {
            for &grantor in held.grants.get(grant).into_iter().flatten() {
                let grantor = match grant.object {
                    Object::Future { creator, .. } => creator,
                    _ => grantor,
                };
                by_grantor.entry(grantor).or_default().push(grant);
            }
        }
        let role = spi::identifier(scope);
        for (grantor, mut grants) in by_grantor {
            grants.sort_unstable();
            grants.dedup();
            for statement in plan::statements(grants, &held.names, &role, Direction::Revoke) {
                self.revoked.push(Step {
                    object: format!("scope {scope}"),
                    statement,
                    reason: reason.to_owned(),
                    work: Work::Sql(Actor::Role(grantor)),
                });
            }
        }
    }

    fn drop_scope(&mut self, at: &str, declared: &Scope) -> Result<(), Error> {
        if catalog::role_by_name(&declared.name).is_none() {
            return Ok(());
        }
        let existing = scope::own(&declared.name).at(at)?;
        if existing.metadata.state != label::State::Active {
            return Ok(());
        }
        require_function("drop_scope", at)?;
        self.dropped.push(Step {
            object: format!("scope {}", declared.name),
            statement: format!("SELECT scope.drop_scope({})", spi::literal(&declared.name)),
            reason: format!("declared absent at {at}"),
            work: Work::DropScope {
                name: declared.name.clone(),
            },
        });
        Ok(())
    }

    /// Scopes that are not declared lose what they hold in the schemas that are.
    fn undeclared(&mut self, document: &Document) -> Result<(), Error> {
        let mut schemas = BTreeMap::new();
        for (index, name) in document.schemas.iter().enumerate() {
            let at = format!("/schemas/{index}");
            let oid = state::schema(name)?.ok_or_else(|| missing("schema", name, &at))?;
            schemas.insert(oid, at);
        }
        if schemas.is_empty() {
            return Ok(());
        }
        let caller = identity::current_user();
        for role in state::of_this_database()? {
            let is_declared = document.scopes.iter().any(|scope| scope.name == role.name);
            let Some(found) = catalog::role_by_name(&role.name) else {
                continue;
            };
            let is_callers =
                matches!(label::read(found.oid), Some(Ok(metadata)) if is_over(caller, &metadata));
            if role.kind != "scope" || is_declared || !is_callers {
                continue;
            }
            let held = held::by(found.oid)?;
            let mut excess: BTreeMap<&str, Vec<Grant>> = BTreeMap::new();
            for grant in held.grants.keys() {
                if let Some(at) = held
                    .schemas
                    .get(&grant.object)
                    .and_then(|schema| schemas.get(schema))
                {
                    excess.entry(at).or_default().push(*grant);
                }
            }
            for (at, grants) in excess {
                require_function("alter_scope", at)?;
                let reason = format!("the schema is declared at {at}, and the scope is not");
                self.revoke(&role.name, &held, &grants, &reason);
            }
            self.declared
                .extend(withdrawn(&role.name, found.oid, &schemas)?);
        }
        Ok(())
    }
}

/// What a scope that is not in an authoritative spec declares in the schemas that are.
fn withdrawn(
    name: &str,
    scope: pg_sys::Oid,
    schemas: &BTreeMap<u32, String>,
) -> Result<Option<Declared>, Error> {
    let declaration = scope::declared::by(scope, name)?;
    let gone: BTreeSet<Grant> = declaration
        .grants
        .keys()
        .filter(|grant| {
            let schema = declaration.schemas.get(&grant.object);
            schema.is_some_and(|schema| schemas.contains_key(schema))
        })
        .copied()
        .collect();
    Ok((!gone.is_empty()).then(|| Declared {
        scope: name.to_owned(),
        change: Declares::Without(gone),
    }))
}

fn whole(
    at: &str,
    declared: &Scope,
    holder: Option<pg_sys::Oid>,
    held: &Holdings,
) -> Result<Whole, Error> {
    let mut whole = Whole::default();
    // Every scope may connect to its database.
    let base = planning::plan(&nothing(Verbs::read()), identity::current_user(), holder)?;
    whole.add(0, base.plan, |_, wanted| Wanted {
        need: Need::Spare,
        ..wanted
    });
    for (index, entry) in declared.grants.iter().enumerate() {
        let at = format!("{at}/grants/{index}");
        if entry.exact {
            whole.exact(&at, index, entry, holder, held)?;
        } else {
            let request = request(&at, entry)?;
            let planned = planning::plan(&request, identity::current_user(), holder).at(&at)?;
            require(&planned, &request, held).at(&at)?;
            whole.uncovered.extend(planned.uncovered);
            whole.add(index, planned.plan, |_, wanted| wanted);
        }
    }
    Ok(whole)
}

/// Nobody hands out what they do not have.
fn require(planned: &Planned, request: &Request, held: &Holdings) -> Result<(), scope::Error> {
    let lacking: Vec<(Grant, Wanted)> = planned
        .plan
        .grants
        .iter()
        .filter(|(grant, wanted)| wanted.need != Need::Spare && !held.grants.contains_key(grant))
        .map(|(&grant, &wanted)| (grant, wanted))
        .collect();
    planned.require_authority(&lacking)?;
    let has_future = |schema: &u32| {
        held.grants
            .keys()
            .any(|grant| matches!(grant.object, Object::Future { schema: s, .. } if s == *schema))
    };
    if request.schemas.iter().all(has_future) {
        Ok(())
    } else {
        planned.require_future(request)
    }
}

impl Whole {
    fn add(&mut self, entry: usize, plan: plan::Plan, change: impl Fn(&Grant, Wanted) -> Wanted) {
        for (grant, wanted) in plan.grants {
            let wanted = change(&grant, wanted);
            let stronger = self
                .plan
                .grants
                .get(&grant)
                .is_none_or(|known| known.need == Need::Spare);
            if stronger {
                self.entries.insert(grant, entry);
            }
            self.plan.add(grant.object, grant.privilege, wanted);
        }
        self.plan.names.extend(plan.names);
        self.plan.schemas.extend(plan.schemas);
    }

    /// Just what an entry says. What is held already needs no more than its name.
    fn exact(
        &mut self,
        at: &str,
        index: usize,
        entry: &Grants,
        holder: Option<pg_sys::Oid>,
        held: &Holdings,
    ) -> Result<(), Error> {
        let listed = listed(at, entry)?;
        let is_held = |grant: &Grant| held.grants.contains_key(grant);
        for grant in listed.iter().filter(|grant| is_held(grant)) {
            self.entries.entry(*grant).or_insert(index);
            let wanted = Wanted {
                need: Need::Asked,
                grantor: Grantor::Nobody,
            };
            self.plan.add(grant.object, grant.privilege, wanted);
        }
        let lacking: BTreeSet<Grant> = listed.into_iter().filter(|grant| !is_held(grant)).collect();
        for request in requests(&lacking, at)? {
            let planned = planning::plan(&request, identity::current_user(), holder).at(at)?;
            let ours = |grant: &Grant| lacking.contains(grant);
            let asked: Vec<(Grant, Wanted)> = planned
                .plan
                .grants
                .iter()
                .filter(|(grant, _)| ours(grant))
                .map(|(&grant, &wanted)| (grant, wanted))
                .collect();
            planned.require_authority(&asked).at(at)?;
            let mut plan = planned.plan;
            plan.grants.retain(|grant, _| ours(grant));
            self.add(index, plan, |_, wanted| Wanted {
                need: Need::Asked,
                ..wanted
            });
        }
        match lacking
            .iter()
            .find(|grant| !self.plan.grants.contains_key(grant))
        {
            // Default privileges of a role that creates nothing there, or what the scope owns.
            Some(grant) if matches!(grant.object, Object::Future { .. }) => Err(Error::bad(
                at,
                "a role whose default privileges are declared does not create in the schema",
            )),
            _ => Ok(()),
        }
    }
}

fn nothing(verbs: Verbs) -> Request {
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
fn requests(grants: &BTreeSet<Grant>, at: &str) -> Result<Vec<Request>, Error> {
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

fn check_purpose(at: &str, purpose: Option<&str>) -> Result<(), Error> {
    match purpose {
        Some(purpose) if purpose.len() > crate::credential::MAX_PURPOSE_BYTES => {
            Err(scope::Error::PurposeTooLong {
                bytes: purpose.len(),
                max: crate::credential::MAX_PURPOSE_BYTES,
            })
            .at(&format!("{at}/purpose"))
        }
        _ => Ok(()),
    }
}

/// A spec does nothing that its caller could not do by the functions.
pub fn require_function(function: &'static str, at: &str) -> Result<(), Error> {
    if state::may_call(function)? {
        Ok(())
    } else {
        Err(Error::MayNotCall {
            function,
            pointer: at.to_owned(),
        })
    }
}

pub fn missing(what: &'static str, name: &str, at: &str) -> Error {
    Error::Missing {
        what,
        name: name.to_owned(),
        pointer: at.to_owned(),
    }
}

/// Is it between roles that a spec declares? Logins of ours get theirs by the functions that issue them.
pub fn is_declarable(member: &Member) -> bool {
    let issued = |kind: &Option<String>| {
        matches!(
            kind.as_deref(),
            Some("credential" | "authenticator" | "temporary")
        )
    };
    !issued(&member.role_kind) && !issued(&member.member_kind)
}
