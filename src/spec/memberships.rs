//! Memberships between roles that a spec declares: what there is, what is declared, and the GRANTs and
//! REVOKEs between them, which run as the caller.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Membership, Mode};
use super::state::{self, Member};
use super::steps::{Actor, Found, Step, Work, missing};
use super::{At, Error};
use crate::credential::itself;
use crate::label::{self, Kind};
use crate::pg::{catalog, compat, identity, spi};
use crate::temporary;

pub fn steps(document: &Document, found: &mut Found) -> Result<(), Error> {
    for (index, role) in document.roles.iter().enumerate() {
        require_role(role, &format!("/roles/{index}"))?;
    }
    if document.memberships.is_empty() && document.mode == Mode::Additive {
        return Ok(());
    }
    let all = state::memberships()?;
    let rows: Vec<Member> = all
        .iter()
        .filter(|row| is_declarable(row))
        .cloned()
        .collect();
    let mut matched = vec![false; rows.len()];
    let mut joins = Vec::new();
    for (index, declared) in document.memberships.iter().enumerate() {
        let at = format!("/memberships/{index}");
        check(document, declared, &at)?;
        let existing = rows
            .iter()
            .zip(&mut matched)
            .find(|(row, _)| is_same(row, declared));
        match existing {
            Some((row, matched)) => {
                *matched = true;
                alter(row, declared, document.mode, &at, found)?;
            }
            None => joins.push((declared, at)),
        }
    }
    let covered = |row: &Member| {
        let scope = |name: &String| {
            document
                .scopes
                .iter()
                .any(|scope| !scope.absent && scope.name == *name)
        };
        document.roles.contains(&row.role) || scope(&row.role) || scope(&row.member)
    };
    let leaving: Vec<&Member> = rows
        .iter()
        .zip(&matched)
        .filter(|(row, matched)| document.mode == Mode::Authoritative && !**matched && covered(row))
        .map(|(row, _)| row)
        .collect();
    let joins = ordered(joins);
    let stays = all.iter().filter(|row| !leaving.contains(row));
    refuse_circles(stays, &joins)?;
    for (declared, at) in joins {
        require_admin(document, declared, &at)?;
        found.joined.push(Step {
            object: format!("membership of {} in {}", declared.member, declared.role),
            statement: grant(declared, declared.grantor.as_deref()),
            reason: format!("declared at {at}, and not there"),
            work: Work::Sql(Actor::Caller),
        });
    }
    for row in dependents_first(leaving) {
        if !catalog::is_admin_of(identity::current_user(), oid(&row.role)) {
            return Err(may_not(&row.role)).at("/memberships");
        }
        found.left.push(Step {
            object: format!("membership of {} in {}", row.member, row.role),
            statement: format!(
                "REVOKE {} FROM {}{}",
                spi::identifier(&row.role),
                spi::identifier(&row.member),
                granted_by(Some(&row.grantor))
            ),
            reason: "not declared in /memberships, which is authoritative".to_owned(),
            work: Work::Sql(Actor::Caller),
        });
    }
    Ok(())
}

/// PostgreSQL lets no role be a member of itself, however far.
fn refuse_circles<'a>(
    rows: impl Iterator<Item = &'a Member>,
    joins: &'a [(&Membership, String)],
) -> Result<(), Error> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.member).or_default().insert(&row.role);
    }
    for (declared, at) in joins {
        let mut seen = BTreeSet::from([declared.role.as_str()]);
        let mut next = vec![declared.role.as_str()];
        while let Some(role) = next.pop() {
            let of = groups.get(role).into_iter().flatten();
            next.extend(of.copied().filter(|role| seen.insert(role)));
        }
        if seen.contains(declared.member.as_str()) {
            return Err(Error::Circle {
                role: declared.member.clone(),
                pointer: at.clone(),
            });
        }
        groups
            .entry(&declared.member)
            .or_default()
            .insert(&declared.role);
    }
    Ok(())
}

