//! What ALTER ROLE … SET says of a role (catalog/pg_db_role_setting.h).

use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::arguments::Text;
use super::scan::{Row, Scan};

use pg_sys::{
    Anum_pg_db_role_setting_setconfig as VALUES, Anum_pg_db_role_setting_setdatabase as DATABASE,
    Anum_pg_db_role_setting_setrole as ROLE,
    DbRoleSettingDatidRolidIndexId as BY_DATABASE_AND_ROLE, DbRoleSettingRelationId as SETTINGS,
};

const COLUMNS: usize = pg_sys::Natts_pg_db_role_setting as usize;

/// Each as `name=value`, of a role, or of all, in a database, or in all: 0 stands for all.
pub fn stored(database: pg_sys::Oid, role: pg_sys::Oid) -> Vec<String> {
    of_both(database, role).first(values).unwrap_or_default()
}

/// Changes what is set for the role in all databases; `None` leaves it as it is. Inside a transaction.
pub fn change(role: pg_sys::Oid, change: impl Fn(Vec<String>) -> Option<Vec<String>>) {
    let array = |values: Vec<String>| {
        let texts: Vec<Text> = values.into_iter().map(Text).collect();
        texts.into_datum().unwrap_or(pg_sys::Datum::null())
    };
    let scan = of_both(pg_sys::InvalidOid, role).changing();
    let found = scan.first(|row| {
        if let Some(values) = change(values(row)) {
            // SAFETY: the column is an array of texts.
            unsafe { row.change(VALUES, array(values)) }
        }
    });
    // SAFETY: inside a transaction; the row is formed by the catalogue's own description, with values of its types, and what was
    // opened is closed.
    unsafe {
        if found.is_none()
            && let Some(values) = change(Vec::new())
        {
            let relation = pg_sys::table_open(SETTINGS, pg_sys::RowExclusiveLock as i32);
            let mut values = [pg_sys::InvalidOid.into(), role.into(), array(values)];
            let mut nulls = [false; COLUMNS];
            let new = pg_sys::heap_form_tuple(
                (*relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::CatalogTupleInsert(relation, new);
            pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        }
        pg_sys::CommandCounterIncrement();
    }
}

fn of_both(database: pg_sys::Oid, role: pg_sys::Oid) -> Scan<2> {
    let keys = [(DATABASE, database), (ROLE, role)];
    Scan::by(SETTINGS, BY_DATABASE_AND_ROLE, keys)
}

fn values(row: &Row) -> Vec<String> {
    // SAFETY: the column is an array of texts.
    let texts = row
        .column(VALUES)
        .and_then(|values| unsafe { Vec::<Option<Text>>::from_datum(values, false) });
    let texts = texts.into_iter().flatten().flatten();
    texts.map(|text| text.0).collect()
}
