//! Sessions that nothing here concerns: no managed login, no switch, no gate, no guard, nothing inherited for a
//! time. They are most, and pay for this one question at each statement.

use std::sync::atomic::{AtomicBool, Ordering};

use super::guards;
use crate::attention;
use crate::audit::watched;
use crate::pg::{identity, invalidation, raw};
use crate::session::claim_settings;
use crate::{lock, login, temporary};

/// Is there nothing to be asked of a statement, other than with whose rights its views read?
#[inline]
pub fn is_quiet() -> bool {
    let login = attention::quiet_for();
    login != 0 && is_login_itself(login)
}

/// Was there nothing when last looked at, as whoever the session acts?
#[inline]
pub fn is_known() -> bool {
    attention::quiet_for() != 0
}

/// A statement was asked all questions: whether any of them has to be asked again. Whatever could change an answer of these for the
/// same login and role disturbs the session.
///
/// # Safety
/// In a transaction that has not failed; owns nothing, because an error may jump over it.
pub unsafe fn note() {
    let as_of = invalidation::roles();
    let user = u32::from(identity::current_user());
    // SAFETY: by contract.
    let is_quiet = !NEVER.load(Ordering::Relaxed)
        && !has_state()
        && is_login_itself(user)
        && !watched::is_watched()
        && !guards::rows::has_portals()
        && unsafe { guards::flags() } == 0
        && !temporary::inherited::may_have_ended(user.into());
    // Nor has a change of roles come in meanwhile.
    if is_quiet && as_of == invalidation::roles() {
        attention::be_quiet_for(user);
    }
}

/// It has started something that goes on when it has become an ordinary one again.
static NEVER: AtomicBool = AtomicBool::new(false);

pub fn never() {
    NEVER.store(true, Ordering::Relaxed);
    attention::disturb();
}

/// What the session itself has become, with no change of roles.
fn has_state() -> bool {
    lock::is_bound() || login::standing::is_watched() || claim_settings::are_secured()
}

/// Does the session act as its own login, and is that this one?
#[inline]
fn is_login_itself(role: u32) -> bool {
    // SAFETY: reads of backend globals.
    unsafe {
        u32::from(raw::GetUserId()) == role
            && u32::from(raw::GetOuterUserId()) == role
            && u32::from(raw::GetSessionUserId()) == role
    }
}
