//! Guards of a spec, and the functions that may write for roles that only read.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Guard, Mode};
use super::state;
use super::steps::{Found, Notice, Step, Work, missing, require_function};
use super::{At, Error};
use crate::guard;
use crate::guard::rule::{ACTIONS, Action, Rule};
use crate::pg::{catalog, spi};

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    for (index, declared) in document.guards.iter().enumerate() {
        one(document, &format!("/guards/{index}"), declared, found)?;
    }
    if document.mode == Mode::Authoritative {
        undeclared(document, found)?;
    }
    writers(document, found)
}

fn one(document: &Document, at: &str, declared: &Guard, found: &mut Found) -> Result<(), Error> {
    let Guard { role, action, .. } = declared;
    let rule = declared.rule();
    let (reason, turn) = match catalog::role_by_name(role) {
        Some(existing) => {
            let guards = guard::of(existing.oid);
            let before = guards.rule(*action);
            if before.is_some_and(|before| before.is_like(&rule)) {
                return Ok(());
            }
            guard::require_change(&existing, *action).at(at)?;
            let reason = match before {
                Some(_) => format!("another guard is declared at {at}"),
                None => format!("declared at {at}, and not there"),
            };
            (reason, &mut found.guarded)
        }
        // Who is made first is its maker's.
        None => {
            let is_scope = document.scopes.iter().any(|scope| scope.name == *role);
            let is_gate = document.authenticators.iter().any(|one| one.name == *role);
            let turn = match (is_scope, is_gate) {
                (true, _) => &mut found.guarded,
                (_, true) => &mut found.policies,
                _ => return Err(missing("role", role, &format!("{at}/role"))),
            };
            (format!("declared at {at}, and not there"), turn)
        }
    };
    require_function("set_guard", at)?;
    turn.push(step(role, *action, rule, reason));
    Ok(())
}

/// The roles that the spec names have no other guards.
fn undeclared(document: &Document, found: &mut Found) -> Result<(), Error> {
    let mut named: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = |role, at| {
        named.entry(role).or_insert(at);
    };
    for (index, scope) in document.scopes.iter().enumerate() {
        if !scope.absent {
            name(scope.name.as_str(), format!("/scopes/{index}"));
        }
    }
    for (index, one) in document.authenticators.iter().enumerate() {
        name(&one.name, format!("/authenticators/{index}"));
    }
    for (index, login) in document.logins.iter().enumerate() {
        name(&login.role, format!("/logins/{index}"));
    }
    for (index, role) in document.roles.iter().enumerate() {
        name(role, format!("/roles/{index}"));
    }
    for (index, guard) in document.guards.iter().enumerate() {
        name(&guard.role, format!("/guards/{index}"));
    }
    for (role, at) in named {
        let Some(existing) = catalog::role_by_name(role) else {
            continue;
        };
        let guards = guard::of(existing.oid);
        for action in ACTIONS {
            let is_declared = |guard: &Guard| guard.role == *role && guard.action == action;
            let Some(rule) = guards.rule(action) else {
                continue;
            };
            if document.guards.iter().any(is_declared) {
                continue;
            }
            if rule.dba && !guard::is_dba() {
                found.notices.push(Notice {
                    message: format!("role \"{role}\" keeps a guard that is not declared"),
                    detail: format!(
                        "A superuser has set it, with action \"{}\".",
                        action.name()
                    ),
                    hint: "Declare it as scope.guards shows it, or have a superuser apply the spec.",
                });
                continue;
            }
            guard::require_change(&existing, action).at(&at)?;
            require_function("set_guard", &at)?;
            let reason = format!("not declared in /guards, and the role is named at {at}");
            found
                .guarded
                .push(step(role, action, Rule::default(), reason));
        }
    }
    Ok(())
}

/// As a call would be written.
fn step(role: &str, action: Action, rule: Rule, reason: String) -> Step {
    let mut arguments = vec![spi::literal(role)];
    let mut named = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("{name} => {value}")));
    };
    named("max_rows", rule.max_rows.map(|rows| rows.to_string()));
    let window = rule.window;
    named("window_rows", window.map(|window| window.rows.to_string()));
    named(
        "\"window\"",
        window.map(|window| format!("interval '{} seconds'", window.seconds)),
    );
    let classes: Vec<&str> = rule.forbid.iter().map(|class| class.name()).collect();
    let forbid = format!("'{{{}}}'", classes.join(","));
    named("forbid", (!classes.is_empty()).then_some(forbid));
    let is_default = action == Action::default();
    named("action", (!is_default).then(|| spi::literal(action.name())));
    Step {
        object: format!("guard of {role}"),
        statement: format!("SELECT scope.set_guard({})", arguments.join(", ")),
        reason,
        work: Work::Guard {
            role: role.to_owned(),
            action,
            rule,
        },
    }
}

fn writers(document: &Document, found: &mut Found) -> Result<(), Error> {
    let is_authoritative = document.mode == Mode::Authoritative && !document.schemas.is_empty();
    if document.writing_functions.is_empty() && !is_authoritative {
        return Ok(());
    }
    let known = state::writing_functions()?;
    let mut declared = BTreeSet::new();
    for (index, text) in document.writing_functions.iter().enumerate() {
        let at = format!("/writing_functions/{index}");
        let function = state::function(text)?.ok_or_else(|| missing("function", text, &at))?;
        if !declared.insert(function) {
            return Err(Error::bad(&at, "it is declared already, in other words"));
        }
        if known.iter().any(|writer| writer.function == function) {
            continue;
        }
        require_function("allow_writes", &at)?;
        found.policies.push(Step {
            object: format!("function {text}"),
            statement: format!("SELECT scope.allow_writes({})", spi::literal(text)),
            reason: format!("declared at {at}, and not allowed to write"),
            work: Work::Writes {
                function,
                allowed: true,
            },
        });
    }
    if document.mode == Mode::Additive {
        return Ok(());
    }
    for (index, name) in document.schemas.iter().enumerate() {
        let at = format!("/schemas/{index}");
        let schema = state::schema(name)?.ok_or_else(|| missing("schema", name, &at))?;
        for writer in &known {
            if writer.schema != schema || declared.contains(&writer.function) {
                continue;
            }
            require_function("allow_writes", &at)?;
            found.policies.push(Step {
                object: format!("function {}", writer.name),
                statement: format!(
                    "SELECT scope.allow_writes({}, allowed => false)",
                    spi::literal(&writer.name)
                ),
                reason: format!("not declared in /writing_functions, and its schema is at {at}"),
                work: Work::Writes {
                    function: writer.function,
                    allowed: false,
                },
            });
        }
    }
    Ok(())
}
