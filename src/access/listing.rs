//! The rows of who can do what.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::prelude::*;

use super::graph::{NEVER, Reach};
use super::holding::{self, Holding, Mode, Object};
use super::object::Target;
use super::rights::{self, Class, Right, Rules};
use super::scene::Scene;
use super::{Error, Row, Rows, facts};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, compat, identity, spi};

const RULES: Rules = Rules {
    has_maintain: compat::HAS_MAINTAIN,
    all_data_has_large_objects: compat::ALL_DATA_HAS_LARGE_OBJECTS,
};

/// What is to be listed. The rows are made role by role, as they are fetched.
pub struct Listing {
    pub scene: Scene,
    pub objects: Vec<Object>,
    /// Memberships: of one role, of all, or not.
    roles: Option<Option<u32>>,
    right: Option<Right>,
    /// The objects on which somebody has been granted something, by their numbers.
    by_grantee: HashMap<u32, Vec<usize>>,
    /// Names of roles outside of the scene: grantors.
    names: RefCell<HashMap<u32, String>>,
}

impl Listing {
    pub fn new(scene: Scene, target: Option<Target>) -> Result<Self, Error> {
        let objects = identity::elevated(|| match &target {
            None => facts::objects(),
            Some(Target::Object { class, oid, column }) => facts::object_of(*class, *oid, *column),
            Some(Target::Parameter(name)) => Ok(vec![facts::ungranted_parameter(name)]),
            Some(Target::Role(_)) => Ok(Vec::new()),
        })?;
        Ok(Self {
            scene,
            objects,
            roles: match target {
                None => Some(None),
                Some(Target::Role(role)) => Some(Some(role)),
                Some(_) => None,
            },
            right: None,
            by_grantee: HashMap::new(),
            names: RefCell::default(),
        })
    }

    /// Only this privilege.
    pub fn require(&mut self, right: Right) -> Result<(), Error> {
        let (class, kind) = match self.objects.first() {
            Some(object) => (object.class, object.kind.as_str()),
            None => (Class::Role, "role"),
        };
        let fitting = rights::all(class, RULES);
        if !fitting.contains(&right) {
            return Err(Error::Misfit {
                right: right.word(),
                kind: kind.to_owned(),
                fitting: fitting.iter().map(|right| right.word()).collect(),
            });
        }
        self.right = Some(right);
        Ok(())
    }

    /// Leaves out the roles that can't hold it anyhow: most, when there are thousands.
    pub fn narrow(&mut self, right: Right) {
        let graph = &self.scene.graph;
        let mut holders: Vec<u32> = self.roles.flatten().into_iter().collect();
        for object in &self.objects {
            holders.extend(rights::predefined(object.class, right, RULES));
            for item in object.acl.iter().filter(|item| right.is_in(item.rights)) {
                holders.push(item.grantee);
            }
        }
        if !holders.contains(&0) {
            let superusers = graph.nodes.iter().filter(|(_, node)| node.superuser);
            holders.extend(superusers.map(|(&role, _)| role));
            let below = graph.below(holders);
            self.scene.roles.retain(|role| below.contains(role));
        }
    }

    pub fn into_rows(mut self) -> Rows {
        for (number, object) in self.objects.iter().enumerate() {
            for item in &object.acl {
                let objects = self.by_grantee.entry(item.grantee).or_default();
                if objects.last() != Some(&number) {
                    objects.push(number);
                }
            }
        }
        let mut roles = std::mem::take(&mut self.scene.roles);
        let nodes = &self.scene.graph.nodes;
        let name = |role: &u32| nodes.get(role).map(|node| node.name.clone());
        roles.sort_by_cached_key(name);
        TableIterator::new(roles.into_iter().flat_map(move |role| {
            pgrx::check_for_interrupts!();
            self.of(role)
        }))
    }

    fn of(&self, role: u32) -> Vec<Row> {
        let graph = &self.scene.graph;
        let reach = graph.reach(role);
        let mut rows = Vec::new();
        let mut add = |kind: &str, object: &str, holding: Holding| {
            if self.right.is_none_or(|right| right == holding.right)
                && self.is_of_interest(&reach, &holding)
            {
                rows.push((
                    Name(self.name(role)),
                    kind.to_owned(),
                    object.to_owned(),
                    holding.right.word().to_owned(),
                    holding.mode.word().to_owned(),
                    holding
                        .path
                        .iter()
                        .map(|&role| Name(self.name(role)))
                        .collect(),
                    holding
                        .grantor
                        .map(|role| Name(self.name(role)))
                        .filter(|Name(grantor)| !grantor.is_empty()),
                    holding.grant_option,
                    Some(holding.ends)
                        .filter(|&ends| ends < NEVER)
                        .and_then(clock::to_sql),
                ));
            }
        };
        for object in self.worth_a_look(&reach) {
            for holding in holding::on(graph, &reach, object, RULES) {
                add(&object.kind, &object.name, holding);
            }
        }
        if let Some(only) = self.roles {
            let mut found = holding::in_roles(graph, &reach, only);
            found.sort_by_cached_key(|(role, holding)| (self.name(*role), holding.right));
            for (role, holding) in found {
                add("role", &spi::identifier(&self.name(role)), holding);
            }
        }
        rows
    }

    /// The objects on which it may hold anything.
    fn worth_a_look(&self, reach: &Reach) -> Vec<&Object> {
        let everything = reach.superuser
            || reach.all().any(|role| {
                rights::REACHES_EVERYTHING.contains(&role)
                    || self
                        .scene
                        .graph
                        .nodes
                        .get(&role)
                        .is_some_and(|node| node.superuser)
            });
        if everything {
            return self.objects.iter().collect();
        }
        let mut numbers: Vec<usize> = reach
            .all()
            .chain([0])
            .filter_map(|role| self.by_grantee.get(&role))
            .flatten()
            .copied()
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .filter_map(|number| self.objects.get(number))
            .collect()
    }

    /// In a list of all roles, what PostgreSQL's own have by PUBLIC only is noise.
    fn is_of_interest(&self, reach: &Reach, holding: &Holding) -> bool {
        self.scene.asked || !is_predefined(reach.role) || holding.mode != Mode::Public
    }

    fn name(&self, role: u32) -> String {
        if let Some(node) = self.scene.graph.nodes.get(&role) {
            return node.name.clone();
        }
        let mut names = self.names.borrow_mut();
        let known = names.entry(role).or_insert_with(|| {
            catalog::role_by_oid(role.into())
                .map(|role| role.name)
                .unwrap_or_default()
        });
        known.clone()
    }
}

/// Made by initdb, the bootstrap superuser excepted.
fn is_predefined(role: u32) -> bool {
    role < pg_sys::FirstNormalObjectId && role != pg_sys::BOOTSTRAP_SUPERUSERID
}
