//! From every role to a picture: those that are alike become one. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Superuser,
    Login,
    Credential,
    Authenticator,
    Temporary,
    Group,
    Scope,
    Predefined,
}

impl Kind {
    /// One of them, and several.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Superuser => ("superuser", "superusers"),
            Self::Login => ("login", "logins"),
            Self::Credential => ("credential", "credentials"),
            Self::Authenticator => ("authenticator", "authenticators"),
            Self::Temporary => ("temporary membership", "temporary memberships"),
            Self::Group => ("role", "roles"),
            Self::Scope => ("scope", "scopes"),
            Self::Predefined => ("predefined role", "predefined roles"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// UTC; sorts as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What a scope holds, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub member: String,
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
    pub admin: bool,
    /// 16 and later have these two; before, `false` for those of a member that inherits nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
}

/// One role, or several that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub names: Vec<String>,
    pub database: Option<String>,
    pub state: Option<String>,
    /// The deadline, of several the first.
    pub until: Option<String>,
    pub reaches: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub member: usize,
    pub role: usize,
    /// What is not as always, in words.
    pub options: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

impl Node {
    /// What is written on it, a line each.
    pub fn lines(&self) -> Vec<String> {
        const NAMES: usize = 3;
        const REACHES: usize = 4;
        let (one, several) = self.kind.words();
        let mut lines = Vec::new();
        match self.names.as_slice() {
            [only] => {
                lines.push(only.clone());
                lines.push(one.to_owned());
            }
            many => {
                lines.push(format!("{} {several}", many.len()));
                lines.extend(first(many, NAMES));
            }
        }
        if let Some(state) = self.state.as_deref().filter(|state| *state != "active") {
            lines.push(state.to_owned());
        }
        lines.extend(first(&self.reaches, REACHES));
        if let Some(until) = &self.until {
            let minute = until.get(..16).unwrap_or(until);
            lines.push(if self.names.len() > 1 {
                format!("first ends {minute}Z")
            } else {
                format!("until {minute}Z")
            });
        }
        lines
    }
}

fn first(items: &[String], shown: usize) -> Vec<String> {
    let mut lines: Vec<String> = items.iter().take(shown).map(|item| cut(item)).collect();
    if items.len() > shown {
        lines.push(format!("… {} more", items.len() - shown));
    }
    lines
}

fn cut(text: &str) -> String {
    const WIDTH: usize = 60;
    if text.chars().count() > WIDTH {
        text.chars().take(WIDTH - 1).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

/// Roles become one node when they are alike in all that is drawn: kind, state, database, what they reach, and every
/// arrow, to and from the same roles with the same options. So each arrow between two nodes is true of every role in them.
pub fn fold(roles: &[Role], memberships: &[Membership]) -> Folded {
    let index: BTreeMap<&str, usize> = roles
        .iter()
        .enumerate()
        .map(|(index, role)| (role.name.as_str(), index))
        .collect();
    let edges: Vec<(usize, usize, String)> = memberships
        .iter()
        .filter_map(|membership| {
            let member = *index.get(membership.member.as_str())?;
            let role = *index.get(membership.role.as_str())?;
            let kind = roles.get(member)?.kind;
            Some((member, role, options(kind, membership)))
        })
        .collect();
    let mut arrows: Vec<BTreeSet<(bool, usize, &str)>> = vec![BTreeSet::new(); roles.len()];
    for (member, role, options) in &edges {
        if let Some(from) = arrows.get_mut(*member) {
            from.insert((true, *role, options));
        }
        if let Some(to) = arrows.get_mut(*role) {
            to.insert((false, *member, options));
        }
    }
    let mut known = BTreeMap::new();
    let class: Vec<usize> = roles
        .iter()
        .zip(&arrows)
        .enumerate()
        .map(|(index, (role, arrows))| {
            let alike = (
                role.kind,
                &role.state,
                &role.database,
                &role.reaches,
                arrows,
            );
            *known.entry(alike).or_insert(index)
        })
        .collect();
    build(roles, &class, &edges)
}

fn class_of(class: &[usize], role: usize) -> usize {
    class.get(role).copied().unwrap_or(role)
}

fn build(roles: &[Role], class: &[usize], edges: &[(usize, usize, String)]) -> Folded {
    let mut order: BTreeMap<usize, usize> = BTreeMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    for (role, described) in roles.iter().enumerate() {
        let class = class_of(class, role);
        let position = *order.entry(class).or_insert_with(|| {
            nodes.push(Node {
                kind: described.kind,
                names: Vec::new(),
                database: described.database.clone(),
                state: described.state.clone(),
                until: None,
                reaches: Vec::new(),
            });
            nodes.len() - 1
        });
        let Some(node) = nodes.get_mut(position) else {
            continue;
        };
        node.names.push(described.name.clone());
        node.until = match (node.until.take(), described.until.clone()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        node.reaches.extend(described.reaches.iter().cloned());
    }
    for node in &mut nodes {
        // The objects before the way to them.
        let is_way = |reach: &String| {
            reach.starts_with("CONNECT on ") || reach.starts_with("USAGE on schema")
        };
        node.reaches
            .sort_by_key(|reach| (is_way(reach), reach.clone()));
        node.reaches.dedup();
    }
    let position = |role: &usize| order.get(&class_of(class, *role)).copied();
    let edges: BTreeSet<Edge> = edges
        .iter()
        .filter_map(|(member, role, options)| {
            Some(Edge {
                member: position(member)?,
                role: position(role)?,
                options: options.clone(),
            })
        })
        .filter(|edge| edge.member != edge.role)
        .collect();
    Folded {
        nodes,
        edges: edges.into_iter().collect(),
    }
}

/// What a reader would not take for granted.
fn options(member: Kind, membership: &Membership) -> String {
    let mut words = Vec::new();
    if member == Kind::Authenticator {
        words.push("by token");
    } else if membership.inherit == Some(false) && membership.set == Some(false) {
        words.push("neither INHERIT nor SET");
    } else if membership.inherit == Some(false) {
        words.push("SET only");
    } else if membership.set == Some(false) {
        words.push("INHERIT only");
    }
    if membership.admin {
        words.push("ADMIN");
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, kind: Kind) -> Role {
        Role {
            name: name.to_owned(),
            kind,
            state: None,
            database: None,
            purpose: None,
            until: None,
            reaches: Vec::new(),
        }
    }

    fn member(member: &str, role: &str) -> Membership {
        Membership {
            member: member.to_owned(),
            role: role.to_owned(),
            grantor: None,
            admin: false,
            inherit: None,
            set: None,
        }
    }

    #[test]
    fn map_of_five_roles_shows_each() {
        let roles = [
            role("ana", Kind::Login),
            role("team", Kind::Group),
            role("orders_ro", Kind::Scope),
            role("svc", Kind::Credential),
            role("api", Kind::Authenticator),
        ];
        let memberships = [
            member("ana", "team"),
            member("team", "orders_ro"),
            member("svc", "orders_ro"),
            member("api", "orders_ro"),
        ];
        let folded = fold(&roles, &memberships);
        assert_eq!(folded.nodes.len(), 5);
        assert_eq!(folded.edges.len(), 4);
        let by_token = folded
            .edges
            .iter()
            .filter(|edge| edge.options == "by token");
        assert_eq!(by_token.count(), 1);
    }

    #[test]
    fn map_of_thousands_of_roles_folds_what_is_alike_and_forgets_none() {
        let mut roles = Vec::new();
        let mut memberships = Vec::new();
        for scope in 0..150 {
            let name = format!("scope_{scope}");
            roles.push(Role {
                reaches: vec![format!("SELECT on table s{}.t{scope}", scope % 7)],
                database: Some("app".into()),
                ..role(&name, Kind::Scope)
            });
            for credential in 0..4 {
                let credential = format!("cred_{scope}_{credential}");
                roles.push(Role {
                    until: Some(format!("2026-11-2{} 10:00:00Z", scope % 10)),
                    ..role(&credential, Kind::Credential)
                });
                memberships.push(member(&credential, &name));
            }
        }
        for person in 0..300 {
            roles.push(role(&format!("person_{person}"), Kind::Login));
        }
        let folded = fold(&roles, &memberships);
        // Each scope with its four credentials, and the people, who are alike.
        assert_eq!(folded.nodes.len(), 150 * 2 + 1);
        let shown: usize = folded.nodes.iter().map(|node| node.names.len()).sum();
        assert_eq!(shown, roles.len());
        assert!(folded.nodes.iter().all(|node| node.lines().len() < 14));
        let first = folded
            .nodes
            .iter()
            .filter_map(|node| node.until.as_deref())
            .min();
        assert_eq!(first, Some("2026-11-20 10:00:00Z"));
        assert!(!folded.edges.is_empty());
    }

    /// Every arrow of the picture is one of each role in its boxes.
    #[test]
    fn map_draws_no_arrow_that_is_not_there() {
        let mut roles: Vec<Role> = (0..30)
            .map(|at| role(&format!("scope_{at}"), Kind::Scope))
            .collect();
        let mut memberships = Vec::new();
        for at in 0..127 {
            let name = format!("cred_{at}");
            roles.push(role(&name, Kind::Credential));
            memberships.push(member(&name, &format!("scope_{}", at % 30)));
        }
        for at in 0..130 {
            roles.push(role(&format!("person_{at}"), Kind::Login));
        }
        memberships.push(member("person_7", "scope_0"));
        let folded = fold(&roles, &memberships);
        let mut drawn = 0;
        for edge in &folded.edges {
            for from in &folded.nodes[edge.member].names {
                for to in &folded.nodes[edge.role].names {
                    assert!(
                        memberships
                            .iter()
                            .any(|one| one.member == *from && one.role == *to),
                        "{from} {to}"
                    );
                    drawn += 1;
                }
            }
        }
        assert_eq!(drawn, memberships.len());
    }

    #[test]
    fn map_says_what_is_not_as_always() {
        let membership = |inherit, set, admin| Membership {
            inherit: Some(inherit),
            set: Some(set),
            admin,
            ..member("a", "b")
        };
        let said = |kind, inherit, set, admin| options(kind, &membership(inherit, set, admin));
        assert_eq!(said(Kind::Login, true, true, false), "");
        assert_eq!(said(Kind::Login, true, false, true), "INHERIT only, ADMIN");
        assert_eq!(said(Kind::Login, false, true, false), "SET only");
        assert_eq!(
            said(Kind::Login, false, false, false),
            "neither INHERIT nor SET"
        );
        assert_eq!(said(Kind::Authenticator, false, true, false), "by token");
        assert_eq!(options(Kind::Login, &member("a", "b")), "");
    }
}
