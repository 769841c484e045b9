//! The schemas in which the caller's names are looked for.

use super::text;
use pgrx::pg_sys;

/// As `current_schemas(true)` has them.
pub fn schemas() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: inside a transaction. The list is a copy of OIDs; a name is terminated, or NULL for a schema that has been dropped.
    unsafe {
        let path = pg_sys::fetch_search_path(true);
        if path.is_null() {
            return names;
        }
        for place in 0..(*path).length {
            let schema = (*(*path).elements.add(place as usize)).oid_value;
            names.extend(text::owned(pg_sys::get_namespace_name(schema)));
        }
    }
    names
}
