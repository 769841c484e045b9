//! Who can do what, by what, until when: for every role and every object with privileges. The truth
//! is PostgreSQL's own, and a test compares the two.

mod error;
mod facts;
mod graph;
pub mod holding;
mod object;
mod rights;

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{notice, report};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, compat, identity, spi};
use crate::timestamp;
use graph::{Graph, NEVER, Reach};
use holding::{Holding, Mode, Object};
use object::Target;
pub use rights::PG_MONITOR;
use rights::{Class, Right};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} must not be null")]
    Null(&'static str),
    #[error("role with OID {oid} does not exist")]
    NoSuchRole { oid: u32 },
    #[error("object \"{object}\" does not exist")]
    NoSuchObject { object: String },
    #[error("unknown privilege \"{word}\"")]
    NoSuchRight { word: String },
    #[error("there is no privilege {right} on a {kind}")]
    Misfit {
        right: &'static str,
        kind: String,
        fitting: Vec<&'static str>,
    },
    #[error("permission denied to see the access of role \"{role}\"")]
    NotYours { role: String, caller: String },
    #[error("the catalogs could not be read")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Error {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// `role_name, object_type, object_name, privilege_type, mode, path, grantor, grant_option, ends_at`
type Row = (
    Name,
    String,
    String,
    String,
    String,
    Vec<Name>,
    Option<Name>,
    bool,
    Option<TimestampWithTimeZone>,
);
type Rows = TableIterator<'static, Row>;

/// Documented in `sql/access.sql`.
macro_rules! who_can_what {
    ($function:ident($($arguments:tt)*), $rows:expr) => {
        #[pg_extern(sql = false)]
        #[allow(clippy::type_complexity)]
        fn $function(
            $($arguments)*
        ) -> Result<
            TableIterator<
                'static,
                (
                    name!(role_name, Name),
                    name!(object_type, String),
                    name!(object_name, String),
                    name!(privilege_type, String),
                    name!(mode, String),
                    name!(path, Vec<Name>),
                    name!(grantor, Option<Name>),
                    name!(grant_option, bool),
                    name!(ends_at, Option<TimestampWithTimeZone>),
                ),
            >,
            ErrorReport,
        > {
            $rows.map_err(report)
        }
    };
}

who_can_what!(
    effective_access(role: Option<pg_sys::Oid>, object: Option<&str>),
    of(role, object)
);
who_can_what!(
    who_can(privilege: Option<&str>, object: Option<&str>),
    with(privilege, object)
);

/// What a role can do, or everyone.
fn of(role: Option<pg_sys::Oid>, object: Option<&str>) -> Result<Rows, Error> {
    let viewer = Viewer::current();
    let target = object.map(object::find).transpose()?;
    let graph = match role {
        Some(role) => {
            let role = catalog::role_by_oid(role).ok_or(Error::NoSuchRole { oid: role.into() })?;
            viewer.may_see(&role)?;
            Scene::of(role)?
        }
        None => viewer.scene()?,
    };
    let listing = Listing::new(graph, target)?;
    if role.is_none() {
        viewer.tell();
    }
    Ok(listing.into_rows())
}

/// Who has a right on an object.
fn with(privilege: Option<&str>, object: Option<&str>) -> Result<Rows, Error> {
    let word = privilege.ok_or(Error::Null("privilege"))?;
    let right = Right::of_word(word).ok_or_else(|| Error::NoSuchRight {
        word: word.to_owned(),
    })?;
    let object = object.ok_or(Error::Null("object"))?;
    let viewer = Viewer::current();
    let target = object::find(object)?;
    let mut listing = Listing::new(Scene::empty(), Some(target))?;
    listing.require(right)?;
    // What is on an object is its owner's to know.
    let owner = listing.objects.first().map(|object| object.owner);
    listing.scene = if owner.is_some_and(|owner| viewer.has_privileges_of(owner)) {
        Scene::whole()?
    } else {
        viewer.tell();
        viewer.scene()?
    };
    listing.narrow(right);
    Ok(listing.into_rows())
}

/// Before the time at which something ends.
pub const UNTIL: &str = " until ";

/// What a role can do in this database, without what everyone can, each as a line, and until when. Sorted. For whoever
/// may know.
pub fn lines(role: pg_sys::Oid) -> Result<Vec<String>, Error> {
    let role = catalog::role_by_oid(role).ok_or(Error::NoSuchRole { oid: role.into() })?;
    let listing = Listing::new(Scene::of(role)?, None)?;
    let mut lines: Vec<String> = listing
        .into_rows()
        .filter(|(_, _, _, _, mode, ..)| mode != Mode::Public.word())
        .map(
            |(_, kind, object, right, mode, path, _, grant_option, ends)| {
                let path: Vec<String> = path
                    .into_iter()
                    .skip(1)
                    .map(|Name(role)| spi::identifier(&role))
                    .collect();
                let via = match path.is_empty() {
                    true => String::new(),
                    false => format!(" through {}", path.join(" > ")),
                };
                let grant = if grant_option {
                    " with grant option"
                } else {
                    ""
                };
                let until = ends.map_or_else(String::new, |ends| {
                    UNTIL.to_owned() + &timestamp::rfc3339(clock::from_postgres(ends.into_inner()))
                });
                format!("{right} on {kind} {object}{grant} ({mode}{via}){until}")
            },
        )
        .collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines)
}

