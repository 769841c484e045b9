//! Who is acting, and doing a piece of work as somebody else.

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::pg_sys;

use super::{pinned_settings, raw};

/// How many pieces of work of the extension's own are being done. Backend-local.
static OWN_WORK: AtomicU32 = AtomicU32::new(0);

/// PostgreSQL's identities of this session at one moment (`miscinit.c`).
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Whose privileges count now; SECURITY DEFINER functions change it.
    pub current: pg_sys::Oid,
    /// What SET ROLE last set, else the session user.
    pub outer: pg_sys::Oid,
    /// Zero unless inside a SECURITY DEFINER function or a restricted operation.
    pub security_context: i32,
}

/// Before the client has logged in, and in a process that is nobody's, all are [`pg_sys::InvalidOid`].
#[inline]
pub fn now() -> Identity {
    let (current, security_context) = current_and_context();
    Identity {
        current,
        outer: outer_user(),
        security_context,
    }
}

fn current_and_context() -> (pg_sys::Oid, i32) {
    let (mut current, mut security_context) = (pg_sys::InvalidOid, 0);
    // SAFETY: both out-pointers are valid; reads backend globals.
    unsafe { raw::GetUserIdAndSecContext(&mut current, &mut security_context) };
    (current, security_context)
}

/// What `ask` says of the session; nobody where PostgreSQL does not know its user yet, and must not be asked: the
/// current user is the last that it sets.
fn once_known(ask: unsafe extern "C-unwind" fn() -> pg_sys::Oid) -> pg_sys::Oid {
    if current_user() == pg_sys::InvalidOid {
        return pg_sys::InvalidOid;
    }
    // SAFETY: reads a backend global, which is set.
    unsafe { ask() }
}

pub fn current_user() -> pg_sys::Oid {
    current_and_context().0
}

/// Is the current user a superuser? Inside a transaction.
pub fn is_superuser() -> bool {
    // SAFETY: a catalogue look-up.
    unsafe { pg_sys::superuser_arg(current_user()) }
}

#[inline]
pub fn session_user() -> pg_sys::Oid {
    once_known(raw::GetSessionUserId)
}

/// As whom the client has logged in, whatever SET SESSION AUTHORIZATION has made of it.
pub fn authenticated_user() -> pg_sys::Oid {
    once_known(raw::GetAuthenticatedUserId)
}

/// What SET ROLE last set, else the session user.
#[inline]
pub fn outer_user() -> pg_sys::Oid {
    once_known(raw::GetOuterUserId)
}

pub fn is_parallel_worker() -> bool {
    // SAFETY: a plain read of a backend global (IsParallelWorker).
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// What SET ROLE, or something in its place, has set; 0 for nothing.
pub fn role_taken() -> pg_sys::Oid {
    // SAFETY: reads a backend global.
    unsafe { raw::GetCurrentRoleId() }
}

/// As whom the client of this session has logged in; `None` in a process without one, and outside transactions.
pub fn client_login() -> Option<pg_sys::Oid> {
    // SAFETY: reads of backend globals.
    unsafe { !pg_sys::MyProcPort.is_null() && raw::IsTransactionState() }.then(authenticated_user)
}

/// True inside a SECURITY DEFINER function, where PostgreSQL forbids changing `role`.
pub fn in_security_definer() -> bool {
    // SAFETY: reads a backend global.
    unsafe { raw::InLocalUserIdChange() }
}

/// Runs `work` as the bootstrap superuser, in a restricted security context, with
/// what settings mean pinned ([`pinned_settings`]).
/// Authority is checked before. Everything is as before afterwards, also when `work` fails.
pub fn elevated<R>(work: impl FnOnce() -> R) -> R {
    let _guard = Guard::assume(Some(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID)));
    work()
}

/// Are these statements the extension's own, rather than the caller's?
pub fn is_own_work() -> bool {
    OWN_WORK.load(Ordering::Relaxed) > 0
}

/// Runs `work` as `role`, otherwise like [`elevated`]. For undoing that role's own grants.
pub fn acting_as<R>(role: pg_sys::Oid, work: impl FnOnce() -> R) -> R {
    let _guard = Guard::assume(Some(role));
    work()
}

/// Runs `work` as the caller, with settings pinned.
pub fn pinned<R>(work: impl FnOnce() -> R) -> R {
    let _guard = Guard::assume(None);
    work()
}

/// Puts identity and settings back when dropped.
struct Guard {
    user: pg_sys::Oid,
    security_context: i32,
    nest_level: i32,
}

impl Guard {
    fn assume(role: Option<pg_sys::Oid>) -> Self {
        let before = now();
        // SAFETY: the nest level is closed by Drop, or by the (sub)transaction's abort when an
        // error passes; strings are constants; the role exists (bootstrap superuser or a grantor).
        unsafe {
            let nest_level = pg_sys::NewGUCNestLevel();
            let guard = Guard {
                user: before.current,
                security_context: before.security_context,
                nest_level,
            };
            OWN_WORK.fetch_add(1, Ordering::Relaxed);
            pinned_settings::pin();
            if let Some(role) = role {
                pg_sys::SetUserIdAndSecContext(
                    role,
                    before.security_context
                        | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32
                        | pg_sys::SECURITY_RESTRICTED_OPERATION as i32,
                );
            }
            guard
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        OWN_WORK.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: restores what `assume` saved. While an error unwinds, the abort of the
        // (sub)transaction closes the nest level itself; doing it here would run assign hooks in
        // an error state.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.user, self.security_context);
            if !std::thread::panicking() {
                pg_sys::AtEOXact_GUC(true, self.nest_level);
            }
        }
    }
}
