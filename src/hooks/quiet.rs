//! Sessions that nothing here concerns: no managed login, no switch, no gate, no guard, nothing inherited for a
//! time. They are most, and pay for this one question at each statement.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::guards;
use crate::audit::watched;
use crate::pg::{identity, invalidation};
use crate::session::claim_settings;
use crate::{lock, login, temporary};

/// Nothing concerned this user's session as of this change of roles.
static AS_OF: AtomicU64 = AtomicU64::new(0);
static USER: AtomicU32 = AtomicU32::new(0);

/// Is there nothing to be asked of a statement, other than with whose rights its views read?
#[inline]
pub fn is_quiet() -> bool {
    AS_OF.load(Ordering::Relaxed) == invalidation::roles()
        && !has_state()
        && identity::is_login_itself(USER.load(Ordering::Relaxed))
}

/// A statement was asked all questions: whether any of them has to be asked again.
///
/// # Safety
/// In a transaction that has not failed; owns nothing, because an error may jump over it.
pub unsafe fn note() {
    let as_of = invalidation::roles();
    let user = u32::from(identity::current_user());
    // SAFETY: by contract.
    let is_quiet = !NEVER.load(Ordering::Relaxed)
        && !has_state()
        && identity::is_login_itself(user)
        && !watched::is_watched()
        && !guards::rows::has_portals()
        && unsafe { guards::flags() } == 0
        && !temporary::inherited::may_have_ended(user.into());
    if is_quiet {
        USER.store(user, Ordering::Relaxed);
        AS_OF.store(as_of, Ordering::Relaxed);
    }
}

/// It has started something that goes on when it has become an ordinary one again.
static NEVER: AtomicBool = AtomicBool::new(false);

pub fn never() {
    NEVER.store(true, Ordering::Relaxed);
    AS_OF.store(0, Ordering::Relaxed);
}

/// What the session itself has become, with no change of roles.
#[inline]
fn has_state() -> bool {
    lock::is_bound() || login::standing::is_watched() || claim_settings::are_secured()
}
