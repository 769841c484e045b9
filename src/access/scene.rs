//! The roles that are spoken of.

use super::graph::Graph;
use super::{Error, facts};
use crate::pg::{catalog, identity};

/// The roles to speak of, and what there is to know about them.
pub struct Scene {
    pub graph: Graph,
    pub roles: Vec<u32>,
    /// One role was asked for: nothing about it is left out.
    pub asked: bool,
}

impl Scene {
    pub fn empty() -> Self {
        Self {
            graph: Graph::default(),
            roles: Vec::new(),
            asked: false,
        }
    }

    pub fn of(role: catalog::Role) -> Result<Self, Error> {
        Ok(Self {
            graph: identity::elevated(|| facts::graph_of(&role))?,
            roles: vec![role.oid.into()],
            asked: true,
        })
    }

    pub fn whole() -> Result<Self, Error> {
        let graph = identity::elevated(facts::whole_graph)?;
        Ok(Self {
            roles: graph.nodes.keys().copied().collect(),
            graph,
            asked: false,
        })
    }
}
