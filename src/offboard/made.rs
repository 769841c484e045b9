//! What the role has made: it goes to the successor, or else ends, as far as that does no harm to others.

use pgrx::pg_sys;

use super::login::credential;
use super::person::{Labelled, Person, labelled};
use super::step::Step;
use super::temporary;
use crate::authority::creator_of;
use crate::label::{self, Kind, Metadata};
use crate::pg::spi::literal;

pub fn find(person: &Person) -> Vec<Step> {
    let Some(login) = person.login() else {
        return Vec::new();
    };
    let found = labelled().into_iter();
    let theirs = found.filter(|found| {
        // Their own login is another step, and what they were granted for a time.
        let to = found
            .metadata
            .temporary
            .as_ref()
            .map(|temporary| temporary.to);
        found.role.oid != login.oid
            && to != Some(login.oid.into())
            && has_made(login.oid, &found.metadata)
    });
    theirs
        .flat_map(|found| match &person.successor {
            Some(successor) => vec![hand_over(&login.name, login.oid, successor, &found)],
            None => end(&login.name, person.reason.as_deref(), &found),
        })
        .collect()
}

pub fn has_made(creator: pg_sys::Oid, metadata: &Metadata) -> bool {
    creator_of(metadata).is_some_and(|found| found.oid == creator)
}

fn hand_over(from: &str, creator: pg_sys::Oid, to: &str, found: &Labelled) -> Step {
    let oid = found.role.oid;
    let still = move || match label::read_any(oid) {
        Some(Ok(metadata)) if has_made(creator, &metadata) => Some(match metadata.is_native {
            true => "it is still theirs: one call hands over 1,000 things at most".to_owned(),
            false => {
                "it came with a restore: a superuser calls scope.adopt_restored() first".to_owned()
            }
        }),
        _ => None,
    };
    let sql = format!(
        "SELECT * FROM scope.reassign({}, {})",
        literal(from),
        literal(to)
    );
    Step::runs(found.metadata.kind.name(), &found.role.name, sql).until(still)
}

fn end(from: &str, reason: Option<&str>, found: &Labelled) -> Vec<Step> {
    let (name, kind) = (&found.role.name, found.metadata.kind);
    let left = |why: &str| {
        let sql = format!(
            "SELECT * FROM scope.reassign({}, 'who is to manage it')",
            literal(from)
        );
        vec![Step::shown(kind.name(), name, sql, why)]
    };
    match kind {
        Kind::Credential if found.metadata.token.is_some() => {
            left("it ends with its token; name a successor to hand it over")
        }
        Kind::Credential | Kind::Authenticator => {
            credential(found.role.oid, kind.name(), name, reason)
        }
        Kind::Temporary => temporary::end(found).into_iter().collect(),
        Kind::Scope | Kind::Composite | Kind::Guarded => {
            left("others may need it; name a successor to hand it over")
        }
    }
}
