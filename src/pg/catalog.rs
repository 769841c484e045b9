//! Reads of the shared catalogues that work everywhere: during authentication, on a standby, in a
//! worker without a database. (Only pg_authid, pg_auth_members, pg_database and pg_shseclabel can
//! be read in those places, so nothing here asks for more.)
//!
//! Without a database PostgreSQL has no indexes on them: there a look-up of one role reads them all,
//! so whoever wants many reads them all once.

mod function;
mod label;
mod trigger;
mod types;

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::{clock, compat};

pub use function::{is_postgresqls, is_pure, look as look_at_function};
pub use label::{label_at_login, labelled_roles};
pub use trigger::{new_trigger, others_cascade_into_tables_of, owns};
pub use types::{is_new_temporary_type, is_temporary_schema, path_names_temporary_schema};

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

/// `InvalidOid` when no role has the name.
pub fn oid_of(name: &str) -> pg_sys::Oid {
    role_by_name(name).map_or(pg_sys::InvalidOid, |role| role.oid)
}

pub fn role_by_oid(oid: pg_sys::Oid) -> Option<Role> {
    role(
        pg_sys::SysCacheIdentifier::AUTHOID as i32,
        pg_sys::Datum::from(oid),
    )
}

/// Which version of the role's row is the current one: where it is, and who wrote it.
pub fn role_version(oid: pg_sys::Oid) -> Option<(u32, u32, u16)> {
    // SAFETY: inside a transaction; the tuple is released after its header is read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return None;
        }
        let place = (*tuple).t_self;
        let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
        let writer = pg_sys::HeapTupleHeaderGetRawXmin((*tuple).t_data);
        pg_sys::ReleaseSysCache(tuple);
        Some((writer.into(), block, place.ip_posid))
    }
}

/// Does `member` hold the privileges of `role`, directly or by inheritance?
pub fn has_privileges_of(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: catalogue reads inside a transaction.
    unsafe { pg_sys::has_privs_of_role(member, role) }
}

/// Does `member` hold the privileges of a superuser, and with them the code that the superuser owns?
pub fn inherits_from_superuser(member: pg_sys::Oid) -> bool {
    groups(member).into_iter().any(|group| {
        // SAFETY: a catalogue read inside a transaction.
        unsafe { pg_sys::superuser_arg(group) && has_privileges_of(member, group) }
    })
}

/// The roles that a role is a member of, through others too, whether or not it has their privileges.
pub fn groups(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut seen = vec![member];
    let mut next = 0;
    while let Some(&role) = seen.get(next) {
        next += 1;
        for group in memberships(role) {
            if !seen.contains(&group) {
                seen.push(group);
            }
        }
    }
    seen.split_off(1)
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

pub fn owner_of_schema(schema: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: inside a transaction; the tuple is released after the owner is copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(schema),
        );
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_namespace>()).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
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
            &raw mut column,
            &raw mut value,
            &raw mut is_null,
        );
        pg_sys::CatalogTupleUpdate(relation, &raw mut (*old).t_self, new);
        pg_sys::ReleaseSysCache(old);
        pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        pg_sys::CommandCounterIncrement();
    }
    true
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
                    pg_sys::Oid::from(attribute(compat::MEMBERSHIP_ROLE_COLUMN).value() as u32)
                })
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        // One for each grantor, from 16 on.
        roles.dedup();
        roles
    }
}

/// The condition that a column holds this OID, for a scan of a catalogue.
pub(super) fn oid_key(column: u32, value: pg_sys::Oid) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: a record to be filled in; the operator and the value are of OIDs.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            column as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(value),
        );
    }
    key
}

/// OID, superuser and VALID UNTIL (Unix microseconds) of every role, in no order.
pub fn deadlines(mut visit: impl FnMut(pg_sys::Oid, bool, Option<i64>)) {
    each_row(pg_sys::AuthIdRelationId, &mut |tuple, description| {
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
    each_row(pg_sys::AuthIdRelationId, &mut |tuple, description| {
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
    each_row(pg_sys::DatabaseRelationId, &mut |tuple, _| {
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
    visit: &mut dyn FnMut(*mut pg_sys::HeapTupleData, pg_sys::TupleDesc),
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
