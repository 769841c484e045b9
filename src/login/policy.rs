//! May this role log in? Pure.
#![forbid(unsafe_code)]

use crate::label::{Kind, Metadata, State};

#[derive(Debug)]
pub struct Facts<'a, E> {
    pub superuser: bool,
    /// `None`: not a managed role. `Err`: ours, but the label can't be read.
    pub metadata: Option<Result<&'a Metadata, E>>,
    /// Unix microseconds.
    pub valid_until: Option<i64>,
    pub now: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    Allowed,
    /// The reason, for the server log only.
    Refused(&'static str),
}

pub fn judge<E>(facts: &Facts<'_, E>) -> Admission {
    if facts.superuser {
        return Admission::Allowed;
    }
    let metadata = match &facts.metadata {
        None => return Admission::Allowed,
        Some(Err(_)) => return Admission::Refused("its label cannot be read"),
        Some(Ok(metadata)) => metadata,
    };
    match metadata.state {
        State::Ending => return Admission::Refused("it is being ended"),
        State::Quarantined => return Admission::Refused("it is in quarantine"),
        State::Active => {}
    }
    match facts.valid_until {
        // Services stay: their tokens have deadlines.
        None if metadata.kind != Kind::Credential => Admission::Allowed,
        // A credential always has one: someone has taken it away by hand.
        None => Admission::Refused("it has no deadline"),
        Some(deadline) if deadline <= facts.now => Admission::Refused("its deadline has passed"),
        Some(_) => Admission::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::rules::Rules;

    fn metadata(kind: Kind, state: State) -> Metadata {
        Metadata {
            v: 1,
            kind,
            state,
            creator: "alice".into(),
            creator_oid: 1,
            created_at: String::new(),
            database: None,
            purpose: None,
            login: Rules::default(),
            rotated_at: None,
            successor: None,
            replaces: None,
            reason: None,
            temporary: None,
            error: None,
            waits_for: vec![],
        }
    }

    fn admitted(metadata: Option<Result<&Metadata, ()>>, valid_until: Option<i64>) -> bool {
        let facts = Facts {
            superuser: false,
            metadata,
            valid_until,
            now: 100,
        };
        judge(&facts) == Admission::Allowed
    }

    #[test]
    fn login_policy_admits_credentials_before_their_deadline_only() {
        let active = metadata(Kind::Credential, State::Active);
        assert!(admitted(Some(Ok(&active)), Some(101)));
        assert!(!admitted(Some(Ok(&active)), Some(100)));
        assert!(!admitted(Some(Ok(&active)), Some(99)));
        assert!(!admitted(Some(Ok(&active)), None));
    }

    #[test]
    fn login_policy_fails_closed_for_managed_roles() {
        for state in [State::Ending, State::Quarantined] {
            for kind in [Kind::Credential, Kind::Authenticator, Kind::Scope] {
                assert!(!admitted(Some(Ok(&metadata(kind, state))), Some(i64::MAX)));
            }
        }
        assert!(!admitted(Some(Err(())), Some(i64::MAX)));
    }

    #[test]
    fn login_policy_never_touches_others_nor_superusers() {
        assert!(admitted(None, Some(1)));
        let ending = metadata(Kind::Credential, State::Ending);
        let facts = Facts::<()> {
            superuser: true,
            metadata: Some(Ok(&ending)),
            valid_until: Some(1),
            now: 100,
        };
        assert_eq!(judge(&facts), Admission::Allowed);
    }

    #[test]
    fn login_policy_admits_authenticators_until_their_deadline_if_any() {
        assert!(admitted(
            Some(Ok(&metadata(Kind::Authenticator, State::Active))),
            None
        ));
    }
}
