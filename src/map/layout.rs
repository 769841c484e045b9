//! Where the boxes of the map stand and which way its arrows go. Pure.
//!
//! Logins stand on the left, roles in the middle, scopes on the right. All boxes of a part stand on the same rows, so that
//! between two rows there is always a free lane: arrows that pass a column take it, and no box stands on an arrow.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::fold::{Folded, Kind};

/// What hangs together.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub boxes: Vec<Place>,
    pub arrows: Vec<Route>,
    pub columns: usize,
    pub rows: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub node: usize,
    pub column: usize,
    pub row: usize,
}

/// From the right side of a box to the left side of another.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// In `Folded::edges`.
    pub edge: usize,
    pub from: Place,
    pub to: Place,
    /// Above which row it passes each column in between.
    pub lanes: Vec<usize>,
}

/// The parts, the largest first, and the nodes that no arrow touches.
pub fn layout(map: &Folded) -> (Vec<Part>, Vec<usize>) {
    let mut part_of: Vec<usize> = (0..map.nodes.len()).collect();
    for edge in &map.edges {
        let (one, other) = (root(&part_of, edge.member), root(&part_of, edge.role));
        if let Some(place) = part_of.get_mut(one.max(other)) {
            *place = one.min(other);
        }
    }
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for node in 0..map.nodes.len() {
        parts.entry(root(&part_of, node)).or_default().push(node);
    }
    let (alone, parts): (Vec<_>, Vec<_>) = parts.into_values().partition(|nodes| nodes.len() == 1);
    let mut parts: Vec<Part> = parts.iter().map(|nodes| part(map, nodes)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.boxes.len()));
    (parts, alone.into_iter().flatten().collect())
}

fn root(part_of: &[usize], mut node: usize) -> usize {
    while let Some(&next) = part_of.get(node).filter(|&&next| next != node) {
        node = next;
    }
    node
}

fn part(map: &Folded, nodes: &[usize]) -> Part {
    let within: BTreeSet<usize> = nodes.iter().copied().collect();
    let edges: Vec<(usize, usize, usize)> = map
        .edges
        .iter()
        .enumerate()
        .filter(|(_, edge)| within.contains(&edge.member) && edge.member != edge.role)
        .map(|(index, edge)| (index, edge.member, edge.role))
        .collect();
    let column = columns(map, nodes, &edges);
    let count = column.values().max().map_or(1, |last| last + 1);
    let (row, rows) = rows(nodes, &edges, &column, count);
    let place = |node: usize| Place {
        node,
        column: column.get(&node).copied().unwrap_or_default(),
        row: row.get(&node).copied().unwrap_or_default(),
    };
    let arrows = edges
        .iter()
        .map(|&(edge, from, to)| {
            let (from, to) = (place(from), place(to));
            let span = to.column.abs_diff(from.column);
            let lanes = (1..span)
                .map(|step| {
                    let rows = from.row * (span - step) + to.row * step;
                    rows.div_ceil(span)
                })
                .collect();
            Route {
                edge,
                from,
                to,
                lanes,
            }
        })
        .collect();
    Part {
        boxes: nodes.iter().map(|&node| place(node)).collect(),
        arrows,
        columns: count,
        rows,
    }
}

