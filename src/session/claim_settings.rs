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
use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::switch_state;
use crate::attention;
use crate::jwt;
use crate::pg::shown_setting::{self, Covering, Shown};
use crate::pg::{compat, xact};

const PREFIX: &CStr = c"request";
const ALL: &[u8] = b"request.";
const CLAIM: &[u8] = b"request.jwt.claim.";
/// The session has been switched: no setting comes into being unseen. Backend-local, as all here.
static SECURED: AtomicBool = AtomicBool::new(false);
/// When the transaction began in which something was made ready to read a setting.
static READER_IN: AtomicI64 = AtomicI64::new(i64::MIN);
/// The switch that [`catch_up`] has seen last, as [`switch_state::epoch`] counts.
static CAUGHT_UP_WITH: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SETTINGS: RefCell<Settings> = const { RefCell::new(Settings::new()) };
}

/// The settings that show claims, each with a show hook of its own: PostgreSQL does not tell a hook
/// whose it is.
struct Settings {
    slots: Vec<Slot>,
    /// The token whose claims have all got settings.
    filled_for: u128,
    /// A token had too many claims.
    told: bool,
}

struct Slot {
    /// The claim, in lower case.
    name: String,
    /// When that was worked out, as [`switch_state::epoch`] counts.
    epoch: u64,
}

impl Settings {
    const fn new() -> Self {
        Self {
            slots: Vec::new(),
            filled_for: 0,
            told: false,
        }
    }

    /// A slot for the claim, unless it has one, and the claim that loses it: one that is not among those of the token.
    fn slot_for(&mut self, name: &str, names: &[String]) -> Option<(usize, Option<String>)> {
        if self.slots.iter().any(|slot| slot.name == name) {
            return None;
        }
        let new = Slot {
            name: name.to_owned(),
            epoch: u64::MAX,
        };
        if self.slots.len() < shown_setting::MOST {
            self.slots.push(new);
            return Some((self.slots.len() - 1, None));
        }
        let idle = |slot: &Slot| !names.contains(&slot.name);
        let place = self.slots.iter().position(idle)?;
        let before = std::mem::replace(self.slots.get_mut(place)?, new);
        Some((place, Some(before.name)))
    }
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
    READER_IN.store(xact::transaction_start(), Ordering::Relaxed);
    if switch_state::is_locked() {
        fill();
    }
}

/// Before a switch.
pub fn secure() {
    if !are_secured() {
        reserve();
        SECURED.store(true, Ordering::Relaxed);
        attention::disturb();
    }
}

/// After a switch, or when a rollback may have brought one back: what was made ready before it reads the claims as well.
pub fn switched() {
    if READER_IN.load(Ordering::Relaxed) == xact::transaction_start() {
        fill();
    }
}

/// In a session that has been switched, at the next statement or function: the same, should the switch be another one by now.
#[inline]
pub fn catch_up() {
    let epoch = switch_state::epoch();
    if CAUGHT_UP_WITH.load(Ordering::Relaxed) != epoch {
        CAUGHT_UP_WITH.store(epoch, Ordering::Relaxed);
        switched();
    }
}

#[pg_guard]
extern "C-unwind" fn reserve() {
    shown_setting::take_over::<Claims>(
        |name| starts_with(name, ALL),
        |name| starts_with(name, CLAIM),
    );
    shown_setting::define::<Claims>(switch_state::CLAIMS, None);
    shown_setting::cover::<AllClaims>(switch_state::CLAIMS);
    reserve_in_all_spellings(PREFIX);
}

/// Nobody makes settings of this prefix any more. PostgreSQL compares settings without regard to case, and reserved
/// prefixes with it.
fn reserve_in_all_spellings(prefix: &CStr) {
    let mut spelling = prefix.to_bytes().to_vec();
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

struct AllClaims;

impl Covering for AllClaims {
    fn shown() -> *const c_char {
        switch_state::shown_claims()
    }
}

struct Claims;

impl Shown for Claims {
    const REFUSAL: [&CStr; 3] = [
        c"settings under \"request.jwt.claim.\" show the claims of a token only",
        c"A token has switched this session.",
        c"Put the claim into the token, or use a setting of another name.",
    ];

    fn text(slot: usize) -> Option<CString> {
        SETTINGS.with_borrow_mut(|settings| {
            let epoch = switch_state::epoch();
            let slot = settings.slots.get_mut(slot)?;
            if slot.epoch == epoch {
                return None;
            }
            let claim =
                switch_state::with(|state| jwt::claim_of_setting(state.shown(), &slot.name));
            slot.epoch = epoch;
            // Verified JSON has no NUL.
            Some(CString::new(claim.flatten().unwrap_or_default()).unwrap_or_default())
        })
    }
}

/// Gives each claim of the token a setting. The look at the claims is short, and made when the first
/// reader of a transaction turns up; a token that comes again has them.
fn fill() {
    let token = switch_state::with(|state| {
        let known = SETTINGS.with_borrow(|settings| settings.filled_for);
        let is_new = state.tag == 0 || state.tag != known;
        is_new.then(|| (state.tag, jwt::setting_names(state.shown())))
    });
    let Some((tag, mut names)) = token.flatten() else {
        return;
    };
    let has_more = names.len() > shown_setting::MOST;
    names.truncate(shown_setting::MOST);
    for name in &names {
        let Some((slot, before)) =
            SETTINGS.with_borrow_mut(|settings| settings.slot_for(name, &names))
        else {
            continue;
        };
        // A setting that has lost its slot shows nothing, as for any token without such a claim.
        if let Some(before) = before.and_then(setting_of) {
            shown_setting::hide::<Claims>(&before);
        }
        if let Some(setting) = setting_of(name.clone()) {
            shown_setting::define::<Claims>(&setting, Some(slot));
        }
    }
    let tells = SETTINGS.with_borrow_mut(|settings| {
        settings.filled_for = tag;
        has_more && !std::mem::replace(&mut settings.told, true)
    });
    if tells {
        warn_of_more();
    }
}

/// Once in a session: it is the token, and each of its statements would tell.
fn warn_of_more() {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        "the token has more claims than are shown as settings",
        function_name!(),
    )
    .set_detail(format!(
        "Of one token {} are, the registered claims, email and the like first.",
        shown_setting::MOST
    ))
    .set_hint("Use scope.jwt_claim(), which knows all of them.")
    .report(PgLogLevel::WARNING);
}

fn setting_of(claim: String) -> Option<CString> {
    CString::new([CLAIM, claim.as_bytes()].concat()).ok()
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
        shown_setting::define::<Claims>(name, None);
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