/// Is this row the declared membership? Without a grantor any row of the two is; a spec declares such
/// only once.
fn is_same(row: &Member, declared: &Membership) -> bool {
    row.role == declared.role
        && row.member == declared.member
        && declared
            .grantor
            .as_ref()
            .is_none_or(|grantor| *grantor == row.grantor)
}

fn check(document: &Document, declared: &Membership, at: &str) -> Result<(), Error> {
    if !compat::HAS_MEMBERSHIP_OPTIONS {
        let key = match declared {
            Membership { inherit: false, .. } => Some("inherit"),
            Membership { set: false, .. } => Some("set"),
            Membership {
                grantor: Some(_), ..
            } => Some("grantor"),
            _ => None,
        };
        if let Some(key) = key {
            return Err(Error::TooNew {
                key,
                pointer: format!("{at}/{key}"),
            });
        }
    }
    for (key, name) in [("role", &declared.role), ("member", &declared.member)] {
        // A scope of the same spec is there by then.
        if document.scopes.iter().any(|scope| scope.name == *name) {
            continue;
        }
        require_role(name, &format!("{at}/{key}"))?;
    }
    if let Some(grantor) = &declared.grantor
        && catalog::role_by_name(grantor).is_none()
    {
        return Err(missing("role", grantor, &format!("{at}/grantor")));
    }
    Ok(())
}

