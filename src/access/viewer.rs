//! Who asks who can do what.

use pgrx::pg_sys;

use super::scene::Scene;
use super::{Error, PG_MONITOR};
use crate::error::notice;
use crate::pg::{catalog, identity};

/// Who asks. Members of pg_monitor see every role, others those whose privileges they have.
pub struct Viewer {
    role: pg_sys::Oid,
    all: bool,
}

impl Viewer {
    pub fn current() -> Self {
        let role = identity::current_user();
        Self {
            role,
            all: catalog::has_privileges_of(role, PG_MONITOR.into()),
        }
    }

    pub fn has_privileges_of(&self, role: u32) -> bool {
        catalog::has_privileges_of(self.role, role.into())
    }

    pub fn may_see(&self, role: &catalog::Role) -> Result<(), Error> {
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
    pub fn tell(&self) {
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
    pub fn scene(&self) -> Result<Scene, Error> {
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
