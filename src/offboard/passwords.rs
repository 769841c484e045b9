//! Passwords that the person has seen, of logins that go on: whoever issues a login, or rotates its password, is shown it once.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::carry_out::PATIENCE;
use super::login::credential;
use super::made::has_made;
use super::person::{Labelled, Person, Who, labelled};
use super::step::Step;
use crate::label::{Kind, Metadata, State};
use crate::pg::arguments::Text;
use crate::pg::spi::{self, literal};
use crate::pg::xact::{self, Failure};
use crate::timestamp;
use crate::waiting;

/// When a login's password was last made, and by whom.
struct Made {
    /// Unix microseconds.
    at: i64,
    is_theirs: bool,
    is_issue: bool,
}

pub fn find(person: &Person) -> Vec<Step> {
    let (record, unknown) =
        match waiting::subtransaction_within(PATIENCE, || xact::raised(record(person))) {
            Ok(record) => (record, None),
            Err(failure) => (BTreeMap::new(), Some(failure)),
        };
    let mut steps: Vec<Step> = unknown.iter().map(unread).collect();
    for found in labelled() {
        let made = record.get(&found.role.name).filter(|made| {
            // The login of before had the same name.
            let since = timestamp::parse(&found.metadata.created_at);
            since.is_none_or(|since| made.at >= since)
        });
        if !has_password(&found.metadata) || !is_seen(person, made, &found.metadata) {
            continue;
        }
        steps.extend(changed(person, made, &found));
    }
    steps
}

fn has_password(metadata: &Metadata) -> bool {
    matches!(metadata.kind, Kind::Credential | Kind::Authenticator)
        && metadata.state == State::Active
        && metadata.token.is_none()
        && metadata.successor.is_none()
        && !metadata.logs_in_by_token()
}

/// By the record; where that says nothing, whoever has issued the login knows the password that it still has.
fn is_seen(person: &Person, made: Option<&Made>, metadata: &Metadata) -> bool {
    match (made, person.login()) {
        (Some(made), _) => made.is_theirs,
        (None, Some(login)) => metadata.rotated_at.is_none() && has_made(login.oid, metadata),
        (None, None) => false,
    }
}

fn changed(person: &Person, made: Option<&Made>, found: &Labelled) -> Vec<Step> {
    let (oid, name) = (found.role.oid, &found.role.name);
    let is_own = |login: pg_sys::Oid| oid == login || has_made(login, &found.metadata);
    let is_issued = made.is_some_and(|made| made.is_issue);
    let goes_on = person.successor.is_some();
    match &person.who {
        // Their own login ends, and so does, without a successor, what they have issued.
        Who::Login(login) if oid == login.oid || !goes_on && is_own(login.oid) => Vec::new(),
        Who::Subject(_) if !goes_on && is_issued => credential(
            oid,
            found.metadata.kind.name(),
            name,
            person.reason.as_deref(),
        ),
        _ => {
            let sql = format!(
                "SELECT role_name::text, password, connection_uri FROM scope.rotate_password({}, {})",
                literal(name),
                literal(&person.overlap)
            );
            vec![Step::rotates(name, sql).with("they have seen it")]
        }
    }
}

fn unread(failure: &Failure) -> Step {
    Step::shown(
        "password",
        "scope.audit_log",
        "SELECT object, details FROM scope.audit_log WHERE event IN ('issue', 'rotate')".to_owned(),
        format!(
            "which passwords they have seen is not known: {}",
            failure.message
        ),
    )
}

/// As the caller, who must be allowed to read the record.
fn record(person: &Person) -> spi::SpiResult<BTreeMap<String, Made>> {
    const SQL: &str = "
        SELECT DISTINCT ON (e.login) e.login, e.at, e.is_theirs, e.is_issue
          FROM (SELECT COALESCE(a.details ->> 'successor', a.object) AS login, a.event = 'issue' AS is_issue,
                       (EXTRACT(epoch FROM a.at) * 1000000)::pg_catalog.int8 AS at,
                       COALESCE(CASE WHEN $1 THEN a.login::pg_catalog.text = $2
                                     ELSE a.subject = $2 AND ($3 = '' OR a.issuer = $3) END, false) AS is_theirs
                  FROM scope.audit_log a WHERE a.event IN ('issue', 'rotate')) e
         ORDER BY e.login, e.at DESC";
    let iss = person.subject().and_then(|subject| subject.iss());
    let text = |text: &str| Text(text.to_owned());
    let arguments = [
        person.login().is_some().into(),
        text(person.name()).into(),
        text(iss.unwrap_or_default()).into(),
    ];
    let rows = spi::read(SQL, &arguments, |row| {
        let made = Made {
            at: row.get::<i64>(2)?.unwrap_or(i64::MIN),
            is_theirs: row.get::<bool>(3)?.unwrap_or(true),
            is_issue: row.get::<bool>(4)?.unwrap_or(false),
        };
        Ok((row.get::<String>(1)?.unwrap_or_default(), made))
    })?;
    Ok(rows.into_iter().collect())
}
