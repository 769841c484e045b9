//! The steps of scopes: made, given what they lack, rid of what is too much, dropped.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use super::document::{Document, Mode, Scope};
use super::steps::{
    Actor, Change, Declared, Declares, Found, Notice, Step, Work, label_step, missing,
    require_function,
};
use super::whole::{self, Whole};
use super::{At, Error, state};
use crate::authority::is_over;
use crate::label;
use crate::pg::{catalog, identity, spi};
use crate::scope::declaration::Stance;
use crate::scope::plan::{self, Grant, Grantor, Holdings, Need, Object};
use crate::scope::statements::{Direction, statements};
use crate::scope::{self, held, name};
use crate::text::some_of;

impl Found {
    pub fn scope(&mut self, at: &str, declared: &Scope, mode: Mode) -> Result<(), Error> {
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
        let mut whole = whole::of(at, declared, holder, &held)?;
        let mut stays = held.clone();
        let excess = match mode {
            Mode::Additive => Vec::new(),
            Mode::Authoritative => whole.plan.difference(&held).excess,
        };
        let lost = held.columns_lost_with(&excess);
        if !lost.is_empty() {
            stays.grants.retain(|grant, _| !lost.contains(grant));
            whole = whole::of(at, declared, holder, &stays)?;
        }
        let is_here = match &existing {
            Some(existing) => existing.has_part_here()?,
            None => false,
        };
        match &existing {
            Some(existing) if !is_here => {
                require_function("create_scope", at)?;
                self.created.push(Step {
                    object: format!("scope {}", declared.name),
                    statement: format!(
                        "SELECT scope.create_scope({}, if_not_exists => true)",
                        spi::literal(&declared.name)
                    ),
                    reason: format!(
                        "declared at {at}, and this database has no part of it: {}",
                        scope::elsewhere(&existing.databases())
                    ),
                    work: Work::CreateScope {
                        name: declared.name.clone(),
                        purpose: None,
                    },
                });
            }
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
                    let change = Change::Purpose(purpose.clone());
                    let step = label_step(&declared.name, &existing.metadata, change);
                    self.policies.push(Step {
                        reason: format!("another purpose is declared at {at}/purpose"),
                        ..step
                    });
                }
            }
        }
        self.grants(at, declared, &whole, &stays, !is_here)?;
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
            plan::Other::Temporary { .. } => None,
            // Memberships have a place of their own.
            plan::Other::Else { what } if what.starts_with("membership in ") => None,
            plan::Other::Else { what } => Some(what),
        });
        let others: Vec<String> = others.cloned().collect();
        if !others.is_empty() && mode == Mode::Authoritative {
            self.notices.push(Notice {
                message: format!("scope \"{}\" has what no spec can say", declared.name),
                detail: format!("It has {}.", some_of(&others)),
                hint: "Nothing of that is changed; scope.scopes shows it.",
            });
        }
        if !whole.uncovered.is_empty() && !is_here {
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
        // What everyone may do too works without, but a scope that declares it is to hold it.
        let declares = match catalog::role_by_name(&declared.name) {
            Some(role) if !is_new => scope::declared::by(role.oid, &declared.name)?.grants,
            _ => BTreeMap::new(),
        };
        let required = |grant: &Grant| declares.get(grant) == Some(&Stance::Required);
        let mut groups: BTreeMap<(usize, Need, Grantor), Vec<&Grant>> = BTreeMap::new();
        for (grant, wanted) in &whole.plan.grants {
            // A scope that is made may connect already. What works without is granted at first only.
            let done = held.grants.contains_key(grant)
                || is_new && matches!(grant.object, Object::Database(_));
            let spare = wanted.need == Need::Spare;
            if done || spare && (!is_new && !required(grant) || wanted.grantor == Grantor::Nobody) {
                continue;
            }
            let entry = whole.entries.get(grant).copied().unwrap_or_default();
            let group = (entry, wanted.need, wanted.grantor);
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
        for ((entry, need, grantor), grants) in groups {
            let actor = match grantor {
                Grantor::Caller => Actor::Caller,
                Grantor::Scope(owner) => Actor::Role(owner),
                Grantor::Nobody => continue,
            };
            let reason = match need {
                Need::Asked => format!("declared at {at}/grants/{entry}, and not held"),
                Need::Spare if !is_new => {
                    format!("the scope was given it for {at}/grants/{entry}, and does not hold it")
                }
                Need::Implied | Need::Spare => {
                    format!("what {at}/grants/{entry} declares does not work without")
                }
            };
            for statement in statements(grants, &whole.plan.names, &role, Direction::Grant) {
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
            for statement in statements(grants, &held.names, &role, Direction::Revoke) {
                self.revoked.push(Step {
                    object: format!("scope {scope}"),
                    statement,
                    reason: reason.to_owned(),
                    work: Work::Sql(Actor::Role(grantor)),
                });
            }
        }
    }

    pub fn drop_scope(&mut self, at: &str, declared: &Scope) -> Result<(), Error> {
        if catalog::role_by_name(&declared.name).is_none() {
            return Ok(());
        }
        let existing = scope::own(&declared.name).at(at)?;
        let is_gone = !existing.has_part_here()? && !existing.parts_elsewhere()?.is_empty();
        if existing.metadata.state != label::State::Active || is_gone {
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
    pub fn undeclared(&mut self, document: &Document) -> Result<(), Error> {
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

fn check_purpose(at: &str, purpose: Option<&str>) -> Result<(), Error> {
    match purpose {
        Some(purpose) if purpose.len() > label::MAX_PURPOSE_BYTES => {
            Err(scope::Error::PurposeTooLong {
                bytes: purpose.len(),
                max: label::MAX_PURPOSE_BYTES,
            })
            .at(&format!("{at}/purpose"))
        }
        _ => Ok(()),
    }
}
