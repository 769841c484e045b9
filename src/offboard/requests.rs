//! Access that the person has asked for, and the policies that name them.

use super::Error;
use super::person::Person;
use super::step::Step;
use crate::pg::spi::literal;
use crate::request::{self, Asker};

pub fn find(person: &Person) -> Result<Vec<Step>, Error> {
    let login = person.login().map(|login| u32::from(login.oid));
    let is_theirs = |asker: &Asker<'_>| match (person.subject(), asker.subject) {
        (Some(subject), Some(sub)) => subject.is(asker.issuer, sub),
        (None, None) => login == Some(asker.login),
        _ => false,
    };
    let open = request::open(is_theirs)?;
    let mut steps: Vec<Step> = open
        .into_iter()
        .map(|open| {
            let reason = person.reason.as_deref().unwrap_or("offboarded");
            let sql = format!("SELECT scope.revoke({}, {})", open.id, literal(reason));
            let id = open.id;
            let still = move || request::is_open(id).then(|| "it is still open".to_owned());
            let step = Step::runs("request", format!("request {}", open.id), sql).until(still);
            step.with(format!("of {}, {}", open.target, open.state.name()))
        })
        .collect();
    if let Some(login) = login {
        let named = request::policies_naming(login)?;
        steps.extend(named.into_iter().map(|policy| {
            let sql = format!(
                "SELECT scope.create_request_policy({}, …, replace => true)",
                literal(&policy)
            );
            Step::shown("request policy", policy, sql, "it names this login itself")
        }));
        let theirs = request::policies_of(login)?;
        steps.extend(theirs.into_iter().map(|policy| {
            let sql = format!("SELECT scope.drop_request_policy({})", literal(&policy));
            let why = "it goes on granting in their name: have its next creator make it anew";
            Step::shown("request policy", policy, sql, why)
        }));
    }
    Ok(steps)
}
