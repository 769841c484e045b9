//! `request.jwt.claim.X`: what policies written for PostgREST's older form read, and `auth.uid()` as
//! Supabase ships it, before they look into `request.jwt.claims`.
//!
//! While a switch lasts such a setting shows the token's claim of that name, or nothing; after a
//! session's first switch it shows nothing without one. Whatever was set, by whatever means, is never
//! shown: these settings have a show hook. It works the claim out when somebody reads it, so that
//! nothing needs to be done at the switch.
//!
//! Names are open-ended, and PostgreSQL makes a setting of any name that is set, for which there is
//! no hook. So at the first switch of a session the prefix `request` is reserved: no setting of that
//! prefix comes into being any more, in no spelling, but by this file. Those that there are become
//! ordinary settings of a library, with their values.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::list::elements;
use super::{compat, raw, server, switch_state};
use crate::jwt;

const PREFIX: &CStr = c"request";
const ALL: &[u8] = b"request.";
const CLAIM: &[u8] = b"request.jwt.claim.";

/// The session has been switched: no setting comes into being unseen. Backend-local, as all here.
static SECURED: AtomicBool = AtomicBool::new(false);
/// When the transaction began in which something was made ready to read a setting.
static READER_IN: AtomicI64 = AtomicI64::new(i64::MIN);

thread_local! {
    static SETTINGS: RefCell<Settings> = const { RefCell::new(Settings::new()) };
}

/// The settings that show claims, each with a show hook of its own: PostgreSQL does not tell a hook
/// whose it is.
struct Settings {
    slots: Vec<Slot>,
    /// The token whose claims have all got settings.
    filled_for: u128,
}

struct Slot {
    /// The claim, in lower case.
    name: String,
    shown: CString,
    /// When that was worked out, as [`switch_state::epoch`] counts.
    epoch: u64,
}

impl Settings {
    const fn new() -> Self {
        Self {
            slots: Vec::new(),
            filled_for: 0,
        }
    }
}

type Show = unsafe extern "C-unwind" fn() -> *const c_char;

macro_rules! shows {
    ($($slot:literal)*) => { [$(show::<$slot> as Show),*] };
}

/// How many claims have settings at most, in one session.
const SHOWS: [Show; 64] = shows![
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
];

/// Owns nothing: an error of PostgreSQL's may jump over it.
unsafe extern "C-unwind" fn show<const SLOT: usize>() -> *const c_char {
    // SAFETY: PostgreSQL asks for it in the backend.
    unsafe { show_slot(SLOT) }
}

/// Of a setting whose claim no token has had.
unsafe extern "C-unwind" fn show_nothing() -> *const c_char {
    c"".as_ptr()
}

/// The text lives until the next look at the same setting; PostgreSQL copies it at once.
#[pg_guard]
unsafe extern "C-unwind" fn show_slot(slot: usize) -> *const c_char {
    let text = SETTINGS.with_borrow_mut(|settings| {
        let epoch = switch_state::epoch();
        let Some(slot) = settings.slots.get_mut(slot) else {
            return c"".as_ptr();
        };
        if slot.epoch != epoch {
            let claim = switch_state::with(|state| jwt::claim_of_setting(state.claims, &slot.name));
            // Verified JSON has no NUL.
            slot.shown = CString::new(claim.flatten().unwrap_or_default()).unwrap_or_default();
            slot.epoch = epoch;
        }
        slot.shown.as_ptr()
    });
    // SAFETY: terminated; no reference to it is held, and an error leaves it as it was.
    unsafe { server::from_utf8(text) }
}

/// Nobody sets what shows the token's claims. Taking a value away is harmless.
#[pg_guard]
unsafe extern "C-unwind" fn check(
    new_value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid pointer to NULL or a terminated text.
    let is_empty = unsafe { (*new_value).is_null() || **new_value == 0 };
    if is_empty || source < pg_sys::GucSource::PGC_S_INTERACTIVE {
        return true;
    }
    // SAFETY: read by PostgreSQL as the hook returns, and not freed.
    unsafe {
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
        let fixed = |text: &'static CStr| text.as_ptr().cast_mut();
        pg_sys::GUC_check_errmsg_string =
            fixed(c"settings under \"request.jwt.claim.\" show the claims of a token only");
        pg_sys::GUC_check_errdetail_string = fixed(c"A token has switched this session.");
        pg_sys::GUC_check_errhint_string =
            fixed(c"Put the claim into the token, or use a setting of another name.");
    }
    false
}