/// Who asks. Members of pg_monitor see every role, others those whose privileges they have.
struct Viewer {
    role: pg_sys::Oid,
    all: bool,
}

impl Viewer {
    fn current() -> Self {
        let role = identity::current_user();
        Self {
            role,
            all: catalog::has_privileges_of(role, PG_MONITOR.into()),
        }
    }

    fn has_privileges_of(&self, role: u32) -> bool {
        catalog::has_privileges_of(self.role, role.into())
    }

    fn may_see(&self, role: &catalog::Role) -> Result<(), Error> {
        if self.all || catalog::has_privileges_of(self.role, role.oid) {
            return Ok(());
        }
        let caller = catalog::role_by_oid(self.role).map(|role| role.name);
        Err(Error::NotYours {
            role: role.name.clone(),
            caller: caller.unwrap_or_default(),
        })
    }

    /// A list of some roles, which may be empty, must not be taken for one of all.
    fn tell(&self) {
        if self.all {
            return;
        }
        notice(
            "only the roles whose privileges you have are shown; there may be others".into(),
            "Members of pg_monitor see all roles, the owner of an object all of scope.who_can() for it.",
            "Have pg_monitor granted to you.",
        );
    }

    /// All that it may see.
    fn scene(&self) -> Result<Scene, Error> {
        if self.all {
            return Scene::whole();
        }
        let role = catalog::role_by_oid(self.role).ok_or(Error::NoSuchRole {
            oid: self.role.into(),
        })?;
        let mut scene = Scene::of(role)?;
        let reach = scene.graph.reach(self.role.into());
        scene.roles = reach.held.roles().map(|(role, _)| role).collect();
        Ok(scene)
    }
}

/// The roles to speak of, and what there is to know about them.
struct Scene {
    graph: Graph,
    roles: Vec<u32>,
    /// One role was asked for: nothing about it is left out.
    asked: bool,
}

impl Scene {
    fn empty() -> Self {
        Self {
            graph: Graph::default(),
            roles: Vec::new(),
            asked: false,
        }
    }

    fn of(role: catalog::Role) -> Result<Self, Error> {
        Ok(Self {
            graph: identity::elevated(|| facts::graph_of(&role))?,
            roles: vec![role.oid.into()],
            asked: true,
        })
    }

    fn whole() -> Result<Self, Error> {
        let graph = identity::elevated(facts::whole_graph)?;
        Ok(Self {
            roles: graph.nodes.keys().copied().collect(),
            graph,
            asked: false,
        })
    }
}

/// What is to be listed. The rows are made role by role, as they are fetched.
struct Listing {
    scene: Scene,
    objects: Vec<Object>,
    /// Memberships: of one role, of all, or not.
    roles: Option<Option<u32>>,
    right: Option<Right>,
    /// The objects on which somebody has been granted something, by their numbers.
    by_grantee: HashMap<u32, Vec<usize>>,
    /// Names of roles outside of the scene: grantors.
    names: RefCell<HashMap<u32, String>>,
}

impl Listing {
    fn new(scene: Scene, target: Option<Target>) -> Result<Self, Error> {
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
    fn require(&mut self, right: Right) -> Result<(), Error> {
        let (class, kind) = match self.objects.first() {
            Some(object) => (object.class, object.kind.as_str()),
            None => (Class::Role, "role"),
        };
        let fitting = rights::all(class, compat::HAS_MAINTAIN);
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
    fn narrow(&mut self, right: Right) {
        let graph = &self.scene.graph;
        let mut holders: Vec<u32> = self.roles.flatten().into_iter().collect();
        for object in &self.objects {
            holders.extend(rights::predefined(object.class, right));
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

    fn into_rows(mut self) -> Rows {
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
            for holding in holding::on(graph, &reach, object, compat::HAS_MAINTAIN) {
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
