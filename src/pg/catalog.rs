//! Reads of the shared catalogues that work everywhere: during authentication, on a standby, in a
//! worker without a database. (Only pg_authid, pg_auth_members, pg_database and pg_shseclabel can
//! be read in those places, so nothing here asks for more.)
//!
//! Without a database PostgreSQL has no indexes on them: there a look-up of one role reads them all,
//! so whoever wants many reads them all once.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::{clock, compat};

/// catalog/pg_shseclabel.h, which pgrx does not bind; OIDs and columns of a system catalogue are
/// fixed.
const SHARED_SECURITY_LABELS: u32 = 3592;
const OBJECT: u32 = 1;
const CLASS: u32 = 2;
const PROVIDER: u32 = 3;
const LABEL: u32 = 4;

/// A row of `pg_authid`.
#[derive(Debug, Clone)]
pub struct Role {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub can_login: bool,
    pub superuser: bool,
    pub create_role: bool,
    pub replication: bool,
    pub bypass_rls: bool,
    pub inherits: bool,
    pub has_password: bool,
    /// Unix microseconds; `None` without VALID UNTIL.
    pub valid_until: Option<i64>,
}

pub fn role_by_name(name: &str) -> Option<Role> {
    let name = CString::new(name).ok()?;
    let key = pg_sys::Datum::from(name.as_ptr());
    role(pg_sys::SysCacheIdentifier::AUTHNAME as i32, key)
}

pub fn role_by_oid(oid: pg_sys::Oid) -> Option<Role> {
    role(
        pg_sys::SysCacheIdentifier::AUTHOID as i32,
        pg_sys::Datum::from(oid),
    )
}

/// Does `member` hold the privileges of `role`, directly or by inheritance?
pub fn has_privileges_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

/// Does `member` hold the privileges of a superuser, and with them the code that the superuser owns?
pub fn inherits_from_superuser(member: pg_sys::Oid) -> bool {
    let mut seen = vec![member];
    let mut next = 0;
    while let Some(&role) = seen.get(next) {
        next += 1;
        for group in groups_of(role) {
            if !seen.contains(&group) {
                // SAFETY: a catalogue read inside a transaction.
                if unsafe { pg_sys::superuser_arg(group) } && has_privileges_of(member, group) {
                    return true;
                }
                seen.push(group);
            }
        }
    }
    false
}

/// The roles that `member` is a direct member of.
fn groups_of(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: inside a transaction; the list's members are valid until it is released; the
    // attribute is an OID, never null.
    unsafe {
        let list = pg_sys::SearchSysCacheList(
            pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
            1,
            pg_sys::Datum::from(member),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        );
        let count = usize::try_from((*list).n_members).unwrap_or(0);
        let groups = (*list)
            .members
            .as_slice(count)
            .iter()
            .map(|&entry| {
                let mut is_null = false;
                let group = pg_sys::SysCacheGetAttr(
                    pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
                    &raw mut (*entry).tuple,
                    compat::MEMBERSHIP_ROLE_COLUMN,
                    &mut is_null,
                );
                pg_sys::Oid::from(group.value() as u32)
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        groups
    }
}

fn role(cache: i32, key: pg_sys::Datum) -> Option<Role> {
    // SAFETY: inside a transaction; the key has the cache's type; the tuple is released after the
    // fields are copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(cache, key);
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>();
        let (mut is_null, mut no_password) = (false, false);
        pg_sys::SysCacheGetAttr(
            cache,
            tuple,
            pg_sys::Anum_pg_authid_rolpassword as i16,
            &mut no_password,
        );
        let valid_until = pg_sys::SysCacheGetAttr(
            cache,
            tuple,
            pg_sys::Anum_pg_authid_rolvaliduntil as i16,
            &mut is_null,
        );
        let role = Role {
            oid: form.oid,
            name: CStr::from_ptr(form.rolname.data.as_ptr())
                .to_string_lossy()
                .into_owned(),
            can_login: form.rolcanlogin,
            superuser: form.rolsuper,
            create_role: form.rolcreaterole,
            replication: form.rolreplication,
            bypass_rls: form.rolbypassrls,
            inherits: form.rolinherit,
            has_password: !no_password,
            valid_until: (!is_null).then(|| clock::from_postgres(valid_until.value() as i64)),
        };
        pg_sys::ReleaseSysCache(tuple);
        Some(role)
    }
}

/// May `member` grant `role` to others (ADMIN OPTION, or superuser)?
pub fn is_admin_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe { pg_sys::is_admin_of_role(member, role) }
}

/// Does the current user own the relation, as owner or as an heir of the owner? True when there is
/// none, which PostgreSQL will say itself.
///
/// # Safety
/// A valid range variable, inside a transaction.
pub unsafe fn owns(name: *mut pg_sys::RangeVar) -> bool {
    // SAFETY: by contract; the tuple is released after the owner is copied.
    unsafe {
        let relation = pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
        );
        if tuple.is_null() {
            return true;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        has_privileges_of(super::identity::current_user(), owner)
    }
}

