//! Who reaches whom by memberships, until when. Pure.
//!
//! PostgreSQL walks memberships in three ways (acl.c, roles_is_member_of): those that inherit give
//! their privileges at once, those with SET give them after SET ROLE, and any gives ADMIN OPTION.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// A deadline that there is not.
pub const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    pub superuser: bool,
    /// When the role itself ends: a credential or an authenticator. Unix microseconds.
    pub ends: i64,
    /// When what goes through the role ends: a temporary membership.
    pub passes_until: i64,
}

/// A membership, seen from its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    pub role: u32,
    /// `None` for one that no catalogue lists.
    pub grantor: Option<u32>,
    pub inherit: bool,
    pub set: bool,
    pub admin: bool,
}

#[derive(Debug, Default)]
pub struct Graph {
    pub nodes: HashMap<u32, Node>,
    /// By member.
    pub up: HashMap<u32, Vec<Edge>>,
}

/// How a role was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The first deadline on the way, of the way on which it comes last.
    pub deadline: i64,
    pub hops: usize,
    /// The member through which; `None` where the walk began.
    pub from: Option<u32>,
    pub grantor: Option<u32>,
}

/// The roles that one walk reaches, with the way to each.
#[derive(Debug, Default)]
pub struct Walk(HashMap<u32, Step>);

impl Walk {
    pub fn step(&self, role: u32) -> Option<&Step> {
        self.0.get(&role)
    }

    pub fn roles(&self) -> impl Iterator<Item = (u32, &Step)> {
        self.0.iter().map(|(&role, step)| (role, step))
    }

    /// From where the walk began to `role`.
    fn path(&self, role: u32) -> Vec<u32> {
        let mut path = vec![role];
        let mut at = role;
        while let Some(from) = self.0.get(&at).and_then(|step| step.from) {
            path.push(from);
            at = from;
        }
        path.reverse();
        path
    }
}

/// Everything that one role reaches.
#[derive(Debug)]
pub struct Reach {
    pub role: u32,
    pub superuser: bool,
    /// Its own deadline.
    pub ends: i64,
    /// Whose privileges it has now.
    pub held: Walk,
    /// Whom it may become by SET ROLE.
    pub taken: Walk,
    /// Whose privileges it has after that, itself included.
    later: Walk,
    /// Whose member it is at all, for ADMIN OPTION.
    pub members: Walk,
}

impl Reach {
    pub fn has(&self, role: u32) -> Option<&Step> {
        self.held.step(role)
    }

    /// Its privileges come by SET ROLE only.
    pub fn could_have(&self, role: u32) -> Option<&Step> {
        self.later
            .step(role)
            .filter(|_| self.held.step(role).is_none())
    }

    /// Everyone whose privileges it has, now or after SET ROLE; itself among them.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        self.later
            .roles()
            .chain(self.held.roles())
            .map(|(role, _)| role)
    }

    pub fn path_held(&self, role: u32) -> Vec<u32> {
        self.held.path(role)
    }

    pub fn path_later(&self, role: u32) -> Vec<u32> {
        let inherited = self.later.path(role);
        let Some(&source) = inherited.first() else {
            return Vec::new();
        };
        let mut path = self.taken.path(source);
        path.extend(inherited.into_iter().skip(1));
        path
    }

    pub fn path_taken(&self, role: u32) -> Vec<u32> {
        self.taken.path(role)
    }

    pub fn path_member(&self, role: u32) -> Vec<u32> {
        self.members.path(role)
    }
}

impl Graph {
    /// Roles and memberships are not read in one moment: a role that was dropped in between is nobody.
    pub fn forget_gone(&mut self) {
        let nodes = &self.nodes;
        self.up.retain(|member, edges| {
            edges.retain(|edge| nodes.contains_key(&edge.role));
            nodes.contains_key(member)
        });
    }

    pub fn reach(&self, role: u32) -> Reach {
        let node = self.nodes.get(&role);
        let ends = node.map_or(NEVER, |node| node.ends);
        let start = Step {
            deadline: ends,
            hops: 0,
            from: None,
            grantor: None,
        };
        let begin = [(role, start)];
        let taken = self.walk(&begin, |edge| edge.set);
        let sources: Vec<(u32, Step)> = taken
            .roles()
            .map(|(role, step)| {
                (
                    role,
                    Step {
                        from: None,
                        ..*step
                    },
                )
            })
            .collect();
        Reach {
            role,
            superuser: node.is_some_and(|node| node.superuser),
            ends,
            held: self.walk(&begin, |edge| edge.inherit),
            later: self.walk(&sources, |edge| edge.inherit),
            taken,
            members: self.walk(&begin, |_| true),
        }
    }

