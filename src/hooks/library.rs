//! The libraries that functions written in C are in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;

use crate::pg::invalidation::{self, Counted};

unsafe extern "C-unwind" {
    // utils/syscache.h, without the guard of pgrx's bindings: they may raise errors, which jump over what owns nothing.
    fn SearchSysCache1(cache: i32, key: pg_sys::Datum) -> pg_sys::HeapTuple;
    fn SysCacheGetAttr(
        cache: i32,
        tuple: pg_sys::HeapTuple,
        attribute: pg_sys::AttrNumber,
        is_null: *mut bool,
    ) -> pg_sys::Datum;
    fn ReleaseSysCache(tuple: pg_sys::HeapTuple);
}

/// catalog/pg_language.dat
const C_LANGUAGE: u32 = 13;
/// The last function that was found to be none of them, and as of which change of functions.
static HARMLESS: AtomicU32 = AtomicU32::new(0);
static HARMLESS_AS_OF: AtomicU64 = AtomicU64::new(0);

/// What `find` says of the library that a function is in; `None` of one that is not written in C, and of PostgreSQL's own. For one `find`
/// only: what it knows nothing of is not asked about again.
///
/// # Safety
/// Inside a transaction. Owns nothing: an error of PostgreSQL's may jump over it.
pub unsafe fn among<K>(function: pg_sys::Oid, find: impl Fn(&[u8]) -> Option<K>) -> Option<K> {
    // PostgreSQL's own functions have lower numbers, and no time to lose.
    if u32::from(function) < pg_sys::FirstNormalObjectId {
        return None;
    }
    let [as_of] = invalidation::counts([Counted::Functions]);
    if HARMLESS.load(Ordering::Relaxed) == u32::from(function)
        && HARMLESS_AS_OF.load(Ordering::Relaxed) == as_of
    {
        return None;
    }
    const CACHE: i32 = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: the tuple is released after the last look at it; the library's name is never stored
    // elsewhere (it is too short), and may be packed.
    unsafe {
        let tuple = SearchSysCache1(CACHE, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let mut found = None;
        if (*form).prolang == C_LANGUAGE.into() {
            let mut is_null = false;
            let library = SysCacheGetAttr(
                CACHE,
                tuple,
                pg_sys::Anum_pg_proc_probin as i16,
                &mut is_null,
            );
            if !is_null {
                let text = library.cast_mut_ptr::<pg_sys::varlena>();
                let path = std::slice::from_raw_parts(
                    pgrx::vardata_any(text).cast::<u8>(),
                    pgrx::varsize_any_exhdr(text),
                );
                found = find(stem(path));
            }
        }
        ReleaseSysCache(tuple);
        if found.is_none() {
            HARMLESS.store(function.into(), Ordering::Relaxed);
            HARMLESS_AS_OF.store(as_of, Ordering::Relaxed);
        }
        found
    }
}

/// `$libdir/set_user` and `/usr/lib/set_user.so` are one library.
fn stem(path: &[u8]) -> &[u8] {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    name.strip_suffix(b".so").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn libraries_are_known_by_any_path() {
        for path in [
            "set_user",
            "$libdir/set_user",
            "/usr/lib/postgresql/15/lib/set_user.so",
            "set_user.so",
        ] {
            assert_eq!(stem(path.as_bytes()), b"set_user", "{path}");
        }
        for path in ["", "$libdir/set_users", "set_user/other", "not_set_user"] {
            assert_ne!(stem(path.as_bytes()), b"set_user", "{path}");
        }
    }
}
