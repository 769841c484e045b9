//! Memberships for a time, which the login was granted.

use super::login::is_active;
use super::person::{Labelled, Person, labelled};
use super::step::Step;
use crate::label::State;
use crate::pg::catalog;
use crate::pg::spi::literal;

pub fn find(person: &Person) -> Vec<Step> {
    let Some(login) = person.login() else {
        return Vec::new();
    };
    let is_theirs = |found: &Labelled| {
        let temporary = found.metadata.temporary.as_ref();
        temporary.is_some_and(|temporary| temporary.to == u32::from(login.oid))
    };
    let found = labelled().into_iter().filter(is_theirs);
    found.filter_map(|found| end(&found)).collect()
}

/// Its end, unless it has ended or somebody is gone.
pub fn end(found: &Labelled) -> Option<Step> {
    let (oid, metadata) = (found.role.oid, &found.metadata);
    let temporary = metadata.temporary.as_ref()?;
    if !metadata.is_native || metadata.state != State::Active {
        return None;
    }
    let name = |oid: u32| catalog::role_by_oid(oid.into()).map(|role| role.name);
    let (role, to) = (name(temporary.role)?, name(temporary.to)?);
    let sql = format!(
        "SELECT scope.revoke_temporary({}, {})",
        literal(&role),
        literal(&to)
    );
    let still = move || is_active(oid).then(|| "it is still active".to_owned());
    let step = Step::runs("temporary membership", role, sql).until(still);
    Some(step.with(format!("of {to}")))
}
