//! What there is, as a spec whose plan is empty.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{
    Authenticator, Document, Future, FutureClass, Grants, Guard, Login, Membership, Mode,
    RequestPolicy, Scope, VERSION,
};
use super::memberships::is_declarable;
use super::{At, Error, entries, names, state, steps};
use crate::admission::Rules;
use crate::authority::{Target, is_over};
use crate::guard;
use crate::guard::rule::ACTIONS;
use crate::label::{self, Kind, Metadata};
use crate::pg::name::Name;
use crate::pg::{catalog, compat, identity};
use crate::request;
use crate::request::policy::RoleRef;
use crate::scope::plan::{Grant, Holdings, Need, Object, Other};
use crate::scope::privilege::{Class, Privilege};
use crate::scope::{self, held, planning};
use crate::text::some_of;
use crate::verify::issuer::definition::registered;

pub fn export(roles: Option<Vec<Option<Name>>>, mode: &str) -> Result<Document, Error> {
    let mode = match mode.trim().to_ascii_lowercase().as_str() {
        "additive" => Mode::Additive,
        "authoritative" => Mode::Authoritative,
        _ => return Err(Error::Mode(mode.to_owned())),
    };
    let mut document = Document {
        version: VERSION,
        mode,
        ..Document::default()
    };
    let is_everything = roles.is_none();
    match roles {
        None => everything(&mut document)?,
        Some(roles) => {
            let roles: Option<BTreeSet<String>> = roles
                .into_iter()
                .map(|role| role.map(|Name(role)| role))
                .collect();
            for role in roles.ok_or(Error::Null("an element of roles"))? {
                named(&mut document, &role)?;
            }
        }
    }
    document.memberships = memberships(&document)?;
    document.request_policies = request_policies(&document, is_everything)?;
    Ok(document)
}

/// The scopes and authenticators of this database that are the caller's, and its issuers for those who
/// may register them. Not credentials: they come and go.
fn everything(document: &mut Document) -> Result<(), Error> {
    let caller = identity::current_user();
    for role in state::of_this_database()? {
        let is_callers = catalog::role_by_name(&role.name)
            .and_then(|role| label::read(role.oid))
            .is_some_and(|read| read.is_ok_and(|metadata| is_over(caller, &metadata)));
        if is_callers && (role.kind == "scope" || role.kind == "authenticator") {
            named(document, &role.name)?;
        }
    }
    if state::may_call("add_jwt_issuer")? {
        document.issuers = registered(None).at("/issuers")?;
    }
    if state::may_call("allow_writes")? {
        document.writing_functions = state::writing_functions()?
            .into_iter()
            .map(|writer| writer.name)
            .collect();
    }
    Ok(())
}

fn named(document: &mut Document, name: &str) -> Result<(), Error> {
    let Some(role) = catalog::role_by_name(name) else {
        return Err(steps::missing("role", name, ""));
    };
    let guards = guard::of(role.oid);
    let guards = ACTIONS.into_iter().filter_map(|action| {
        let rule = guards.rule(action)?;
        Some(Guard::of(name, action, rule))
    });
    document.guards.extend(guards);
    match label::read(role.oid) {
        Some(Ok(metadata)) if metadata.kind == Kind::Scope => {
            let scope = scope::own(name)?;
            scope.require_usable()?;
            document.scopes.push(self::scope(&scope)?);
        }
        Some(read)
            if read.as_ref().map_or(true, |metadata| {
                matches!(
                    metadata.kind,
                    Kind::Credential | Kind::Authenticator | Kind::Temporary | Kind::Composite
                )
            }) =>
        {
            let target = Target::look(name).at("")?;
            let rules = Policy::of(&target.metadata.login);
            if target.metadata.kind == Kind::Authenticator {
                document.authenticators.push(Authenticator {
                    roles: roles_of(&target.role.name, &target.metadata)?,
                    token_issuers: target.metadata.issuers,
                    subject_limit: (target.metadata.subject_limit)
                        .and_then(|limit| i32::try_from(limit).ok()),
                    connection_limit: state::connection_limit(&target.role.name)?,
                    purpose: target.metadata.purpose,
                    name: target.role.name,
                    allowed_ips: rules.allowed_ips,
                    allow_local: rules.allow_local,
                    require_tls: rules.require_tls,
                    allowed_hours: rules.allowed_hours,
                    time_zone: rules.time_zone,
                });
            } else {
                document.logins.push(Login {
                    role: target.role.name,
                    allowed_ips: rules.allowed_ips,
                    allow_local: rules.allow_local,
                    require_tls: rules.require_tls,
                    allowed_hours: rules.allowed_hours,
                    time_zone: rules.time_zone,
                });
            }
        }
        _ => document.roles.push(role.name),
    }
    Ok(())
}

