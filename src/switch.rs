//! Switching the role by a token: `scope.set_jwt_role`.

mod keys;

use std::ffi::CString;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error;
use crate::guc;
use crate::jwt::{self, ClaimPath, KeyError, PathError, Policy, Refusal, RoleClaim, Verified};
use crate::lock::state::State;
use crate::pg::catalog::{self, Role};
use crate::pg::name::Name;
use crate::pg::{clock, compat, identity, switch_state, xact};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no key is configured to verify tokens")]
    NoSecret,
    #[error("the key configured to verify tokens cannot be used")]
    BadSecret(KeyError),
    #[error("the file with the key to verify tokens cannot be read")]
    SecretFile {
        path: String,
        kind: std::io::ErrorKind,
    },
    #[error("the path of the claim is not valid")]
    Path(PathError),
    #[error("the token was refused")]
    Token(Refusal),
    #[error("the token names no role that can be taken")]
    RoleClaim(RoleClaim),
    #[error("the role \"{role}\" may not be taken by a token")]
    Reserved { role: String },
    #[error("the role \"{role}\" may not be taken by a token")]
    Unknown { role: String },
    #[error("the role \"{role}\" may not be taken by this session")]
    NotGranted { role: String, session_user: String },
    #[error("the role \"{role}\" may not be taken by a token")]
    Privileged { role: String, why: &'static str },
    #[error("scope.set_jwt_role() cannot run inside a SECURITY DEFINER function")]
    SecurityDefiner,
    #[error("scope.set_jwt_role() cannot run where its effect would be undone")]
    WouldBeUndone,
    #[error("the role of this transaction was set by a token and is locked")]
    AlreadyLocked,
    #[error("scope.set_jwt_role() cannot run while cursors are open")]
    OpenCursors,
}

/// Verifies `token`, switches to the role that `claim` names and locks it until the transaction
/// ends. Returns the role. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn set_jwt_role(token: Option<&str>, claim: Option<&str>) -> Result<Name, ErrorReport> {
    error::require_preload()?;
    switch(token.unwrap_or_default(), claim)
        .map(Name)
        .map_err(error::report)
}

fn switch(token: &str, claim: Option<&str>) -> Result<String, Error> {
    let path = match claim {
        Some(claim) => ClaimPath::parse(claim),
        None => ClaimPath::parse(&guc::jwt_role_claim()),
    }
    .map_err(Error::Path)?;
    let verified = verify(token)?;
    let role = path.role(&verified.payload).map_err(Error::RoleClaim)?;
    let target = takeable(role)?;
    activate(&target, verified)?;
    Ok(target.name)
}

/// Verifies by the administrator's settings alone.
fn verify(token: &str) -> Result<Verified, Error> {
    let policy = Policy {
        issuer: guc::jwt_issuer(),
        audiences: guc::jwt_audiences(),
        algorithms: Vec::new(),
        leeway: guc::jwt_leeway(),
        require_exp: guc::jwt_require_exp(),
        max_age: guc::jwt_max_age(),
    };
    keys::with(|keys| jwt::verify(token, keys, &policy, clock::now()))?.map_err(Error::Token)
}

/// The role, if a token may activate it in this session (design 3.7).
fn takeable(role: String) -> Result<Role, Error> {
    if is_reserved(&role) {
        return Err(Error::Reserved { role });
    }
    let Some(target) = catalog::role_by_name(&role) else {
        return Err(Error::Unknown { role });
    };
    if let Some(why) = privileged(&target) {
        return Err(Error::Privileged { role, why });
    }
    let session_user = identity::session_user();
    if !compat::may_set_role(session_user, target.oid) {
        let session_user = catalog::role_by_oid(session_user).map(|role| role.name);
        return Err(Error::NotGranted {
            role,
            session_user: session_user.unwrap_or_default(),
        });
    }
    Ok(target)
}

/// `public` and `none` are no roles; `pg_…` are PostgreSQL's predefined ones.
fn is_reserved(role: &str) -> bool {
    role.starts_with("pg_") || role == "public" || role == "none"
}

/// What makes a role too powerful to be locked in: each of these leads out of the lock.
fn privileged(role: &Role) -> Option<&'static str> {
    let reaches = |predefined: u32| catalog::has_privileges_of(role.oid, predefined.into());
    if role.superuser {
        Some("is a superuser")
    } else if role.bypass_rls {
        Some("has BYPASSRLS")
    } else if role.create_role {
        Some("has CREATEROLE")
    } else if role.replication {
        Some("has REPLICATION")
    } else if reaches(pg_sys::ROLE_PG_EXECUTE_SERVER_PROGRAM) {
        Some("may run programs on the server (pg_execute_server_program)")
    } else if reaches(pg_sys::ROLE_PG_WRITE_SERVER_FILES) {
        Some("may write files of the server (pg_write_server_files)")
    } else if reaches(pg_sys::ROLE_PG_READ_SERVER_FILES) {
        Some("may read files of the server (pg_read_server_files)")
    } else {
        None
    }
}

fn activate(target: &Role, verified: Verified) -> Result<(), Error> {
    if identity::in_security_definer() {
        return Err(Error::SecurityDefiner);
    }
    if switch_state::would_be_undone() {
        return Err(Error::WouldBeUndone);
    }
    let state = State {
        role: target.oid.into(),
        expires_at: verified.expires_at.unwrap_or(i64::MAX),
        claims: verified.payload,
    };
    match switch_state::current() {
        Some(current) if current == state => return Ok(()),
        Some(_) => return Err(Error::AlreadyLocked),
        None => {}
    }
    // A cursor goes on with the privileges, and the rows, of the role that opened it.
    if xact::has_open_cursors() {
        return Err(Error::OpenCursors);
    }
    if xact::ends_with_statement() {
        warn_no_transaction();
    }
    // No string holds a NUL: PostgreSQL's text can't, and verified JSON has none.
    if let (Ok(role), Ok(claims), Ok(text)) = (
        CString::new(target.name.as_str()),
        CString::new(state.claims.as_str()),
        CString::new(state.to_text()),
    ) {
        switch_state::activate(&role, &claims, &text);
    }
    Ok(())
}

/// As PostgreSQL warns of SET LOCAL.
fn warn_no_transaction() {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "scope.set_jwt_role() can only be used in transaction blocks",
        function_name!(),
    )
    .set_detail("The switch ends with this statement.")
    .set_hint("BEGIN first.")
    .report(PgLogLevel::WARNING);
}
