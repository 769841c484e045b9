//! Guards: how many rows a role may return, and which statements it may not run; and that a role
//! whose scopes only read changes nothing.
//!
//! They are kept in a label on the role, one of a provider of its own, so that roles that are not
//! ours can have them too.

pub mod alert;
mod effective;
mod error;
pub mod meter;
mod returned;
pub mod rule;
pub mod sealed;
pub mod writers;

use std::rc::Rc;

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Value};
use crate::authority::is_over;
use crate::error::{raise, report, require_preload};
use crate::guc;
use crate::label::{self, Kind};
use crate::pg::arguments::{Text, strings};
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{identity, text, xact};
use alert::Alert;
use effective::Effective;
use rule::{Action, Class, Guards, MAX_WINDOW_SECONDS, Rule, Window};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("cannot change guards in a read-only transaction")]
    ReadOnly,
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("the function does not exist")]
    NoSuchFunction { oid: u32 },
    #[error("unknown action \"{0}\"")]
    Action(String),
    #[error("unknown class of statements \"{0}\"")]
    Class(String),
    #[error("{0} is negative")]
    Rows(&'static str),
    #[error("window_rows and \"window\" go together")]
    HalfAWindow,
    #[error("the window is too short or too long")]
    Window,
    #[error("role \"{role}\" is a superuser")]
    Superuser { role: String },
    #[error("permission denied to guard role \"{role}\"")]
    NotYours { role: String, caller: String },
    #[error("permission denied to guard role \"{role}\"")]
    Oneself { role: String },
    #[error("permission denied to change the guard of role \"{role}\"")]
    OfADba { role: String },
}

/// What a guard has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the statement returns more than {rows} rows")]
    Rows { rows: u64, of: String },
    #[error("too many rows have been returned lately")]
    Window { rows: u64, seconds: i64, of: String },
    #[error("statements of class \"{}\" are not allowed", class.name())]
    Class { class: Class, of: String },
    #[error("role \"{role}\" only reads")]
    ReadOnly { role: String },
}

pub fn init() {
    returned::init_shared_memory();
}

/// Documented in `sql/guards.sql`.
#[pg_extern(sql = false)]
fn set_guard(
    role: Option<Name>,
    max_rows: Option<i64>,
    window_rows: Option<i64>,
    window: Option<Interval>,
    forbid: Option<Vec<Option<Text>>>,
    action: Option<Text>,
) -> Result<(), ErrorReport> {
    let action = action.as_deref();
    let forbid = strings(forbid);
    require_preload()?;
    set(role, max_rows, window_rows, window, forbid, action).map_err(report)
}

/// Documented in `sql/guards.sql`.
#[pg_extern(sql = false)]
fn allow_writes(function: Option<pg_sys::Oid>, allowed: Option<bool>) -> Result<(), ErrorReport> {
    require_preload()?;
    let allow = || -> Result<(), Error> {
        let function = function.ok_or(Error::Null("f"))?;
        let_write(function, allowed.ok_or(Error::Null("allowed"))?)
    };
    allow().map_err(report)
}

/// Lets a function change data for roles that only read, or no longer.
pub fn let_write(function: pg_sys::Oid, allowed: bool) -> Result<(), Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    let Some(name) = writers::change(function, allowed) else {
        return Err(Error::NoSuchFunction {
            oid: function.into(),
        });
    };
    audit::administered(
        audit::Action::Policy,
        "allow_writes",
        &name,
        &[("allowed", Value::Bool(allowed))],
    );
    Ok(())
}

fn set(
    role: Option<Name>,
    max_rows: Option<i64>,
    window_rows: Option<i64>,
    window: Option<Interval>,
    forbid: Option<Vec<Option<String>>>,
    action: Option<&str>,
) -> Result<(), Error> {
    let Name(name) = role.ok_or(Error::Null("role"))?;
    let action = action.ok_or(Error::Null("action"))?;
    let action = Action::of_name(action).ok_or_else(|| Error::Action(action.to_owned()))?;
    let rule = Rule {
        max_rows: rows(max_rows, "max_rows")?,
        window: match (rows(window_rows, "window_rows")?, window) {
            (None, None) => None,
            (Some(rows), Some(window)) => Some(Window {
                rows,
                seconds: seconds(&window)?,
            }),
            _ => return Err(Error::HalfAWindow),
        },
        forbid: classes(forbid)?,
        dba: false,
    };
    put(&name, action, rule)
}

