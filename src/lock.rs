//! The lock on a switched role: nothing but the end of the transaction takes it away (docs/design.md, "The lock guards settings and checks an invariant").
//! And the gate on logins that act through tokens only (docs/design.md, "Gated logins make an escape worthless").

mod error;
pub mod reach;
pub mod triggers;
pub mod verdict;

use crate::audit::{self, Class};
use crate::error::{end_session, raise};
use crate::jwt;
use crate::pg::xact_end::{self, Ending, Moment};
use crate::pg::{clock, connection, identity, sessions, statement, xact};
use crate::session::{ends, gate, switch_state, switching};
use crate::switch::standing::{self, Over};
use verdict::{Bond, Event, Session, Statement, Verdict, Violation};

/// The cheap first question of every hook: three loads.
#[inline]
pub fn is_bound() -> bool {
    switch_state::is_locked() || gate::may_be_closed()
}

/// Judges what is about to happen in a locked or gated session; raises 42501, or 28000 when the
/// token no longer holds.
pub fn enforce(event: &Event<'_>) {
    // What other libraries do at a commit may come before what is asked there.
    if matches!(event, Event::Utility(Statement::Transaction))
        && gate::is_by_token()
        && switch_state::is_locked()
    {
        match xact::is_going_on() {
            true => look_again(),
            // What it hears in a transaction that has failed it cannot look at.
            false => sessions::catch_up_here(),
        }
    }
    let Some(bond) = bond(event) else {
        return;
    };
    let identity = identity::now();
    let session = Session {
        bond,
        outer: identity.outer.into(),
        current: identity.current.into(),
        security_context: identity.security_context,
        lasts: matches!(
            event,
            Event::Utility(Statement::Hold | Statement::PrepareTransaction)
        ) && switch_state::lasts_for_the_session(),
    };
    if let Verdict::Refused(violation) = verdict::judge(&session, event) {
        if violation.is_of_the_token() {
            // The statement may bring a new token.
            statement::hide(jwt::redact);
        }
        refuse(&violation);
    }
}

/// Is the switch of this session over, where nothing can be raised? Inside a transaction.
pub fn is_over() -> bool {
    switch_state::is_locked()
        && (clock::now() >= switch_state::ends_at() || standing::over().is_some())
}

/// Records the violation, and raises its error.
pub fn refuse(violation: &Violation) -> ! {
    audit::refused(Class::Lock, violation, |problem| {
        audit::Event::LockViolation { problem }
    });
    // Between two clients poolers send it, and go on when it fails: nobody asks the second for a token.
    let hands_on = matches!(violation, Violation::DiscardAll);
    if gate::is_by_token() && (hands_on || violation.is_of_the_token()) {
        end_session(violation);
    }
    raise(violation)
}

fn bond(event: &Event<'_>) -> Option<Bond> {
    let Some(role) = switching::locked_to() else {
        let login = gate::login()?;
        switch_state::guard_login();
        return Some(Bond::Gated(login.into()));
    };
    // A token is looked at again when a statement starts, not at each function in it: a statement
    // that is running is cancelled by the timer.
    let starts = !matches!(
        event,
        Event::Function | Event::Reach | Event::RoleChange | Event::Utility(Statement::Transaction)
    );
    if starts {
        if clock::now() >= switch_state::ends_at() {
            return Some(Bond::Ended);
        }
        ends::ensure();
        // Not all tokens end by themselves.
        connection::watch();
        if let Some(over) = standing::over() {
            return Some(match over {
                Over::Revoked => Bond::Revoked,
                Over::Withdrawn => Bond::Withdrawn,
                Over::Unknown => Bond::Unknown,
            });
        }
    }
    Some(Bond::Locked(role.into()))
}

/// From now on this session, which is one by token, commits nothing once its token holds no longer. PostgreSQL runs a transaction in an idle
/// session, too, where the launcher has it take in what others have committed.
pub fn watch_commits() {
    xact_end::tell::<Commits>();
}

struct Commits;

impl Ending for Commits {
    #[inline]
    fn is_awaited(moment: Moment) -> bool {
        moment != Moment::Committed && switch_state::is_locked()
    }

    fn at(moment: Moment) {
        if moment == Moment::Aborted {
            // What it heard in the transaction it has not looked at.
            sessions::catch_up_here();
        } else if moment != Moment::Prepared {
            look_again();
        }
    }
}

/// Ends a session by token whose token holds no longer.
fn look_again() {
    match standing::over() {
        None => {}
        Some(Over::Revoked) => refuse(&Violation::Revoked),
        Some(Over::Withdrawn) => refuse(&Violation::Withdrawn),
        Some(Over::Unknown) => refuse(&Violation::Unknown),
    }
}
