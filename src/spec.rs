//! Declared roles: a spec says what there is to be; the plan is what has to change for that.
//!
//! A spec does nothing that its caller could not do by the functions and statements that it stands for.

mod apply;
mod authenticators;
mod check;
mod document;
mod entries;
mod error;
mod export;
mod guards;
mod issuers;
mod logins;
mod memberships;
mod names;
mod parse;
mod plan;
mod requests;
mod scopes;
mod state;
mod steps;
mod whole;

use aws_lc_rs::digest;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Report, report, require_preload};
use crate::pg::arguments::{JsonText, Text};
use crate::pg::json::Jsonb;
use crate::pg::name::Name;
use crate::pg::{catalog, identity, server, xact};
use crate::scope;
use crate::waiting;
pub use check::Bad;
use document::Document;
use steps::{Actor, Plan, Step, Work};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error(transparent)]
    Bad(#[from] Bad),
    #[error("{what} \"{name}\" does not exist")]
    Missing {
        what: &'static str,
        name: String,
        pointer: String,
    },
    #[error("role \"{role}\" is a login of scope_roles")]
    OfOurs { role: String, pointer: String },
    #[error("role \"{role}\" is not an authenticator")]
    NotAnAuthenticator { role: String, pointer: String },
    #[error("authenticator \"{role}\" logs in in another way")]
    OtherLogin { role: String, pointer: String },
    #[error("role \"{role}\" would be a member of itself")]
    Circle { role: String, pointer: String },
    #[error("membership option \"{key}\" does not exist on this server")]
    TooNew { key: &'static str, pointer: String },
    #[error("permission denied for function scope.{function}")]
    MayNotCall {
        function: &'static str,
        pointer: String,
    },
    #[error("the plan is no longer the one that was reviewed")]
    Changed { expected: String, found: String },
    #[error("the spec could not be applied as planned")]
    NotReached { left: String },
    #[error("cannot apply a spec in a read-only transaction")]
    ReadOnly,
    #[error("unknown mode \"{0}\"")]
    Mode(String),
    #[error("the catalogs could not be read")]
    Sql(String),
    #[error(transparent)]
    Scope(#[from] scope::Error),
    /// An error of another room, with the place in the spec that brought it about.
    #[error("{error}")]
    Placed {
        pointer: String,
        error: Box<dyn Report>,
    },
}

impl Error {
    fn bad(pointer: &str, problem: &str) -> Self {
        Bad::at(pointer, problem).into()
    }

    /// Gives an error a place when it has none yet.
    fn placed(self, pointer: &str) -> Self {
        match self {
            Self::Scope(error) => Self::Placed {
                pointer: pointer.to_owned(),
                error: Box::new(error),
            },
            other => other,
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// Says where in the spec an error of another room comes from.
trait At<T> {
    fn at(self, pointer: &str) -> Result<T, Error>;
}

impl<T, E: Report + 'static> At<T> for Result<T, E> {
    fn at(self, pointer: &str) -> Result<T, Error> {
        self.map_err(|error| Error::Placed {
            pointer: pointer.to_owned(),
            error: Box::new(error),
        })
    }
}

/// `step, object, statement, runs_as, reason, digest`
type Row = (i32, String, String, Name, String, String);

/// A function that returns steps. Documented in `sql/spec.sql`, as are the others.
macro_rules! steps {
    ($function:ident($($arguments:tt)*), $steps:expr) => {
        #[pg_extern(sql = false)]
        #[allow(clippy::type_complexity)]
        fn $function(
            $($arguments)*
        ) -> Result<
            TableIterator<
                'static,
                (
                    name!(step, i32),
                    name!(object, String),
                    name!(statement, String),
                    name!(runs_as, Name),
                    name!(reason, String),
                    name!(digest, String),
                ),
            >,
            ErrorReport,
        > {
            require_preload()?;
            $steps.map(TableIterator::new).map_err(report)
        }
    };
}

steps!(plan_text(spec: Option<&str>), plan(spec));
steps!(plan_jsonb(spec: Option<JsonText>), plan(text(spec.as_ref())));
steps!(
    apply_text(spec: Option<&str>, expect_digest: Option<&str>),
    apply(spec, expect_digest)
);
steps!(
    apply_jsonb(spec: Option<JsonText>, expect_digest: Option<&str>),
    apply(text(spec.as_ref()), expect_digest)
);

#[pg_extern(sql = false)]
fn plan_digest_text(spec: Option<Text>) -> Result<String, ErrorReport> {
    let spec = spec.as_deref();
    require_preload()?;
    plan_digest(spec).map_err(report)
}

#[pg_extern(sql = false)]
fn plan_digest_jsonb(spec: Option<JsonText>) -> Result<String, ErrorReport> {
    require_preload()?;
    plan_digest(text(spec.as_ref())).map_err(report)
}

#[pg_extern(sql = false)]
fn export_spec(roles: Option<Vec<Option<Name>>>, mode: Option<Text>) -> Result<Jsonb, ErrorReport> {
    let mode = mode.as_deref();
    require_preload()?;
    let export = || -> Result<Jsonb, Error> {
        let document = export::export(roles, mode.ok_or(Error::Null("mode"))?)?;
        let text = serde_json::to_string(&document)?;
        Ok(Jsonb::of(&text))
    };
    export().map_err(report)
}

fn text(spec: Option<&JsonText>) -> Option<&str> {
    spec.map(|JsonText(text)| text.as_str())
}

fn read(spec: Option<&str>) -> Result<Document, Error> {
    Ok(Document::parse(spec.ok_or(Error::Null("spec"))?)?)
}

fn plan(spec: Option<&str>) -> Result<Vec<Row>, Error> {
    let plan = planned(&read(spec)?)?;
    tell(&plan);
    let digest = digest(&plan.steps);
    Ok(rows(plan.steps, &digest))
}

fn plan_digest(spec: Option<&str>) -> Result<String, Error> {
    Ok(digest(&planned(&read(spec)?)?.steps))
}

/// All steps. Where they decide who creates in a schema, and with that whose future objects are to be
/// covered, what follows from them is found by making them, and undoing that.
fn planned(document: &Document) -> Result<Plan, Error> {
    let first = plan::plan(document)?;
    if first.changes_creators && !xact::is_read_only() {
        waiting::giving_way(|| xact::rehearsed(|| apply::carry_out(document)))
    } else {
        Ok(first)
    }
}

fn apply(spec: Option<&str>, expect_digest: Option<&str>) -> Result<Vec<Row>, Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    let document = read(spec)?;
    // Asks for authority first, so that nobody else can take the locks.
    plan::plan(&document)?;
    let (plan, digest) = waiting::giving_way(|| apply::apply(&document, expect_digest))?;
    tell(&plan);
    Ok(rows(plan.steps, &digest))
}

fn tell(plan: &Plan) {
    for notice in &plan.notices {
        crate::error::notice(notice.message.clone(), &notice.detail, notice.hint);
    }
}

fn rows(steps: Vec<Step>, digest: &str) -> Vec<Row> {
    steps
        .into_iter()
        .zip(1..)
        .map(|(step, number)| {
            let runs_as = Name(actor_name(&step));
            (
                number,
                step.object,
                step.statement,
                runs_as,
                step.reason,
                digest.to_owned(),
            )
        })
        .collect()
}

/// The role with whose rights a step is made.
fn actor_name(step: &Step) -> String {
    catalog::name_of(match step.work {
        Work::Sql(Actor::Role(role)) => role.into(),
        Work::Sql(Actor::Extension) | Work::Label { .. } | Work::Issuer(_) => {
            pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID)
        }
        _ => identity::current_user(),
    })
}

/// What will be done, where and by whom: SHA-256 of the statements in their order, in hexadecimal.
fn digest(steps: &[Step]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    add(&server::database_name());
    for step in steps {
        add(&actor_name(step));
        add(&step.statement);
    }
    let bytes = context.finish();
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
