//! May this go on in a session that a token has switched, or that is gated? Pure.
//!
//! The invariant is what holds: the outer user is the one role that the session may act as, and
//! outside SECURITY DEFINER code the current user is too. Statements known to break it are refused
//! early, because the message is better then.
#![forbid(unsafe_code)]

/// What binds the session, and the identities at the moment of the event, as OIDs.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub bond: Bond,
    pub outer: u32,
    pub current: u32,
    /// Zero outside SECURITY DEFINER functions and restricted operations.
    pub security_context: i32,
    /// The switch is one of the whole session. Known where a statement is judged that asks.
    pub lasts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// A token has switched it to this role, and still holds.
    Locked(u32),
    /// The token has ended.
    Ended,
    /// The token has been revoked since.
    Revoked,
    /// Its key or its issuer has been taken away.
    Withdrawn,
    /// A rollback has brought back the switch of a token that is no longer at hand.
    Unknown,
    /// The login acts through tokens only: without one it is itself.
    Gated(u32),
}

#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A plannable statement is about to start.
    Query,
    /// A query goes on that was started before the switch.
    Earlier,
    /// A function is about to be executed.
    Function,
    /// One that shows or changes what is not the session's own: other sessions, large objects,
    /// messages. Nothing for a login without a token.
    Reach,
    /// In a gated session: the texts of its prepared statements are about to be shown, which may hold another user's values, and token.
    /// PostgreSQL keeps one copy of each for all records of it, so that nothing can be struck out of what is shown alone.
    PreparedTexts,
    /// In a gated session: a type was made in the temporary schema.
    TemporaryType,
    /// A utility statement is about to run.
    Utility(Statement<'a>),
    /// A function of another library is about to change the role past PostgreSQL's settings.
    RoleChange,
}

#[derive(Debug, Clone, Copy)]
pub enum Statement<'a> {
    /// BEGIN, COMMIT, ROLLBACK, savepoints: always allowed, they end the lock or leave it alone.
    Transaction,
    /// PREPARE TRANSACTION in a gated session: COMMIT PREPARED is for its owner, outside of transactions.
    PrepareTransaction,
    /// SET or RESET of one setting, in any spelling; the value may be the one that it has.
    Set {
        name: &'a str,
        changes: bool,
    },
    DiscardAll,
    /// Settings, prepared statements, cursors, DO and CALL: what leaves nothing behind, and whose
    /// inner statements are judged in their turn.
    Session,
    /// Hands an object, or what will be created, to another role: a way to have code run as it.
    Ownership,
    /// ALTER ROLE, of a role's own password or, with SET, its settings: it lasts beyond the token.
    AlterRole,
    /// CREATE CAST: a foreign key calls it as the owner of the referenced table.
    Cast,
    /// CREATE TRIGGER, on a table of one's own or of another owner: a foreign key that cascades into
    /// that table fires it as the owner.
    Trigger {
        own: bool,
    },
    /// A foreign key that takes another owner's changes into one's own table, or what runs code after
    /// such changes: whoever makes the change, or commits it, runs the code.
    Cascade,
    /// EXECUTE of a statement that the client has prepared by the protocol, in a gated session.
    ExecuteProtocols,
    /// PREPARE: what it makes outlives the transaction.
    Prepare,
    /// DECLARE … WITH HOLD: what it makes outlives the transaction.
    Hold,
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
    #[error("the token that set the role has ended")]
    Ended,
    #[error("the token that set the role has been revoked")]
    Revoked,
    #[error("the token that set the role no longer holds")]
    Withdrawn,
    #[error("the token that set the role is no longer known")]
    Unknown,
    #[error("this login takes roles by token only")]
    Gated,
    #[error("objects cannot be given to another role while a token's role is active")]
    Ownership,
    #[error("roles cannot be altered while a token's role is active")]
    AlterRole,
    #[error("casts cannot be created while a token's role is active")]
    Cast,
    #[error("triggers cannot be created on another owner's table while a token's role is active")]
    Trigger,
    #[error(
        "what another owner's changes would set off cannot be created while a token's role is active"
    )]
    Cascade,
    #[error("a cursor cannot be held beyond the transaction that a token has switched")]
    Hold,
    #[error("a transaction of this login cannot be prepared")]
    PrepareTransaction,
    #[error("this query was started before the token set the role")]
    Earlier,
    #[error("a statement that the client has prepared cannot be run by SQL in this session")]
    Prepared,
    #[error(
        "a function of another role of this connection cannot look names up in a schema where such roles may create"
    )]
    Planted,
    #[error("temporary types cannot be created in this session")]
    TemporaryType,
    #[error("the statements that are prepared in this session cannot be listed")]
    PreparedTexts,
    #[error("this login can do nothing without a token")]
    Idle,
}

