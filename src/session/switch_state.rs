//! Where a switch lives: PostgreSQL's own `role` setting and `scope.switch`, set together with
//! GUC_ACTION_LOCAL, so that the ends of transactions and savepoints and the start of parallel workers
//! are PostgreSQL's own work. `request.jwt.claims` is not set: it shows the claims that `scope.switch` has,
//! for as long as that is set, and else its own value.
//!
//! While `scope.switch` is set, `role`, `session_authorization` and `request.jwt.claims` are
//! settings that only superusers may change: the assign hook moves them from PGC_USERSET to
//! PGC_SUSET and back. It may do no more than that (assign hooks must not fail), and needs no more:
//! SET, RESET, `set_config`, functions with SET clauses and every other way to change a setting
//! pass PostgreSQL's own context check first, and a switched role is never a superuser.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::guc::{GucContext, GucFlags, GucSetting};
use pgrx::pg_sys;

use super::parsing;
use super::{ends, gate};
use crate::attention;
use crate::pg::own_setting::{self, Kept, Value, Watched};
use crate::pg::setting::{self, Setting};
use crate::pg::xact;
use crate::presence::{self, Person, Record};
use crate::switch_text::{Extent, State, is_of_session, shown_of};

static SWITCH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

pub const CLAIMS: &CStr = c"request.jwt.claims";
const SWITCHED: &CStr = c"scope.switch";
static OF_CLAIMS: Setting = Setting::named(CLAIMS);
/// Settings that decide who acts, and on what claims.
static GUARDED: [&Setting; 3] = [&setting::ROLE, &setting::SESSION_AUTHORIZATION, &OF_CLAIMS];
static IDENTITY: [&Setting; 2] = [&setting::ROLE, &setting::SESSION_AUTHORIZATION];
/// Not even a superuser's SECURITY DEFINER function changes such a setting: RESET asks no check hook.
const SECURE: GucFlags = GucFlags::NOT_WHILE_SEC_REST;

/// The role that this session is locked to; 0 when it is not. Backend-local: atomics only because
/// statics need them.
static LOCKED_TO: AtomicU32 = AtomicU32::new(0);
/// The setting's text.
static TEXT: Kept = Kept::none();
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
    /// What others see of it.
    record: Record,
}

impl Prepared {
    pub fn new(state: &State<'_>, person: &Person<'_>) -> Self {
        Self {
            extent: state.extent,
            role: state.role,
            ends_at: state.ends_at,
            // Verified JSON has no NUL.
            text: CString::new(state.to_bytes()).unwrap_or_default(),
            record: Record::new(state.ends_at, person),
        }
    }
}

pub fn define() {
    own_setting::define_watched::<Switch>(
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
    );
}

/// The first question of every hook: one load.
#[inline]
pub fn is_locked() -> bool {
    LOCKED_TO.load(Ordering::Relaxed) != 0
}

/// The role that this session is locked to; 0 when it is not.
#[inline]
pub(super) fn locked_to() -> u32 {
    LOCKED_TO.load(Ordering::Relaxed)
}

/// Is the session switched until its token ends the switch?
pub fn lasts_for_the_session() -> bool {
    // The extent is the first letter.
    is_of_session(TEXT.first())
}

/// When the token's statements end, in Unix microseconds.
pub fn ends_at() -> i64 {
    ends::of_token()
}

/// Does the lock rest on the setting? By the names under which rights on them are kept.
pub fn settings() -> impl Iterator<Item = &'static CStr> {
    GUARDED.into_iter().map(Setting::name).chain([SWITCHED])
}

/// Those of them that what a transaction leaves does not tell of: a switch, and the end of one, sets them, and
/// a gated login cannot.
pub fn identity_settings() -> impl Iterator<Item = &'static CStr> {
    IDENTITY.into_iter().map(Setting::name).chain([SWITCHED])
}

/// Differs whenever the switch may differ.
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Whether the switch is this one; `None` when there is no switch.
pub fn is(state: &Prepared) -> Option<bool> {
    TEXT.with(|text| text == state.text.as_c_str())
}