/// A role stands to the right of its members; scopes stand last.
fn columns(
    map: &Folded,
    nodes: &[usize],
    edges: &[(usize, usize, usize)],
) -> BTreeMap<usize, usize> {
    let mut column: BTreeMap<usize, usize> = nodes.iter().map(|&node| (node, 0)).collect();
    // Memberships have no circles; were there one, its last arrow would go back.
    for _ in 0..nodes.len() {
        let mut changed = false;
        for &(_, from, to) in edges {
            let least = column.get(&from).map_or(0, |from| from + 1);
            if let Some(to) = column
                .get_mut(&to)
                .filter(|to| **to < least && least < nodes.len())
            {
                *to = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let leads_on: BTreeSet<usize> = edges.iter().map(|&(_, from, _)| from).collect();
    let is_last = |node: usize| {
        !leads_on.contains(&node)
            && map
                .nodes
                .get(node)
                .is_some_and(|node| node.kind == Kind::Scope)
    };
    let others = column.iter().filter(|&(&node, _)| !is_last(node));
    let last = others.map(|(_, column)| column + 1).max().unwrap_or(1);
    for (&node, column) in &mut column {
        if is_last(node) {
            *column = last;
        }
    }
    column
}

/// Near the boxes that a box is joined to.
fn rows(
    nodes: &[usize],
    edges: &[(usize, usize, usize)],
    column: &BTreeMap<usize, usize>,
    columns: usize,
) -> (BTreeMap<usize, usize>, usize) {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); columns];
    for &node in nodes {
        let column = column.get(&node).copied().unwrap_or_default();
        if let Some(members) = members.get_mut(column) {
            members.push(node);
        }
    }
    let count = members.iter().map(Vec::len).max().unwrap_or(1);
    let mut row: BTreeMap<usize, usize> = BTreeMap::new();
    for members in &members {
        row.extend(members.iter().copied().zip(0..));
    }
    let mut around: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &(_, from, to) in edges {
        around.entry(from).or_default().push(to);
        around.entry(to).or_default().push(from);
    }
    for sweep in 0..8 {
        let order: Vec<usize> = if sweep % 2 == 0 {
            (0..columns).collect()
        } else {
            (0..columns).rev().collect()
        };
        for at in order {
            let Some(members) = members.get_mut(at) else {
                continue;
            };
            // In thousandths of a row.
            let wish = |node: usize| {
                let near: Vec<usize> = around
                    .get(&node)
                    .into_iter()
                    .flatten()
                    .filter_map(|other| row.get(other).copied())
                    .collect();
                match near.len() {
                    0 => row.get(&node).copied().unwrap_or_default() * 1_000,
                    some => near.iter().sum::<usize>() * 1_000 / some,
                }
            };
            let mut wishes: Vec<(usize, usize)> =
                members.iter().map(|&node| (wish(node), node)).collect();
            wishes.sort_unstable();
            let mut taken = Vec::with_capacity(wishes.len());
            let mut least = 0;
            for (wish, _) in &wishes {
                let place = least.max((wish + 500) / 1_000);
                taken.push(place);
                least = place + 1;
            }
            let mut most = count.max(1);
            for place in taken.iter_mut().rev() {
                *place = (*place).min(most - 1);
                most = (*place).max(1);
            }
            *members = wishes.iter().map(|&(_, node)| node).collect();
            row.extend(members.iter().copied().zip(taken));
        }
    }
    (row, count)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::super::fold::{Edge, Node};
    use super::*;

    fn map(kinds: &[Kind], edges: &[(usize, usize)]) -> Folded {
        let node = |&kind: &Kind| Node {
            kind,
            names: vec!["x".to_owned()],
            database: None,
            state: None,
            until: None,
            reaches: Vec::new(),
        };
        let edge = |&(member, role): &(usize, usize)| Edge {
            member,
            role,
            options: String::new(),
        };
        Folded {
            nodes: kinds.iter().map(node).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    #[test]
    fn layout_puts_logins_roles_and_scopes_in_this_order() {
        use Kind::{Credential, Group, Login, Scope};
        let map = map(
            &[Login, Group, Scope, Credential, Scope, Login],
            &[(0, 1), (1, 2), (3, 2), (3, 4)],
        );
        let (parts, alone) = layout(&map);
        assert_eq!(alone, [5]);
        let [part] = parts.as_slice() else {
            panic!("{parts:?}")
        };
        let column = |node| {
            part.boxes
                .iter()
                .find(|one| one.node == node)
                .map(|one| one.column)
        };
        assert_eq!(
            [0, 3, 1, 2, 4].map(column),
            [Some(0), Some(0), Some(1), Some(2), Some(2)]
        );
        let long = part.arrows.iter().filter(|route| !route.lanes.is_empty());
        assert_eq!(long.count(), 2);
    }

    #[test]
    fn layout_gives_each_box_a_place_of_its_own() {
        let mut kinds = vec![Kind::Scope; 40];
        let mut edges = Vec::new();
        for login in 40..300 {
            kinds.push(if login % 9 == 0 {
                Kind::Group
            } else {
                Kind::Login
            });
            edges.push((login, login % 40));
            edges.push((login, (login * 7) % 40));
            if login % 9 == 1 {
                edges.push((login, login - 1));
            }
        }
        let (parts, alone) = layout(&map(&kinds, &edges));
        let boxes: usize = parts.iter().map(|part| part.boxes.len()).sum();
        assert_eq!(boxes + alone.len(), 300);
        for part in &parts {
            let mut places = BTreeSet::new();
            for one in &part.boxes {
                assert!(places.insert((one.column, one.row)), "{one:?}");
                assert!(one.row < part.rows && one.column < part.columns);
            }
            for route in &part.arrows {
                assert!(route.from.column < route.to.column);
                assert_eq!(route.lanes.len(), route.to.column - route.from.column - 1);
            }
        }
    }

    #[test]
    fn layout_ends_even_for_a_circle() {
        let (parts, _) = layout(&map(&[Kind::Group; 3], &[(0, 1), (1, 2), (2, 0)]));
        assert_eq!(parts.len(), 1);
    }
}
