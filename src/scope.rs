//! Scopes: NOLOGIN roles that hold one set of privileges on one set of objects (docs/design.md, "Credentials are members of scopes").
//!
//! A request becomes a plan of grants (`planning`), which is compared with what the scope holds
//! (`held`). Grants are made as the caller, so that PostgreSQL checks them again and records the
//! right grantor; only making, narrowing and dropping the role is elevated, after the question
//! whether the caller controls it. What a scope was given in this way is written down (`declared`),
//! so that the review can tell it from what somebody has granted or revoked by hand.

mod again;
mod change;
mod control;
pub mod create;
pub mod declaration;
pub mod declared;
mod differences;
mod error;
pub mod facts;
pub mod found;
mod giving;
pub mod grants;
pub mod held;
pub mod name;
pub mod notices;
pub mod plan;
pub mod planned;
pub mod planning;
pub mod privilege;
pub mod remembered;
pub mod request;
pub mod restored;
mod restrict;
pub mod statements;

use std::collections::HashSet;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{report, require_preload};
use crate::pg::arguments::{Text, strings};
use crate::pg::name::Name;
use crate::pg::{catalog, compat, xact};
use crate::waiting;
pub use control::{Scope, claimed, may_hand_out, own};
pub use error::elsewhere;
pub use giving::{
    may_give, may_give_everywhere, not_to_give, require_authority, require_authority_everywhere,
};
pub use privilege::BadVerb;
use privilege::{Privilege, Verbs};
use request::Request;

