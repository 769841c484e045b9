//! The map: roles, what they are members of, what scopes reach, and when it ends.

mod dot;
mod drawing;
mod error;
mod fold;
mod layout;
mod mermaid;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::report;
use crate::pg::arguments::Text;
use crate::pg::{identity, spi};
pub use drawing::Drawing;
use fold::{Folded, Membership, Role};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("format must not be null")]
    Null,
    #[error("unknown format \"{0}\"")]
    Format(String),
    #[error("the catalogs could not be read")]
    Sql(String),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

/// Documented in `sql/map.sql`.
#[pg_extern(sql = false)]
fn role_map(format: Option<Text>) -> Result<String, ErrorReport> {
    let format = format.as_deref();
    let map = || -> Result<String, Error> {
        let format = format.ok_or(Error::Null)?;
        match format.trim().to_ascii_lowercase().as_str() {
            "mermaid" => Ok(mermaid::text(&folded()?)),
            "dot" => Ok(dot::text(&folded()?)),
            "json" => Ok(serde_json::to_string(&read()?)?),
            _ => Err(Error::Format(format.to_owned())),
        }
    };
    map().map_err(report)
}

/// Everything, as the JSON form has it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Everything {
    roles: Vec<Role>,
    memberships: Vec<Membership>,
}

/// The map for pages.
pub fn drawing() -> Result<Drawing, Error> {
    Ok(drawing::draw(&folded()?))
}

/// The map as it is drawn.
fn folded() -> Result<Folded, Error> {
    let everything = read()?;
    Ok(fold::fold(&everything.roles, &everything.memberships))
}

fn read() -> Result<Everything, Error> {
    identity::elevated(|| {
        Ok(Everything {
            roles: spi::facts(ROLES, &[])?,
            memberships: spi::facts(MEMBERSHIPS, &[])?,
        })
    })
}

// They run with search_path pinned. Predefined roles are shown where a role of somebody's is a member.

const ROLES: &str = "
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'name', r.rolname,
         'kind', CASE WHEN l.label ->> 'kind' IN ('scope', 'credential', 'authenticator', 'temporary') THEN l.label ->> 'kind'
                      WHEN r.rolsuper THEN 'superuser'
                      WHEN r.rolname LIKE 'pg\\_%' THEN 'predefined'
                      WHEN r.rolcanlogin THEN 'login' ELSE 'group' END,
         'state', l.label ->> 'state',
         'database', l.label ->> 'database',
         'purpose', l.label ->> 'purpose',
         'until', CASE WHEN pg_catalog.isfinite(d.until)
                       THEN pg_catalog.to_char(d.until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"') END,
         'reaches', s.privileges))::text
  FROM pg_catalog.pg_roles r
  LEFT JOIN (SELECT objoid, label::pg_catalog.jsonb AS label FROM pg_catalog.pg_shseclabel
              WHERE provider = 'scope_roles' AND classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass) l ON l.objoid = r.oid
  CROSS JOIN LATERAL (SELECT LEAST(r.rolvaliduntil, (l.label ->> 'valid_until')::pg_catalog.timestamptz) AS until) d
  LEFT JOIN scope.scopes s ON s.scope = r.rolname
 WHERE r.rolname NOT LIKE 'pg\\_%'
    OR EXISTS (SELECT FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member
                WHERE a.roleid = r.oid AND m.rolname NOT LIKE 'pg\\_%')
 ORDER BY r.rolname";

const MEMBERSHIPS: &str = "
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'member', m.rolname, 'role', r.rolname, 'grantor', g.rolname, 'admin', a.admin_option,
         'inherit', COALESCE((pg_catalog.to_jsonb(a) ->> 'inherit_option')::boolean, CASE WHEN NOT m.rolinherit THEN false END),
         'set', (pg_catalog.to_jsonb(a) ->> 'set_option')::boolean))::text
  FROM pg_catalog.pg_auth_members a
  JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
  JOIN pg_catalog.pg_roles m ON m.oid = a.member
  LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantor
 WHERE m.rolname NOT LIKE 'pg\\_%'
 ORDER BY r.rolname, m.rolname, g.rolname";
