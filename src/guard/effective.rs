//! Which guards hold for whom: those of the role itself, and of the scopes whose rights it has.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;

use super::rule::{Action, Class, Guards, Rule};
use crate::label::{self, Access, Kind};
use crate::pg::{catalog, invalidation};

/// What holds for a session's login and the role that it has taken; the strictest counts.
#[derive(Debug, Default)]
pub struct Effective {
    /// For each statement.
    pub statements: Vec<StatementLimit>,
    /// For all statements of a role in a time.
    pub windows: Vec<WindowLimit>,
    pub forbidden: Vec<Forbidden>,
    /// The role that only reads.
    pub read_only: Option<Named>,
    /// It may create objects: a member of a scope for that.
    pub creates: bool,
}

#[derive(Debug, Clone)]
pub struct Named {
    pub oid: u32,
    pub name: String,
}

#[derive(Debug, Clone)]
pub struct StatementLimit {
    pub rows: u64,
    pub action: Action,
    /// Whose guard it is.
    pub of: String,
}

#[derive(Debug, Clone)]
pub struct WindowLimit {
    /// Whose rows are counted.
    pub role: u32,
    pub rows: u64,
    pub seconds: i64,
    pub action: Action,
    pub of: String,
}

#[derive(Debug, Clone)]
pub struct Forbidden {
    pub classes: Vec<Class>,
    pub action: Action,
    pub of: String,
}

impl Effective {
    pub fn limits_rows(&self) -> bool {
        !self.statements.is_empty() || !self.windows.is_empty()
    }

    /// The strictest limit on one statement.
    pub fn statement_limit(&self, action: Action) -> Option<&StatementLimit> {
        self.statements
            .iter()
            .filter(|limit| limit.action == action)
            .min_by_key(|limit| limit.rows)
    }

