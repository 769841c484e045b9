//! Who can do what, by what, until when: for every role and every object with privileges. The truth
//! is PostgreSQL's own, and a test compares the two.

mod error;
mod facts;
mod graph;
pub mod holding;
mod listing;
mod object;
mod rights;
mod scene;
mod viewer;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::report;
use crate::pg::name::Name;
use crate::pg::{catalog, spi};
use crate::timestamp;
use holding::Mode;
use listing::Listing;
pub use rights::PG_MONITOR;
use rights::Right;
use scene::Scene;
use viewer::Viewer;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("role with OID {oid} does not exist")]
    NoSuchRole { oid: u32 },
    #[error("object \"{object}\" does not exist")]
    NoSuchObject { object: String },
    #[error("unknown privilege \"{word}\"")]
    NoSuchRight { word: String },
    #[error("there is no privilege {right} on a {kind}")]
    Misfit {
        right: &'static str,
        kind: String,
        fitting: Vec<&'static str>,
    },
    #[error("permission denied to see the access of role \"{role}\"")]
    NotYours { role: String, caller: String },
    #[error("the catalogs could not be read")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// `role_name, object_type, object_name, privilege_type, mode, path, grantor, grant_option, ends_at`
type Row = (
    Name,
    String,
    String,
    String,
    String,
    Vec<Name>,
    Option<Name>,
    bool,
    Option<TimestampWithTimeZone>,
);
type Rows = TableIterator<'static, Row>;

/// Documented in `sql/access.sql`.
macro_rules! who_can_what {
    ($function:ident($($arguments:tt)*), $rows:expr) => {
        #[pg_extern(sql = false)]
        #[allow(clippy::type_complexity)]
        fn $function(
            $($arguments)*
        ) -> Result<
            TableIterator<
                'static,
                (
                    name!(role_name, Name),
                    name!(object_type, String),
                    name!(object_name, String),
                    name!(privilege_type, String),
                    name!(mode, String),
                    name!(path, Vec<Name>),
                    name!(grantor, Option<Name>),
                    name!(grant_option, bool),
                    name!(ends_at, Option<TimestampWithTimeZone>),
                ),
            >,
            ErrorReport,
        > {
            $rows.map_err(report)
        }
    };
}

who_can_what!(
    effective_access(role: Option<pg_sys::Oid>, object: Option<&str>),
    of(role, object)
);
who_can_what!(
    who_can(privilege: Option<&str>, object: Option<&str>),
    with(privilege, object)
);

/// What a role can do, or everyone.
fn of(role: Option<pg_sys::Oid>, object: Option<&str>) -> Result<Rows, Error> {
    let viewer = Viewer::current();
    let target = object.map(object::find).transpose()?;
    let graph = match role {
        Some(role) => {
            let role = catalog::role_by_oid(role).ok_or(Error::NoSuchRole { oid: role.into() })?;
            viewer.may_see(&role)?;
            Scene::of(role)?
        }
        None => viewer.scene()?,
    };
    let listing = Listing::new(graph, target)?;
    if role.is_none() {
        viewer.tell();
    }
    Ok(listing.into_rows())
}

/// Who has a right on an object.
fn with(privilege: Option<&str>, object: Option<&str>) -> Result<Rows, Error> {
    let word = privilege.ok_or(Error::Null("privilege"))?;
    let right = Right::of_word(word).ok_or_else(|| Error::NoSuchRight {
        word: word.to_owned(),
    })?;
    let object = object.ok_or(Error::Null("object"))?;
    let viewer = Viewer::current();
    let target = object::find(object)?;
    let mut listing = Listing::new(Scene::empty(), Some(target))?;
    listing.require(right)?;
    // What is on an object is its owner's to know.
    let owner = listing.objects.first().map(|object| object.owner);
    listing.scene = if owner.is_some_and(|owner| viewer.has_privileges_of(owner)) {
        Scene::whole()?
    } else {
        viewer.tell();
        viewer.scene()?
    };
    listing.narrow(right);
    Ok(listing.into_rows())
}

/// Before the time at which something ends.
pub const UNTIL: &str = " until ";

/// What a role can do in this database, without what everyone can, each as a line, and until when. Sorted. For whoever
/// may know.
pub fn lines(role: pg_sys::Oid) -> Result<Vec<String>, Error> {
    let role = catalog::role_by_oid(role).ok_or(Error::NoSuchRole { oid: role.into() })?;
    let listing = Listing::new(Scene::of(role)?, None)?;
    let mut lines: Vec<String> = listing
        .into_rows()
        .filter(|(_, _, _, _, mode, ..)| mode != Mode::Public.word())
        .map(
            |(_, kind, object, right, mode, path, _, grant_option, ends)| {
                let path: Vec<String> = path
                    .into_iter()
                    .skip(1)
                    .map(|Name(role)| spi::identifier(&role))
                    .collect();
                let via = match path.is_empty() {
                    true => String::new(),
                    false => format!(" through {}", path.join(" > ")),
                };
                let grant = if grant_option {
                    " with grant option"
                } else {
                    ""
                };
                let until = ends.map_or_else(String::new, |ends| {
                    UNTIL.to_owned()
                        + &timestamp::rfc3339(timestamp::from_postgres(ends.into_inner()))
                });
                format!("{right} on {kind} {object}{grant} ({mode}{via}){until}")
            },
        )
        .collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines)
}
