//! The tables of requests: reading and writing them, each change with its row in `scope.request_log` and its NOTIFY.

use std::ffi::CString;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::person::Person;
use super::policy::{Definition, Kind, Policy, RoleRef};
use super::{Error, State};
use crate::advisory::{self, Key, Mode};
use crate::label::Metadata;
use crate::pg::{identity, notify, server, spi, xact};
use crate::session::switch_state;
use crate::wakeup;

const CHANNEL: &std::ffi::CStr = c"scope_requests";

/// A statement for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub text: String,
    pub parameters: Vec<Option<String>>,
    pub expected_rows: Option<i64>,
    pub digest: String,
    pub search_path: Vec<String>,
    /// How many it was.
    #[serde(default)]
    pub rows: Option<i64>,
}

/// A row of `_scope.request`. Times are Unix microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: i64,
    pub policy: String,
    pub kind: Kind,
    pub target: String,
    pub target_oid: u32,
    pub person: Person,
    pub login_oid: u32,
    pub subject: Option<String>,
    pub reason: Option<String>,
    pub ticket: Option<String>,
    pub seconds: i64,
    pub starts_at: Option<i64>,
    pub state: State,
    pub revision: i32,
    pub extends: Option<i64>,
    pub break_glass: bool,
    pub signed: bool,
    pub asked_at: i64,
    /// Up to when it waits.
    pub until: i64,
    pub active_from: Option<i64>,
    pub ends_at: Option<i64>,
    pub granted: Option<String>,
    pub granted_oid: Option<u32>,
    pub statement: Option<Statement>,
    pub error: Option<String>,
    /// Of which server and database the OIDs are.
    pub origin: String,
}

/// A row as JSON; OIDs would be strings.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT (to_jsonb(r) || jsonb_build_object('target_oid', target_oid::bigint, 'login_oid', login_oid::bigint,
                                                       'granted_oid', granted_oid::bigint))::text
               FROM _scope.request r ",
            $rest
        )
    };
}

/// Of this server and database.
pub fn origin() -> String {
    format!(
        "{}/{}",
        server::system_identifier(),
        u32::from(server::database())
    )
}

pub fn facts<T: serde::de::DeserializeOwned>(
    sql: &'static str,
    arguments: &[&str],
) -> Result<Vec<T>, Error> {
    identity::elevated(|| spi::facts(sql, arguments)).map_err(|error| Error::Sql(error.to_string()))
}

fn write(sql: &'static str, arguments: &[&str]) -> Result<(), Error> {
    identity::elevated(|| spi::write(sql, arguments)).map_err(|error| Error::Sql(error.to_string()))
}

fn text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Sql(error.to_string()))
}

/// The policies that were made in this database; what a copy or a restore has brought counts once it has been adopted.
pub fn policies() -> Result<Vec<Policy>, Error> {
    facts(
        "SELECT (definition || jsonb_build_object('name', name))::text FROM _scope.request_policy WHERE origin = $1 ORDER BY name",
        &[&origin()],
    )
}

pub fn policy(name: &str) -> Result<Policy, Error> {
    let mut found = policies()?.into_iter();
    let found = found.find(|policy| policy.name == name);
    found.ok_or_else(|| Error::NoSuchPolicy(name.to_owned()))
}

/// Those of another server or database.
pub fn foreign_policies() -> Result<Vec<String>, Error> {
    facts(
        "SELECT to_json(name)::text FROM _scope.request_policy WHERE origin <> $1 ORDER BY name",
        &[&origin()],
    )
}

#[derive(Debug, Deserialize)]
pub struct Foreign {
    pub may_be_of_this_server: bool,
    pub is: Definition,
}

pub fn foreign_policy(name: &str) -> Result<Option<Foreign>, Error> {
    let found = facts(
        "SELECT jsonb_build_object('may_be_of_this_server', split_part(origin, '/', 1) = $3, 'is', definition)::text
           FROM _scope.request_policy WHERE name = $1 AND origin <> $2",
        &[name, &origin(), &server::system_identifier().to_string()],
    )?;
    Ok(found.into_iter().next())
}

