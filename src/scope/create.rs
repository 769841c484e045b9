//! Making scopes, and a database's own part of one that others have made.

use pgrx::pg_sys;

use super::control::{Scope, claimed, own};
use super::differences::{beyond_grants, differences, excess};
use super::grants::{access, changed, extend, grant, grantable};
use super::notices::tell;
use super::plan::Holdings;
use super::planned::Planned;
use super::request::Request;
use super::{Error, again, declared, held, name, planning};
use crate::advisory::{self, Key, Mode};
use crate::authority::is_over;
use crate::error;
use crate::label::{self, Kind, MAX_PURPOSE_BYTES};
use crate::pg::{catalog, identity, spi};
use crate::text::some_of;

/// A new scope under a name that the caller has chosen.
pub fn create(
    name: &str,
    request: &Request,
    purpose: Option<&str>,
    if_not_exists: bool,
) -> Result<(), Error> {
    name::check(name)?;
    if is_keyword(name)? {
        return Err(name::BadName::Keyword.into());
    }
    if let Some(purpose) = purpose.filter(|purpose| purpose.len() > MAX_PURPOSE_BYTES) {
        return Err(Error::PurposeTooLong {
            bytes: purpose.len(),
            max: MAX_PURPOSE_BYTES,
        });
    }
    let caller = identity::current_user();
    if let Some(existing) = catalog::role_by_name(name) {
        return already_there(name, existing.oid, request, if_not_exists);
    }
    let planned = planning::plan(request, caller, None)?;
    require_making(request, &planned)?;
    // Whoever comes second with the same name waits here, and sees what the first has made.
    advisory::lock(Key::Text(name), Mode::Exclusive);
    if let Some(existing) = catalog::role_by_name(name) {
        return already_there(name, existing.oid, request, if_not_exists);
    }
    // What was true before the wait may not be so any more.
    let planned = planning::plan(request, caller, None)?;
    let role = make(name, request, &planned, purpose, false)?;
    again::remember(role, name, &again::fingerprint(request)?)?;
    tell(role, request, &planned)
}

/// Whether a plain identifier needs quotes for being a word of SQL, as PostgreSQL's own quoting
/// decides; that quotes everything in sessions with `quote_all_identifiers`.
fn is_keyword(name: &str) -> Result<bool, Error> {
    let words = identity::elevated(|| {
        spi::facts::<bool>(
            "SELECT 'true'::text FROM pg_catalog.pg_get_keywords()
              WHERE word OPERATOR(pg_catalog.=) $1::text
                AND catcode OPERATOR(pg_catalog.<>) 'U'::\"char\"",
            &[name],
        )
    })?;
    Ok(!words.is_empty())
}

/// A role of this name exists. Fine when it is a scope with just these privileges, or one of the caller's
/// that this database has no part of yet, and the caller has said so.
fn already_there(
    name: &str,
    role: pg_sys::Oid,
    request: &Request,
    if_not_exists: bool,
) -> Result<(), Error> {
    let exists = || Error::Exists {
        role: name.to_owned(),
    };
    let metadata = match label::read(role) {
        Some(Ok(metadata)) if metadata.kind == Kind::Scope => metadata,
        _ => return Err(exists()),
    };
    let mut scope = Scope {
        oid: role,
        name: name.to_owned(),
        metadata,
    };
    // Others may ask what it holds, but not keep its owner from it.
    let is_superuser = catalog::role_by_oid(role).is_some_and(|role| role.superuser);
    let is_over = !is_superuser && is_over(identity::current_user(), &scope.metadata);
    if is_over {
        scope = claimed(name)?;
    }
    let is_here = scope.has_part_here()?;
    // One whose databases have all been dropped is made anew: nobody else declares it.
    let is_left = || scope.metadata.is_native && scope.databases().is_empty();
    if !if_not_exists && (is_here || !is_over || scope.metadata.parts.more || !is_left()) {
        return Err(exists());
    }
    scope.require_usable()?;
    if !is_here {
        return join(name, request);
    }
    let role = scope.oid;
    let planned = planning::plan(request, identity::current_user(), Some(role))?;
    let held = held::by(role)?;
    let asked = again::fingerprint(request)?;
    let difference = differences(request, &planned, &held, false);
    if !difference.is_empty()
        && planned.plan.is_outgrown(&held)
        && excess(request, &planned, &held, false).is_empty()
    {
        // What it was to get in future exists by now, or who makes it does.
        own(name)?;
        extend(name, role, request, &planned)?;
        again::remember(role, name, &asked)?;
        error::notice(
            format!("scope \"{name}\" already exists, completing"),
            "It has got what came into its schemas since.",
            None,
        );
        return tell(role, request, &planned);
    }
    if !difference.is_empty() {
        let is_known = again::is_remembered(role, name, &asked)?
            && beyond_grants(request, &held, false).is_empty()
            && again::is_as_declared(role, name, &held)?;
        if !is_known {
            return Err(Error::Differs {
                scope: name.to_owned(),
                difference: some_of(&difference),
            });
        }
        error::notice(
            format!("scope \"{name}\" already exists, skipping"),
            &format!(
                "It was made by this very call, and has been changed since: it {}.",
                some_of(&difference)
            ),
            None,
        );
        return Ok(());
    }
    if is_over {
        label::keep(role);
        let new = declared::add(role, name, &planned.plan, &held)?;
        again::remember(role, name, &asked)?;
        label::declare(role, access(&held), true);
        if !new.is_empty() {
            changed(
                "create_scope",
                name,
                "declared",
                new.iter(),
                &planned.plan.names,
            );
        }
    }
    error::notice(
        format!("scope \"{name}\" already exists, skipping"),
        "It has exactly these privileges.",
        None,
    );
    Ok(())
}

