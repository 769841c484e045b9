//! Types in the temporary schema.

use pgrx::pg_sys;

use super::trigger::new_row;

/// Has one just been made in the temporary schema that is no row of a table, view or composite type, and no array of those? True when its row
/// is not to be found.
pub fn is_new_temporary_type(made: pg_sys::Oid) -> bool {
    let read = |made| {
        let (table, index) = (pg_sys::TypeRelationId, pg_sys::TypeOidIndexId.into());
        // SAFETY: inside a transaction; the row is one of that table.
        unsafe {
            new_row(
                (table, index, pg_sys::Anum_pg_type_oid),
                made,
                |tuple, _| {
                    let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_type>();
                    let is_row = (*form).typtype as u8 == pg_sys::TYPTYPE_COMPOSITE;
                    ((*form).typnamespace, is_row, (*form).typelem)
                },
            )
        }
    };
    let Some((schema, is_row, element)) = read(made) else {
        return true;
    };
    // SAFETY: compares with a backend global.
    if is_row || !unsafe { pg_sys::isTempNamespace(schema) } {
        return false;
    }
    element == pg_sys::InvalidOid || !read(element).is_some_and(|(_, is_row, _)| is_row)
}