impl Violation {
    /// Does the token itself no longer hold?
    pub fn is_of_the_token(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::Revoked | Self::Withdrawn | Self::Unknown
        )
    }
}

/// Of the security context: a restricted operation (miscadmin.h).
const RESTRICTED: i32 = 2;

pub fn judge(session: &Session, event: &Event<'_>) -> Verdict {
    if let Event::Utility(Statement::Transaction) = event {
        return Verdict::Allowed;
    }
    let role = match session.bond {
        Bond::Ended => return Verdict::Refused(Violation::Ended),
        Bond::Revoked => return Verdict::Refused(Violation::Revoked),
        Bond::Withdrawn => return Verdict::Refused(Violation::Withdrawn),
        Bond::Unknown => return Verdict::Refused(Violation::Unknown),
        Bond::Locked(role) | Bond::Gated(role) => role,
    };
    let gated = matches!(session.bond, Bond::Gated(_));
    if let Event::RoleChange = event {
        return Verdict::Refused(if gated {
            Violation::Gated
        } else {
            Violation::Role
        });
    }
    if let Event::PreparedTexts = event {
        return Verdict::Refused(Violation::PreparedTexts);
    }
    if let Event::TemporaryType = event {
        return Verdict::Refused(Violation::TemporaryType);
    }
    if let Event::Earlier = event {
        return Verdict::Refused(Violation::Earlier);
    }
    if let Event::Reach = event
        && gated
        && session.current == role
    {
        return Verdict::Refused(Violation::Idle);
    }
    if let Event::Utility(statement) = event {
        let violation = match statement {
            // Poolers reset the role of a login that has none.
            Statement::Set { changes: false, .. } if gated => None,
            Statement::Set { name, .. } => guarded(name),
            Statement::ExecuteProtocols => return Verdict::Refused(Violation::Prepared),
            Statement::DiscardAll => Some(Violation::DiscardAll),
            // Code of a SECURITY DEFINER function is its owner's.
            Statement::Ownership
            | Statement::AlterRole
            | Statement::Cast
            | Statement::Trigger { .. }
            | Statement::Cascade
            | Statement::Prepare
            | Statement::Hold
            | Statement::Other
                if gated && session.current == role =>
            {
                return Verdict::Refused(Violation::Idle);
            }
            Statement::Ownership if session.current == role => Some(Violation::Ownership),
            Statement::AlterRole if session.current == role => Some(Violation::AlterRole),
            Statement::Cast if session.current == role => Some(Violation::Cast),
            Statement::Trigger { own: false } if session.current == role => {
                Some(Violation::Trigger)
            }
            // PostgreSQL makes indexes as the table's owner, whoever that is.
            Statement::Cascade
                if session.current == role || session.security_context & RESTRICTED != 0 =>
            {
                Some(Violation::Cascade)
            }
            Statement::Hold if !gated && !session.lasts => Some(Violation::Hold),
            Statement::PrepareTransaction if !session.lasts => {
                return Verdict::Refused(Violation::PrepareTransaction);
            }
            Statement::Transaction
            | Statement::PrepareTransaction
            | Statement::Session
            | Statement::Ownership
            | Statement::AlterRole
            | Statement::Cast
            | Statement::Trigger { .. }
            | Statement::Cascade
            | Statement::Prepare
            | Statement::Hold
            | Statement::Other => None,
        };
        match violation {
            // Poolers reset sessions between clients; a gated login's has no role to lose.
            Some(Violation::DiscardAll | Violation::Claims) if gated => {}
            Some(_) if gated => return Verdict::Refused(Violation::Gated),
            Some(violation) => return Verdict::Refused(violation),
            None => {}
        }
    }
    let itself =
        session.outer == role && (session.security_context != 0 || session.current == role);
    match (itself, gated) {
        (true, _) => Verdict::Allowed,
        (false, true) => Verdict::Refused(Violation::Gated),
        (false, false) => Verdict::Refused(Violation::Identity),
    }
}

/// What begins the names of settings of one claim each.
const ONE_CLAIM: &str = "request.jwt.claim.";