/// As it is today, if it still gives what was asked for.
pub fn policy_of(request: &Request) -> Result<Policy, Error> {
    let gone = || Error::PolicyGone(request.policy.clone());
    let policy = policy(&request.policy).map_err(|error| match error {
        Error::NoSuchPolicy(_) => gone(),
        other => other,
    })?;
    match request.is_by(&policy) {
        true => Ok(policy),
        false => Err(gone()),
    }
}

/// Until the transaction ends.
pub fn lock_policy(name: &str) {
    let key = format!("request policy {} {name}", u32::from(server::database()));
    advisory::lock(Key::Text(&key), Mode::Exclusive);
}

pub fn write_policy(name: &str, definition: &Definition) -> Result<(), Error> {
    write(
        "INSERT INTO _scope.request_policy (name, definition, origin) VALUES ($1, $2::jsonb, $3)
         ON CONFLICT (name) DO UPDATE SET definition = EXCLUDED.definition, origin = EXCLUDED.origin, changed_at = clock_timestamp()",
        &[name, &text(definition)?, &origin()],
    )
}

pub fn drop_policy(name: &str) -> Result<(), Error> {
    write("DELETE FROM _scope.request_policy WHERE name = $1", &[name])
}

/// Does the text match PostgreSQL's regular expression? Raises what PostgreSQL says of a bad one.
pub fn matches(text: &str, pattern: &str) -> bool {
    let found = identity::elevated(|| {
        spi::latest("SELECT 'x' WHERE $1 ~ $2", &[Some(text), Some(pattern)])
    });
    !found.is_empty()
}

/// Of an interval, a month with 30 days; `None`: it is none.
pub fn seconds_of(interval: &str) -> Option<i64> {
    let read = || {
        let sql = "SELECT EXTRACT(epoch FROM $1::text::interval)::bigint::text";
        identity::elevated(|| spi::latest(sql, &[Some(interval)]))
    };
    xact::subtransaction(read).ok()?.first()?.parse().ok()
}

pub fn find(id: i64) -> Result<Request, Error> {
    let found = facts(
        select!("WHERE id = $1::bigint AND origin = $2"),
        &[&id.to_string(), &origin()],
    )?;
    found.into_iter().next().ok_or(Error::NoSuchRequest(id))
}

/// Nobody else decides on it, changes it or starts it until the transaction ends. The caller has looked at it, and may do something about it.
pub fn lock(id: i64) -> Result<Request, Error> {
    advisory::lock(key(id), Mode::Exclusive);
    find(id)
}

/// Nobody else asks for more time of the same until the transaction ends. Whoever asks does not hold up those who end it.
pub fn lock_more_time(id: i64) {
    let key = format!(
        "more time for request {} {id}",
        u32::from(server::database())
    );
    advisory::lock(Key::Text(&key), Mode::Exclusive);
}

fn key(id: i64) -> Key<'static> {
    Key::Request(server::database(), u32::try_from(id).unwrap_or(u32::MAX))
}

/// A number for a new one, which nobody else takes. No sequence: members of pg_write_all_data could set it back.
pub fn free_number() -> Result<i64, Error> {
    let last: Vec<i64> = facts("SELECT COALESCE(max(id), 0)::text FROM _scope.request", &[])?;
    let mut id = last.first().copied().unwrap_or(0);
    loop {
        id += 1;
        // Held by whoever is about to write a row of this number.
        if advisory::try_lock(key(id), Mode::Exclusive) && matches!(number_is_taken(id), Ok(false))
        {
            return Ok(id);
        }
        if id >= i64::from(u32::MAX) {
            return Err(Error::Sql("there are no numbers left".into()));
        }
    }
}

fn number_is_taken(id: i64) -> Result<bool, Error> {
    let found: Vec<i64> = facts(
        "SELECT id::text FROM _scope.request WHERE id = $1::bigint",
        &[&id.to_string()],
    )?;
    Ok(!found.is_empty())
}

/// Of this person, what waits or lasts.
pub fn open_of(person: &Person) -> Result<Vec<Request>, Error> {
    let found: Vec<Request> = facts(
        select!(
            "WHERE state = ANY ('{pending,approved,active}') AND origin = $1 AND (login_oid = $2::oid OR subject = $3)"
        ),
        &[
            &origin(),
            &person.login.to_string(),
            person.subject.as_deref().unwrap_or_default(),
        ],
    )?;
    Ok(found
        .into_iter()
        .filter(|request| request.person.is(person))
        .collect())
}

