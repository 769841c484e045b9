//! Reads of the shared catalogues that work everywhere: during authentication, on a standby, in a
//! worker without a database. (Only pg_authid, pg_auth_members, pg_database and pg_shseclabel can
//! be read in those places, so nothing here asks for more.)
//!
//! Without a database PostgreSQL has no indexes on them: there a look-up of one role reads them all,
//! so whoever wants many reads them all once.

mod function;
mod trigger;
mod types;

use std::ffi::CStr;

use pgrx::pg_sys;

use super::compat;
use super::scan::{Scan, cached};
use crate::timestamp::from_postgres;

pub use function::{is_postgresqls, look as look_at_function};
pub use trigger::{Trigger, any_trigger, is_over_expressions, new_trigger};
pub use types::{is_new_temporary_type, is_temporary_schema, path_names_temporary_schema};

/// The attributes of a role that has no power of its own, as CREATE ROLE and ALTER ROLE take them.
pub const WITHOUT_POWER: &str = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";

/// A row of `pg_authid`.
#[derive(Debug, Clone)]
pub struct Role {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub can_login: bool,
    pub superuser: bool,
    pub create_role: bool,
    pub create_db: bool,
    pub replication: bool,
    pub bypass_rls: bool,
    pub inherits: bool,
    pub has_password: bool,
    /// Unix microseconds; `None` without VALID UNTIL.
    pub valid_until: Option<i64>,
}

pub fn role_by_name(name: &str) -> Option<Role> {
    let name = super::text::written(name).ok()?;
    role(pg_sys::SysCacheIdentifier::AUTHNAME, name.as_ptr())
}

/// `InvalidOid` when no role has the name.
pub fn oid_of(name: &str) -> pg_sys::Oid {
    role_by_name(name).map_or(pg_sys::InvalidOid, |role| role.oid)
}

pub fn role_by_oid(oid: pg_sys::Oid) -> Option<Role> {
    role(pg_sys::SysCacheIdentifier::AUTHOID, oid)
}

/// Which version of the role's row is the current one: where it is, and who wrote it.
pub fn role_version(oid: pg_sys::Oid) -> Option<(u32, u32, u16)> {
    let look = |tuple: pg_sys::HeapTuple, _: &pg_sys::FormData_pg_authid| {
        // SAFETY: the row's header.
        let (place, writer) = unsafe {
            let writer = pg_sys::HeapTupleHeaderGetRawXmin((*tuple).t_data);
            ((*tuple).t_self, writer)
        };
        let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
        (writer.into(), block, place.ip_posid)
    };
    // SAFETY: inside a transaction; a row of that catalogue.
    unsafe { cached(pg_sys::SysCacheIdentifier::AUTHOID, oid, look) }
}

/// Does `member` hold the privileges of `role`, directly or by inheritance?
pub fn has_privileges_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

fn role(cache: pg_sys::SysCacheIdentifier::Type, key: impl Into<pg_sys::Datum>) -> Option<Role> {
    // SAFETY: inside a transaction; the key has the cache's type, and the columns theirs; a NAME is terminated.
    unsafe {
        cached(cache, key, |tuple, form: &pg_sys::FormData_pg_authid| {
            let attribute = |column: u32| {
                let mut is_null = false;
                let datum =
                    pg_sys::SysCacheGetAttr(cache as i32, tuple, column as i16, &mut is_null);
                (!is_null).then_some(datum)
            };
            let valid_until = attribute(pg_sys::Anum_pg_authid_rolvaliduntil);
            Role {
                oid: form.oid,
                name: super::text::read(CStr::from_ptr(form.rolname.data.as_ptr())).into_owned(),
                can_login: form.rolcanlogin,
                superuser: form.rolsuper,
                create_role: form.rolcreaterole,
                create_db: form.rolcreatedb,
                replication: form.rolreplication,
                bypass_rls: form.rolbypassrls,
                inherits: form.rolinherit,
                has_password: attribute(pg_sys::Anum_pg_authid_rolpassword).is_some(),
                valid_until: valid_until.map(|datum| from_postgres(datum.value() as i64)),
            }
        })
    }
}