/// Setting names are compared as PostgreSQL does: without regard to ASCII case.
fn guarded(name: &str) -> Option<Violation> {
    if name.eq_ignore_ascii_case("role") {
        Some(Violation::Role)
    } else if name.eq_ignore_ascii_case("session_authorization") {
        Some(Violation::SessionAuthorization)
    } else if name.eq_ignore_ascii_case("request.jwt.claims")
        || name
            .get(..ONE_CLAIM.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(ONE_CLAIM))
    {
        Some(Violation::Claims)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: Session = Session {
        bond: Bond::Locked(10),
        outer: 10,
        current: 10,
        security_context: 0,
        lasts: false,
    };
    const GATED: Session = Session {
        bond: Bond::Gated(10),
        ..LOCKED
    };

    fn set(name: &str) -> Event<'_> {
        let changes = true;
        Event::Utility(Statement::Set { name, changes })
    }

    #[test]
    fn verdict_lets_the_locked_role_work() {
        for session in [LOCKED, GATED] {
            for event in [
                Event::Query,
                Event::Function,
                Event::Utility(Statement::Session),
                Event::Utility(Statement::Transaction),
                set("work_mem"),
            ] {
                assert_eq!(judge(&session, &event), Verdict::Allowed, "{event:?}");
            }
        }
        assert_eq!(
            judge(&LOCKED, &Event::Utility(Statement::Other)),
            Verdict::Allowed
        );
    }

    #[test]
    fn verdict_lets_nothing_be_given_away() {
        let ownership = Event::Utility(Statement::Ownership);
        assert_eq!(
            judge(&LOCKED, &ownership),
            Verdict::Refused(Violation::Ownership)
        );
        for event in [ownership, Event::Utility(Statement::Other)] {
            assert_eq!(judge(&GATED, &event), Verdict::Refused(Violation::Idle));
            let definer = Session {
                current: 12,
                security_context: 1,
                ..GATED
            };
            assert_eq!(judge(&definer, &event), Verdict::Allowed);
        }
    }

    #[test]
    fn verdict_lets_nothing_outlive_the_switch() {
        let hold = Event::Utility(Statement::Hold);
        assert_eq!(judge(&LOCKED, &hold), Verdict::Refused(Violation::Hold));
        assert_eq!(judge(&GATED, &hold), Verdict::Refused(Violation::Idle));
        let session = Session {
            lasts: true,
            ..LOCKED
        };
        assert_eq!(judge(&session, &hold), Verdict::Allowed);
        let prepare = Event::Utility(Statement::Prepare);
        assert_eq!(judge(&LOCKED, &prepare), Verdict::Allowed);
        assert_eq!(judge(&GATED, &prepare), Verdict::Refused(Violation::Idle));
        for session in [LOCKED, GATED] {
            for (event, violation) in [
                (Event::PreparedTexts, Violation::PreparedTexts),
                (Event::TemporaryType, Violation::TemporaryType),
                (
                    Event::Utility(Statement::PrepareTransaction),
                    Violation::PrepareTransaction,
                ),
            ] {
                assert_eq!(judge(&session, &event), Verdict::Refused(violation));
            }
        }
    }

    #[test]
    fn verdict_lets_no_earlier_query_go_on_and_no_code_be_left_for_a_foreign_key() {
        assert_eq!(
            judge(&LOCKED, &Event::Earlier),
            Verdict::Refused(Violation::Earlier)
        );
        let settings = Event::Utility(Statement::AlterRole);
        assert_eq!(
            judge(&LOCKED, &settings),
            Verdict::Refused(Violation::AlterRole)
        );
        assert_eq!(judge(&GATED, &settings), Verdict::Refused(Violation::Idle));
        let cast = Event::Utility(Statement::Cast);
        assert_eq!(judge(&LOCKED, &cast), Verdict::Refused(Violation::Cast));
        assert_eq!(judge(&GATED, &cast), Verdict::Refused(Violation::Idle));
        let definer = Session {
            current: 12,
            security_context: 1,
            ..LOCKED
        };
        assert_eq!(judge(&definer, &cast), Verdict::Allowed);
        let trigger = |own| Event::Utility(Statement::Trigger { own });
        assert_eq!(judge(&LOCKED, &trigger(true)), Verdict::Allowed);
        let refused = Verdict::Refused(Violation::Trigger);
        assert_eq!(judge(&LOCKED, &trigger(false)), refused);
        assert_eq!(judge(&definer, &trigger(false)), Verdict::Allowed);
        let cascade = Event::Utility(Statement::Cascade);
        let refused = Verdict::Refused(Violation::Cascade);
        assert_eq!(judge(&LOCKED, &cascade), refused);
        assert_eq!(judge(&GATED, &cascade), Verdict::Refused(Violation::Idle));
        assert_eq!(judge(&definer, &cascade), Verdict::Allowed);
        for security_context in [2, 3] {
            let index = Session {
                security_context,
                ..definer
            };
            assert_eq!(judge(&index, &cascade), refused);
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
            ("request.jwt.claim.sub", Violation::Claims),
            ("REQUEST.jwt.CLAIM.x", Violation::Claims),
        ] {
            assert_eq!(
                judge(&LOCKED, &set(name)),
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

    /// Not even to the owner of a SECURITY DEFINER function: it is the session that would change.
    #[test]
    fn verdict_refuses_changes_past_the_settings() {
        for (session, violation) in [(LOCKED, Violation::Role), (GATED, Violation::Gated)] {
            let definer = Session {
                current: 12,
                security_context: 1,
                ..session
            };
            for session in [session, definer] {
                assert_eq!(
                    judge(&session, &Event::RoleChange),
                    Verdict::Refused(violation)
                );
            }
        }
    }

    #[test]
    fn verdict_refuses_any_other_identity() {
        for (session, violation) in [(LOCKED, Violation::Identity), (GATED, Violation::Gated)] {
            let outer = Session {
                outer: 11,
                current: 11,
                ..session
            };
            let current = Session {
                current: 11,
                ..session
            };
            let definer_of_escaped = Session {
                outer: 11,
                current: 12,
                security_context: 1,
                ..session
            };
            for session in [outer, current, definer_of_escaped] {
                for event in [
                    Event::Query,
                    Event::Function,
                    Event::Utility(Statement::Other),
                ] {
                    assert_eq!(judge(&session, &event), Verdict::Refused(violation));
                }
                let end = Event::Utility(Statement::Transaction);
                assert_eq!(judge(&session, &end), Verdict::Allowed);
            }
        }
    }

    #[test]
    fn verdict_lets_security_definer_code_act_as_its_owner() {
        for session in [LOCKED, GATED] {
            let definer = Session {
                current: 12,
                security_context: 1,
                ..session
            };
            assert_eq!(judge(&definer, &Event::Query), Verdict::Allowed);
        }
    }

    #[test]
    fn verdict_ends_with_the_token_but_lets_the_transaction_end() {
        for (bond, violation) in [
            (Bond::Ended, Violation::Ended),
            (Bond::Revoked, Violation::Revoked),
        ] {
            let session = Session { bond, ..LOCKED };
            for event in [
                Event::Query,
                Event::Utility(Statement::Other),
                set("work_mem"),
            ] {
                assert_eq!(judge(&session, &event), Verdict::Refused(violation));
            }
            let end = Event::Utility(Statement::Transaction);
            assert_eq!(judge(&session, &end), Verdict::Allowed);
        }
    }

    #[test]
    fn verdict_lets_a_gated_login_reset_the_role_that_it_does_not_have() {
        for name in ["role", "session_authorization"] {
            let same = Event::Utility(Statement::Set {
                name,
                changes: false,
            });
            assert_eq!(judge(&GATED, &same), Verdict::Allowed);
            assert_ne!(judge(&LOCKED, &same), Verdict::Allowed);
            let other = Session { outer: 11, ..GATED };
            assert_eq!(judge(&other, &same), Verdict::Refused(Violation::Gated));
        }
    }

    /// The statement may be another user's call with a token.
    #[test]
    fn verdict_lets_sql_run_no_statement_of_the_protocol() {
        let execute = Event::Utility(Statement::ExecuteProtocols);
        for session in [LOCKED, GATED] {
            assert_eq!(
                judge(&session, &execute),
                Verdict::Refused(Violation::Prepared)
            );
        }
    }

    #[test]
    fn verdict_keeps_a_gated_login_itself_and_lets_poolers_reset_it() {
        for name in ["role", "Session_Authorization"] {
            assert_eq!(
                judge(&GATED, &set(name)),
                Verdict::Refused(Violation::Gated),
                "{name}"
            );
        }
        for event in [
            Event::Utility(Statement::DiscardAll),
            set("request.jwt.claims"),
        ] {
            assert_eq!(judge(&GATED, &event), Verdict::Allowed);
        }
    }
}
