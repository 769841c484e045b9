//! Access control lists as the catalogues keep them.

use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::acl::Item;

/// A column of type `aclitem[]`.
#[derive(Debug, Clone, Default)]
pub struct Acl(pub Vec<Item>);

impl FromDatum for Acl {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the datum is an aclitem[] (type_oid is checked by SPI); PostgreSQL never stores
        // NULLs in one, so its elements follow the header, aligned (utils/array.h, ARR_DATA_PTR).
        unsafe {
            let list = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let array = list.cast::<pg_sys::ArrayType>();
            let dimensions = usize::try_from((*array).ndim).unwrap_or(0);
            if dimensions != 1 || (*array).dataoffset != 0 {
                return Some(Self::default());
            }
            let header = size_of::<pg_sys::ArrayType>();
            let count = usize::try_from(*array.byte_add(header).cast::<i32>()).unwrap_or(0);
            // Its length and its lower bound.
            let start = (header + 2 * size_of::<i32>()).next_multiple_of(8);
            let items =
                std::slice::from_raw_parts(list.byte_add(start).cast::<pg_sys::AclItem>(), count);
            let items = items.iter().map(item).collect();
            if list.cast() != datum.cast_mut_ptr::<std::ffi::c_void>() {
                pg_sys::pfree(list.cast());
            }
            Some(Self(items))
        }
    }
}

impl IntoDatum for Acl {
    /// Only read.
    fn into_datum(self) -> Option<pg_sys::Datum> {
        None
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::ACLITEMARRAYOID
    }
}

/// The upper half of the bits are grant options (utils/acl.h).
fn item(item: &pg_sys::AclItem) -> Item {
    let half = 4 * size_of::<pg_sys::AclMode>() as u32;
    Item {
        grantee: item.ai_grantee.into(),
        grantor: item.ai_grantor.into(),
        rights: item.ai_privs as u16,
        grantable: (item.ai_privs >> half) as u16,
    }
}
