//! What a role holds on an object, and by what: acl.c's aclmask(), with its reasons. Pure.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use super::graph::{Graph, NEVER, Reach};
use super::rights::{self, Class, Right, Rules};
use crate::acl::Item;

#[derive(Debug, Clone)]
pub struct Object {
    pub class: Class,
    /// In the words of PostgreSQL: table, foreign server…
    pub kind: String,
    /// Quoted where it needs to be.
    pub name: String,
    pub owner: u32,
    pub acl: Vec<Item>,
    /// The list of the table of a column.
    pub table: Option<Vec<Item>>,
    /// One of PostgreSQL's own tables, or a column of one.
    pub system: bool,
}

/// How a privilege is held; the better reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Superuser,
    Owner,
    Direct,
    Inherited,
    Predefined,
    Public,
    /// By the privilege on the column alone.
    Column,
    /// Waits for objects that are still to be made.
    Default,
    /// After SET ROLE only.
    SetRole,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Self::Superuser => "superuser",
            Self::Owner => "owner",
            Self::Direct => "direct",
            Self::Inherited => "inherited",
            Self::Predefined => "predefined",
            Self::Public => "public",
            Self::Column => "column",
            Self::Default => "default",
            Self::SetRole => "set role",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub right: Right,
    pub mode: Mode,
    /// The roles walked, from the holder to the grantee.
    pub path: Vec<u32>,
    pub grantor: Option<u32>,
    pub grant_option: bool,
    pub ends: i64,
}

/// One reason to hold a privilege.
#[derive(Debug, Clone, Copy)]
struct Reason {
    mode: Mode,
    /// 0: the holder, and nobody walked to.
    grantee: u32,
    grantor: Option<u32>,
    deadline: i64,
    hops: usize,
}

impl Reason {
    /// What lasts longest is what has to end; among these the plainest.
    fn better_than(&self, other: &Self) -> bool {
        let key = |reason: &Self| {
            (
                reason.deadline,
                Reverse(reason.mode),
                Reverse(reason.hops),
                Reverse(reason.grantee),
                Reverse(reason.grantor),
            )
        };
        key(self) > key(other)
    }
}

type Reasons = [Option<Reason>; rights::COUNT];

/// All privileges of a role on an object that is no role.
pub fn on(graph: &Graph, reach: &Reach, object: &Object, rules: Rules) -> Vec<Holding> {
    if reach.superuser && object.class != Class::Defaults {
        // On columns it holds them by the table.
        let all = match object.class {
            Class::Column => &[],
            class => rights::all(class, rules),
        };
        return all
            .iter()
            .map(|&right| of_superuser(reach, right))
            .collect();
    }
    let mut reasons = reasons(graph, reach, object, object.class, &object.acl, rules);
    if let Some(table) = &object.table {
        let by_table = self::reasons(graph, reach, object, Class::Relation, table, rules);
        for (reason, by_table) in reasons.iter_mut().zip(by_table) {
            let spare = match (&reason, by_table) {
                (Some(_), Some(table)) if table.mode != Mode::SetRole => true,
                (Some(column), Some(_)) => column.mode == Mode::SetRole,
                _ => false,
            };
            if spare {
                *reason = None;
            }
        }
    }
    let owner = object.class != Class::Defaults && reach.has(object.owner).is_some();
    let owner_later = object.class != Class::Defaults && reach.could_have(object.owner).is_some();
    Right::every()
        .zip(reasons)
        .filter_map(|(right, reason)| {
            let reason = reason?;
            let later = reason.mode == Mode::SetRole;
            let grantable = |item: &Item| {
                right.is_in(item.grantable)
                    && (item.grantee == 0
                        || reach.has(item.grantee).is_some()
                        || (later && reach.could_have(item.grantee).is_some()))
            };
            let by_superuser = later && reason.grantor.is_none() && graph_superuser(graph, &reason);
            Some(Holding {
                right,
                mode: shown(object.class, reason.mode),
                path: match (reason.grantee, later) {
                    (0, _) => vec![reach.role],
                    (grantee, true) => reach.path_later(grantee),
                    (grantee, false) => reach.path_held(grantee),
                },
                grantor: reason.grantor,
                grant_option: owner
                    || (later && owner_later)
                    || by_superuser
                    || object.acl.iter().any(grantable),
                ends: reason.deadline,
            })
        })
        .collect()
}

