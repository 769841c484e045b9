//! `session_preload_libraries` as a setting of a login: a server that was started without the library then
//! refuses the login, for want of the file or because the library says so itself.
//!
//! A setting of a login takes the place of the database's and the server's, which may name libraries that its
//! sessions are not to be without (masking, auditing). So where the library is preloaded, and the setting has nothing
//! left to do, it stands back for them.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum};

use super::catalog::oid_key;
use super::{compat, raw};

const NAME: &CStr = c"session_preload_libraries";
const PREFIX: &str = "session_preload_libraries=";
const LIBRARY: &str = "scope_roles";

/// catalog/pg_db_role_setting.h, which pgrx does not bind; OIDs and columns of a system catalogue are fixed.
const SETTINGS: u32 = 2964;
const SETTINGS_INDEX: u32 = 2965;
const DATABASE: u32 = 1;
const ROLE: u32 = 2;
const CONFIG: u32 = 3;
const COLUMNS: usize = 3;

/// Gives a role the setting, in every database, unless it has it. Not by ALTER ROLE, which takes several times as
/// long. Inside a transaction, by whoever holds the role's lock.
pub fn bind(role: pg_sys::Oid) {
    // SAFETY: inside a transaction; rows are formed by the catalogue's own descriptor, with values of its types, and
    // what was opened is closed.
    unsafe {
        let relation = pg_sys::table_open(SETTINGS.into(), pg_sys::RowExclusiveLock as i32);
        let known = with_row(relation, pg_sys::InvalidOid, role, |old, config| {
            if let Some(config) = with_library(config) {
                let (mut column, mut value, mut is_null) = (CONFIG as i32, array(config), false);
                let new = pg_sys::heap_modify_tuple_by_cols(
                    old,
                    (*relation).rd_att,
                    1,
                    &raw mut column,
                    &raw mut value,
                    &raw mut is_null,
                );
                pg_sys::CatalogTupleUpdate(relation, &raw mut (*old).t_self, new);
            }
        });
        if known.is_none() {
            let config = with_library(Vec::new()).unwrap_or_default();
            let mut values = [pg_sys::InvalidOid.into(), role.into(), array(config)];
            let mut nulls = [false; COLUMNS];
            let new = pg_sys::heap_form_tuple(
                (*relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::CatalogTupleInsert(relation, new);
        }
        pg_sys::table_close(relation, pg_sys::RowExclusiveLock as i32);
        pg_sys::CommandCounterIncrement();
    }
}

fn array(config: Vec<String>) -> pg_sys::Datum {
    config.into_datum().unwrap_or(pg_sys::Datum::null())
}

/// The settings with the library among those of the session; `None` when it is.
fn with_library(mut config: Vec<String>) -> Option<Vec<String>> {
    let place = config.iter().position(|each| each.starts_with(PREFIX));
    let others = place
        .map(|place| config.remove(place))
        .and_then(|setting| setting.strip_prefix(PREFIX).map(str::to_owned))
        .unwrap_or_default();
    let names = others.split(',').map(|name| name.trim().trim_matches('"'));
    if names.clone().any(|name| name == LIBRARY) {
        return None;
    }
    config.push(match others.trim() {
        "" => format!("{PREFIX}{LIBRARY}"),
        others => format!("{PREFIX}{others}, {LIBRARY}"),
    });
    Some(config)
}

/// Looks at the settings of a role in a database; 0 stands for all.
///
/// # Safety
/// The catalogue, opened and locked; inside a transaction.
unsafe fn with_row<R>(
    relation: pg_sys::Relation,
    database: pg_sys::Oid,
    role: pg_sys::Oid,
    look: impl FnOnce(pg_sys::HeapTuple, Vec<String>) -> R,
) -> Option<R> {
    // SAFETY: by contract; the index is on these two columns, the row is valid until the end of the scan, and the
    // column is an array of texts.
    unsafe {
        let mut keys = [oid_key(DATABASE, database), oid_key(ROLE, role)];
        let scan = pg_sys::systable_beginscan(
            relation,
            SETTINGS_INDEX.into(),
            true,
            null_mut(),
            keys.len() as i32,
            keys.as_mut_ptr(),
        );
        let row = pg_sys::systable_getnext(scan);
        let found = (!row.is_null()).then(|| {
            let mut is_null = false;
            let config = pg_sys::heap_getattr(row, CONFIG as i32, (*relation).rd_att, &mut is_null);
            look(row, Vec::from_datum(config, is_null).unwrap_or_default())
        });
        pg_sys::systable_endscan(scan);
        found
    }
}

// ---- Where the library is preloaded

static PREVIOUS: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

type Check = unsafe extern "C-unwind" fn(
    *mut *mut c_char,
    *mut *mut c_void,
    pg_sys::GucSource::Type,
) -> bool;

/// Once, in the postmaster.
pub fn install() {
    let setting = compat::find_setting(NAME, &compat::SettingPlace::unknown());
    if setting.is_null() {
        return;
    }
    // SAFETY: single-threaded; the setting is one of strings, and the check has the type that they ask for.
    unsafe {
        let setting = setting.cast::<pg_sys::config_string>();
        if let Some(previous) = (*setting).check_hook {
            PREVIOUS.store(previous as *mut c_void, Ordering::Relaxed);
        }
        (*setting).check_hook = Some(check);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check(
    new_value: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers, and the settings of a login inside the transaction that begins its
    // session; a parallel worker has them from its leader. What stands in place of the value is memory that the
    // machinery of settings may free, as the value was.
    unsafe {
        let is_ours = source == pg_sys::GucSource::PGC_S_USER
            && !(*new_value).is_null()
            && CStr::from_ptr(*new_value).to_bytes() == LIBRARY.as_bytes();
        if is_ours && !pg_sys::InitializingParallelWorker && raw::IsTransactionState() {
            let text = compat::setting_string(&beneath());
            if !text.is_null() {
                compat::setting_free((*new_value).cast());
                *new_value = text;
            }
        }
        let previous = PREVIOUS.load(Ordering::Relaxed);
        if previous.is_null() {
            return true;
        }
        let previous: Check = std::mem::transmute(previous);
        previous(new_value, extra, source)
    }
}

/// What the setting would be without the login's own: that of the database, of all roles, or of the server.
fn beneath() -> CString {
    // SAFETY: inside a transaction with a database; what was opened is closed, and the server's value is NULL or
    // terminated.
    unsafe {
        let relation = pg_sys::table_open(SETTINGS.into(), pg_sys::AccessShareLock as i32);
        let of = |database| {
            with_row(relation, database, pg_sys::InvalidOid, |_, config| {
                let mut values = config.iter().filter_map(|each| each.strip_prefix(PREFIX));
                values.next().map(str::to_owned)
            })
        };
        let known = of(pg_sys::MyDatabaseId)
            .flatten()
            .or_else(|| of(pg_sys::InvalidOid).flatten());
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        if let Some(known) = known {
            return CString::new(known).unwrap_or_default();
        }
        let servers = pg_sys::session_preload_libraries_string;
        if servers.is_null() {
            CString::default()
        } else {
            CStr::from_ptr(servers).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_library;

    #[test]
    fn session_libraries_keep_what_a_role_has() {
        let with = |config: &[&str]| {
            with_library(config.iter().map(|&each| each.to_owned()).collect())
                .map(|config| config.join("; "))
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(with(&[]), is("session_preload_libraries=scope_roles"));
        assert_eq!(
            with(&["search_path=a, b"]),
            is("search_path=a, b; session_preload_libraries=scope_roles")
        );
        assert_eq!(
            with(&["session_preload_libraries="]),
            is("session_preload_libraries=scope_roles")
        );
        assert_eq!(
            with(&["session_preload_libraries=auto_explain"]),
            is("session_preload_libraries=auto_explain, scope_roles")
        );
        for there in ["scope_roles", "a, scope_roles", "\"scope_roles\",b"] {
            assert_eq!(with(&[&format!("session_preload_libraries={there}")]), None);
        }
    }
}
