//! What the login owns. Nothing of it is given away: triggers and policies on it would run as the new owner.

use std::collections::BTreeMap;

use super::Error;
use super::person::Person;
use super::step::Step;
use crate::dependencies;
use crate::pg::server;
use crate::pg::spi::identifier;

/// As many are named.
const NAMED: usize = 1_000;

pub fn find(person: &Person) -> Result<Vec<Step>, Error> {
    let Some(login) = person.login() else {
        return Ok(Vec::new());
    };
    let to = person.successor.as_deref().map(identifier);
    let sql = format!(
        "REASSIGN OWNED BY {} TO {}",
        identifier(&login.name),
        to.as_deref().unwrap_or("…")
    );
    let mut steps = Vec::new();
    let (mut unnamed, mut elsewhere) = (0_usize, BTreeMap::<u32, usize>::new());
    for owned in dependencies::of_role(login.oid)? {
        if !owned.is_ownership() {
            continue;
        }
        match owned.description {
            Some(what) if steps.len() < NAMED => {
                let why = "look at it first: its code would run as the new owner";
                steps.push(Step::shown("object", what, sql.clone(), why));
            }
            Some(_) => unnamed += 1,
            None => *elsewhere.entry(owned.database.into()).or_default() += 1,
        }
    }
    if unnamed > 0 {
        let why = format!("{unnamed} more objects in this database");
        steps.push(Step::shown("object", "…", sql.clone(), why));
    }
    for (database, count) in elsewhere {
        let name = server::name_of_database(database.into());
        let why = format!("{count} objects there: call it in that database");
        steps.push(Step::shown(
            "objects of a database",
            name.unwrap_or_default(),
            sql.clone(),
            why,
        ));
    }
    Ok(steps)
}
