//! Is somebody left to decide? Pure.
#![forbid(unsafe_code)]

use super::quorum::{self, Needs};

/// Somebody who could say yes, by these approving roles.
pub struct Approver<P> {
    pub who: P,
    pub roles: Vec<u32>,
}

/// Beyond so many it is not looked for the best choice among people who may be one.
const FEW: usize = 64;

/// Can one of these who ask, or a stranger where nobody does, get as many different people's yes as are needed?
pub fn somebody_is_left<P>(
    needs: &[impl Needs],
    any: bool,
    approvers: &[Approver<P>],
    askers: &[P],
    is_same: &impl Fn(&P, &P) -> bool,
) -> bool {
    let reaches = |asker: Option<&P>| {
        let others = approvers.iter();
        let others: Vec<&Approver<P>> = others
            .filter(|approver| asker.is_none_or(|asker| !is_same(&approver.who, asker)))
            .collect();
        is_enough(needs, any, &others, is_same)
    };
    reaches(None) && (askers.is_empty() || askers.iter().any(|asker| reaches(Some(asker))))
}

fn is_enough<P>(
    needs: &[impl Needs],
    any: bool,
    people: &[&Approver<P>],
    is_same: &impl Fn(&P, &P) -> bool,
) -> bool {
    let decides = |people: &[&Approver<P>]| {
        let mut yes: Vec<&Approver<P>> = Vec::new();
        for person in people {
            let roles: Vec<Vec<u32>> = yes.iter().map(|one| one.roles.clone()).collect();
            if !needs.is_empty() && quorum::missing(needs, any, &roles).is_empty() {
                return true;
            }
            if !yes.iter().any(|one| is_same(&one.who, &person.who)) {
                yes.push(person);
            }
        }
        let roles: Vec<Vec<u32>> = yes.iter().map(|one| one.roles.clone()).collect();
        !needs.is_empty() && quorum::missing(needs, any, &roles).is_empty()
    };
    if decides(people) {
        return true;
    }
    if people.len() > FEW {
        return false;
    }
    // Who may be few others first: a group that is a login, too, may be all of its members.
    let mut people: Vec<&Approver<P>> = people.to_vec();
    let others = people.clone();
    people.sort_by_cached_key(|one| {
        let alike = others.iter().filter(|other| is_same(&one.who, &other.who));
        alike.count()
    });
    decides(&people)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DBA: u32 = 1;
    const OWNER: u32 = 2;

    fn people(of: &[(i32, u32)]) -> Vec<Approver<i32>> {
        let approver = |&(who, role): &(i32, u32)| Approver {
            who,
            roles: vec![role],
        };
        of.iter().map(approver).collect()
    }

    /// The group 0 may be 1 and 2.
    fn same(one: &i32, other: &i32) -> bool {
        one == other || (one * other == 0 && one + other < 3)
    }

    fn left(needs: &[(u32, usize)], any: bool, approvers: &[(i32, u32)], askers: &[i32]) -> bool {
        somebody_is_left(needs, any, &people(approvers), askers, &same)
    }

    #[test]
    fn requests_have_somebody_left_who_is_not_the_asker() {
        assert!(left(&[(DBA, 1)], false, &[(7, DBA)], &[8]));
        assert!(!left(&[(DBA, 1)], false, &[(7, DBA)], &[7]));
        assert!(left(&[(DBA, 1)], false, &[(7, DBA)], &[7, 8]));
        assert!(left(&[(DBA, 1)], false, &[(7, DBA)], &[]));
        assert!(!left(&[(DBA, 1)], false, &[], &[8]));
        assert!(!left(&[], false, &[(7, DBA)], &[8]));
        assert!(!left(&[], true, &[(7, DBA)], &[8]));
        assert!(!left(&[(DBA, 2)], false, &[(7, DBA), (7, DBA)], &[8]));
        assert!(!left(&[(DBA, 1), (OWNER, 1)], false, &[(7, DBA)], &[8]));
        assert!(left(&[(DBA, 1), (OWNER, 1)], true, &[(7, DBA)], &[8]));
    }

    #[test]
    fn requests_have_two_left_beside_the_group_that_may_be_both() {
        assert!(left(
            &[(DBA, 2)],
            false,
            &[(0, DBA), (1, DBA), (2, DBA)],
            &[8]
        ));
        assert!(!left(&[(DBA, 2)], false, &[(0, DBA), (1, DBA)], &[8]));
    }
}