/// May `member` grant `role` to others (ADMIN OPTION, or superuser)?
pub fn is_admin_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe { pg_sys::is_admin_of_role(member, role) }
}

fn owner_of_relation(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let look = |_: pg_sys::HeapTuple, form: &pg_sys::FormData_pg_class| form.relowner;
    // SAFETY: inside a transaction; a row of that catalogue.
    unsafe { cached(pg_sys::SysCacheIdentifier::RELOID, relation, look) }
}

pub fn owner_of_schema(schema: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let look = |_: pg_sys::HeapTuple, form: &pg_sys::FormData_pg_namespace| form.nspowner;
    // SAFETY: inside a transaction; a row of that catalogue.
    unsafe { cached(pg_sys::SysCacheIdentifier::NAMESPACEOID, schema, look) }
}

pub fn owner_of_database(database: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let look = |_: pg_sys::HeapTuple, form: &pg_sys::FormData_pg_database| form.datdba;
    // SAFETY: inside a transaction; a row of that catalogue.
    unsafe { cached(pg_sys::SysCacheIdentifier::DATABASEOID, database, look) }
}

/// Does the role own the relation, or inherit from its owner? True when there is none.
pub fn is_owned_by(role: pg_sys::Oid, relation: pg_sys::Oid) -> bool {
    owner_of_relation(relation).is_none_or(|owner| has_privileges_of(role, owner))
}