/// More than these are a schema, not a list: each is looked up, and locked while it is granted.
const MAX_NAMED: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("{what} names too many objects")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    #[error(transparent)]
    Verb(#[from] BadVerb),
    #[error("unknown action \"{0}\"")]
    Action(String),
    #[error("nothing to change was named")]
    NothingNamed,
    #[error("columns need exactly one table")]
    ColumnsOfWhat,
    #[error("the list of columns is empty")]
    NoColumns,
    #[error("future_tables needs a schema")]
    FutureOfWhat,
    #[error("the table does not exist")]
    NoSuchTable { oid: u32 },
    #[error("the schema does not exist")]
    NoSuchSchema { oid: u32 },
    #[error("the function does not exist")]
    NoSuchFunction { oid: u32 },
    #[error("column \"{column}\" of {table} does not exist")]
    NoSuchColumn { table: String, column: String },
    #[error("{table} is not a table or view")]
    WrongKind { table: String, kind: &'static str },
    #[error("{object} is not a sequence")]
    NotASequence { object: String },
    #[error("{table} cannot be granted to other sessions")]
    Temporary { table: String },
    #[error("permission denied: {table} belongs to the system")]
    System { table: String },
    #[error("permission denied to grant {privilege} on {object}")]
    MayNotGrant {
        object: String,
        privilege: &'static str,
        caller: String,
        /// Further grants that the caller may not make either.
        others: usize,
    },
    #[error("permission denied to grant privileges on future tables in schema {schema}")]
    MayNotActForCreators {
        schema: String,
        creators: Vec<String>,
    },
    #[error("permission denied to restrict function {function}")]
    MayNotRestrict { function: String, caller: String },
    #[error("permission denied to change scope \"{scope}\"")]
    NotYours {
        scope: String,
        creator: String,
        caller: String,
        /// Its label came with a restore, and nobody has adopted it since.
        is_restored: bool,
        /// No role is its creator any more.
        is_orphaned: bool,
    },
    #[error("permission denied to adopt restored roles")]
    MayNotAdopt,
    #[error("permission denied to create a scope")]
    ByALogin { caller: String },
    #[error("scope \"{scope}\" does not exist")]
    Unknown { scope: String },
    #[error("role \"{role}\" is not a scope")]
    NotAScope { role: String, what: &'static str },
    #[error("this database has no part of scope \"{scope}\"")]
    Elsewhere {
        scope: String,
        databases: Vec<String>,
    },
    #[error("scope \"{scope}\" is being dropped")]
    Ending { scope: String, waits: String },
    #[error("role \"{role}\" already exists")]
    Exists { role: String },
    #[error("scope \"{scope}\" already exists with other privileges")]
    Differs { scope: String, difference: String },
    #[error("scope \"{scope}\" cannot be dropped because it has members")]
    HasMembers { scope: String, members: Vec<String> },
    #[error("scope \"{scope}\" cannot be dropped because it owns objects")]
    Owns { scope: String, objects: Vec<String> },
    #[error("scope \"{scope}\" holds the privilege on the whole table")]
    HeldByTable { scope: String, grant: String },
    #[error("scope \"{scope}\" could not be changed as asked")]
    NotDone { scope: String, left: Vec<String> },
    #[error("the purpose is too long")]
    PurposeTooLong { bytes: usize, max: usize },
    #[error("cannot change scopes in a read-only transaction")]
    ReadOnly,
    #[error("scope \"{scope}\" holds more than \"{caller}\" may hand out")]
    Widened {
        scope: String,
        caller: String,
        beyond: Vec<String>,
    },
    #[error("no name is free for the scope")]
    NoFreeName,
    #[error("the catalogs could not be read")]
    Sql(String),
    #[error(transparent)]
    Name(#[from] name::BadName),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// Documented in `sql/functions.sql`, as are the others.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn create_scope(
    name: Option<Text>,
    privileges: Option<Vec<Option<Text>>>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    columns: Option<Vec<Option<Text>>>,
    sequences: Option<Vec<Option<pg_sys::Oid>>>,
    functions: Option<Vec<Option<pg_sys::Oid>>>,
    schemas: Option<Vec<Option<pg_sys::Oid>>>,
    future_tables: Option<bool>,
    purpose: Option<Text>,
    if_not_exists: Option<bool>,
) -> Result<Name, ErrorReport> {
    let name = name.as_deref();
    let purpose = purpose.as_deref();
    let privileges = strings(privileges);
    let columns = strings(columns);
    require_preload()?;
    let create = || -> Result<Name, Error> {
        let name = name.ok_or(Error::Null("name"))?;
        let if_not_exists = if_not_exists.ok_or(Error::Null("if_not_exists"))?;
        let request = request(
            privileges,
            tables,
            columns,
            sequences,
            functions,
            schemas,
            future_tables,
        )?;
        writable()?;
        waiting::giving_way(|| create::create(name, &request, purpose, if_not_exists))?;
        Ok(Name(name.to_owned()))
    };
    create().map_err(report)
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn alter_scope(
    name: Option<Text>,
    action: Option<Text>,
    privileges: Option<Vec<Option<Text>>>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    columns: Option<Vec<Option<Text>>>,
    sequences: Option<Vec<Option<pg_sys::Oid>>>,
    functions: Option<Vec<Option<pg_sys::Oid>>>,
    schemas: Option<Vec<Option<pg_sys::Oid>>>,
    future_tables: Option<bool>,
) -> Result<Name, ErrorReport> {
    let name = name.as_deref();
    let action = action.as_deref();
    let privileges = strings(privileges);
    let columns = strings(columns);
    require_preload()?;
    let alter = || -> Result<Name, Error> {
        let name = name.ok_or(Error::Null("name"))?;
        let action = action.ok_or(Error::Null("action"))?;
        let request = request(
            privileges,
            tables,
            columns,
            sequences,
            functions,
            schemas,
            future_tables,
        )?;
        let action_word = action.trim().to_ascii_lowercase();
        if request.named().nothing() != (action_word == "reset") {
            return Err(Error::NothingNamed);
        }
        writable()?;
        waiting::giving_way(|| match action_word.as_str() {
            "reset" => change::reset(name),
            "add" => change::add(name, &request),
            "remove" => change::remove(name, &request),
            _ => Err(Error::Action(action.to_owned())),
        })?;
        Ok(Name(name.to_owned()))
    };
    alter().map_err(report)
}

#[pg_extern(sql = false)]
fn restrict_function(
    function: Option<pg_sys::Oid>,
    scopes: Option<Vec<Option<Name>>>,
) -> Result<(), ErrorReport> {
    require_preload()?;
    let restrict = || -> Result<(), Error> {
        let function = function.ok_or(Error::Null("f"))?;
        let scopes = elements(scopes, "scopes")?;
        let scopes: Vec<String> = scopes.into_iter().map(|Name(name)| name).collect();
        writable()?;
        waiting::giving_way(|| restrict::restrict(function.into(), &scopes))
    };
    restrict().map_err(report)
}

/// Scopes cannot be changed where nothing can.
pub fn writable() -> Result<(), Error> {
    if xact::is_read_only() {
        Err(Error::ReadOnly)
    } else {
        Ok(())
    }
}

fn request(
    privileges: Option<Vec<Option<String>>>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    columns: Option<Vec<Option<String>>>,
    sequences: Option<Vec<Option<pg_sys::Oid>>>,
    functions: Option<Vec<Option<pg_sys::Oid>>>,
    schemas: Option<Vec<Option<pg_sys::Oid>>>,
    future_tables: Option<bool>,
) -> Result<Request, Error> {
    let words = elements(privileges, "privileges")?;
    let columns = columns.map(|columns| {
        let mut columns = elements(Some(columns), "columns")?;
        let mut seen = HashSet::new();
        columns.retain(|column| seen.insert(column.clone()));
        Ok::<_, Error>(columns)
    });
    Ok(Request {
        verbs: Verbs::parse(&words, compat::HAS_MAINTAIN)?,
        tables: oids(tables, "tables")?,
        columns: columns.transpose()?,
        sequences: oids(sequences, "sequences")?,
        functions: oids(functions, "functions")?,
        schemas: oids(schemas, "schemas")?,
        future: future_tables.ok_or(Error::Null("future_tables"))?,
    })
}

/// All elements of a list that must have no NULL among them.
pub fn elements<T>(list: Option<Vec<Option<T>>>, what: &'static str) -> Result<Vec<T>, Error> {
    list.and_then(|list| list.into_iter().collect())
        .ok_or(Error::Null(what))
}

/// Each once, in the order of the list.
pub fn oids(list: Option<Vec<Option<pg_sys::Oid>>>, what: &'static str) -> Result<Vec<u32>, Error> {
    let mut seen = HashSet::new();
    let mut unique: Vec<u32> = Vec::new();
    for oid in elements(list, what)? {
        pgrx::check_for_interrupts!();
        let oid = u32::from(oid);
        if !seen.insert(oid) {
            continue;
        }
        unique.push(oid);
        if unique.len() > MAX_NAMED {
            return Err(Error::TooMany {
                what,
                count: unique.len(),
                max: MAX_NAMED,
            });
        }
    }
    Ok(unique)
}

/// May members of this scope create objects? Its logins then work as the scope, which owns what they
/// make.
pub fn creates(scope: &str) -> Result<bool, Error> {
    let Some(role) = catalog::role_by_name(scope) else {
        return Ok(false);
    };
    let held = held::by(role.oid)?;
    Ok(held
        .grants
        .keys()
        .any(|grant| grant.privilege == Privilege::Create))
}
