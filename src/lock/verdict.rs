//! May this go on in a locked session? Pure.
//!
//! The invariant is what holds: the outer user is the locked role, and outside SECURITY DEFINER
//! code the current user is too. Statements known to break it are refused early, because the
//! message is better then.
#![forbid(unsafe_code)]

/// The identities at the moment of the event, as OIDs.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub locked_to: u32,
    pub outer: u32,
    pub current: u32,
    /// Zero outside SECURITY DEFINER functions and restricted operations.
    pub security_context: i32,
}

#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A plannable statement is about to start.
    Query,
    /// A function is about to be executed.
    Function,
    /// A utility statement is about to run.
    Utility(Statement<'a>),
}

#[derive(Debug, Clone, Copy)]
pub enum Statement<'a> {
    /// BEGIN, COMMIT, ROLLBACK, savepoints: always allowed, they end the lock or leave it alone.
    Transaction,
    /// SET or RESET of one setting, in any spelling.
    Set {
        name: &'a str,
    },
    DiscardAll,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    Allowed,
    Refused(Violation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the role of this transaction was set by a token and is locked")]
    Role,
    #[error("the session authorization is locked while a token's role is active")]
    SessionAuthorization,
    #[error("the claims of this transaction come from a token and are locked")]
    Claims,
    #[error("DISCARD ALL is not allowed while a token's role is active")]
    DiscardAll,
    #[error("this session no longer acts as the role that its token activated")]
    Identity,
}

pub fn judge(session: &Session, event: &Event<'_>) -> Verdict {
    if let Event::Utility(statement) = event {
        match statement {
            Statement::Transaction => return Verdict::Allowed,
            Statement::Set { name } => {
                if let Some(violation) = guarded(name) {
                    return Verdict::Refused(violation);
                }
            }
            Statement::DiscardAll => return Verdict::Refused(Violation::DiscardAll),
            Statement::Other => {}
        }
    }
    let acts_as_locked = session.outer == session.locked_to
        && (session.security_context != 0 || session.current == session.locked_to);
    if acts_as_locked {
        Verdict::Allowed
    } else {
        Verdict::Refused(Violation::Identity)
    }
}

/// Setting names are compared as PostgreSQL does: without regard to ASCII case.
fn guarded(name: &str) -> Option<Violation> {
    if name.eq_ignore_ascii_case("role") {
        Some(Violation::Role)
    } else if name.eq_ignore_ascii_case("session_authorization") {
        Some(Violation::SessionAuthorization)
    } else if name.eq_ignore_ascii_case("request.jwt.claims") {
        Some(Violation::Claims)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: Session = Session {
        locked_to: 10,
        outer: 10,
        current: 10,
        security_context: 0,
    };

    #[test]
    fn verdict_lets_the_locked_role_work() {
        for event in [
            Event::Query,
            Event::Function,
            Event::Utility(Statement::Other),
            Event::Utility(Statement::Transaction),
            Event::Utility(Statement::Set { name: "work_mem" }),
        ] {
            assert_eq!(judge(&LOCKED, &event), Verdict::Allowed, "{event:?}");
        }
    }

    #[test]
    fn verdict_refuses_every_spelling_of_a_change() {
        for (name, violation) in [
            ("role", Violation::Role),
            ("ROLE", Violation::Role),
            ("RoLe", Violation::Role),
            ("session_authorization", Violation::SessionAuthorization),
            ("Session_Authorization", Violation::SessionAuthorization),
            ("request.jwt.claims", Violation::Claims),
            ("Request.JWT.Claims", Violation::Claims),
        ] {
            let event = Event::Utility(Statement::Set { name });
            assert_eq!(
                judge(&LOCKED, &event),
                Verdict::Refused(violation),
                "{name}"
            );
        }
        let discard = Event::Utility(Statement::DiscardAll);
        assert_eq!(
            judge(&LOCKED, &discard),
            Verdict::Refused(Violation::DiscardAll)
        );
    }

    #[test]
    fn verdict_refuses_any_other_identity() {
        let outer = Session {
            outer: 11,
            current: 11,
            ..LOCKED
        };
        let current = Session {
            current: 11,
            ..LOCKED
        };
        let definer_of_escaped = Session {
            outer: 11,
            current: 12,
            security_context: 1,
            ..LOCKED
        };
        for session in [outer, current, definer_of_escaped] {
            for event in [
                Event::Query,
                Event::Function,
                Event::Utility(Statement::Other),
            ] {
                assert_eq!(
                    judge(&session, &event),
                    Verdict::Refused(Violation::Identity)
                );
            }
            let end = Event::Utility(Statement::Transaction);
            assert_eq!(judge(&session, &end), Verdict::Allowed);
        }
    }

    #[test]
    fn verdict_lets_security_definer_code_act_as_its_owner() {
        let definer = Session {
            current: 12,
            security_context: 1,
            ..LOCKED
        };
        assert_eq!(judge(&definer, &Event::Query), Verdict::Allowed);
    }
}
