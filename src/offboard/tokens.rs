//! The tokens of a subject, and the logins that were issued for them.

use super::Error;
use super::login::credential;
use super::person::{Person, Subject, labelled};
use super::step::Step;
use crate::pg::arguments::Text;
use crate::pg::identity;
use crate::pg::spi::{self, literal};

pub fn find(person: &Person) -> Result<Vec<Step>, Error> {
    let Some(subject) = person.subject() else {
        return Ok(Vec::new());
    };
    let mut steps = Vec::new();
    if !is_revoked(subject)? {
        // For good: whoever gets another token tomorrow is the same person.
        let sql = match &subject.issuer {
            None => format!(
                "SELECT scope.revoke_subject({}, 'infinity')",
                literal(&subject.sub)
            ),
            Some(issuer) => format!(
                "SELECT scope.revoke_subject({}, 'infinity', {})",
                literal(&subject.sub),
                literal(issuer)
            ),
        };
        steps.push(
            Step::runs("tokens", &subject.sub, sql).with(match &subject.issuer {
                None => "of every issuer, in this database".to_owned(),
                Some(issuer) => format!("of issuer {issuer}, in this database"),
            }),
        );
    }
    // A revocation ends those of its own database.
    for found in labelled() {
        let token = found.metadata.token.as_ref();
        if token.is_some_and(|token| subject.is(token.iss.as_deref(), &token.sub)) {
            let (oid, name) = (found.role.oid, &found.role.name);
            steps.extend(credential(
                oid,
                "login for a token",
                name,
                person.reason.as_deref(),
            ));
        }
    }
    Ok(steps)
}

/// Are all tokens refused already, whenever they were or will be issued?
fn is_revoked(subject: &Subject) -> Result<bool, Error> {
    const SQL: &str = "
        SELECT FROM _scope.jwt_revoked_subject
         WHERE sub OPERATOR(pg_catalog.=) $1 AND issued_before OPERATOR(pg_catalog.=) 'infinity'
           AND (issuer OPERATOR(pg_catalog.=) '' OR issuer OPERATOR(pg_catalog.=) $2)";
    let text = |text: &str| Text(text.to_owned());
    let (sub, iss) = (text(&subject.sub), text(subject.iss().unwrap_or_default()));
    let found = identity::elevated(|| spi::read(SQL, &[sub.into(), iss.into()], |_| Ok(())))?;
    Ok(!found.is_empty())
}
