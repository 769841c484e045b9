//! A person leaves: what they have and have made, in one list, and the end of it in one call. Each kind of thing has a file, which finds it and
//! says by which SQL it ends; `carry_out` runs that as the caller.

mod carry_out;
mod error;
mod login;
mod made;
mod memberships;
mod objects;
mod passwords;
mod person;
mod requests;
mod sessions;
mod step;
mod temporary;
mod tokens;

use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::audit::{self, Action, Value};
use crate::bytes;
use crate::credential::{self, life};
use crate::error::{report, require_preload};
use crate::label::Kind;
use crate::pg::arguments::Text;
use crate::pg::name::Name;
use crate::pg::{server, xact};
use crate::verify::revocation;
use carry_out::Strength;
use person::{Person, Subject, Who};
use step::{Row, Step};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("a reason is needed")]
    NoReason,
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error("one person leaves at a time")]
    Whom,
    #[error("a role has no issuer")]
    IssuerOfWhat,
    #[error("nobody is the successor of themselves")]
    OwnSuccessor,
    #[error("cannot offboard anybody in a read-only transaction")]
    ReadOnly,
    #[error("role \"{role}\" does not exist")]
    Unknown { role: String },
    #[error("role \"{role}\" is nobody's login")]
    NotALogin { role: String, kind: Kind },
    #[error("permission denied to offboard role \"{role}\"")]
    Superuser { role: String },
    #[error("permission denied to offboard oneself")]
    Oneself,
    #[error(transparent)]
    Names(#[from] revocation::Bad),
    #[error(transparent)]
    Sessions(#[from] crate::sessions::Error),
    #[error(transparent)]
    Life(#[from] life::Error),
    #[error("the catalogs could not be read")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

impl From<crate::request::Error> for Error {
    fn from(error: crate::request::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// Finds the things of one kind.
type Finds = fn(&Person) -> Result<Vec<Step>, Error>;

/// Nothing new is begun any more: looked at first, so that what a session was about to leave behind is there or has been rolled back when
/// the rest is looked for.
const DOORS: &[Finds] = &[
    |person| Ok(login::find(person)),
    tokens::find,
    sessions::find,
];

/// What there is besides, kind by kind, in the order of the rows. A new kind of thing gets a file and a line here.
const LEFT: &[Finds] = &[
    requests::find,
    |person| Ok(temporary::find(person)),
    |person| Ok(made::find(person)),
    |person| Ok(passwords::find(person)),
    memberships::find,
    objects::find,
];

/// Documented in `sql/offboard.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn offboard(
    role: Option<Name>,
    subject: Option<Text>,
    reason: Option<Text>,
    apply: Option<bool>,
    successor: Option<Name>,
    issuer: Option<Text>,
    overlap: Option<Interval>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(kind, String),
            name!(name, String),
            name!(action, String),
            name!(done, bool),
            name!(detail, Option<String>),
            name!(new_login, Option<Name>),
            name!(password, Option<String>),
            name!(connection_uri, Option<String>),
        ),
    >,
    ErrorReport,
> {
    require_preload()?;
    let given = Given {
        role: role.as_ref().map(|role| role.0.as_str()),
        subject: subject.as_deref(),
        reason: reason.as_deref(),
        apply,
        successor: successor.as_ref().map(|role| role.0.as_str()),
        issuer: issuer.as_deref(),
        overlap,
    };
    let rows = given.leave().map_err(report)?.into_iter();
    let shown = |text: &str| server::fitted(&bytes::shown(text)).into_owned();
    Ok(TableIterator::new(rows.map(move |row| {
        let Row {
            step,
            done,
            detail,
            new,
            is_locked: _,
        } = row;
        let (login, secrets) = new
            .map(|new| (Name(new.role), (new.password, new.uri)))
            .unzip();
        let (password, uri) = secrets.unzip();
        (
            step.kind.to_owned(),
            shown(&step.name),
            shown(&step.action),
            done,
            detail.as_deref().map(shown),
            login,
            password.map(|password| (*password).clone()),
            uri.map(|uri| (*uri).clone()),
        )
    })))
}

/// The arguments as they come.
struct Given<'a> {
    role: Option<&'a str>,
    subject: Option<&'a str>,
    reason: Option<&'a str>,
    apply: Option<bool>,
    successor: Option<&'a str>,
    issuer: Option<&'a str>,
    overlap: Option<Interval>,
}

impl Given<'_> {
    fn leave(&self) -> Result<Vec<Row>, Error> {
        let apply = self.apply.ok_or(Error::Null("apply"))?;
        let person = self.person()?;
        if !apply {
            return shown(&person);
        }
        if self.reason.is_none() {
            return Err(Error::NoReason);
        }
        if xact::is_read_only() {
            return Err(Error::ReadOnly);
        }
        let rows = done(&person)?;
        record(&person, &rows);
        Ok(rows)
    }

    fn person(&self) -> Result<Person, Error> {
        let overlap = self.overlap.as_ref().ok_or(Error::Null("overlap"))?;
        let overlap = credential::parts(overlap);
        for (what, text) in [("subject", self.subject), ("issuer", self.issuer)] {
            if text == Some("") {
                return Err(Error::Empty(what));
            }
        }
        let who = match (self.role, self.subject) {
            (Some(_), None) if self.issuer.is_some() => return Err(Error::IssuerOfWhat),
            (Some(role), None) => Who::Login(person::login(role)?),
            (None, Some(subject)) => {
                let subject = Subject::named(subject, self.issuer)?;
                if person::is_oneself(&subject) {
                    return Err(Error::Oneself);
                }
                Who::Subject(subject)
            }
            _ => return Err(Error::Whom),
        };
        life::check_reason(self.reason)?;
        if self.successor.is_some() && self.successor == self.role {
            return Err(Error::OwnSuccessor);
        }
        Ok(Person {
            who,
            reason: self.reason.map(str::to_owned),
            successor: self.successor.map(str::to_owned),
            overlap: step::interval(overlap.months, overlap.days, overlap.micros),
        })
    }
}

fn found(person: &Person, kinds: &[Finds]) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for find in kinds {
        steps.extend(find(person)?);
    }
    Ok(steps)
}

fn shown(person: &Person) -> Result<Vec<Row>, Error> {
    let mut steps = found(person, DOORS)?;
    steps.extend(found(person, LEFT)?);
    Ok(steps.into_iter().map(carry_out::show).collect())
}

fn done(person: &Person) -> Result<Vec<Row>, Error> {
    let mut strength = Strength::whole();
    let may_end = sessions::may_end();
    let mut rows = carry_out::all(found(person, DOORS)?, &mut strength);
    let open = match may_end {
        true => wait_until_gone(person)?,
        false => 0,
    };
    // A session that is gone now may have held the login's row.
    rows = carry_out::again(rows, &mut strength);
    let login = person.login().filter(|login| !login::is_open(login.oid));
    if let Some(login) = login
        && may_end
    {
        // Until the commit others see an open login, and whoever comes in by then would stay.
        crate::sessions::end_after_commit(login.oid);
    }
    if open > 0 {
        sessions::left_open(&mut rows, open, login.is_some());
    }
    rows.extend(carry_out::all(found(person, LEFT)?, &mut strength));
    Ok(rows)
}

/// Sessions that were told to end roll back what they have begun. How many are open still, or again.
fn wait_until_gone(person: &Person) -> Result<usize, Error> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(10);
    let until = Instant::now() + PATIENCE;
    loop {
        let open = sessions::open(person)?;
        if open == 0 || Instant::now() >= until {
            return Ok(open);
        }
        pgrx::check_for_interrupts!();
        std::thread::sleep(PAUSE);
    }
}

fn record(person: &Person, rows: &[Row]) {
    let done = rows.iter().filter(|row| row.done).count();
    let number = |count: usize| Value::Number(i64::try_from(count).unwrap_or(i64::MAX));
    let issuer = person.subject().and_then(|subject| subject.iss());
    let fields = [
        ("reason", person.reason.as_deref().into()),
        ("of_issuer", issuer.into()),
        ("successor", person.successor.as_deref().into()),
        ("done", number(done)),
        ("left", number(rows.len() - done)),
    ];
    audit::administered(Action::Offboard, "offboard", person.name(), &fields);
}
