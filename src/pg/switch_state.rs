//! Where a switch lives: PostgreSQL's own `role` setting, `request.jwt.claims`, and
//! `scope.switch`, set together with GUC_ACTION_LOCAL, so that the ends of transactions and
//! savepoints and the start of parallel workers are PostgreSQL's own work.
//!
//! While `scope.switch` is set, `role`, `session_authorization` and `request.jwt.claims` are
//! settings that only superusers may change: the assign hook moves them from PGC_USERSET to
//! PGC_SUSET and back. It may do no more than that (assign hooks must not fail), and needs no more:
//! SET, RESET, `set_config`, functions with SET clauses and every other way to change a setting
//! pass PostgreSQL's own context check first, and a switched role is never a superuser.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{claim_settings, compat, gate, leftovers, raw, timer};
use crate::switch_text::{Extent, State};

static SWITCH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

pub const CLAIMS: &CStr = c"request.jwt.claims";
const SWITCHED: &CStr = c"scope.switch";
/// Settings that decide who acts, and on what claims.
const GUARDED: [&CStr; 3] = [c"role", c"session_authorization", CLAIMS];
const IDENTITY: [&CStr; 2] = [c"role", c"session_authorization"];
/// Not even a superuser's SECURITY DEFINER function changes such a setting: RESET asks no check hook.
const SECURE: GucFlags = GucFlags::NOT_WHILE_SEC_REST;

/// The role that this session is locked to; 0 when it is not. Backend-local: atomics only because
/// statics need them.
static LOCKED_TO: AtomicU32 = AtomicU32::new(0);
static ENDS_AT: AtomicI64 = AtomicI64::new(i64::MAX);
/// The setting's text, which PostgreSQL keeps as long as it is the setting's value.
static TEXT: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
/// Grows with every change.
static EPOCH: AtomicU64 = AtomicU64::new(0);
static GUARDING: AtomicBool = AtomicBool::new(false);
static GUARDING_LOGIN: AtomicBool = AtomicBool::new(false);
/// True while this file changes the settings.
static INTERNAL: AtomicBool = AtomicBool::new(false);
/// The role and the end of the switch that this file is about to set: its text need not be read
/// again for them.
static COMING_ROLE: AtomicU32 = AtomicU32::new(0);
static COMING_END: AtomicI64 = AtomicI64::new(i64::MAX);

/// A switch as the text that the setting takes, and what the hooks need of it.
pub struct Prepared {
    pub extent: Extent,
    role: u32,
    ends_at: i64,
    text: CString,
}

impl Prepared {
    pub fn new(state: &State<'_>) -> Self {
        Self {
            extent: state.extent,
            role: state.role,
            ends_at: state.ends_at,
            // Verified JSON has no NUL.
            text: CString::new(state.to_bytes()).unwrap_or_default(),
        }
    }
}

pub fn define() {
    // SAFETY: both hooks are guarded and have the types that PostgreSQL asks for.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            SWITCHED,
            c"The role that a token has switched this session to.",
            c"Internal. Set by scope.set_jwt_role(); cannot be set by hand.",
            &SWITCH,
            // Not PGC_INTERNAL: such settings do not reach parallel workers.
            GucContext::Suset,
            GucFlags::NO_SHOW_ALL
                | GucFlags::NO_RESET_ALL
                | GucFlags::DISALLOW_IN_FILE
                | GucFlags::SUPERUSER_ONLY
                | SECURE,
            Some(check),
            Some(assign),
            None,
        );
    }
}

/// The first question of every hook: one load.
#[inline]
pub fn is_locked() -> bool {
    LOCKED_TO.load(Ordering::Relaxed) != 0
}

/// The role that this session is locked to.
pub fn locked_to() -> Option<pg_sys::Oid> {
    match LOCKED_TO.load(Ordering::Relaxed) {
        0 => None,
        role => {
            if !GUARDING.load(Ordering::Relaxed) {
                // A parallel worker restores settings one by one and in any order; the guard is
                // put up at its first hook instead.
                claim_settings::secure();
                guard();
            }
            Some(pg_sys::Oid::from(role))
        }
    }
}

/// Is the session switched until its token ends the switch?
pub fn lasts_for_the_session() -> bool {
    let text = TEXT.load(Ordering::Relaxed);
    // SAFETY: the setting's current value, terminated; the extent is its first letter.
    !text.is_null() && unsafe { *text } as u8 == b's'
}

/// When the token's statements end, in Unix microseconds.
pub fn ends_at() -> i64 {
    ENDS_AT.load(Ordering::Relaxed)
}

/// The settings that the lock rests on, by the names under which rights on them are kept.
pub fn settings() -> impl Iterator<Item = &'static CStr> {
    GUARDED.into_iter().chain([SWITCHED])
}

/// Those of them that what a transaction leaves does not tell of: a switch, and the end of one, sets them, and
/// a gated login cannot.
pub fn identity_settings() -> impl Iterator<Item = &'static CStr> {
    IDENTITY.into_iter().chain([SWITCHED])
}

