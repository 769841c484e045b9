//! The sessions that are open, in all databases.

use super::Error;
use super::person::{Person, Who};
use super::step::{Row, Step};
use crate::pg::spi::{self, literal};
use crate::pg::xact;
use crate::sessions;

const KIND: &str = "sessions";

pub fn find(person: &Person) -> Result<Vec<Step>, Error> {
    let count = match may_end() {
        true => open(person)?,
        // It is not known, and what is to be done is to be seen.
        false => 1,
    };
    if count == 0 {
        return Ok(Vec::new());
    }
    let sql = match &person.who {
        Who::Login(role) => format!("SELECT scope.end_sessions(role => {})", literal(&role.name)),
        Who::Subject(subject) => match &subject.issuer {
            None => format!(
                "SELECT scope.end_sessions(subject => {})",
                literal(&subject.sub)
            ),
            Some(issuer) => format!(
                "SELECT scope.end_sessions(subject => {}, issuer => {})",
                literal(&subject.sub),
                literal(issuer)
            ),
        },
    };
    let step = Step::runs(KIND, person.name(), sql);
    Ok(vec![match may_end() {
        true => step.with(format!("{count} open")),
        false => step,
    }])
}

/// Some are there still, or have come since. Those of a login that is disabled are told once more with the commit.
pub fn left_open(rows: &mut [Row], open: usize, are_told_again: bool) {
    for row in rows
        .iter_mut()
        .filter(|row| row.step.kind == KIND && row.done)
    {
        row.done = are_told_again;
        row.detail = Some(match are_told_again {
            true => format!("{open} are open yet, and told to end once more with the commit"),
            false => format!("{open} are still open"),
        });
    }
}

/// How many there are that the caller may end.
pub fn open(person: &Person) -> Result<usize, Error> {
    let found = match &person.who {
        Who::Login(role) => sessions::count(None, Some(&role.name), None),
        Who::Subject(subject) => {
            sessions::count(Some(&subject.sub), None, subject.issuer.as_deref())
        }
    };
    found.map_err(Error::from)
}

/// May the caller call `scope.end_sessions()`, which tells how many there are?
pub fn may_end() -> bool {
    const SQL: &str = "SELECT pg_catalog.has_function_privilege('scope.end_sessions(text, name, text)', 'EXECUTE')";
    let found = xact::raised(spi::read(SQL, &[], |row| row.get::<bool>(1)));
    found.into_iter().flatten().any(|may| may)
}
