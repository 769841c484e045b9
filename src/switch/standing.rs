//! Does the token of the switch still hold? It may have been revoked since, or its key or issuer been taken away.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::pg::{catalog, identity, xact};
use crate::session::switch_state;
use crate::verify::{self, AsOf, Presented, Tag};

/// Why it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Revoked,
    /// By today's keys and rules it would not be taken.
    Withdrawn,
    /// A rollback has brought a switch back whose token is no longer at hand.
    Unknown,
}

thread_local! {
    /// The tokens of the switches that this transaction has made, after that of the one which it began with: a rollback may bring back each
    /// of them. The state's tag tells which is the switch's.
    static TOKENS: RefCell<Vec<Active>> = const { RefCell::new(Vec::new()) };
    /// When the transaction began that these are of.
    static OF: Cell<i64> = const { Cell::new(i64::MIN) };
    static CHECKING: Cell<bool> = const { Cell::new(false) };
}

/// How many of them are kept.
const MOST: usize = 32;

struct Active {
    presented: Rc<Presented>,
    checked_at: Cell<AsOf>,
    /// When the switch was last known to be this token's, as [`switch_state::epoch`] counts.
    seen_at: Cell<u64>,
    over: Cell<Option<Over>>,
}

impl Active {
    fn tag(&self) -> Tag {
        self.presented.token.tag
    }
}

/// The token has made a switch; it was verified as of then.
pub(super) fn made(presented: Rc<Presented>, as_of: AsOf) {
    TOKENS.with_borrow_mut(|tokens| {
        if is_another_transaction() {
            tokens.clear();
        }
        tokens.retain(|active| active.tag() != presented.token.tag);
        if tokens.len() == MOST {
            // Not the first: that is what the whole transaction's rollback brings back.
            tokens.remove(1);
        }
        tokens.push(Active {
            presented,
            checked_at: Cell::new(as_of),
            seen_at: Cell::new(switch_state::epoch()),
            over: Cell::new(None),
        });
    });
}

/// The session's switch is about to end: a rollback brings it back.
pub(super) fn ending() {
    if is_another_transaction() {
        let tag = switch_state::with(|state| state.tag);
        TOKENS.with_borrow_mut(|tokens| tokens.retain(|active| Some(active.tag()) == tag));
    }
}

/// Than that which the tokens are of: only a switch that is there may come back from before it.
fn is_another_transaction() -> bool {
    let now = xact::transaction_start();
    OF.replace(now) != now
}

/// Why the token of the active switch holds no longer, if so. Asks the tables only after a commit that touched them, or a reload.
pub fn over() -> Option<Over> {
    // The leader asks for its workers, and PostgreSQL takes no new snapshots in parallel mode. And the question itself runs statements.
    if xact::is_parallel() || CHECKING.get() {
        return None;
    }
    TOKENS.with_borrow(|tokens| {
        let epoch = switch_state::epoch();
        let active = match tokens.iter().find(|active| active.seen_at.get() == epoch) {
            Some(active) => active,
            // The state is read again only when it has changed: every statement asks.
            None => {
                // The anonymous role's switch has no token.
                let tag = switch_state::with(|state| state.tag).filter(|&tag| tag != 0)?;
                let Some(active) = tokens.iter().find(|active| active.tag() == tag) else {
                    return Some(Over::Unknown);
                };
                active.seen_at.set(epoch);
                active
            }
        };
        let grounds = verify::as_of();
        if active.checked_at.get() != grounds {
            let checking = Checking::begin();
            let over = look(active);
            drop(checking);
            active.over.set(over);
            active.checked_at.set(grounds);
        }
        active.over.get()
    })
}

fn look(active: &Active) -> Option<Over> {
    match verify::again(&active.presented) {
        Ok(rules) => {
            let role = catalog::name_of(identity::outer_user());
            // Its values may stand for another role by now.
            let token = &active.presented.token.verified;
            if rules.role_map.is_some()
                && super::role_of(&rules, token, None).map_or(true, |named| named.role != role)
            {
                return Some(Over::Withdrawn);
            }
            let allowed = rules.allowed_roles.as_ref();
            // A token that names none has taken the issuer's own.
            (rules.anon_role.as_ref() != Some(&role)
                && allowed.is_some_and(|allowed| !allowed.contains(&role)))
            .then_some(Over::Withdrawn)
        }
        Err(verify::Error::Revoked) => Some(Over::Revoked),
        Err(_) => Some(Over::Withdrawn),
    }
}

/// Resets the flag also when the check fails.
struct Checking;

impl Checking {
    fn begin() -> Self {
        CHECKING.set(true);
        Checking
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        CHECKING.set(false);
    }
}