fn graph_superuser(graph: &Graph, reason: &Reason) -> bool {
    graph
        .nodes
        .get(&reason.grantee)
        .is_some_and(|node| node.superuser)
}

/// Columns and future objects have a mode of their own, whatever the way.
fn shown(class: Class, mode: Mode) -> Mode {
    match (class, mode) {
        (Class::Column, mode) if mode != Mode::SetRole => Mode::Column,
        (Class::Defaults, mode) if mode != Mode::SetRole => Mode::Default,
        (_, mode) => mode,
    }
}

fn of_superuser(reach: &Reach, right: Right) -> Holding {
    Holding {
        right,
        mode: Mode::Superuser,
        path: vec![reach.role],
        grantor: None,
        grant_option: true,
        ends: reach.ends,
    }
}

fn reasons(
    graph: &Graph,
    reach: &Reach,
    object: &Object,
    class: Class,
    acl: &[Item],
    rules: Rules,
) -> Reasons {
    let mut held: Reasons = [None; rights::COUNT];
    let mut later: Reasons = [None; rights::COUNT];
    for item in acl {
        // Who creates is going to own it anyway.
        if class == Class::Defaults && item.grantee == object.owner {
            continue;
        }
        let reason = |mode, deadline, hops| Reason {
            mode,
            grantee: item.grantee,
            grantor: Some(item.grantor),
            deadline,
            hops,
        };
        if item.grantee == 0 {
            offer(&mut held, item.rights, reason(Mode::Public, reach.ends, 0));
        } else if let Some(step) = reach.has(item.grantee) {
            let mode = if item.grantee == object.owner {
                Mode::Owner
            } else if step.hops == 0 {
                Mode::Direct
            } else {
                Mode::Inherited
            };
            let reason = reason(mode, step.deadline, step.hops);
            offer(&mut held, item.rights, reason);
        } else if let Some(step) = reach.could_have(item.grantee) {
            let reason = reason(Mode::SetRole, step.deadline, step.hops);
            offer(&mut later, item.rights, reason);
        }
    }
    for &right in rights::all(class, rules) {
        for &role in rights::predefined(class, right, rules) {
            let reason = |mode, deadline, hops| Reason {
                mode,
                grantee: role,
                grantor: None,
                deadline,
                hops,
            };
            if let Some(step) = reach.has(role) {
                let reason = reason(Mode::Predefined, step.deadline, step.hops);
                offer(&mut held, 1 << right.index(), reason);
            } else if let Some(step) = reach.could_have(role) {
                let reason = reason(Mode::SetRole, step.deadline, step.hops);
                offer(&mut later, 1 << right.index(), reason);
            }
        }
    }
    if object.system && class == Class::Relation {
        for right in Right::every().filter(|&right| rights::guarded(right)) {
            for reasons in [&mut held, &mut later] {
                if let Some(slot) = reasons.get_mut(right.index()) {
                    *slot = None;
                }
            }
        }
    }
    // Whoever may become a superuser may do anything after that.
    for (role, step) in reach.taken.roles() {
        if role != reach.role && graph.nodes.get(&role).is_some_and(|node| node.superuser) {
            for &right in rights::all(class, rules) {
                let reason = Reason {
                    mode: Mode::SetRole,
                    grantee: role,
                    grantor: None,
                    deadline: step.deadline,
                    hops: step.hops,
                };
                offer(&mut later, 1 << right.index(), reason);
            }
        }
    }
    for (held, later) in held.iter_mut().zip(later) {
        *held = held.or(later);
    }
    held
}

fn offer(reasons: &mut Reasons, bits: u16, reason: Reason) {
    for right in Right::every().filter(|right| right.is_in(bits)) {
        if let Some(slot) = reasons.get_mut(right.index())
            && slot.is_none_or(|known| reason.better_than(&known))
        {
            *slot = Some(reason);
        }
    }
}

