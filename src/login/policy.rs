//! May this role log in? Pure.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::network::Network;
use super::rules::Rules;
use crate::label::{Kind, Metadata, State};

#[derive(Debug)]
pub struct Facts<'a, E> {
    pub superuser: bool,
    /// `None`: not a managed role. `Err`: ours, but the label can't be read.
    pub metadata: Option<Result<&'a Metadata, E>>,
    /// Unix microseconds.
    pub valid_until: Option<i64>,
    pub now: i64,
    pub client: Client,
}

/// Where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// On this machine, by a Unix socket.
    Local,
    Tcp {
        address: IpAddr,
        tls: bool,
    },
    Unknown,
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
    let refusal = in_force(metadata, facts.valid_until, facts.now)
        .or_else(|| welcome(&metadata.login, facts.client));
    refusal.map_or(Admission::Allowed, Admission::Refused)
}

/// Why the role may not be used now, from anywhere.
fn in_force(metadata: &Metadata, valid_until: Option<i64>, now: i64) -> Option<&'static str> {
    match metadata.state {
        State::Ending => return Some("it is being ended"),
        State::Quarantined => return Some("it is in quarantine"),
        State::Active => {}
    }
    match (metadata.kind, valid_until) {
        (Kind::Temporary, _) => Some("it is a membership, not a login"),
        // A credential always has a deadline: someone has taken it away by hand.
        (Kind::Credential, None) => Some("it has no deadline"),
        // Services stay: their tokens have deadlines.
        (_, None) => None,
        (_, Some(deadline)) => (deadline <= now).then_some("its deadline has passed"),
    }
}

/// Why the role may not be used from there. A Unix socket never leaves the machine: it needs no TLS.
fn welcome(rules: &Rules, client: Client) -> Option<&'static str> {
    match client {
        Client::Local => (!rules.allows_local()).then_some("Unix sockets are not allowed to it"),
        Client::Tcp { address, tls } => {
            let allowed =
                |networks: &Vec<Network>| networks.iter().any(|network| network.contains(address));
            if !rules.ips.as_ref().is_none_or(allowed) {
                Some("the client's address is not allowed to it")
            } else if rules.tls && !tls {
                Some("the connection does not use TLS")
            } else {
                None
            }
        }
        Client::Unknown => (!rules.is_empty()).then_some("the client's address is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(kind: Kind, state: State) -> Metadata {
        Metadata {
            v: 1,
            kind,
            state,
            access: None,
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
            client: Client::Unknown,
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
            client: Client::Local,
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

    fn tcp(address: &str, tls: bool) -> Client {
        address
            .parse()
            .map_or(Client::Unknown, |address| Client::Tcp { address, tls })
    }

    fn rules(ips: Option<&[&str]>, local: Option<bool>, tls: bool) -> Rules {
        let read = |ips: &[&str]| ips.iter().flat_map(|text| text.parse()).collect();
        Rules {
            ips: ips.map(read),
            local,
            tls,
        }
    }

    #[test]
    fn login_policy_knows_where_a_client_may_come_from() {
        let home = Some(["10.0.0.0/8", "2001:db8::/32"].as_slice());
        let (inside, outside) = (tcp("10.1.2.3", false), tcp("192.0.2.1", true));
        for (rules, allowed, refused) in [
            (
                rules(home, None, false),
                vec![inside, tcp("2001:db8::9", false)],
                vec![outside, Client::Local, Client::Unknown],
            ),
            (
                rules(home, Some(true), false),
                vec![inside, Client::Local],
                vec![outside],
            ),
            (
                rules(None, Some(false), false),
                vec![inside, outside],
                vec![Client::Local],
            ),
            (
                rules(Some(&[]), Some(true), false),
                vec![Client::Local],
                vec![inside, outside],
            ),
            (
                rules(None, None, true),
                vec![outside, Client::Local],
                vec![inside, Client::Unknown],
            ),
            (
                rules(home, None, true),
                vec![tcp("10.1.2.3", true)],
                vec![inside, outside, Client::Local],
            ),
            (
                rules(None, None, false),
                vec![inside, outside, Client::Local, Client::Unknown],
                vec![],
            ),
        ] {
            for client in allowed {
                assert_eq!(welcome(&rules, client), None, "{rules:?} {client:?}");
            }
            for client in refused {
                assert!(welcome(&rules, client).is_some(), "{rules:?} {client:?}");
            }
        }
    }

    #[test]
    fn login_policy_admits_no_temporary_membership() {
        let active = metadata(Kind::Temporary, State::Active);
        assert!(!admitted(Some(Ok(&active)), Some(i64::MAX)));
    }
}