/// Gives a role the guard with this action; one that says nothing takes it away.
pub fn put(role: &str, action: Action, mut rule: Rule) -> Result<(), Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    let target = catalog::role_by_name(role).ok_or_else(|| Error::Unknown {
        role: role.to_owned(),
    })?;
    require_change(&target, action)?;
    // One at a time: another's change of the other rule must not be lost.
    advisory::lock(Key::Role(target.oid), Mode::Exclusive);
    let target = catalog::role_by_oid(target.oid).ok_or_else(|| Error::Unknown {
        role: role.to_owned(),
    })?;
    require_change(&target, action)?;
    rule.dba = is_dba();
    let mut guards = of(target.oid);
    let place = guards.rule_mut(action);
    *place = Some(rule).filter(|rule| !rule.says_nothing());
    write(target.oid, &guards);
    let rule = guards.rule_mut(action).take().unwrap_or_default();
    let forbidden: Vec<String> = rule
        .forbid
        .iter()
        .map(|class| class.name().to_owned())
        .collect();
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Number);
    let rows = |rows: Option<u64>| number(rows.and_then(|rows| i64::try_from(rows).ok()));
    audit::administered(
        audit::Action::Policy,
        "set_guard",
        &target.name,
        &[
            ("action", Value::Text(action.name())),
            ("max_rows", rows(rule.max_rows)),
            ("window_rows", rows(rule.window.map(|window| window.rows))),
            (
                "window_seconds",
                number(rule.window.map(|window| window.seconds)),
            ),
            ("forbid", Value::Texts(&forbidden)),
        ],
    );
    Ok(())
}

/// The guards of a role itself.
pub fn of(role: pg_sys::Oid) -> Guards {
    effective::guards_of(role).unwrap_or_default()
}

/// Is the caller one whose guards stay until another such one changes them?
pub fn is_dba() -> bool {
    catalog::role_by_oid(identity::current_user()).is_some_and(|role| role.superuser)
}

/// May the caller give the role another guard with this action, or none?
pub fn require_change(target: &Role, action: Action) -> Result<(), Error> {
    require_authority(target)?;
    if of(target.oid).rule(action).is_some_and(|old| old.dba) && !is_dba() {
        return Err(Error::OfADba {
            role: target.name.clone(),
        });
    }
    Ok(())
}

/// Whoever made a role of ours, and who has ADMIN OPTION on others; never the role itself.
fn require_authority(target: &Role) -> Result<(), Error> {
    let role = || target.name.clone();
    if target.superuser {
        return Err(Error::Superuser { role: role() });
    }
    let caller = identity::current_user();
    let ours = label::read(target.oid)
        .and_then(Result::ok)
        .filter(|metadata| {
            matches!(
                metadata.kind,
                Kind::Scope | Kind::Credential | Kind::Authenticator | Kind::Temporary
            )
        });
    let may = match &ours {
        Some(metadata) => is_over(caller, metadata),
        None => catalog::is_admin_of(caller, target.oid),
    };
    if !may {
        return Err(Error::NotYours {
            role: role(),
            caller: catalog::name_of(caller),
        });
    }
    let now = identity::now();
    let acting = [now.current, now.outer, identity::session_user()];
    let is_self = |&actor: &pg_sys::Oid| {
        catalog::role_by_oid(actor).is_some_and(|actor| {
            !actor.superuser && catalog::has_privileges_of(actor.oid, target.oid)
        })
    };
    // Whoever has ADMIN OPTION on somebody else's role is often a member of it.
    let guarded = ours.is_some() || acting.contains(&target.oid);
    if guarded && acting.iter().any(is_self) {
        return Err(Error::Oneself { role: role() });
    }
    Ok(())
}

fn rows(rows: Option<i64>, what: &'static str) -> Result<Option<u64>, Error> {
    rows.map(|rows| u64::try_from(rows).map_err(|_| Error::Rows(what)))
        .transpose()
}

fn seconds(window: &Interval) -> Result<i64, Error> {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    const SECONDS_PER_DAY: i64 = 86_400;
    let parts = crate::credential::parts(window);
    i64::from(parts.days)
        .checked_mul(SECONDS_PER_DAY)
        .and_then(|days| days.checked_add(parts.micros / MICROS_PER_SECOND))
        .filter(|&seconds| {
            parts.months == 0
                && parts.micros >= 0
                && parts.days >= 0
                && (1..=MAX_WINDOW_SECONDS).contains(&seconds)
        })
        .ok_or(Error::Window)
}