/// How many requests of this person there have been since then.
pub fn asked_since(person: &Person, since: i64) -> Result<usize, Error> {
    let found: Vec<Person> = facts(
        "SELECT person::text FROM _scope.request
          WHERE asked_at > $1::bigint AND origin = $2 AND (login_oid = $3::oid OR subject = $4)",
        &[
            &since.to_string(),
            &origin(),
            &person.login.to_string(),
            person.subject.as_deref().unwrap_or_default(),
        ],
    )?;
    Ok(found.iter().filter(|other| other.is(person)).count())
}

/// What waits or lasts.
pub fn open() -> Result<Vec<Request>, Error> {
    facts(
        select!("WHERE state = ANY ('{pending,approved,active}') AND origin = $1 ORDER BY id"),
        &[&origin()],
    )
}

/// What was waiting or lasting, elsewhere.
pub fn open_elsewhere() -> Result<Vec<Request>, Error> {
    facts(
        select!("WHERE state = ANY ('{pending,approved,active}') AND origin <> $1 ORDER BY id"),
        &[&origin()],
    )
}

/// Those of the person, perhaps, and those by these policies; or all, also of what a restore has brought.
pub fn seen_by(person: &Person, policies: &[String], all: bool) -> Result<Vec<Request>, Error> {
    facts(
        select!("WHERE login_oid = $1::oid OR subject = $2 OR policy = ANY (ARRAY(SELECT jsonb_array_elements_text($3::jsonb))) OR $4::boolean
                 ORDER BY id"),
        &[
            &person.login.to_string(),
            person.subject.as_deref().unwrap_or_default(),
            &text(&policies)?,
            if all { "true" } else { "false" },
        ],
    )
}

/// A notifier has dealt with these rows of the log; how many it had not before.
pub fn told(ids: Vec<String>) -> Result<i32, Error> {
    let told = identity::elevated(|| {
        spi::query(
            "INSERT INTO _scope.request_told (id) SELECT DISTINCT l.id FROM scope.request_log l WHERE l.id = ANY ($1::text[]::uuid[])
             ON CONFLICT DO NOTHING RETURNING 1",
            &[ids.into()],
            |row| row.get::<i32>(1),
        )
    })?;
    Ok(i32::try_from(told.len()).unwrap_or(i32::MAX))
}

/// Who has asked for the login with this label; `None` for others.
pub fn asker_of(login: &Metadata) -> Option<Person> {
    let is_here = login.is_native && login.database_oid == Some(server::database().into());
    let request = login.request.filter(|_| is_here)?;
    find(request).ok().map(|request| request.person)
}

/// Those who have approved it as it is now.
#[derive(Debug, Deserialize)]
pub struct Yes {
    pub person: Person,
    /// The approving roles that they had.
    pub roles: Vec<u32>,
}

pub fn approvals(request: &Request) -> Result<Vec<Yes>, Error> {
    facts(
        "SELECT details::text FROM scope.request_log WHERE request = $1::bigint AND revision = $2::integer AND event = 'approved' ORDER BY at",
        &[&request.id.to_string(), &request.revision.to_string()],
    )
}

/// Was the subject revoked after it had asked?
pub fn subject_is_revoked(request: &Request) -> Result<bool, Error> {
    let Some(subject) = &request.subject else {
        return Ok(false);
    };
    let found: Vec<i32> = facts(
        "SELECT '1' FROM _scope.jwt_revoked_subject
          WHERE sub = $1 AND issuer = ANY (ARRAY['', $2]) AND issued_before > to_timestamp($3::bigint / 1000000.0)",
        &[
            subject,
            request.person.issuer.as_deref().unwrap_or_default(),
            &request.asked_at.to_string(),
        ],
    )?;
    Ok(!found.is_empty())
}

/// What is told with an event.
pub struct Told<'a> {
    pub event: &'static str,
    pub note: Option<&'a str>,
    pub person: Option<&'a Person>,
    pub roles: &'a [u32],
    pub policy: Option<&'a Policy>,
}