/// What membership gives a role in another one: USAGE inherits its privileges, SET may become it,
/// ADMIN may grant it.
pub fn in_roles(graph: &Graph, reach: &Reach, only: Option<u32>) -> Vec<(u32, Holding)> {
    let mut found = Vec::new();
    if reach.superuser {
        let mut add = |role: u32| {
            if role != reach.role {
                for &right in &rights::OF_ROLES {
                    found.push((role, of_superuser(reach, right)));
                }
            }
        };
        match only {
            Some(role) => add(role),
            None => graph.nodes.keys().for_each(|&role| add(role)),
        }
        return found;
    }
    let wanted = |role: u32| role != reach.role && only.is_none_or(|only| only == role);
    // ADMIN: from whoever it is a member of, in any way.
    let mut admin: Vec<(u32, u32, Option<u32>, i64, usize)> = Vec::new();
    for (member, step) in reach.members.roles() {
        for edge in graph.edges(member).iter().filter(|edge| edge.admin) {
            if wanted(edge.role) {
                let passes = graph
                    .nodes
                    .get(&edge.role)
                    .map_or(NEVER, |node| node.passes_until);
                let deadline = step.deadline.min(passes);
                admin.push((edge.role, member, edge.grantor, deadline, step.hops));
            }
        }
    }
    // One for each role: the way that lasts longest, then the shortest.
    admin.sort_unstable_by_key(|&(role, member, grantor, deadline, hops)| {
        (role, Reverse(deadline), hops, member, grantor)
    });
    admin.dedup_by_key(|&mut (role, ..)| role);
    let may_grant = |role: u32| {
        admin
            .binary_search_by_key(&role, |&(role, ..)| role)
            .is_ok()
    };
    for (role, step) in reach.held.roles().filter(|&(role, _)| wanted(role)) {
        found.push((
            role,
            Holding {
                right: Right::USAGE,
                mode: if step.hops == 1 {
                    Mode::Direct
                } else {
                    Mode::Inherited
                },
                path: reach.path_held(role),
                grantor: step.grantor,
                grant_option: may_grant(role),
                ends: step.deadline,
            },
        ));
    }
    // A superuser that it may become may become anybody, and grant any role.
    let door = reach
        .taken
        .roles()
        .filter(|&(role, _)| role != reach.role)
        .filter(|&(role, _)| graph.nodes.get(&role).is_some_and(|node| node.superuser))
        .max_by_key(|&(role, step)| (step.deadline, Reverse(step.hops), Reverse(role)));
    for (role, step) in reach.taken.roles().filter(|&(role, _)| wanted(role)) {
        found.push((
            role,
            Holding {
                right: Right::SET,
                mode: if step.hops == 1 {
                    Mode::Direct
                } else {
                    Mode::SetRole
                },
                path: reach.path_taken(role),
                grantor: step.grantor,
                grant_option: may_grant(role),
                ends: step.deadline,
            },
        ));
    }
    for &(role, member, grantor, deadline, hops) in &admin {
        let mut path = reach.path_member(member);
        path.push(role);
        found.push((
            role,
            Holding {
                right: Right::ADMIN,
                mode: match hops {
                    0 => Mode::Direct,
                    _ if reach.has(member).is_some() => Mode::Inherited,
                    _ => Mode::SetRole,
                },
                path,
                grantor,
                grant_option: true,
                ends: deadline,
            },
        ));
    }
    if let Some((superuser, step)) = door {
        let known: std::collections::HashSet<(u32, Right)> = found
            .iter()
            .map(|(role, holding)| (*role, holding.right))
            .collect();
        for &role in graph.nodes.keys().filter(|&&role| wanted(role)) {
            for &right in &rights::OF_ROLES {
                if !known.contains(&(role, right)) {
                    found.push((
                        role,
                        Holding {
                            right,
                            mode: Mode::SetRole,
                            path: reach.path_taken(superuser),
                            grantor: None,
                            grant_option: true,
                            ends: step.deadline,
                        },
                    ));
                }
            }
        }
    }
    found
}
