//! Does the switch still hold? Its token may have been revoked since, its key or issuer been taken away, or its role from the login.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{Switch, roles};
use crate::label::{self, Metadata};
use crate::pg::{catalog, identity, invalidation, xact};
use crate::session::{gate, switch_state};
use crate::verify::{self, AsOf, Presented, Rules, Tag};

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
    /// Of which switch, and of which roles and memberships, it is known whether the login may take the role; whether it may.
    static ROLE: Cell<(u64, u64, bool)> = const { Cell::new((0, 0, false)) };
}

/// How many of them are kept.
const MOST: usize = 32;

struct Active {
    presented: Rc<Presented>,
    switch: Rc<Switch>,
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

/// A switch was made to a role that the login could take as of these roles and memberships.
pub(super) fn permitted(roles: u64) {
    ROLE.set((switch_state::epoch(), roles, true));
}

/// The token has made a switch; it was verified as of then.
pub(super) fn made(presented: Rc<Presented>, switch: Rc<Switch>, as_of: AsOf) {
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
            switch,
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

/// What a login by token takes.
#[derive(Default)]
pub(super) struct Login {
    issuers: Vec<String>,
    pub roles: Vec<String>,
}

/// Of this session, if its login is one by token.
pub(super) fn login() -> Option<Login> {
    let read = || match label::read(identity::session_user()) {
        Some(Ok(Metadata { issuers, roles, .. })) => Login { issuers, roles },
        _ => Login::default(),
    };
    gate::is_by_token().then(read)
}

/// Does the login of this session, if it is one by token, take tokens of the issuer?
pub(super) fn takes(rules: &Rules) -> bool {
    let issuer = rules.name.as_ref();
    login().is_none_or(|login| issuer.is_some_and(|name| login.issuers.contains(name)))
}

/// The token of the session's switch.
pub(super) fn active() -> Option<Rc<Presented>> {
    with_active(|active| active.presented.clone())
}

/// The claim that names the role of the session's switch, where its caller has named one.
pub(super) fn claim() -> Option<String> {
    with_active(|active| active.switch.claim.clone()).flatten()
}

fn with_active<R>(look: impl FnOnce(&Active) -> R) -> Option<R> {
    let tag = switch_state::with(|state| state.tag).filter(|&tag| tag != 0)?;
    TOKENS.with_borrow(|tokens| tokens.iter().find(|active| active.tag() == tag).map(look))
}

/// Than that which the tokens are of: only a switch that is there may come back from before it.
fn is_another_transaction() -> bool {
    let now = xact::transaction_start();
    OF.replace(now) != now
}

/// Why the active switch holds no longer, if so. Asks the tables only after a commit that touched them, or a reload, and the catalogues
/// after a change of roles.
pub fn over() -> Option<Over> {
    // The leader asks for its workers, and PostgreSQL takes no new snapshots in parallel mode. And the question itself runs statements.
    if xact::is_parallel() || CHECKING.get() {
        return None;
    }
    of_token().or_else(|| (!may_be_taken()).then_some(Over::Withdrawn))
}

/// May the login still take the role that the session is switched to?
fn may_be_taken() -> bool {
    let (epoch, roles) = (switch_state::epoch(), invalidation::roles());
    let (of, as_of, answer) = ROLE.get();
    if (of, as_of) == (epoch, roles) {
        return answer;
    }
    let answer = roles::permitted(&catalog::name_of(identity::outer_user())).is_ok()
        && with_active(|active| takes(&active.presented.token.rules)).unwrap_or(true);
    ROLE.set((epoch, roles, answer));
    answer
}

fn of_token() -> Option<Over> {
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
            // It may name another role by now, or none.
            let token = &active.presented.token.verified;
            let named = super::role_in_session(&rules, token, active.switch.claim.as_deref());
            (!named.is_ok_and(|named| named.role == role)).then_some(Over::Withdrawn)
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
