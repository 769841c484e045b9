//! May a session go on as the role that it has SET? Pure.
//!
//! PostgreSQL asks about membership when the role is set, and never again. So a membership with a
//! deadline is asked about at each statement: the session may go on while the role is within its
//! reach without those that have ended. Where none that ended led to the role, PostgreSQL's own
//! rule stands.
#![forbid(unsafe_code)]

use std::collections::HashSet;

/// A temporary membership, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The role that it gave.
    pub role: u32,
    /// Unix microseconds; not in force any more from then on.
    pub ends_at: i64,
}

/// What the catalogues say.
pub trait Graph {
    /// The roles that a role is a direct member of.
    fn memberships(&self, role: u32) -> Vec<u32>;
    /// The role, if it is a temporary membership.
    fn temporary(&self, role: u32) -> Option<Membership>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Until then, or until memberships change.
    Allowed {
        until: i64,
    },
    Ended,
}

pub fn judge(graph: &impl Graph, login: u32, acts_as: u32, now: i64) -> Verdict {
    let reach = reach(graph, login, |membership| membership.ends_at > now);
    if reach.roles.contains(&acts_as) {
        let ends = reach.passed.iter().map(|membership| membership.ends_at);
        return Verdict::Allowed {
            until: ends.min().unwrap_or(i64::MAX),
        };
    }
    let gave = |ended: &(u32, Membership)| {
        ended.0 == acts_as
            || self::reach(graph, ended.1.role, |_| true)
                .roles
                .contains(&acts_as)
    };
    if reach.ended.iter().any(gave) {
        Verdict::Ended
    } else {
        Verdict::Allowed { until: i64::MAX }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inherited {
    /// Nothing that has ended is inherited; so it stays until then, or until memberships change.
    Until(i64),
    /// This one has, and still gives what the role would not have without it.
    Ended(Membership),
}

/// Does the role inherit through a membership that has ended? The graph has inheriting memberships only.
pub fn judge_inherited(graph: &impl Graph, role: u32, now: i64) -> Inherited {
    match still_gives(graph, role, now) {
        (Some(membership), _) => Inherited::Ended(membership),
        (None, mut ends) => {
            // One that is held anyway ends nothing.
            ends.sort_unstable();
            let until = ends
                .into_iter()
                .find(|&moment| still_gives(graph, role, moment).0.is_some());
            Inherited::Until(until.unwrap_or(i64::MAX))
        }
    }
}

/// The membership that has ended by then, and gives what the role has by no other; when the others end.
fn still_gives(graph: &impl Graph, role: u32, then: i64) -> (Option<Membership>, Vec<i64>) {
    let reach = reach(graph, role, |membership| membership.ends_at > then);
    let gives = |&&(oid, _): &&(u32, Membership)| {
        let roles = graph.memberships(oid);
        roles.iter().any(|role| !reach.roles.contains(role))
    };
    let ended = reach.ended.iter().find(gives);
    let ends = reach.passed.iter().map(|membership| membership.ends_at);
    (ended.map(|&(_, membership)| membership), ends.collect())
}

/// The roles that a role has for a time.
pub fn lent(graph: &impl Graph, role: u32, now: i64) -> Vec<u32> {
    let reach = reach(graph, role, |membership| membership.ends_at > now);
    reach
        .passed
        .iter()
        .map(|membership| membership.role)
        .collect()
}

/// When a session that acts as a role may do so no more; `None` where no end of a membership takes that from it.
pub fn ends_for_good(graph: &impl Graph, login: u32, acts_as: u32, now: i64) -> Option<i64> {
    let reach = reach(graph, login, |membership| membership.ends_at > now);
    let mut ends: Vec<i64> = reach
        .passed
        .iter()
        .map(|membership| membership.ends_at)
        .chain([now])
        .collect();
    ends.sort_unstable();
    ends.into_iter()
        .find(|&moment| judge(graph, login, acts_as, moment) == Verdict::Ended)
}

/// The role that a membership within reach of `start` gives until then; 0 when there is none.
pub fn ends_then(graph: &impl Graph, start: u32, then: i64) -> u32 {
    let reach = reach(graph, start, |membership| membership.ends_at >= then);
    let mut ends = reach.passed.iter();
    ends.find(|membership| membership.ends_at == then)
        .map_or(0, |membership| membership.role)
}

/// Would `login` be a member of `role` without any temporary membership?
pub fn is_member_anyway(graph: &impl Graph, login: u32, role: u32) -> bool {
    reach(graph, login, |_| false).roles.contains(&role)
}

#[derive(Default)]
struct Reach {
    roles: HashSet<u32>,
    /// Temporary memberships that led further.
    passed: Vec<Membership>,
    /// Those that did not, with their own OIDs.
    ended: Vec<(u32, Membership)>,
}

/// Everything that `start` is a member of, itself included.
fn reach(graph: &impl Graph, start: u32, passes: impl Fn(&Membership) -> bool) -> Reach {
    let mut reach = Reach::default();
    let mut waiting = vec![start];
    while let Some(role) = waiting.pop() {
        if reach.roles.contains(&role) {
            continue;
        }
        if let Some(membership) = graph.temporary(role) {
            if !passes(&membership) {
                reach.ended.push((role, membership));
                continue;
            }
            reach.passed.push(membership);
        }
        reach.roles.insert(role);
        waiting.extend(graph.memberships(role));
    }
    reach
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ALICE: u32 = 1;
    const TEMPORARY: u32 = 2;
    const OWNER: u32 = 3;
    const GROUP: u32 = 4;
    const OTHER: u32 = 5;

    struct Roles {
        memberships: HashMap<u32, Vec<u32>>,
        ends_at: i64,
    }

    impl Graph for Roles {
        fn memberships(&self, role: u32) -> Vec<u32> {
            self.memberships.get(&role).cloned().unwrap_or_default()
        }
        fn temporary(&self, role: u32) -> Option<Membership> {
            (role == TEMPORARY).then_some(Membership {
                role: OWNER,
                ends_at: self.ends_at,
            })
        }
    }

    fn roles(ends_at: i64, edges: &[(u32, u32)]) -> Roles {
        let mut memberships: HashMap<u32, Vec<u32>> = HashMap::new();
        for &(member, role) in edges {
            memberships.entry(member).or_default().push(role);
        }
        Roles {
            memberships,
            ends_at,
        }
    }

    #[test]
    fn temporary_membership_holds_until_its_deadline() {
        let graph = roles(
            100,
            &[(ALICE, TEMPORARY), (TEMPORARY, OWNER), (OWNER, GROUP)],
        );
        for role in [OWNER, GROUP, TEMPORARY] {
            assert_eq!(
                judge(&graph, ALICE, role, 99),
                Verdict::Allowed { until: 100 }
            );
            assert_eq!(judge(&graph, ALICE, role, 100), Verdict::Ended);
        }
    }

    #[test]
    fn temporary_membership_that_was_revoked_is_remembered() {
        let graph = roles(i64::MIN, &[(ALICE, TEMPORARY), (OWNER, GROUP)]);
        for role in [OWNER, GROUP, TEMPORARY] {
            assert_eq!(judge(&graph, ALICE, role, 0), Verdict::Ended);
        }
        assert_eq!(
            judge(&graph, ALICE, OTHER, 0),
            Verdict::Allowed { until: i64::MAX }
        );
    }

    #[test]
    fn temporary_membership_takes_nothing_that_is_held_anyway() {
        let graph = roles(
            100,
            &[
                (ALICE, TEMPORARY),
                (TEMPORARY, OWNER),
                (ALICE, GROUP),
                (GROUP, OWNER),
            ],
        );
        assert_eq!(
            judge(&graph, ALICE, OWNER, 200),
            Verdict::Allowed { until: i64::MAX }
        );
        assert!(is_member_anyway(&graph, ALICE, OWNER));
        let only = roles(100, &[(ALICE, TEMPORARY), (TEMPORARY, OWNER)]);
        assert!(!is_member_anyway(&only, ALICE, OWNER));
    }

    #[test]
    fn inherited_membership_ends_at_its_deadline_unless_it_is_held_anyway() {
        let ended = Inherited::Ended(Membership {
            role: OWNER,
            ends_at: 100,
        });
        let edges = [
            (ALICE, TEMPORARY),
            (TEMPORARY, OWNER),
            (OWNER, GROUP),
            (OTHER, ALICE),
        ];
        let graph = roles(100, &edges);
        for inheritor in [ALICE, OTHER] {
            assert_eq!(
                judge_inherited(&graph, inheritor, 99),
                Inherited::Until(100)
            );
            assert_eq!(judge_inherited(&graph, inheritor, 100), ended);
        }
        let untouched = Inherited::Until(i64::MAX);
        assert_eq!(judge_inherited(&graph, OWNER, 200), untouched);
        // Taken away already, or held for ever as well.
        assert_eq!(
            judge_inherited(&roles(100, &[(ALICE, TEMPORARY)]), ALICE, 200),
            untouched
        );
        let both = roles(100, &[&edges[..], &[(ALICE, OWNER)]].concat());
        assert_eq!(judge_inherited(&both, ALICE, 200), untouched);
        // More than that does not count.
        let group = roles(100, &[&edges[..], &[(ALICE, GROUP)]].concat());
        assert_eq!(judge_inherited(&group, ALICE, 200), ended);
    }

    #[test]
    fn temporary_membership_of_nobody_leaves_others_alone() {
        let graph = roles(0, &[(ALICE, GROUP)]);
        for role in [GROUP, OTHER] {
            assert_eq!(
                judge(&graph, ALICE, role, 200),
                Verdict::Allowed { until: i64::MAX }
            );
        }
    }

    #[test]
    fn temporary_membership_is_found_through_a_group_and_in_circles() {
        let graph = roles(
            100,
            &[
                (ALICE, GROUP),
                (GROUP, TEMPORARY),
                (TEMPORARY, OWNER),
                (OWNER, OWNER),
            ],
        );
        assert_eq!(
            judge(&graph, ALICE, OWNER, 99),
            Verdict::Allowed { until: 100 }
        );
        assert_eq!(judge(&graph, ALICE, OWNER, 101), Verdict::Ended);
    }
}