/// Differs whenever the switch may differ.
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Whether the switch is this one; `None` when there is no switch.
pub fn is(state: &Prepared) -> Option<bool> {
    let current = TEXT.load(Ordering::Relaxed);
    if current.is_null() {
        return None;
    }
    // SAFETY: the setting's current value, terminated.
    Some(unsafe { CStr::from_ptr(current) } == state.text.as_c_str())
}

/// Looks at the state of the switch; `None` when there is no switch.
pub fn with<R>(look: impl FnOnce(&State<'_>) -> R) -> Option<R> {
    let text = TEXT.load(Ordering::Relaxed);
    if text.is_null() {
        return None;
    }
    // SAFETY: the setting's current value, terminated; it does not change during the call, because
    // `look` gets no way to change it.
    let text = unsafe { CStr::from_ptr(text) }.to_str().ok()?;
    State::parse(text).map(|state| look(&state))
}

/// Switches to `role` and locks it.
pub fn activate(role: &CStr, claims: &CStr, state: &Prepared) {
    claim_settings::secure();
    let _internal = Internal::enter();
    COMING_ROLE.store(state.role, Ordering::Relaxed);
    COMING_END.store(state.ends_at, Ordering::Relaxed);
    let action = match state.extent {
        Extent::Transaction => pg_sys::GucAction::GUC_ACTION_LOCAL,
        Extent::Session => {
            leftovers::session_begins();
            pg_sys::GucAction::GUC_ACTION_SET
        }
    };
    set(
        [(CLAIMS, claims), (c"role", role), (SWITCHED, &state.text)],
        action,
    );
    timer::ensure();
    claim_settings::switched();
}

/// Ends a session's switch: the session is its login role again.
pub fn deactivate() {
    let _internal = Internal::enter();
    set(
        [(SWITCHED, c""), (c"role", c"none"), (CLAIMS, c"")],
        pg_sys::GucAction::GUC_ACTION_SET,
    );
    leftovers::session_ended();
}

/// Would a change made now be undone before the transaction ends? True inside a function whose
/// SET clause names one of the guarded settings.
pub fn would_be_undone() -> bool {
    GUARDED.iter().any(|name| {
        let setting = find(name);
        if setting.is_null() {
            return false;
        }
        // SAFETY: a valid record; its stack is a terminated list of valid entries.
        unsafe {
            let mut entry = (*setting).stack;
            while !entry.is_null() {
                if (*entry).state == pg_sys::GucStackState::GUC_SAVE {
                    return true;
                }
                entry = (*entry).prev;
            }
        }
        false
    })
}

/// Sets the flag that tells our own changes from anybody else's, also when one of them fails.
struct Internal;

impl Internal {
    fn enter() -> Self {
        INTERNAL.store(true, Ordering::Relaxed);
        Internal
    }
}

impl Drop for Internal {
    fn drop(&mut self) {
        INTERNAL.store(false, Ordering::Relaxed);
    }
}

fn set(settings: [(&CStr, &CStr); 3], action: pg_sys::GucAction::Type) {
    // SAFETY: terminated strings that outlive the call; the guard turns PostgreSQL's errors into
    // panics for all three calls at once, and its closure owns nothing. PGC_SUSET is remembered as
    // the setting's context, so parallel workers may restore it.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            for (name, value) in settings {
                raw::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_SUSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    action,
                    true,
                    0,
                    false,
                );
            }
        });
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers; a NULL value means the empty default.
    let text = unsafe {
        if (*new_value).is_null() {
            c""
        } else {
            CStr::from_ptr(*new_value)
        }
    };
    // SAFETY: a plain read of a backend global.
    let restoring = unsafe { pg_sys::InitializingParallelWorker };
    let ours = INTERNAL.load(Ordering::Relaxed) || restoring;
    if text.is_empty() {
        return ours || LOCKED_TO.load(Ordering::Relaxed) == 0;
    }
    ours && (!restoring || text.to_str().ok().and_then(State::parse).is_some())
}

/// Must not fail: PostgreSQL also calls it while a transaction ends or aborts.
#[pg_guard]
unsafe extern "C-unwind" fn assign(new_value: *const c_char, _extra: *mut c_void) {
    // SAFETY: NULL, or a terminated text that `check` has let pass.
    let is_empty = new_value.is_null() || unsafe { *new_value } == 0;
    let (role, ends_at) = if is_empty {
        (0, i64::MAX)
    } else if INTERNAL.load(Ordering::Relaxed) {
        (
            COMING_ROLE.load(Ordering::Relaxed),
            COMING_END.load(Ordering::Relaxed),
        )
    } else {
        // An earlier switch comes back. One that could not be read would let nothing run.
        // SAFETY: as above.
        let state = unsafe { CStr::from_ptr(new_value) }.to_str().ok();
        let state = state.and_then(State::parse);
        state.map_or((u32::MAX, i64::MIN), |state| (state.role, state.ends_at))
    };
    let text = if role == 0 {
        std::ptr::null_mut()
    } else {
        new_value.cast_mut()
    };
    TEXT.store(text, Ordering::Relaxed);
    LOCKED_TO.store(role, Ordering::Relaxed);
    ENDS_AT.store(ends_at, Ordering::Relaxed);
    EPOCH.fetch_add(1, Ordering::Relaxed);
    timer::stop();
    // SAFETY: a plain read of a backend global.
    let restoring = unsafe { pg_sys::InitializingParallelWorker };
    if role == 0 {
        unguard();
    } else if !restoring {
        guard();
    }
}

