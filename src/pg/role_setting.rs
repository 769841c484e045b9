//! What a role's sessions start with, where ALTER ROLE … SET can't be used: it refuses `role` to
//! elevated code, and to callers who are not members of the role themselves.

use pgrx::{IntoDatum, pg_sys};

/// catalog/pg_db_role_setting.h, which pgrx does not bind: setdatabase, setrole, setconfig.
const SETTINGS: pg_sys::Oid = pg_sys::Oid::from_u32(2964);

/// Has the sessions of a role that was just made, and has no settings yet, start as another role.
/// PostgreSQL checks at each login that it is a member of that role.
pub fn start_as(login: pg_sys::Oid, role: &str) {
    let setting = vec![format!("role={role}")].into_datum();
    let mut values = [
        pg_sys::Datum::from(pg_sys::InvalidOid),
        pg_sys::Datum::from(login),
        setting.unwrap_or(pg_sys::Datum::null()),
    ];
    let mut nulls = [false; 3];
    // SAFETY: inside a transaction; a row of the catalogue's three columns, whose indexes are kept
    // by CatalogTupleInsert.
    unsafe {
        let relation = pg_sys::table_open(SETTINGS, pg_sys::RowExclusiveLock as i32);
        let tuple =
            pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CatalogTupleInsert(relation, tuple);
        // The lock stays, as in ALTER ROLE.
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        pg_sys::CommandCounterIncrement();
    }
}