/// Gives a role its password, as the verifier that PostgreSQL would store. False when there is no such
/// role.
///
/// Not by CREATE or ALTER ROLE: with a verifier these try whether it is that of the empty password,
/// which costs a whole hashing; and the verifier would be in the text of a statement.
#[must_use]
pub fn set_password(role: pg_sys::Oid, verifier: &str) -> bool {
    // SAFETY: inside a transaction; the row is locked by the update, the column is a text, and what
    // was opened and looked up is closed and released.
    unsafe {
        let relation =
            pg_sys::table_open(pg_sys::AuthIdRelationId, pg_sys::RowExclusiveLock as i32);
        let cache = pg_sys::SysCacheIdentifier::AUTHOID as i32;
        let old = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(role));
        if old.is_null() {
            pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
            return false;
        }
        let mut column = pg_sys::Anum_pg_authid_rolpassword as i32;
        let mut value = pgrx::IntoDatum::into_datum(verifier).unwrap_or(pg_sys::Datum::null());
        let mut is_null = false;
        let new = pg_sys::heap_modify_tuple_by_cols(
            old,
            (*relation).rd_att,
            1,
            &mut column,
            &mut value,
            &mut is_null,
        );
        pg_sys::CatalogTupleUpdate(relation, &raw mut (*old).t_self, new);
        pg_sys::ReleaseSysCache(old);
        pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        pg_sys::CommandCounterIncrement();
    }
    true
}

/// The roles that a role is a direct member of.
pub fn memberships(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
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
            .map(|&entry| {
                let mut is_null = false;
                let role = pg_sys::SysCacheGetAttr(
                    pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32,
                    &raw mut (*entry).tuple,
                    compat::MEMBERSHIP_ROLE_COLUMN,
                    &mut is_null,
                );
                pg_sys::Oid::from(role.value() as u32)
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        // One for each grantor, from 16 on.
        roles.dedup();
        roles
    }
}

/// Every role with a label of ours, as (OID, label text), in no order.
pub fn labelled_roles(mut visit: impl FnMut(pg_sys::Oid, &str)) {
    each_row(SHARED_SECURITY_LABELS.into(), |tuple, description| {
        let attribute = |number: u32| attribute(tuple, description, number);
        let (Some(class), Some(object), Some(provider), Some(label)) = (
            attribute(CLASS),
            attribute(OBJECT),
            attribute(PROVIDER),
            attribute(LABEL),
        ) else {
            return;
        };
        if class.value() != u32::from(pg_sys::AuthIdRelationId) as usize {
            return;
        }
        // SAFETY: both columns are of type text and not null.
        unsafe {
            if text(provider).as_bytes() == super::seclabel::PROVIDER.to_bytes() {
                visit(pg_sys::Oid::from(object.value() as u32), &text(label));
            }
        }
    });
}

/// OID, superuser and VALID UNTIL (Unix microseconds) of every role, in no order.
pub fn deadlines(mut visit: impl FnMut(pg_sys::Oid, bool, Option<i64>)) {
    each_row(pg_sys::AuthIdRelationId, |tuple, description| {
        // SAFETY: the fixed part of a pg_authid row is a C struct.
        let form = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>() };
        let deadline = attribute(tuple, description, pg_sys::Anum_pg_authid_rolvaliduntil);
        visit(
            form.oid,
            form.rolsuper,
            deadline.map(|datum| clock::from_postgres(datum.value() as i64)),
        );
    });
}

/// OID, name, superuser, INHERIT and VALID UNTIL (Unix microseconds) of every role, in no order.
pub fn each_role(mut visit: impl FnMut(pg_sys::Oid, String, bool, bool, Option<i64>)) {
    each_row(pg_sys::AuthIdRelationId, |tuple, description| {
        // SAFETY: the fixed part of a pg_authid row is a C struct; a NAME is a terminated string.
        let (form, name) = unsafe {
            let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>();
            (form, CStr::from_ptr(form.rolname.data.as_ptr()))
        };
        let deadline = attribute(tuple, description, pg_sys::Anum_pg_authid_rolvaliduntil);
        visit(
            form.oid,
            name.to_string_lossy().into_owned(),
            form.rolsuper,
            form.rolinherit,
            deadline.map(|datum| clock::from_postgres(datum.value() as i64)),
        );
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
    each_row(pg_sys::DatabaseRelationId, |tuple, _| {
        // SAFETY: the fixed part of a pg_database row is a C struct.
        let form = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>() };
        // A database whose DROP was interrupted (datconnlimit -2) can't be entered any more.
        if form.datconnlimit == -2 {
            return;
        }
        // SAFETY: a NAME is a terminated string.
        let name = unsafe { CStr::from_ptr(form.datname.data.as_ptr()) };
        found.push(Database {
            oid: form.oid,
            name: name.to_string_lossy().into_owned(),
            is_template: form.datistemplate,
            allows_connections: form.datallowconn,
        });
    });
    found
}

/// Visits the committed rows of a shared catalogue.
fn each_row(
    catalogue: pg_sys::Oid,
    mut visit: impl FnMut(*mut pg_sys::HeapTupleData, pg_sys::TupleDesc),
) {
    // SAFETY: inside a transaction with a snapshot; a row is valid until the scan goes on.
    unsafe {
        let relation = pg_sys::table_open(catalogue, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            pgrx::check_for_interrupts!();
            visit(tuple, (*relation).rd_att);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
}

/// A column of a row by its number in the catalogue; `None` when it is null.
fn attribute(
    tuple: *mut pg_sys::HeapTupleData,
    description: pg_sys::TupleDesc,
    number: u32,
) -> Option<pg_sys::Datum> {
    let mut is_null = false;
    // SAFETY: called with a row of a running scan and its relation's description.
    let datum = unsafe { pg_sys::heap_getattr(tuple, number as i32, description, &mut is_null) };
    (!is_null).then_some(datum)
}

/// A copy of a `text` datum.
///
/// # Safety
/// The datum is a valid, non-null `text`.
unsafe fn text(datum: pg_sys::Datum) -> String {
    // SAFETY: by contract.
    unsafe {
        let copy = pg_sys::text_to_cstring(datum.cast_mut_ptr());
        let text = CStr::from_ptr(copy).to_string_lossy().into_owned();
        pg_sys::pfree(copy.cast());
        text
    }
}
