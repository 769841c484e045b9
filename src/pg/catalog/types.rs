//! The schema of temporary objects, and types in it.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::trigger::new_row;

/// Is it the schema of this session's temporary objects?
pub fn is_temporary_schema(schema: pg_sys::Oid) -> bool {
    // SAFETY: reads a backend global.
    unsafe { pg_sys::isTempNamespace(schema) }
}

/// Does the search path speak of that schema?
pub fn path_names_temporary_schema() -> bool {
    const NAME: &[u8] = b"pg_temp";
    // SAFETY: the setting's current value, terminated, or NULL.
    let path = unsafe {
        let path = pg_sys::namespace_search_path;
        if path.is_null() {
            return false;
        }
        CStr::from_ptr(path).to_bytes()
    };
    path.windows(NAME.len())
        .any(|part| part.eq_ignore_ascii_case(NAME))
}

/// Has a type just been made in the temporary schema that is no row of a table, view or composite type, and no array of those? True when its row
/// is not to be found.
pub fn is_new_temporary_type(made: pg_sys::Oid) -> bool {
    let read = |made| {
        let key = (pg_sys::Anum_pg_type_oid, made);
        new_row(pg_sys::TypeRelationId, pg_sys::TypeOidIndexId, key).first(|row| {
            // SAFETY: a row of that table.
            let form: &pg_sys::FormData_pg_type = unsafe { row.fixed() };
            let is_row = form.typtype as u8 == pg_sys::TYPTYPE_COMPOSITE;
            (form.typnamespace, is_row, form.typelem)
        })
    };
    let Some((schema, is_row, element)) = read(made) else {
        return true;
    };
    if is_row || !is_temporary_schema(schema) {
        return false;
    }
    element == pg_sys::InvalidOid || !read(element).is_some_and(|(_, is_row, _)| is_row)
}