/// Has this session ever been switched? One load.
#[inline]
pub fn are_secured() -> bool {
    SECURED.load(Ordering::Relaxed)
}

/// Does the function read settings by their names? Asked of each function that is made ready.
#[inline]
pub fn reads(function: pg_sys::Oid) -> bool {
    matches!(
        function.to_u32(),
        pg_sys::F_CURRENT_SETTING_TEXT | pg_sys::F_CURRENT_SETTING_TEXT_BOOL
    )
}

/// Something is about to read settings, now or later in this transaction.
pub fn before_read() {
    if switch_state::is_locked() {
        fill();
    } else {
        READER_IN.store(transaction(), Ordering::Relaxed);
    }
}

/// Before a switch.
pub fn secure() {
    if !are_secured() {
        reserve();
        SECURED.store(true, Ordering::Relaxed);
    }
}

/// After a switch: what was made ready before it reads the claims as well.
pub fn switched() {
    if READER_IN.load(Ordering::Relaxed) == transaction() {
        fill();
    }
}

fn transaction() -> i64 {
    // SAFETY: reads a backend global.
    unsafe { raw::GetCurrentTransactionStartTimestamp() }
}

#[pg_guard]
extern "C-unwind" fn reserve() {
    let flag = pg_sys::GUC_CUSTOM_PLACEHOLDER as i32;
    for setting in compat::settings() {
        let setting = setting.cast_mut();
        // SAFETY: a valid, backend-local record with a terminated name; a placeholder is one of a string.
        unsafe {
            let name = CStr::from_ptr((*setting).name).to_bytes();
            if (*setting).flags & flag == 0 || !starts_with(name, ALL) {
                continue;
            }
            // Without the flag it is an ordinary setting, which a reserved prefix does not concern.
            (*setting).flags &= !flag;
            if starts_with(name, CLAIM) {
                show_by(setting, show_nothing);
            }
        }
    }
    define(switch_state::CLAIMS, None);
    // PostgreSQL compares settings without regard to case, and reserved prefixes with it.
    let mut spelling = PREFIX.to_bytes().to_vec();
    for upper in 0..1_u32 << spelling.len() {
        for (place, letter) in spelling.iter_mut().enumerate() {
            if upper >> place & 1 == 1 {
                letter.make_ascii_uppercase();
            } else {
                letter.make_ascii_lowercase();
            }
        }
        if let Ok(spelling) = CString::new(spelling.clone()) {
            compat::reserve_setting_prefix(&spelling);
        }
    }
}

/// Gives each claim of the token a setting. The look at the claims is short, and made when the first
/// reader of a transaction turns up; a token that comes again has them.
fn fill() {
    let token = switch_state::with(|state| {
        let known = SETTINGS.with_borrow(|settings| settings.filled_for);
        let is_new = state.tag == 0 || state.tag != known;
        is_new.then(|| (state.tag, jwt::setting_names(state.claims)))
    });
    let Some((tag, names)) = token.flatten() else {
        return;
    };
    for name in names {
        let slot = SETTINGS.with_borrow_mut(|settings| {
            let is_known = settings.slots.iter().any(|slot| slot.name == name);
            let free = settings.slots.len();
            if is_known || free >= SHOWS.len() {
                return None;
            }
            settings.slots.push(Slot {
                name: name.clone(),
                shown: CString::default(),
                epoch: u64::MAX,
            });
            Some(free)
        });
        let show = slot.and_then(|slot| SHOWS.get(slot).copied());
        let setting = [CLAIM, name.as_bytes()].concat();
        if let (Some(show), Ok(setting)) = (show, CString::new(setting)) {
            define(&setting, Some(show));
        }
    }
    SETTINGS.with_borrow_mut(|settings| settings.filled_for = tag);
}