fn classes(names: Option<Vec<Option<String>>>) -> Result<Vec<Class>, Error> {
    let mut classes = Vec::new();
    for name in names.unwrap_or_default() {
        let name = name.ok_or(Error::Null("each element of forbid"))?;
        let class =
            Class::of_name(name.trim().to_ascii_lowercase().as_str()).ok_or(Error::Class(name))?;
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    Ok(classes)
}

fn write(role: pg_sys::Oid, guards: &Guards) {
    let label = Some(guards)
        .filter(|guards| **guards != Guards::default())
        .and_then(|guards| text::written(&guards.to_text()).ok());
    label::set_guards(role, label.as_ref());
}

/// May this label of ours be set by hand? Why not, in a sentence.
pub fn judge_label(label: &str) -> Result<(), String> {
    Guards::parse(label).map(|_| ())
}

/// What the hooks must do in a session, as bits, so that nothing is asked where nothing holds.
pub const ROWS: u32 = 1;
pub const CLASSES: u32 = 2;
pub const READS_ONLY: u32 = 4;
/// A limit on rows that refuses.
pub const BLOCKS_ROWS: u32 = 8;

pub fn flags(login: pg_sys::Oid, outer: pg_sys::Oid) -> u32 {
    let effective = effective::of(login, outer);
    let mut flags = 0;
    if effective.limits_rows() || effective.read_only.is_some() {
        flags |= ROWS;
    }
    if !effective.forbidden.is_empty() {
        flags |= CLASSES;
    }
    if effective.read_only.is_some() {
        flags |= READS_ONLY;
    }
    let blocks = effective.statement_limit(Action::Block).is_some()
        || effective
            .windows
            .iter()
            .any(|limit| limit.action == Action::Block);
    if blocks {
        flags |= BLOCKS_ROWS;
    }
    flags
}

/// What holds for this session now.
fn here() -> Rc<Effective> {
    effective::of(identity::session_user(), identity::now().outer)
}

/// Statements of these classes are about to run, or have run just now: refused (42501) or reported.
pub fn judge_classes(classes: &[Class], tag: &str) {
    if identity::is_own_work() {
        return;
    }
    let now = identity::now();
    // Code of a SECURITY DEFINER function is its owner's, and the owner's guards hold.
    let effective = if identity::in_security_definer() && now.current != now.outer {
        effective::of(now.current, now.current)
    } else {
        here()
    };
    for &class in classes {
        let Some(rule) = effective.forbids(class) else {
            continue;
        };
        let blocked = rule.action == Action::Block;
        alert::raise(&Alert {
            guard: class.name(),
            blocked,
            of: &rule.of,
            tag: Some(tag),
            rows: None,
            seconds: None,
        });
        if blocked {
            raise(&Refusal::Class {
                class,
                of: rule.of.clone(),
            });
        }
    }
}

/// DDL on what is not temporary is about to run: reported once a transaction, unless a superuser or
/// a member of a scope that creates runs it.
pub fn notice_ddl(tag: &str) {
    let now = identity::now();
    if identity::is_own_work()
        || catalog::role_by_oid(now.current).is_none_or(|role| role.superuser)
    {
        return;
    }
    let everybody = match guc::ddl_alert() {
        guc::DdlAlert::Off => return,
        guc::DdlAlert::Managed => false,
        guc::DdlAlert::All => true,
    };
    let login = identity::session_user();
    let is_ours = || {
        [login, now.outer]
            .into_iter()
            .any(|role| label::read(role).is_some())
    };
    if !everybody && !is_ours() {
        return;
    }
    if here().creates || effective::of(now.current, now.current).creates {
        return;
    }
    if alert::is_first_ddl() {
        alert::raise(&Alert {
            guard: "ddl",
            blocked: false,
            of: &catalog::name_of(now.current),
            tag: Some(tag),
            rows: None,
            seconds: None,
        });
    }
}

/// Data are about to be changed in a session that only reads.
pub fn refuse_write(tag: &str) {
    if identity::is_own_work() {
        return;
    }
    if let Some(role) = &here().read_only {
        alert::raise(&Alert {
            guard: "read_only",
            blocked: true,
            of: &role.name,
            tag: Some(tag),
            rows: None,
            seconds: None,
        });
        raise(&Refusal::ReadOnly {
            role: role.name.clone(),
        });
    }
}
