//! May this role log in? Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::admission::hours::Moment;
use crate::admission::network::Network;
use crate::admission::refusal::Refusal;
use crate::admission::{Client, Rules};
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
    /// What the clock shows in the time zone of the role's hours; `None` when that zone is not
    /// known here. Asked for only if there are hours.
    pub moment: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    Allowed,
    Refused(Refusal),
}

pub fn judge<E>(facts: &Facts<'_, E>) -> Admission {
    if facts.superuser {
        return Admission::Allowed;
    }
    let metadata = match &facts.metadata {
        None => return Admission::Allowed,
        Some(Err(_)) => return Admission::Refused(Refusal::Label),
        Some(Ok(metadata)) => metadata,
    };
    let refusal = in_force(metadata, facts.valid_until, facts.now)
        .or_else(|| welcome(&metadata.login, facts.client))
        .or_else(|| in_time(&metadata.login, facts.moment));
    refusal.map_or(Admission::Allowed, Admission::Refused)
}

/// The reason with what it was judged by.
pub fn explain<E>(refusal: Refusal, facts: &Facts<'_, E>) -> String {
    let mut text = refusal.reason().to_owned();
    let Some(Ok(metadata)) = &facts.metadata else {
        return text;
    };
    let rules = &metadata.login;
    // Writing to a String does not fail.
    let _ = match (refusal, facts.client, facts.moment) {
        (Refusal::Address, Client::Tcp { address, .. }, _) => {
            let networks = rules.ips.iter().flatten().map(Network::to_string);
            write!(
                text,
                ": {address} is not in {{{}}}",
                networks.collect::<Vec<_>>().join(",")
            )
        }
        (Refusal::Hours, _, Some(moment)) => {
            let hours = rules.hours.iter().map(ToString::to_string);
            write!(
                text,
                ": {moment} is not in {{{}}} {}",
                hours.collect::<Vec<_>>().join("; "),
                rules.zone.as_deref().unwrap_or_default()
            )
        }
        (Refusal::TimeZone, ..) => {
            write!(text, ": {}", rules.zone.as_deref().unwrap_or("none is set"))
        }
        _ => Ok(()),
    };
    text
}

/// Why the role may not be used now, from anywhere.
pub fn in_force(metadata: &Metadata, valid_until: Option<i64>, now: i64) -> Option<Refusal> {
    // A login that is not ours has no state, and its VALID UNTIL is what PostgreSQL says it is.
    if metadata.kind == Kind::Guarded {
        return None;
    }
    match metadata.state {
        State::Ending => return Some(Refusal::Ending),
        State::Quarantined => return Some(Refusal::Quarantined),
        State::Active => {}
    }
    match (metadata.kind, metadata.deadline(valid_until)) {
        (Kind::Temporary, _) => Some(Refusal::NotALogin),
        // A credential always has a deadline: someone has taken it away by hand.
        (Kind::Credential, None) => Some(Refusal::NoDeadline),
        // Services stay: their tokens have deadlines.
        (_, None) => None,
        (_, Some(deadline)) => (deadline <= now).then_some(Refusal::Deadline),
    }
}

/// Why the role may not be used from there. A Unix socket never leaves the machine: it needs no TLS.
fn welcome(rules: &Rules, client: Client) -> Option<Refusal> {
    match client {
        Client::Local => (!rules.allows_local()).then_some(Refusal::Local),
        Client::Tcp { address, tls } => {
            let allowed =
                |networks: &Vec<Network>| networks.iter().any(|network| network.contains(address));
            if !rules.ips.as_ref().is_none_or(allowed) {
                Some(Refusal::Address)
            } else if rules.tls && !tls {
                Some(Refusal::Tls)
            } else {
                None
            }
        }
        Client::Unknown => rules.say_where().then_some(Refusal::Nowhere),
    }
}

/// Why the role may not be used at this time.
fn in_time(rules: &Rules, moment: Option<Moment>) -> Option<Refusal> {
    if rules.hours.is_empty() {
        return None;
    }
    match moment {
        None => Some(Refusal::TimeZone),
        Some(moment) => (!rules.allow_at(moment)).then_some(Refusal::Hours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Parts;

    fn metadata(kind: Kind, state: State) -> Metadata {
        Metadata {
            v: 1,
            kind,
            state,
            valid_until: None,
            access: None,
            on_request: false,
            creator: "alice".into(),
            creator_oid: 1,
            created_at: String::new(),
            database: None,
            database_oid: None,
            system: None,
            oid: None,
            is_native: false,
            parts: Parts::default(),
            purpose: None,
            login: Rules::default(),
            rotated_at: None,
            successor: None,
            replaces: None,
            token: None,
            request: None,
            bound: false,
            reason: None,
            temporary: None,
            error: None,
            roles: vec![],
            issuers: vec![],
            subject_limit: None,
            scopes: std::collections::BTreeMap::new(),
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
            moment: None,
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
            moment: None,
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
            ..Rules::default()
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