/// Makes a setting, or has the one that there is show what `show` says.
fn define(name: &CStr, show: Option<Show>) {
    let setting = compat::find_setting(name, &compat::SettingPlace::unknown());
    if !setting.is_null() {
        if let Some(show) = show {
            // SAFETY: a valid record of ours, or a placeholder that has become it.
            unsafe { show_by(setting, show) }
        }
        return;
    }
    let value: &'static mut *mut c_char = Box::leak(Box::new(std::ptr::null_mut()));
    // SAFETY: the name is copied; the description and the value live as long as the process.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            name.as_ptr(),
            c"Of the request, or of its token.".as_ptr(),
            std::ptr::null(),
            value,
            std::ptr::null(),
            pg_sys::GucContext::PGC_USERSET,
            (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE) as i32,
            show.map(|_| check as _),
            None,
            show.map(|show| show as _),
        );
    }
}

/// # Safety
/// A valid record of a string setting.
unsafe fn show_by(setting: *mut pg_sys::config_generic, show: Show) {
    // SAFETY: by contract; the hooks have the types that PostgreSQL asks for.
    unsafe {
        let setting = setting.cast::<pg_sys::config_string>();
        (*setting).check_hook = Some(check);
        (*setting).show_hook = Some(show);
    }
}

/// In a session that has been switched: a setting of the request's that is about to be set by its name,
/// and is no claim, comes into being as it would have before.
pub fn before_set(name: &CStr) {
    let bytes = name.to_bytes();
    if are_secured()
        && starts_with(bytes, ALL)
        && !is_of_claim(name)
        && bytes.get(ALL.len()..).is_some_and(is_name)
    {
        define(name, None);
    }
}

/// Does a query's own list of results call `set_config`? Owns nothing.
///
/// # Safety
/// A valid plan.
pub unsafe fn are_set_by(plan: *mut pg_sys::PlannedStmt) -> bool {
    // SAFETY: by contract.
    unsafe { calls(plan).next().is_some() }
}

/// The names that these calls set, where they are written down.
///
/// # Safety
/// A valid plan.
pub unsafe fn set_by(plan: *mut pg_sys::PlannedStmt) -> Vec<CString> {
    // SAFETY: by contract; the tag says which struct the node is.
    let names = unsafe { calls(plan) }.filter_map(|call| unsafe {
        let name = elements((*call).args).next()?.cast::<pg_sys::Const>();
        if (*name).xpr.type_ != pg_sys::NodeTag::T_Const || (*name).constisnull {
            return None;
        }
        let text = pg_sys::text_to_cstring((*name).constvalue.cast_mut_ptr());
        Some(CStr::from_ptr(text).to_owned())
    });
    names.collect()
}

/// # Safety
/// A valid plan, which outlives the iterator.
unsafe fn calls(plan: *mut pg_sys::PlannedStmt) -> impl Iterator<Item = *mut pg_sys::FuncExpr> {
    // SAFETY: by contract; the tags say which structs the nodes are.
    unsafe {
        let tree = (*plan).planTree;
        let results = if tree.is_null() {
            std::ptr::null_mut()
        } else {
            (*tree).targetlist
        };
        elements(results).filter_map(|entry| {
            let call = (*entry.cast::<pg_sys::TargetEntry>())
                .expr
                .cast::<pg_sys::FuncExpr>();
            ((*call).xpr.type_ == pg_sys::NodeTag::T_FuncExpr
                && (*call).funcid.to_u32() == pg_sys::F_SET_CONFIG)
                .then_some(call)
        })
    }
}

/// Is it one that PostgreSQL would take? Else it says what is wrong.
fn is_name(rest: &[u8]) -> bool {
    rest.split(|&byte| byte == b'.').all(|part| {
        let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_' || *byte >= 0x80;
        part.first().is_some_and(letter)
            && part
                .iter()
                .all(|byte| letter(byte) || byte.is_ascii_digit() || *byte == b'$')
    })
}

/// Is it the name of a setting that shows a claim?
pub fn is_of_claim(name: &CStr) -> bool {
    starts_with(name.to_bytes(), CLAIM)
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