    /// Whose guard forbids the class so; refusing goes before reporting.
    pub fn forbids(&self, class: Class) -> Option<&Forbidden> {
        let of = |action: Action| {
            self.forbidden
                .iter()
                .find(|rule| rule.action == action && rule.classes.contains(&class))
        };
        of(Action::Block).or_else(|| of(Action::Alert))
    }
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

#[derive(Default)]
struct Known {
    generation: u64,
    of: HashMap<(u32, u32), Rc<Effective>>,
}

/// What holds for a session of `login` that acts as `outer`; kept until roles, memberships or labels
/// change. Inside a transaction.
pub fn of(login: pg_sys::Oid, outer: pg_sys::Oid) -> Rc<Effective> {
    let key = (login.into(), outer.into());
    let generation = invalidation::roles_generation();
    let known = KNOWN.with_borrow(|known| {
        let found = known.of.get(&key).cloned();
        found.filter(|_| known.generation == generation)
    });
    if let Some(known) = known {
        return known;
    }
    let effective = Rc::new(gather(login, outer));
    KNOWN.with_borrow_mut(|known| {
        if known.generation != generation {
            known.of.clear();
            known.generation = generation;
        }
        known.of.insert(key, effective.clone());
    });
    effective
}

fn gather(login: pg_sys::Oid, outer: pg_sys::Oid) -> Effective {
    let mut effective = Effective::default();
    add(&mut effective, login, login);
    if outer != login {
        // Credentials that work as their scope are told apart; whoever acts by a token is one, also by a login for it.
        let is_credential = matches!(
            label::read(login),
            Some(Ok(metadata)) if metadata.kind == Kind::Credential && metadata.token.is_none()
        );
        let is_its_own = is_credential && catalog::memberships(login).contains(&outer);
        add(
            &mut effective,
            outer,
            if is_its_own { login } else { outer },
        );
    }
    effective
}

/// Adds what holds for a role, whose rows count as those of another perhaps. Superusers are above
/// guards.
fn add(effective: &mut Effective, subject: pg_sys::Oid, counts_as: pg_sys::Oid) {
    let Some(role) = catalog::role_by_oid(subject).filter(|role| !role.superuser) else {
        return;
    };
    let mut reach = Reach::default();
    // An authenticator has nothing of the roles that it can take.
    let groups = if label::is_gated(subject) {
        Vec::new()
    } else {
        groups_of(subject)
    };
    let own = label::read(subject).and_then(Result::ok);
    let kind = own.as_ref().map(|metadata| metadata.kind);
    match own.map(|metadata| (metadata.kind, label::access_here(&metadata))) {
        Some((Kind::Scope, access)) => reach.add_scope(access),
        Some((Kind::Credential | Kind::Composite, _)) => {}
        // What is not ours may own things.
        _ => reach.writes = true,
    }
    let mut sources = vec![subject];
    for &group in &groups {
        sources.push(group);
        match label::read(group) {
            Some(Ok(metadata)) if metadata.kind == Kind::Scope => {
                reach.add_scope(label::access_here(&metadata));
            }
            Some(Ok(metadata)) if metadata.kind == Kind::Temporary => {
                // One that gives nothing without SET ROLE limits nothing either.
                let gives = catalog::role_by_oid(group).is_some_and(|role| role.inherits);
                if !gives {
                    sources.pop();
                }
            }
            _ if READING.contains(&u32::from(group)) => {}
            _ => reach.writes = true,
        }
    }
    effective.creates |= reach.creates;
    if reach.reads && !reach.writes && effective.read_only.is_none() {
        effective.read_only = Some(Named {
            oid: subject.into(),
            name: role.name.clone(),
        });
    }
    let parts = match kind {
        Some(Kind::Composite) => catalog::memberships(subject),
        _ => Vec::new(),
    };
    for source in sources {
        let Some(guards) = guards_of(source) else {
            continue;
        };
        // Rows of a role count together, whichever others a token gives with it.
        let part = parts.iter().copied();
        let mut part = part.filter(|&part| part == source || groups_of(part).contains(&source));
        let counts_as = part.next().unwrap_or(counts_as);
        let of = || catalog::name_of(source);
        for (action, rule) in [
            (Action::Block, guards.block.as_ref()),
            (Action::Alert, guards.alert.as_ref()),
        ] {
            if let Some(rule) = rule {
                effective.add(rule, action, counts_as, of);
            }
        }
    }
}

impl Effective {
    fn add(
        &mut self,
        rule: &Rule,
        action: Action,
        counts_as: pg_sys::Oid,
        of: impl Fn() -> String,
    ) {
        if let Some(rows) = rule.max_rows {
            self.statements.push(StatementLimit {
                rows,
                action,
                of: of(),
            });
        }
        if let Some(window) = rule.window {
            self.windows.push(WindowLimit {
                role: counts_as.into(),
                rows: window.rows,
                seconds: window.seconds,
                action,
                of: of(),
            });
        }
        if !rule.forbid.is_empty() {
            self.forbidden.push(Forbidden {
                classes: rule.forbid.clone(),
                action,
                of: of(),
            });
        }
    }
}

/// PostgreSQL's own roles that give no right to change anything: catalog/pg_authid.dat.
/// pg_monitor, pg_read_all_settings, pg_read_all_stats, pg_stat_scan_tables, pg_signal_backend, pg_signal_autovacuum_worker,
/// pg_read_server_files, pg_read_all_data.
const READING: [u32; 8] = [3373, 3374, 3375, 3377, 4200, 6392, 4569, 6181];

#[derive(Default)]
struct Reach {
    reads: bool,
    writes: bool,
    creates: bool,
}

impl Reach {
    fn add_scope(&mut self, access: Option<Access>) {
        match access {
            Some(Access::Read) => self.reads = true,
            Some(Access::Create) => {
                self.writes = true;
                self.creates = true;
            }
            Some(Access::Write) | None => self.writes = true,
        }
    }
}

/// The roles whose rights a role has, itself excepted.
fn groups_of(role: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut found: Vec<pg_sys::Oid> = Vec::new();
    let mut next = vec![role];
    while let Some(member) = next.pop() {
        for group in catalog::memberships(member) {
            if group != role && !found.contains(&group) && catalog::has_privileges_of(role, group) {
                found.push(group);
                next.push(group);
            }
        }
    }
    found
}

/// The guards of one role. A label that cannot be read guards nothing: only superusers write them.
pub fn guards_of(role: pg_sys::Oid) -> Option<Guards> {
    Guards::parse(&label::guards_of(role)?).ok()
}