/// The caller's: all, or those that give a role of the document.
fn request_policies(
    document: &Document,
    all: bool,
) -> Result<BTreeMap<String, RequestPolicy>, Error> {
    let caller = identity::current_user();
    let is_named = |target: &RoleRef| {
        let name = target.shown();
        let mut scopes = document.scopes.iter();
        target.is_there()
            && (document.roles.contains(&name) || scopes.any(|scope| scope.name == name))
    };
    let policies = request::policies().at("/request_policies")?;
    let policies = policies
        .into_iter()
        .filter(|policy| policy.is_of(caller) && (all || policy.is.targets.iter().any(is_named)));
    Ok(policies
        .map(|policy| (policy.name, policy.is.given()))
        .collect())
}

struct Policy {
    allowed_ips: Option<Vec<String>>,
    allow_local: Option<bool>,
    require_tls: bool,
    allowed_hours: Vec<String>,
    time_zone: Option<String>,
}

impl Policy {
    fn of(rules: &Rules) -> Self {
        Self {
            allowed_ips: rules
                .ips
                .as_ref()
                .map(|ips| ips.iter().map(|ip| String::from(*ip)).collect()),
            allow_local: rules.local,
            require_tls: rules.tls,
            allowed_hours: rules.hours.iter().map(ToString::to_string).collect(),
            time_zone: rules.zone.clone(),
        }
    }
}

/// Those that its tokens may name.
fn roles_of(authenticator: &str, metadata: &Metadata) -> Result<Vec<String>, Error> {
    let is_listed = |role: &String| metadata.roles.is_empty() || metadata.roles.contains(role);
    let roles: BTreeSet<String> = state::memberships()?
        .into_iter()
        .filter(|row| row.member == authenticator)
        .map(|row| row.role)
        .filter(is_listed)
        .collect();
    Ok(roles.into_iter().collect())
}

/// Those in which a role of the document takes part so that an authoritative spec would judge them.
fn memberships(document: &Document) -> Result<Vec<Membership>, Error> {
    let is_scope = |name: &String| document.scopes.iter().any(|scope| scope.name == *name);
    let rows: Vec<state::Member> = state::memberships()?
        .into_iter()
        .filter(is_declarable)
        .filter(|row| {
            is_scope(&row.role) || is_scope(&row.member) || document.roles.contains(&row.role)
        })
        .collect();
    let shares = |row: &state::Member| {
        let same = |other: &&state::Member| other.role == row.role && other.member == row.member;
        rows.iter().filter(same).count() > 1
    };
    Ok(rows
        .iter()
        .map(|row| Membership {
            role: row.role.clone(),
            member: row.member.clone(),
            inherit: row.inherit.unwrap_or(true),
            set: row.set.unwrap_or(true),
            admin: row.admin,
            grantor: (compat::HAS_MEMBERSHIP_OPTIONS && shares(row)).then(|| row.grantor.clone()),
        })
        .collect())
}

fn scope(scope: &scope::Scope) -> Result<Scope, Error> {
    let held = held::by(scope.oid)?;
    let mut writer = Writer {
        held: &held,
        holder: scope.oid,
        covered: BTreeSet::new(),
        entries: Vec::new(),
    };
    writer.schemas()?;
    writer.objects()?;
    let entries = writer.entries;
    let others: Vec<String> = held
        .others
        .iter()
        .filter_map(|other| match other {
            Other::Owns { what, .. } | Other::Policy { what } => Some(what),
            Other::Temporary { .. } => None,
            Other::Else { what } if what.starts_with("membership in ") => None,
            Other::Else { what } => Some(what),
        })
        .cloned()
        .collect();
    if !others.is_empty() {
        crate::error::notice(
            format!("scope \"{}\" has what no spec can say", scope.name),
            &format!("It has {}.", some_of(&others)),
            "It is left out of the spec; scope.scopes shows it.",
        );
    }
    Ok(Scope {
        name: scope.name.clone(),
        purpose: scope.metadata.purpose.clone(),
        grants: entries,
        absent: false,
    })
}

/// Finds the entries that say what a scope holds: as a person would write them where that gives just
/// this, one by one where it does not.
struct Writer<'a> {
    held: &'a Holdings,
    holder: pgrx::pg_sys::Oid,
    covered: BTreeSet<Grant>,
    entries: Vec<Grants>,
}

