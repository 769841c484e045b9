//! What ALTER ROLE … SET says of a role (catalog/pg_db_role_setting.h), and having it in a session that has not logged in as it.

use std::ffi::CString;

use pgrx::{FromDatum, IntoDatum, pg_sys};

use super::arguments::Text;
use super::scan::{Row, Scan};
use super::text;
use super::{compat, server, session_settings, setting};

use pg_sys::{
    Anum_pg_db_role_setting_setconfig as VALUES, Anum_pg_db_role_setting_setdatabase as DATABASE,
    Anum_pg_db_role_setting_setrole as ROLE,
    DbRoleSettingDatidRolidIndexId as BY_DATABASE_AND_ROLE, DbRoleSettingRelationId as SETTINGS,
};

const COLUMNS: usize = pg_sys::Natts_pg_db_role_setting as usize;

pub type Stored = Vec<(CString, CString)>;

/// The settings of the role in this database: IN DATABASE goes before.
pub fn of(role: pg_sys::Oid) -> Stored {
    let mut found = Stored::new();
    for value in [pg_sys::InvalidOid, server::database()]
        .into_iter()
        .flat_map(|database| stored(database, role))
    {
        let Some((name, value)) = value.split_once('=') else {
            continue;
        };
        let (Ok(name), Ok(value)) = (text::written(name), text::written(value)) else {
            continue;
        };
        found.retain(|(known, _)| !known.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        found.push((name, value));
    }
    found
}

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

/// What the session has of its own: the value of a SET, `None` without one.
pub type Before = Vec<(CString, Option<CString>)>;

/// Sets those that everybody may set, as whoever is logged in would; a value that is none any more is a WARNING. What the session had
/// before, and those that a function's SET clause would undo when it ends.
pub fn apply(stored: &Stored, action: pg_sys::GucAction::Type) -> (Before, Stored) {
    let mut before = Before::new();
    let mut waiting = Stored::new();
    for (name, value) in stored {
        let record = compat::find_setting(name);
        // SAFETY: NULL, or a valid record.
        let is_everybodys =
            record.is_null() || unsafe { (*record).context } == pg_sys::GucContext::PGC_USERSET;
        if !is_everybodys {
            continue;
        }
        // SAFETY: as above.
        if unsafe { setting::is_saved(record) } {
            waiting.push((name.clone(), value.clone()));
            continue;
        }
        // SAFETY: as above.
        let known = unsafe { session_settings::of_session(record) };
        // At WARNING no error is raised for a value.
        let context = pg_sys::GucContext::PGC_USERSET;
        if setting::change(name, Some(value), context, action, pg_sys::WARNING) {
            before.push((name.clone(), known));
        }
    }
    (before, waiting)
}

/// Gives the session back what it had.
pub fn put_back(before: &Before) {
    for (name, value) in before {
        session_settings::set_back(name, value.as_ref());
    }
}