fn guard() {
    GUARDING.store(true, Ordering::Relaxed);
    for name in GUARDED {
        restrict(name, true);
    }
}

fn unguard() {
    if GUARDING.swap(false, Ordering::Relaxed) {
        // The end of a switch is no event that the gate would hear of, and what PL/pgSQL has made
        // ready goes on without one.
        let gated = gate::is_closed();
        for name in GUARDED {
            restrict(name, gated && IDENTITY.contains(&name));
        }
        GUARDING_LOGIN.store(gated, Ordering::Relaxed);
    }
}

/// Guards the identity of a gated login that has no token. Not done at login itself, where
/// PostgreSQL still sets these two.
pub fn guard_login() {
    if !GUARDING_LOGIN.swap(true, Ordering::Relaxed) {
        for name in IDENTITY {
            restrict(name, true);
        }
    }
}

/// Until the next event: for DISCARD ALL, which resets the session authorization.
pub fn unguard_login() {
    if GUARDING_LOGIN.swap(false, Ordering::Relaxed) {
        for name in IDENTITY {
            restrict(name, false);
        }
    }
}

/// The role that the setting `role` stands for; 0 for none.
pub fn role_setting() -> pg_sys::Oid {
    let setting = find(c"role");
    // SAFETY: a valid record; what `check_role` leaves with it begins with the role (variable.c).
    unsafe {
        if setting.is_null() || (*setting).extra.is_null() {
            pg_sys::InvalidOid
        } else {
            *(*setting).extra.cast::<pg_sys::Oid>()
        }
    }
}

/// Is it one of the two settings that say who acts? Compared as PostgreSQL does.
pub fn is_identity(name: &CStr) -> bool {
    IDENTITY
        .iter()
        .any(|own| own.to_bytes().eq_ignore_ascii_case(name.to_bytes()))
}

/// Is it one of them, and has it this value? NULL stands for the one that RESET goes to.
///
/// # Safety
/// NULL, or terminated.
pub unsafe fn has_value(name: &CStr, value: *const c_char) -> bool {
    let own = IDENTITY
        .into_iter()
        .find(|own| own.to_bytes().eq_ignore_ascii_case(name.to_bytes()));
    let Some(setting) = own.map(find).filter(|setting| !setting.is_null()) else {
        return false;
    };
    // SAFETY: a valid record of a string setting; texts are terminated.
    unsafe {
        let setting = setting.cast::<pg_sys::config_string>();
        let value = if value.is_null() {
            (*setting).reset_val.cast_const()
        } else {
            value
        };
        let current = *(*setting).variable;
        !value.is_null() && !current.is_null() && CStr::from_ptr(value) == CStr::from_ptr(current)
    }
}

/// The record of a guarded setting. It stays where it is, unless it is still a placeholder, which a
/// library that defines it would replace.
fn find(name: &CStr) -> *mut pg_sys::config_generic {
    static KNOWN: [AtomicPtr<pg_sys::config_generic>; GUARDED.len()] =
        [const { AtomicPtr::new(std::ptr::null_mut()) }; GUARDED.len()];
    let known = GUARDED
        .iter()
        .position(|own| *own == name)
        .and_then(|index| KNOWN.get(index));
    let setting = known.map_or(std::ptr::null_mut(), |known| known.load(Ordering::Relaxed));
    if !setting.is_null() {
        return setting;
    }
    let setting = compat::find_setting(name, &compat::SettingPlace::unknown());
    // SAFETY: a valid record.
    let stays = !setting.is_null()
        && unsafe { (*setting).flags } & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 == 0;
    if stays && let Some(known) = known {
        known.store(setting, Ordering::Relaxed);
    }
    setting
}

/// Lets superusers only change a setting, or everyone again. Cannot fail.
fn restrict(name: &CStr, restricted: bool) {
    let setting = find(name);
    if setting.is_null() {
        return;
    }
    // SAFETY: a valid, backend-local record; nothing else runs in this process.
    let setting = unsafe { &mut *setting };
    setting.context = if restricted {
        pg_sys::GucContext::PGC_SUSET
    } else {
        pg_sys::GucContext::PGC_USERSET
    };
    // PostgreSQL's own two are born with the flags: only the claims get and lose them.
    if name == CLAIMS {
        let flags = (GucFlags::NO_RESET_ALL | SECURE).bits();
        if restricted {
            setting.flags |= flags;
        } else {
            setting.flags &= !flags;
        }
    }
}