/// This database gets its own part of a scope that others have made: who may change the scope may do so.
fn join(name: &str, request: &Request) -> Result<(), Error> {
    let scope = own(name)?;
    let planned = planning::plan(request, identity::current_user(), Some(scope.oid))?;
    let held = held::by(scope.oid)?;
    // What somebody has granted it here by hand does not become the scope's in this way.
    let excess = excess(request, &planned, &held, false);
    if !excess.is_empty() {
        return Err(Error::Differs {
            scope: scope.name,
            difference: some_of(&excess),
        });
    }
    label::keep(scope.oid);
    extend(name, scope.oid, request, &planned)?;
    again::remember(scope.oid, name, &again::fingerprint(request)?)?;
    let others = scope.databases();
    error::notice(
        format!("scope \"{name}\" has a part in this database now"),
        &if others.is_empty() {
            "The databases that it was made for are gone; its members are still there.".to_owned()
        } else {
            format!("The role is shared. {}", super::elsewhere(&others))
        },
        None,
    );
    tell(scope.oid, request, &planned)
}

/// May the caller make all grants of a new scope?
pub fn require_making(request: &Request, planned: &Planned) -> Result<(), Error> {
    let caller = identity::current_user();
    // A login of ours ends, and nobody would be left to answer for what it has made.
    let is_login = label::read(caller)
        .is_some_and(|metadata| metadata.map_or(true, |metadata| metadata.kind != Kind::Scope));
    if is_login && !identity::is_superuser() {
        return Err(Error::ByALogin {
            caller: catalog::name_of(caller),
        });
    }
    planned.require_authority(&grantable(planned.plan.to_grant(&Holdings::default())))?;
    planned.require_future(request)
}

/// Makes the role, and its grants. The caller holds the lock on the name.
pub fn make(
    name: &str,
    request: &Request,
    planned: &Planned,
    purpose: Option<&str>,
    on_request: bool,
) -> Result<pg_sys::Oid, Error> {
    let grants = grantable(planned.plan.to_grant(&Holdings::default()));
    require_making(request, planned)?;
    let caller = identity::current_user();
    let role = identity::elevated(|| -> Result<pg_sys::Oid, Error> {
        spi::execute(&format!("CREATE ROLE {} NOLOGIN", spi::identifier(name)))?;
        let labelled = label::attach_scope(name, caller, purpose, on_request);
        catalog::role_by_name(name)
            .filter(|_| labelled)
            .map(|role| role.oid)
            .ok_or_else(|| Error::Sql("the role that was just created is not there".to_owned()))
    })?;
    let held = grant(name, role, planned, &grants)?;
    declared::make(role, name, &planned.plan, &held)?;
    changed(
        "create_scope",
        name,
        "granted",
        grants.iter().map(|(grant, _)| grant),
        &planned.plan.names,
    );
    Ok(role)
}