/// Looks at the state of the switch; `None` when there is no switch.
pub fn with<R>(look: impl FnOnce(&State<'_>) -> R) -> Option<R> {
    TEXT.with(|text| State::parse(text.to_str().ok()?).map(|state| look(&state)))
        .flatten()
}

/// The claims of the switch's token; `None` when there is no switch.
pub fn claims() -> Option<serde_json::Value> {
    with(|state| serde_json::from_str(state.claims).ok()).flatten()
}

/// What tells one switch from another: its role and its token.
pub type Identity = (u32, u128);

/// That of the switch as it is now.
pub fn identity() -> Option<Identity> {
    with(|state| (state.role, state.tag))
}

/// The claims as `request.jwt.claims` shows them: the token's while a switch lasts, else what the session has set. Terminated.
pub(super) fn shown_claims() -> *const c_char {
    let own = || {
        let text = OF_CLAIMS.text();
        if text.is_null() { c"".as_ptr() } else { text }
    };
    TEXT.with(|text| {
        shown_of(text.to_bytes_with_nul()).map_or(c"".as_ptr(), |claims| claims.as_ptr().cast())
    })
    .unwrap_or_else(own)
}

/// Sets a switch, and nothing that goes with one.
pub(super) fn set(role: &CStr, state: &Prepared) {
    let _internal = Internal::enter();
    COMING_ROLE.store(state.role, Ordering::Relaxed);
    COMING_END.store(state.ends_at, Ordering::Relaxed);
    let action = match state.extent {
        Extent::Transaction => pg_sys::GucAction::GUC_ACTION_LOCAL,
        Extent::Session => pg_sys::GucAction::GUC_ACTION_SET,
    };
    setting::set_all([(c"role", role), (SWITCHED, &state.text)], action);
    presence::switched(state.role, &state.record);
}

/// Ends a session's switch: the session is its login role again.
pub(super) fn unset() {
    let _internal = Internal::enter();
    setting::set_all(
        [(SWITCHED, c""), (c"role", c"none")],
        pg_sys::GucAction::GUC_ACTION_SET,
    );
}

/// Would a change made now be undone before the transaction ends? True inside a function whose
/// SET clause names one of the guarded settings.
pub fn would_be_undone() -> bool {
    GUARDED.iter().any(|setting| setting.is_saved())
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

struct Switch;

impl Watched for Switch {
    fn kept() -> &'static Kept {
        &TEXT
    }

    fn check(text: &CStr, restoring: bool) -> bool {
        let ours = INTERNAL.load(Ordering::Relaxed) || restoring;
        if text.is_empty() {
            return ours || LOCKED_TO.load(Ordering::Relaxed) == 0;
        }
        ours && (!restoring || text.to_str().ok().and_then(State::parse).is_some())
    }

    fn assign(value: &Value<'_>, restoring: bool) {
        let (role, ends_at) = if value.is_empty() {
            presence::switch_ended();
            (0, i64::MAX)
        } else if INTERNAL.load(Ordering::Relaxed) {
            (
                COMING_ROLE.load(Ordering::Relaxed),
                COMING_END.load(Ordering::Relaxed),
            )
        } else {
            // An earlier switch comes back. One that could not be read would let nothing run.
            let state = value.text().to_str().ok();
            let state = state.and_then(State::parse);
            if let Some(state) = &state {
                presence::switched_back(state.role, state.ends_at, state.claims);
            }
            state.map_or((u32::MAX, i64::MIN), |state| (state.role, state.ends_at))
        };
        let before = LOCKED_TO.swap(role, Ordering::Relaxed);
        EPOCH.fetch_add(1, Ordering::Relaxed);
        ends::token_ends(ends_at);
        if before != 0 && before != role && gate::is_closed() && xact::goes_on() {
            // What PL/pgSQL has made ready does, and would not be asked about again. Other logins may be themselves.
            parsing::make_ready_anew();
        }
        if role == 0 {
            unguard();
        } else {
            attention::disturb();
            if !restoring {
                guard();
            }
        }
    }
}

#[inline]
pub(super) fn is_guarding() -> bool {
    GUARDING.load(Ordering::Relaxed)
}

pub(super) fn guard() {
    GUARDING.store(true, Ordering::Relaxed);
    for setting in GUARDED {
        restrict(setting, true);
    }
}

fn unguard() {
    if GUARDING.swap(false, Ordering::Relaxed) {
        // The end of a switch is no event that the gate would hear of, and what PL/pgSQL has made
        // ready goes on without one.
        let gated = gate::is_closed();
        for setting in IDENTITY {
            restrict(setting, gated);
        }
        restrict(&OF_CLAIMS, false);
        GUARDING_LOGIN.store(gated, Ordering::Relaxed);
    }
}

/// Guards the identity of a gated login that has no token. Not done at login itself, where
/// PostgreSQL still sets these two.
pub fn guard_login() {
    if !GUARDING_LOGIN.swap(true, Ordering::Relaxed) {
        for setting in IDENTITY {
            restrict(setting, true);
        }
    }
}

/// For DISCARD ALL, which resets the session authorization; until [`guard_login`].
pub fn unguard_login() {
    if GUARDING_LOGIN.swap(false, Ordering::Relaxed) {
        for setting in IDENTITY {
            restrict(setting, false);
        }
    }
}

/// Is it one of the two settings that say who acts?
pub fn is_identity(name: &CStr) -> bool {
    IDENTITY.iter().any(|own| own.is_named(name))
}

/// Is it one of them, and has it this value? `None` stands for the one that RESET goes to.
pub fn has_value(name: &CStr, value: Option<&CStr>) -> bool {
    let own = IDENTITY.iter().find(|own| own.is_named(name));
    own.is_some_and(|setting| setting.has_value(value))
}

/// Lets superusers only change a setting, or everyone again. Cannot fail.
fn restrict(setting: &Setting, restricted: bool) {
    // PostgreSQL's own two are born with the flags: only the claims get and lose them.
    let flags = if std::ptr::eq(setting, &raw const OF_CLAIMS) {
        GucFlags::NO_RESET_ALL | SECURE
    } else {
        GucFlags::empty()
    };
    setting.restrict(restricted, flags);
}