    /// Whoever may come to any of these by memberships, and these.
    pub fn below(&self, roles: impl IntoIterator<Item = u32>) -> HashSet<u32> {
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&member, edges) in &self.up {
            for edge in edges {
                members.entry(edge.role).or_default().push(member);
            }
        }
        let mut agenda: Vec<u32> = roles.into_iter().collect();
        let mut found = HashSet::new();
        while let Some(role) = agenda.pop() {
            if found.insert(role) {
                agenda.extend(members.get(&role).into_iter().flatten());
            }
        }
        found
    }

    pub fn edges(&self, member: u32) -> &[Edge] {
        self.up.get(&member).map_or(&[], Vec::as_slice)
    }

    /// Widest path first: the way whose first deadline comes last, then the shortest.
    fn walk(&self, sources: &[(u32, Step)], follow: impl Fn(&Edge) -> bool) -> Walk {
        let mut walk = Walk::default();
        let mut agenda = BinaryHeap::new();
        let add = |agenda: &mut BinaryHeap<_>, role: u32, step: Step| {
            let rank = (step.deadline, Reverse(step.hops), Reverse(step.from));
            agenda.push((rank, Reverse(role), Reverse(step.grantor)));
        };
        for &(role, step) in sources {
            add(&mut agenda, role, step);
        }
        while let Some((rank, Reverse(role), Reverse(grantor))) = agenda.pop() {
            let (deadline, Reverse(hops), Reverse(from)) = rank;
            if walk.0.contains_key(&role) {
                continue;
            }
            let step = Step {
                deadline,
                hops,
                from,
                grantor,
            };
            walk.0.insert(role, step);
            for edge in self.edges(role).iter().filter(|edge| follow(edge)) {
                if walk.0.contains_key(&edge.role) {
                    continue;
                }
                let passes = self
                    .nodes
                    .get(&edge.role)
                    .map_or(NEVER, |node| node.passes_until);
                let next = Step {
                    deadline: deadline.min(passes),
                    hops: hops + 1,
                    from: Some(role),
                    grantor: edge.grantor,
                };
                add(&mut agenda, edge.role, next);
            }
        }
        walk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ends: i64, passes_until: i64) -> Node {
        Node {
            name: String::new(),
            superuser: false,
            ends,
            passes_until,
        }
    }

    fn edge(role: u32, inherit: bool, set: bool) -> Edge {
        Edge {
            role,
            grantor: Some(10),
            inherit,
            set,
            admin: false,
        }
    }

    /// 1 → 2 → 3 inherits; 1 → 4 SET only, 4 → 5 inherits, 4 → 6 neither.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        for role in 1..=6 {
            graph.nodes.insert(role, node(NEVER, NEVER));
        }
        graph
            .up
            .insert(1, vec![edge(2, true, false), edge(4, false, true)]);
        graph.up.insert(2, vec![edge(3, true, true)]);
        graph
            .up
            .insert(4, vec![edge(5, true, false), edge(6, false, false)]);
        graph
    }

    #[test]
    fn access_walks_follow_the_options_of_memberships() {
        let reach = graph().reach(1);
        assert_eq!(reach.path_held(3), [1, 2, 3]);
        assert!(reach.has(4).is_none() && reach.could_have(3).is_none());
        assert_eq!(reach.could_have(5).map(|step| step.hops), Some(2));
        assert_eq!(reach.path_later(5), [1, 4, 5]);
        assert_eq!(reach.path_taken(4), [1, 4]);
        // 2 does not allow SET ROLE, so neither does the way through it.
        assert!(reach.taken.step(3).is_none());
        assert!(reach.could_have(6).is_none());
        assert_eq!(reach.path_member(6), [1, 4, 6]);
    }

    #[test]
    fn access_through_a_role_that_is_gone_is_none() {
        let mut graph = graph();
        graph.nodes.remove(&2);
        graph.forget_gone();
        let reach = graph.reach(1);
        assert!(reach.has(2).is_none() && reach.has(3).is_none() && reach.taken.step(2).is_none());
        assert_eq!(reach.could_have(5).map(|step| step.hops), Some(2));
    }

    #[test]
    fn access_ends_with_the_way_that_lasts_longest() {
        let mut graph = graph();
        graph.nodes.insert(2, node(NEVER, 500));
        let reach = graph.reach(1);
        assert_eq!(reach.has(3).map(|step| step.deadline), Some(500));
        // A longer way that lasts is the one that counts.
        graph
            .up
            .insert(1, vec![edge(2, true, true), edge(4, true, true)]);
        graph.up.insert(4, vec![edge(5, true, true)]);
        graph.up.insert(5, vec![edge(3, true, true)]);
        let reach = graph.reach(1);
        assert_eq!(reach.path_held(3), [1, 4, 5, 3]);
        assert_eq!(reach.has(3).map(|step| step.deadline), Some(NEVER));
        // And never longer than the role itself.
        graph.nodes.insert(1, node(100, NEVER));
        assert_eq!(graph.reach(1).has(3).map(|step| step.deadline), Some(100));
    }

    #[test]
    fn access_from_below_is_found_by_any_membership() {
        let below = graph().below([6]);
        assert_eq!(below, HashSet::from([6, 4, 1]));
    }

    #[test]
    fn access_walks_end_in_circles() {
        let mut graph = graph();
        graph.up.insert(3, vec![edge(1, true, true)]);
        assert_eq!(graph.reach(1).path_held(3), [1, 2, 3]);
    }
}