impl<'a> Told<'a> {
    pub fn of(event: &'static str) -> Self {
        Self {
            event,
            note: None,
            person: None,
            roles: &[],
            policy: None,
        }
    }

    pub fn note(self, note: Option<&'a str>) -> Self {
        Self { note, ..self }
    }

    pub fn by(self, person: &'a Person) -> Self {
        Self {
            person: Some(person),
            ..self
        }
    }
}

/// A new one.
pub fn add(request: &Request, told: &Told<'_>) -> Result<(), Error> {
    write(
        "INSERT INTO _scope.request SELECT j.* FROM jsonb_populate_record(NULL::_scope.request, $1::jsonb) j",
        &[&text(request)?],
    )?;
    log(request, told)
}

/// As it is now.
pub fn save(request: &Request, told: &Told<'_>) -> Result<(), Error> {
    write(
        "UPDATE _scope.request r
            SET (reason, ticket, seconds, starts_at, state, revision, signed, until, active_from, ends_at, granted, granted_oid, statement, error) =
                (SELECT j.reason, j.ticket, j.seconds, j.starts_at, j.state, j.revision, j.signed, j.until, j.active_from, j.ends_at, j.granted,
                        j.granted_oid, j.statement, j.error
                   FROM jsonb_populate_record(NULL::_scope.request, $1::jsonb) j)
          WHERE r.id = $2::bigint",
        &[&text(request)?, &request.id.to_string()],
    )?;
    log(request, told)
}

fn log(request: &Request, told: &Told<'_>) -> Result<(), Error> {
    let claims = switch_state::claims();
    let claim = |name| {
        let claim = claims.as_ref()?.get(name)?.as_str()?;
        Some(server::fitted(claim).into_owned())
    };
    let row = json!({
        "request": request.id,
        "revision": request.revision,
        "event": told.event,
        "state": request.state,
        "issuer": claim("iss"),
        "subject": claim("sub"),
        "jti": claim("jti"),
        "note": told.note,
        "details": {
            "person": told.person,
            "roles": told.roles,
            "policy": told.policy.map(|policy| &policy.is),
            "asked": json!({
                "target": request.target, "policy": request.policy, "reason": request.reason, "ticket": request.ticket, "seconds": request.seconds,
                "starts_at": request.starts_at, "ends_at": request.ends_at, "granted": request.granted, "statement": request.statement,
                "error": request.error,
            }),
        },
    });
    // The worker is nobody.
    let sql = match identity::client_login() {
        Some(_) => {
            "INSERT INTO scope.request_log (request, revision, event, state, login, role, issuer, subject, jti, client, note, details)
             SELECT j.request, j.revision, j.event, j.state, session_user,
                    CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
                    j.issuer, j.subject, j.jti, inet_client_addr(), j.note, j.details
               FROM jsonb_populate_record(NULL::scope.request_log, $1::jsonb) j"
        }
        None => {
            "INSERT INTO scope.request_log (request, revision, event, state, note, details)
             SELECT j.request, j.revision, j.event, j.state, j.note, j.details FROM jsonb_populate_record(NULL::scope.request_log, $1::jsonb) j"
        }
    };
    write(sql, &[&row.to_string()])?;
    let payload = json!({"request": request.id, "state": request.state}).to_string();
    notify::notify(CHANNEL, &CString::new(payload).unwrap_or_default());
    // The worker knows when it has to come next.
    wakeup::keys::at_commit();
    Ok(())
}

impl Request {
    pub fn target(&self) -> RoleRef {
        RoleRef {
            name: self.target.clone(),
            oid: self.target_oid,
        }
    }

    /// Is it of this server and database? Another's has OIDs of others.
    pub fn is_of_here(&self) -> bool {
        self.origin == origin()
    }

    /// Does this policy still give it? Another one may have the name by now.
    pub fn is_by(&self, policy: &Policy) -> bool {
        policy.name == self.policy
            && policy.is.kind == self.kind
            && policy.gives(self.target_oid.into())
            && self.is_of_here()
    }

    /// The state with what time alone has done to it.
    pub fn state_at(&self, now: i64) -> State {
        match self.state {
            State::Pending | State::Approved if self.until <= now => State::Expired,
            State::Active if self.ends_at.is_some_and(|end| end <= now) => State::Ended,
            state => state,
        }
    }
}