impl Writer<'_> {
    /// Whole schemas with their future.
    fn schemas(&mut self) -> Result<(), Error> {
        let mut words: BTreeMap<u32, BTreeSet<Privilege>> = BTreeMap::new();
        for grant in self.held.grants.keys() {
            if let Object::Future { schema, .. } = grant.object
                && schema != 0
            {
                words.entry(schema).or_default().insert(grant.privilege);
            }
        }
        for (schema, mut words) in words {
            let create = Grant {
                object: Object::Schema(schema),
                privilege: Privilege::Create,
            };
            if self.held.grants.contains_key(&create) {
                words.insert(Privilege::Create);
            }
            let entry = Grants {
                privileges: list(&words),
                schemas: vec![names::unquoted(&self.name(Object::Schema(schema)))],
                future_tables: true,
                ..Grants::default()
            };
            if !self.try_entry(&entry)? && words.remove(&Privilege::Usage) {
                // With INSERT or UPDATE it comes along.
                let entry = Grants {
                    privileges: list(&words),
                    ..entry
                };
                if !words.is_empty() {
                    self.try_entry(&entry)?;
                }
            }
        }
        Ok(())
    }

    /// Single objects, those with the same privileges together.
    fn objects(&mut self) -> Result<(), Error> {
        let mut by_object: BTreeMap<Object, BTreeSet<Privilege>> = BTreeMap::new();
        for grant in self.held.grants.keys() {
            if !self.covered.contains(grant) {
                by_object
                    .entry(grant.object)
                    .or_default()
                    .insert(grant.privilege);
            }
        }
        let mut groups: BTreeMap<(Rank, BTreeSet<Privilege>), Vec<Object>> = BTreeMap::new();
        for (object, words) in by_object {
            groups
                .entry((Rank::of(object), words))
                .or_default()
                .push(object);
        }
        for ((rank, words), objects) in groups {
            // What an earlier entry has brought along since needs no entry.
            let open = |object: &Object| {
                words.iter().any(|&privilege| {
                    !self.covered.contains(&Grant {
                        object: *object,
                        privilege,
                    })
                })
            };
            let objects: Vec<Object> = objects.into_iter().filter(open).collect();
            // Every scope may connect.
            if objects.is_empty() || rank == Rank::Database {
                continue;
            }
            let entry = self.entry(rank, &words, &objects);
            let is_plain = !matches!(rank, Rank::Schema | Rank::Future);
            if is_plain && self.try_entry(&entry)? {
                continue;
            }
            let exact = Grants {
                exact: true,
                ..entry
            };
            self.covered.extend(entries::listed("", &exact)?);
            self.entries.push(exact);
        }
        Ok(())
    }

    fn entry(&self, rank: Rank, words: &BTreeSet<Privilege>, objects: &[Object]) -> Grants {
        let mut entry = Grants {
            privileges: list(words),
            ..Grants::default()
        };
        let all = || objects.iter().map(|&object| self.name(object)).collect();
        match rank {
            Rank::Table => entry.tables = all(),
            Rank::Sequence => entry.sequences = all(),
            Rank::Function => entry.functions = all(),
            Rank::Column(table) => {
                entry.tables = vec![self.name(Object::Table(table))];
                let names: Vec<String> = all();
                entry.columns = Some(names.iter().map(|name| names::unquoted(name)).collect());
            }
            Rank::Schema => {
                let names: Vec<String> = all();
                entry.schemas = names.iter().map(|name| names::unquoted(name)).collect();
            }
            Rank::Database => entry.database = true,
            Rank::Future => entry.future = objects.iter().filter_map(|&o| self.future(o)).collect(),
        }
        entry
    }

    fn future(&self, object: Object) -> Option<Future> {
        let Object::Future { schema, class, .. } = object else {
            return None;
        };
        Some(Future {
            of: match class {
                Class::Sequence => FutureClass::Sequences,
                Class::Function => FutureClass::Functions,
                Class::Table | Class::Column => FutureClass::Tables,
            },
            creator: names::unquoted(&self.name(object)),
            schema: (schema != 0).then(|| names::unquoted(&self.name(Object::Schema(schema)))),
        })
    }

    /// Keeps an entry when all that it asks for is held.
    fn try_entry(&mut self, entry: &Grants) -> Result<bool, Error> {
        let caller = identity::current_user();
        // What may not be asked for, on objects of the system say, is said exactly.
        let Ok(request) = entries::request("", entry) else {
            return Ok(false);
        };
        let Ok(planned) = planning::plan(&request, caller, Some(self.holder)) else {
            return Ok(false);
        };
        let grants = &planned.plan.grants;
        let fits = grants.iter().all(|(grant, wanted)| {
            wanted.need == Need::Spare || self.held.grants.contains_key(grant)
        });
        if fits && planned.require_future(&request).is_ok() {
            self.covered.extend(grants.keys());
            self.entries.push(entry.clone());
            Ok(true)
        } else {
            Ok(false)
        }
    }

    fn name(&self, object: Object) -> String {
        self.held.names.get(&object).cloned().unwrap_or_default()
    }
}

/// In this order: what comes along with one is not said again by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Table,
    Column(u32),
    Sequence,
    Function,
    Schema,
    Future,
    Database,
}

impl Rank {
    fn of(object: Object) -> Self {
        match object {
            Object::Table(_) => Self::Table,
            Object::Column(table, _) => Self::Column(table),
            Object::Sequence(_) => Self::Sequence,
            Object::Function(_) => Self::Function,
            Object::Schema(_) => Self::Schema,
            Object::Database(_) => Self::Database,
            Object::Future { .. } => Self::Future,
        }
    }
}

fn list(words: &BTreeSet<Privilege>) -> Vec<String> {
    words.iter().map(|word| word.word().to_owned()).collect()
}