/// A role that is there, and no login of ours.
fn require_role(name: &str, at: &str) -> Result<(), Error> {
    let role = catalog::role_by_name(name).ok_or_else(|| missing("role", name, at))?;
    let is_ours = match label::read(role.oid) {
        None => false,
        Some(Ok(metadata)) => matches!(
            metadata.kind,
            Kind::Credential | Kind::Authenticator | Kind::Temporary | Kind::Composite
        ),
        Some(Err(_)) => true,
    };
    if is_ours {
        Err(Error::OfOurs {
            role: name.to_owned(),
            pointer: at.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// PostgreSQL asks the same of who grants.
fn require_admin(document: &Document, declared: &Membership, at: &str) -> Result<(), Error> {
    let caller = identity::current_user();
    require_lasting(&declared.role, at)?;
    let may = match catalog::role_by_name(&declared.role) {
        Some(role) => catalog::is_admin_of(caller, role.oid),
        // Nobody but superusers is admin of a scope that is made now.
        None => {
            debug_assert!(
                document
                    .scopes
                    .iter()
                    .any(|scope| scope.name == declared.role)
            );
            catalog::role_by_oid(caller).is_some_and(|role| role.superuser)
        }
    };
    if may {
        Ok(())
    } else {
        Err(may_not(&declared.role)).at(at)
    }
}

/// A membership has no end, so that whose right ends grants none.
fn require_lasting(role: &str, at: &str) -> Result<(), Error> {
    if itself::ends_at().is_none() {
        return Ok(());
    }
    Err(temporary::Error::Outlasts {
        role: role.to_owned(),
    })
    .at(at)
}

fn may_not(role: &str) -> temporary::Error {
    temporary::Error::MayNotGrant {
        role: role.to_owned(),
        caller: catalog::name_of(identity::current_user()),
    }
}

fn oid(role: &str) -> pgrx::pg_sys::Oid {
    catalog::role_by_name(role).map_or(pgrx::pg_sys::InvalidOid, |role| role.oid)
}

/// An option that is there and not declared is taken away by authoritative specs only.
fn alter(
    row: &Member,
    declared: &Membership,
    mode: Mode,
    at: &str,
    found: &mut Found,
) -> Result<(), Error> {
    let differs = |has: bool, wants: bool| match mode {
        Mode::Additive => wants && !has,
        Mode::Authoritative => wants != has,
    };
    let mut options = Vec::new();
    let switches = [
        ("INHERIT", row.inherit, declared.inherit),
        ("SET", row.set, declared.set),
    ];
    for (word, has, wants) in switches {
        if has.is_some_and(|has| differs(has, wants)) {
            options.push(format!("{word} {}", if wants { "TRUE" } else { "FALSE" }));
        }
    }
    if differs(row.admin, declared.admin) && declared.admin {
        options.push(admin_option());
    }
    let (role, member) = (spi::identifier(&row.role), spi::identifier(&row.member));
    let by = granted_by(Some(&row.grantor));
    let mut statements = Vec::new();
    if !options.is_empty() {
        require_lasting(&row.role, at)?;
        statements.push(format!(
            "GRANT {role} TO {member} WITH {}{by}",
            options.join(", ")
        ));
    }
    if differs(row.admin, declared.admin) && !declared.admin {
        statements.push(format!("REVOKE ADMIN OPTION FOR {role} FROM {member}{by}"));
    }
    for statement in statements {
        if !catalog::is_admin_of(identity::current_user(), oid(&row.role)) {
            return Err(may_not(&row.role)).at(at);
        }
        found.joined.push(Step {
            object: format!("membership of {} in {}", row.member, row.role),
            statement,
            reason: format!("other options are declared at {at}"),
            work: Work::Sql(Actor::Caller),
        });
    }
    Ok(())
}

fn grant(declared: &Membership, grantor: Option<&str>) -> String {
    let mut options = Vec::new();
    if compat::HAS_MEMBERSHIP_OPTIONS {
        let word = |on: bool| if on { "TRUE" } else { "FALSE" };
        options.push(format!("INHERIT {}", word(declared.inherit)));
        options.push(format!("SET {}", word(declared.set)));
    }
    if declared.admin {
        options.push(admin_option());
    }
    let options = if options.is_empty() {
        String::new()
    } else {
        format!(" WITH {}", options.join(", "))
    };
    format!(
        "GRANT {} TO {}{options}{}",
        spi::identifier(&declared.role),
        spi::identifier(&declared.member),
        granted_by(grantor)
    )
}

fn admin_option() -> String {
    if compat::HAS_MEMBERSHIP_OPTIONS {
        "ADMIN TRUE".to_owned()
    } else {
        "ADMIN OPTION".to_owned()
    }
}

/// Before 16 a membership is one, whoever has granted it.
fn granted_by(grantor: Option<&str>) -> String {
    match grantor {
        Some(grantor) if compat::HAS_MEMBERSHIP_OPTIONS => {
            format!(" GRANTED BY {}", spi::identifier(grantor))
        }
        _ => String::new(),
    }
}

/// A grantor must be admin of the role first.
fn ordered(joins: Vec<(&Membership, String)>) -> Vec<(&Membership, String)> {
    let mut waiting = joins;
    let mut done: Vec<(&Membership, String)> = Vec::new();
    while !waiting.is_empty() {
        let waits = |one: &Membership, others: &[(&Membership, String)]| {
            others.iter().any(|(other, _)| {
                other.admin && other.role == one.role && one.grantor.as_ref() == Some(&other.member)
            })
        };
        let (now, later): (Vec<_>, Vec<_>) = waiting
            .iter()
            .cloned()
            .partition(|(one, _)| !waits(one, &waiting));
        if now.is_empty() {
            // A circle of grantors, which PostgreSQL refuses itself.
            done.extend(later);
            break;
        }
        done.extend(now);
        waiting = later;
    }
    done
}

/// Who has granted on what they were granted loses it last.
fn dependents_first(leaving: Vec<&Member>) -> Vec<&Member> {
    let mut waiting = leaving;
    let mut done = Vec::new();
    while !waiting.is_empty() {
        let is_needed = |one: &Member| {
            compat::HAS_MEMBERSHIP_OPTIONS
                && waiting
                    .iter()
                    .any(|other| other.role == one.role && other.grantor == one.member)
        };
        let (now, later): (Vec<_>, Vec<_>) =
            waiting.iter().copied().partition(|one| !is_needed(one));
        if now.is_empty() {
            done.extend(later);
            break;
        }
        done.extend(now);
        waiting = later;
    }
    done
}

/// Is it between roles that a spec declares? Logins of ours get theirs by the functions that issue them.
pub fn is_declarable(member: &Member) -> bool {
    let issued = |kind: &Option<String>| {
        matches!(
            kind.as_deref(),
            Some("credential" | "authenticator" | "temporary" | "composite")
        )
    };
    !issued(&member.role_kind) && !issued(&member.member_kind)
}
