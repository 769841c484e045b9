//! What ALTER ROLE … SET says of a role (catalog/pg_db_role_setting.h), and having it in a session that has not logged in as it.

use std::ffi::{CString, c_int};

use pgrx::{FromDatum, pg_sys};

use super::catalog::oid_key;
use super::{compat, session_settings};

const SETTINGS: u32 = 2964;
const BY_DATABASE_AND_ROLE: u32 = 2965;
const DATABASE: u32 = 1;
const ROLE: u32 = 2;
const VALUES: i32 = 3;

pub type Stored = Vec<(CString, CString)>;

/// The settings of the role in this database: IN DATABASE goes before.
pub fn of(role: pg_sys::Oid) -> Stored {
    // SAFETY: a plain read of a backend global.
    let here = unsafe { pg_sys::MyDatabaseId };
    let mut stored = Stored::new();
    for value in [pg_sys::InvalidOid, here]
        .into_iter()
        .flat_map(|database| row(database, role))
    {
        let Some((name, value)) = value.split_once('=') else {
            continue;
        };
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else {
            continue;
        };
        stored.retain(|(known, _)| !known.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
        stored.push((name, value));
    }
    stored
}

/// The row of one database, or of all.
fn row(database: pg_sys::Oid, role: pg_sys::Oid) -> Vec<String> {
    // SAFETY: inside a transaction; the keys have their columns' type; the texts are copied before the scan ends.
    unsafe {
        let mut keys = [oid_key(DATABASE, database), oid_key(ROLE, role)];
        let lock = pg_sys::AccessShareLock as i32;
        let relation = pg_sys::table_open(SETTINGS.into(), lock);
        let scan = pg_sys::systable_beginscan(
            relation,
            BY_DATABASE_AND_ROLE.into(),
            true,
            std::ptr::null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        let tuple = pg_sys::systable_getnext(scan);
        let mut found = None;
        if !tuple.is_null() {
            let mut is_null = false;
            let values = pg_sys::heap_getattr(tuple, VALUES, (*relation).rd_att, &mut is_null);
            found = Vec::<Option<String>>::from_datum(values, is_null);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, lock);
        found.into_iter().flatten().flatten().collect()
    }
}

/// What the session has of its own: the value of a SET, `None` without one.
pub type Before = Vec<(CString, Option<CString>)>;

/// Sets those that everybody may set, as whoever is logged in would; a value that is none any more is a WARNING. What the session had
/// before.
pub fn apply(stored: &Stored, action: pg_sys::GucAction::Type) -> Before {
    let mut before = Before::new();
    for (name, value) in stored {
        let record = compat::find_setting(name, &compat::SettingPlace::unknown());
        // SAFETY: NULL, or a valid record.
        let is_everybodys =
            record.is_null() || unsafe { (*record).context } == pg_sys::GucContext::PGC_USERSET;
        if !is_everybodys {
            continue;
        }
        // SAFETY: as above.
        let known = unsafe { session_settings::of_session(record) };
        // SAFETY: terminated texts. At WARNING no error is raised for a value.
        let done = unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                action,
                true,
                pg_sys::WARNING as c_int,
                false,
            )
        };
        if done > 0 {
            before.push((name.clone(), known));
        }
    }
    before
}

/// Gives the session back what it had.
pub fn put_back(before: &Before) {
    for (name, value) in before {
        session_settings::set_back(name, value.as_ref());
    }
}