/// May the role REINDEX the table, as its owner or, from 17 on, by MAINTAIN?
pub fn may_maintain(table: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    const MAINTAIN: u32 = 1 << 14;
    let Some(owner) = owner_of_relation(table) else {
        return false;
    };
    // SAFETY: inside a transaction; a table that is there.
    unsafe {
        has_privileges_of(role, owner)
            || compat::HAS_MAINTAIN
                && pg_sys::pg_class_aclcheck(table, role, pg_sys::AclMode::from(MAINTAIN))
                    == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Gives a role its password, as the verifier that PostgreSQL would store. False when there is no such
/// role.
///
/// Not by CREATE or ALTER ROLE: with a verifier these try whether it is that of the empty password,
/// which costs a whole hashing; and the verifier would be in the text of a statement.
#[must_use]
pub fn set_password(role: pg_sys::Oid, verifier: &str) -> bool {
    let scan = Scan::by(
        pg_sys::AuthIdRelationId,
        pg_sys::AuthIdOidIndexId,
        [(pg_sys::Anum_pg_authid_oid, role)],
    );
    let found = scan.changing().first(|row| {
        let value = pgrx::IntoDatum::into_datum(verifier).unwrap_or(pg_sys::Datum::null());
        // SAFETY: the column is a text.
        unsafe { row.change(pg_sys::Anum_pg_authid_rolpassword, value) }
    });
    // SAFETY: inside a transaction.
    unsafe { pg_sys::CommandCounterIncrement() }
    found.is_some()
}

/// What a role is called; nothing when it is gone.
pub fn name_of(role: pg_sys::Oid) -> String {
    role_by_oid(role).map(|role| role.name).unwrap_or_default()
}

/// Locks a role against DROP ROLE until the transaction ends: a label that is written to a role that is
/// gone would stay for ever. False when it is gone. Not as SECURITY LABEL locks it, which would wait for
/// whoever has commented on the role.
#[must_use]
pub fn lock_role(role: pg_sys::Oid) -> bool {
    is_there_under(role, pg_sys::AccessShareLock)
}

/// Takes the lock that a GRANT of the role takes.
pub fn lock_memberships(role: pg_sys::Oid) {
    let _ = is_there_under(role, pg_sys::ShareUpdateExclusiveLock);
}

/// Is the role still there, once a DROP ROLE that has just committed has told everybody? What it has
/// deleted can be seen to be gone a moment before that.
#[must_use]
pub fn is_still_there(role: pg_sys::Oid) -> bool {
    is_there_under(role, pg_sys::AccessShareLock)
}

fn is_there_under(role: pg_sys::Oid, mode: u32) -> bool {
    // SAFETY: inside a transaction; takes in what others have committed meanwhile.
    unsafe { pg_sys::LockSharedObject(pg_sys::AuthIdRelationId, role, 0, mode as i32) };
    role_by_oid(role).is_some()
}

/// The roles that a role is a direct member of.
pub fn memberships(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    memberships_where(member, |_| true)
}

/// Those of them whose privileges it has without SET ROLE.
pub fn inherited_memberships(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    match compat::INHERIT_OPTION_COLUMN {
        Some(column) => memberships_where(member, |attribute| attribute(column).value() != 0),
        None if role_by_oid(member).is_some_and(|role| role.inherits) => memberships(member),
        None => Vec::new(),
    }
}

fn memberships_where(
    member: pg_sys::Oid,
    counts: impl Fn(&dyn Fn(i16) -> pg_sys::Datum) -> bool,
) -> Vec<pg_sys::Oid> {
    // SAFETY: inside a transaction; the list holds n_members valid entries until it is released.
    unsafe {
        let list = pg_sys::SearchSysCacheList(
            pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
            1,
            pg_sys::Datum::from(member),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        );
        let count = usize::try_from((*list).n_members).unwrap_or(0);
        let mut roles: Vec<pg_sys::Oid> = (*list)
            .members
            .as_slice(count)
            .iter()
            .filter_map(|&entry| {
                let attribute = |column: i16| {
                    let mut is_null = false;
                    pg_sys::SysCacheGetAttr(
                        pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
                        &raw mut (*entry).tuple,
                        column,
                        &mut is_null,
                    )
                };
                counts(&attribute).then(|| {
                    pg_sys::Oid::from(
                        attribute(pg_sys::Anum_pg_auth_members_roleid as i16).value() as u32,
                    )
                })
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        // One for each grantor, from 16 on.
        roles.dedup();
        roles
    }
}

/// OID, name, superuser, INHERIT and VALID UNTIL (Unix microseconds) of every role, in no order.
pub fn each_role(mut visit: impl FnMut(pg_sys::Oid, &CStr, bool, bool, Option<i64>)) {
    Scan::all(pg_sys::AuthIdRelationId).each(|row| {
        // SAFETY: the fixed part of a pg_authid row is a C struct; a NAME is a terminated string.
        let (form, name) = unsafe {
            let form: &pg_sys::FormData_pg_authid = row.fixed();
            (form, CStr::from_ptr(form.rolname.data.as_ptr()))
        };
        let deadline = row.column(pg_sys::Anum_pg_authid_rolvaliduntil);
        visit(
            form.oid,
            name,
            form.rolsuper,
            form.rolinherit,
            deadline.map(|datum| from_postgres(datum.value() as i64)),
        );
        true
    });
}

/// A row of `pg_database`.
#[derive(Debug, Clone)]
pub struct Database {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub is_template: bool,
    pub allows_connections: bool,
}

pub fn databases() -> Vec<Database> {
    let mut found = Vec::new();
    Scan::all(pg_sys::DatabaseRelationId).each(|row| {
        // SAFETY: the fixed part of a pg_database row is a C struct; a NAME is a terminated string.
        let (form, name) = unsafe {
            let form: &pg_sys::FormData_pg_database = row.fixed();
            (form, CStr::from_ptr(form.datname.data.as_ptr()))
        };
        // A database whose DROP was interrupted (datconnlimit -2) can't be entered any more.
        if form.datconnlimit != -2 {
            found.push(Database {
                oid: form.oid,
                name: super::text::read(name).into_owned(),
                is_template: form.datistemplate,
                allows_connections: form.datallowconn,
            });
        }
        true
    });
    found
}

/// A copy of a `text` datum.
///
/// # Safety
/// The datum is a valid, non-null `text`.
pub(super) unsafe fn text(datum: pg_sys::Datum) -> String {
    // SAFETY: by contract.
    unsafe {
        let copy = pg_sys::text_to_cstring(datum.cast_mut_ptr());
        let text = super::text::read(CStr::from_ptr(copy)).into_owned();
        pg_sys::pfree(copy.cast());
        text
    }
}
