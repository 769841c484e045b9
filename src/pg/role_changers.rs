//! Functions of other libraries that change the role past PostgreSQL's settings, where the guard on
//! those cannot see it: some at once, some when the transaction commits. And those that open connections
//! which outlive the transaction.
//!
//! They are stopped at every call. The hook on the privilege to execute would not do: it is asked
//! when an expression is made ready, and PL/pgSQL keeps those for a whole transaction.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{guards, invalidation, leftovers, raw, switch_state};
use crate::lock;
use crate::lock::verdict::Event;

/// What the functions of a library do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ChangesRoles,
    Connects,
}

/// All functions of these count.
const LIBRARIES: [(&[u8], Kind); 2] = [
    (b"set_user", Kind::ChangesRoles),
    (b"dblink", Kind::Connects),
];

/// catalog/pg_language.dat
const C_LANGUAGE: u32 = 13;

static mut PREVIOUS_NEEDED: pg_sys::needs_fmgr_hook_type = None;
static mut PREVIOUS_CALL: pg_sys::fmgr_hook_type = None;
/// When the transaction began in which one of them was last called.
static CALLED_IN: AtomicI64 = AtomicI64::new(0);
/// The last function that was found to be none of them, and as of which change of functions.
static HARMLESS: AtomicU32 = AtomicU32::new(0);
static HARMLESS_AS_OF: AtomicU64 = AtomicU64::new(0);

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS_NEEDED = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(needed);
        PREVIOUS_CALL = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(call);
    }
}

/// Has one of them set the role of this session, or asked for it in this transaction?
pub fn hold_the_role() -> bool {
    // SAFETY: reads backend globals.
    let (began, role, login) = unsafe {
        (
            raw::GetCurrentTransactionStartTimestamp(),
            raw::GetCurrentRoleId(),
            raw::GetSessionUserId(),
        )
    };
    // reset_user() leaves the login as the role.
    let is_foreign =
        role != pg_sys::InvalidOid && role != login && role != switch_state::role_setting();
    is_foreign || CALLED_IN.load(Ordering::Relaxed) == began
}

/// Is `call` wanted around calls of this function? Asked once for each place that calls it.
///
/// Unguarded, like the hooks of `hooks`: it owns nothing.
unsafe extern "C-unwind" fn needed(function: pg_sys::Oid) -> bool {
    // SAFETY: the argument goes on as it came; a catalogue read inside a transaction.
    unsafe {
        PREVIOUS_NEEDED.is_some_and(|previous| previous(function))
            || kind(function).is_some()
            || guards::is_writer(function)
    }
}

unsafe extern "C-unwind" fn call(
    event: pg_sys::FmgrHookEventType::Type,
    function: *mut pg_sys::FmgrInfo,
    private: *mut pg_sys::Datum,
) {
    // SAFETY: PostgreSQL passes the function that it is about to call; the rest goes on as it came.
    unsafe {
        if event == pg_sys::FmgrHookEventType::FHET_START {
            match kind((*function).fn_oid) {
                Some(Kind::ChangesRoles) => {
                    if lock::is_bound() {
                        before_role_change();
                    }
                    CALLED_IN.store(
                        raw::GetCurrentTransactionStartTimestamp(),
                        Ordering::Relaxed,
                    );
                }
                Some(Kind::Connects) => leftovers::connected(),
                None => {}
            }
        }
        if event != pg_sys::FmgrHookEventType::FHET_START {
            guards::writer_ends((*function).fn_oid);
        } else if guards::is_writer((*function).fn_oid) {
            guards::writer_begins((*function).fn_oid);
        }
        if let Some(previous) = PREVIOUS_CALL {
            previous(event, function, private);
        }
    }
}

#[pg_guard]
extern "C-unwind" fn before_role_change() {
    lock::enforce(&Event::RoleChange);
}

/// Of a function that is written in C, in one of the libraries.
///
/// # Safety
/// Inside a transaction. Owns nothing: an error of PostgreSQL's may jump over it.
unsafe fn kind(function: pg_sys::Oid) -> Option<Kind> {
    // PostgreSQL's own functions have lower numbers, and no time to lose.
    if u32::from(function) < pg_sys::FirstNormalObjectId {
        return None;
    }
    let as_of = invalidation::functions();
    if HARMLESS.load(Ordering::Relaxed) == u32::from(function)
        && HARMLESS_AS_OF.load(Ordering::Relaxed) == as_of
    {
        return None;
    }
    const CACHE: i32 = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: the tuple is released after the last look at it; the library's name is never stored
    // elsewhere (it is too short), and may be packed.
    unsafe {
        let tuple = raw::SearchSysCache1(CACHE, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_proc>();
        let mut found = None;
        if (*form).prolang == C_LANGUAGE.into() {
            let mut is_null = false;
            let library = raw::SysCacheGetAttr(
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
                let library = stem(path);
                found = LIBRARIES
                    .iter()
                    .find_map(|&(name, kind)| (name == library).then_some(kind));
            }
        }
        raw::ReleaseSysCache(tuple);
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
    fn role_changers_are_known_by_any_path() {
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
