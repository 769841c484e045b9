//! The sessions of this server, for a DBA: who is in them, however they came (`scope.sessions`), and ending them.

mod error;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::audit::{self, Action, Value};
use crate::error::{notice, report, require_preload};
use crate::label::{self, Token};
use crate::pg::arguments::Text;
use crate::pg::compat::name_of_authentication_method;
use crate::pg::name::Name;
use crate::pg::{after_commit, catalog, clock, identity, server, sessions};
use crate::presence::{self, Seen, Switched};
use crate::session::{gate, switch_state};
use crate::verify::revocation;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing says which sessions are to end")]
    NoCriterion,
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    #[error(transparent)]
    Names(#[from] revocation::Bad),
}

/// catalog/pg_authid.dat: PostgreSQL asks for it in pg_stat_activity, and pg_monitor has it.
const PG_READ_ALL_STATS: u32 = 3375;

/// `pid, login, acting, issuer, subject, actor, until, since, tls, method`
type Row = (
    i32,
    pg_sys::Oid,
    Option<pg_sys::Oid>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
    bool,
    Option<String>,
);

/// What the caller may see of the sessions. Documented in `sql/sessions.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn present() -> Result<
    TableIterator<
        'static,
        (
            name!(pid, i32),
            name!(login, pg_sys::Oid),
            name!(acting, Option<pg_sys::Oid>),
            name!(issuer, Option<String>),
            name!(subject, Option<String>),
            name!(actor, Option<String>),
            name!(until, Option<TimestampWithTimeZone>),
            name!(since, Option<TimestampWithTimeZone>),
            name!(tls, bool),
            name!(method, Option<String>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let viewer = Viewer::now();
    let mut logins = Logins::default();
    let rows: Vec<Row> = presence::all()
        .filter_map(|seen| viewer.shown(seen))
        .map(|seen| {
            let login = logins.get(seen.login.role);
            row(seen, &login)
        })
        .collect();
    Ok(TableIterator::new(rows))
}

/// Who asks.
struct Viewer {
    user: pg_sys::Oid,
    /// Sees every session and every person, as in pg_stat_activity.
    sees_all: bool,
    /// Whoever acts here is one of many who share the login.
    is_one_of_many: bool,
}

impl Viewer {
    fn now() -> Self {
        let user = identity::current_user();
        Self {
            user,
            sees_all: catalog::has_privileges_of(user, PG_READ_ALL_STATS.into()),
            is_one_of_many: gate::login().is_some() || switch_state::is_locked(),
        }
    }

    /// What of a session the viewer sees, if anything: of others' sessions by a login of theirs that they are there, not who is in them.
    fn shown(&self, mut seen: Seen) -> Option<Seen> {
        if self.sees_all || seen.login.pid == server::pid() {
            return Some(seen);
        }
        if self.is_one_of_many || !catalog::has_privileges_of(self.user, seen.login.role.into()) {
            return None;
        }
        if let Some(switched) = &mut seen.switched {
            switched.issuer = None;
            switched.subject = None;
            switched.actor = None;
        }
        Some(seen)
    }
}

/// What is known of the roles that have logged in: many sessions share one.
#[derive(Default)]
struct Logins(HashMap<u32, Rc<Known>>);

struct Known {
    is_superuser: bool,
    /// Unix microseconds; `i64::MAX`: never.
    ends_at: i64,
    /// It was issued for this one.
    token: Option<Token>,
}

impl Logins {
    fn get(&mut self, login: u32) -> Rc<Known> {
        let known = self.0.entry(login);
        known.or_insert_with(|| Rc::new(Known::of(login))).clone()
    }
}

impl Known {
    /// A role that is gone while its session lives may have been a superuser.
    fn of(login: u32) -> Self {
        let role = catalog::role_by_oid(login.into());
        let is_superuser = role.as_ref().is_none_or(|role| role.superuser);
        let metadata = label::read(login.into()).and_then(Result::ok);
        // What a superuser's label says holds for nothing.
        let metadata = metadata.filter(|_| !is_superuser);
        let deadline = (metadata.as_ref())
            .zip(role.as_ref())
            .and_then(|(metadata, role)| metadata.deadline(role.valid_until));
        Self {
            is_superuser,
            ends_at: deadline.unwrap_or(i64::MAX),
            token: metadata.and_then(|metadata| metadata.token),
        }
    }
}

fn row(seen: Seen, login: &Known) -> Row {
    let fitted = |text: &str| server::fitted(text).into_owned();
    let (person, acting, token_ends_at) = match seen.switched {
        Some(switched) => {
            let shown = |text: Option<presence::Text>| text.map(|text| fitted(&text.shown()));
            let Switched {
                issuer,
                subject,
                actor,
                ..
            } = switched;
            let person = [issuer, subject, actor].map(shown);
            (person, Some(switched.role.into()), switched.ends_at)
        }
        None => {
            let token = login.token.as_ref();
            let issuer = token.and_then(|token| token.iss.as_deref()).map(fitted);
            let subject = token.map(|token| fitted(&token.sub));
            ([issuer, subject, None], None, i64::MAX)
        }
    };
    let [issuer, subject, actor] = person;
    let until = token_ends_at.min(login.ends_at);
    (
        seen.login.pid,
        seen.login.role.into(),
        acting,
        issuer,
        subject,
        actor,
        clock::to_sql(until).filter(|_| until != i64::MAX),
        clock::to_sql(seen.login.since),
        seen.login.is_tls,
        match seen.login.method {
            presence::BY_TOKEN => Some("token".to_owned()),
            method => name_of_authentication_method(method),
        },
    )
}

/// Ends the sessions that are all of this. Documented in `sql/sessions.sql`.
#[pg_extern(sql = false)]
fn end_sessions(
    subject: Option<Text>,
    role: Option<Name>,
    issuer: Option<Text>,
) -> Result<i32, ErrorReport> {
    require_preload()?;
    let (subject, issuer) = (subject.as_deref(), issuer.as_deref());
    let role = role.as_ref().map(|role| role.0.as_str());
    end(subject, role, issuer).map_err(report)
}

fn end(subject: Option<&str>, role: Option<&str>, issuer: Option<&str>) -> Result<i32, Error> {
    let given = [("subject", subject), ("role", role), ("issuer", issuer)];
    for (what, text) in given {
        if text == Some("") {
            return Err(Error::Empty(what));
        }
    }
    let Some(object) = subject.or(role).or(issuer) else {
        return Err(Error::NoCriterion);
    };
    let iss = issuer.map(revocation::registered).transpose()?.flatten();
    let iss = iss.as_deref().or(issuer);
    let wanted = Wanted::of(subject, role, iss)?;
    let (found, spared) = wanted.found();
    let count = i32::try_from(found.len()).unwrap_or(i32::MAX);
    let fields = [
        ("of_subject", subject.into()),
        ("of_role", role.into()),
        ("of_issuer", iss.into()),
        ("sessions_terminated", Value::Number(count.into())),
    ];
    audit::administered(Action::Sessions, "end_sessions", object, &fields);
    // A pool's session may have come to somebody else meanwhile.
    let (still, _) = wanted.found();
    let ended = (still.into_iter())
        .filter(|pid| found.contains(pid))
        .map(sessions::terminate)
        .count();
    if spared > 0 {
        notice(
            format!("{spared} sessions of superusers were left alone"),
            "Only superusers end the sessions of superusers.",
            None,
        );
    }
    Ok(i32::try_from(ended).unwrap_or(i32::MAX))
}

/// How many sessions [`end`] would find. `issuer`: its name, or the `iss`.
pub fn count(
    subject: Option<&str>,
    role: Option<&str>,
    issuer: Option<&str>,
) -> Result<usize, Error> {
    let iss = issuer.map(revocation::registered).transpose()?.flatten();
    let wanted = Wanted::of(subject, role, iss.as_deref().or(issuer))?;
    Ok(wanted.found().0.len())
}

thread_local! {
    static AFTER_COMMIT: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Ends the sessions of a login when this transaction has committed and everybody has been told: those that came in while it still let them.
/// Whoever comes in by then has its place before it asks whether the login is open, and from then on hears that it is not.
pub fn end_after_commit(login: pg_sys::Oid) {
    after_commit::tell(|is_commit| {
        let logins = AFTER_COMMIT.take();
        if !is_commit || logins.is_empty() {
            return;
        }
        let is_of_one = |seen: &Seen| logins.contains(&seen.login.role);
        for seen in presence::all().filter(is_of_one) {
            if seen.login.pid != server::pid() {
                sessions::terminate(seen.login.pid);
            }
        }
    });
    AFTER_COMMIT.with_borrow_mut(|logins| logins.push(login.into()));
}

/// Which sessions are to end: those that are all of what is given. In UTF-8.
struct Wanted {
    subject: Option<String>,
    /// As which they have logged in, or act.
    role: Option<u32>,
    issuer: Option<String>,
}

impl Wanted {
    fn of(subject: Option<&str>, role: Option<&str>, iss: Option<&str>) -> Result<Self, Error> {
        let oid = |name: &str| match catalog::role_by_name(name) {
            Some(role) => Ok(role.oid.into()),
            None => Err(Error::NoSuchRole(name.to_owned())),
        };
        Ok(Self {
            subject: subject.map(revocation::in_utf8).transpose()?,
            role: role.map(oid).transpose()?,
            issuer: iss.map(revocation::in_utf8).transpose()?,
        })
    }

    /// The processes of those that the caller may end, and how many others there are; never the own.
    fn found(&self) -> (Vec<i32>, usize) {
        let is_superuser = identity::is_superuser();
        let mut logins = Logins::default();
        let (mut found, mut spared) = (Vec::new(), 0);
        for seen in presence::all().filter(|seen| seen.login.pid != server::pid()) {
            let login = logins.get(seen.login.role);
            if !self.is(&seen, &login) {
                continue;
            }
            if is_superuser || !login.is_superuser {
                found.push(seen.login.pid);
            } else {
                spared += 1;
            }
        }
        (found, spared)
    }

    fn is(&self, seen: &Seen, login: &Known) -> bool {
        let switched = seen.switched.as_ref();
        let is_role = |role: u32| {
            seen.login.role == role || switched.is_some_and(|switched| switched.role == role)
        };
        let is_anybodys = self.subject.is_none() && self.issuer.is_none();
        // By the token that has the session act, or for which its login was issued.
        self.role.is_none_or(is_role)
            && (is_anybodys
                || switched.is_some_and(|switched| {
                    let Switched {
                        subject, issuer, ..
                    } = switched;
                    self.is_person(
                        |text| subject.as_ref().is_some_and(|subject| subject.is(text)),
                        |text| issuer.as_ref().is_some_and(|issuer| issuer.is(text)),
                    )
                })
                || login.token.as_ref().is_some_and(|token| {
                    self.is_person(
                        |text| token.sub == text,
                        |text| token.iss.as_deref() == Some(text),
                    )
                }))
    }

    fn is_person(
        &self,
        is_subject: impl FnOnce(&str) -> bool,
        is_issuer: impl FnOnce(&str) -> bool,
    ) -> bool {
        self.subject.as_deref().is_none_or(is_subject)
            && self.issuer.as_deref().is_none_or(is_issuer)
    }
}
