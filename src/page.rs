//! The review as a page: findings, map and access of today, in one file that needs nothing else.

mod findings;
mod matrix;
mod names;
mod render;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error;
use crate::map;
use crate::pg::{identity, spi};
use findings::Finding;
use matrix::Access;
use render::{Page, Place};

/// Documented in `sql/page.sql`.
#[pg_extern(sql = false)]
fn review_html() -> Result<String, ErrorReport> {
    page().map(|page| page.html()).map_err(error::report)
}

fn page() -> Result<Page, map::Error> {
    let drawing = map::drawing()?;
    identity::elevated(|| {
        let place = spi::facts::<Place>(PLACE, &[])?.pop();
        Ok(Page {
            place: place.unwrap_or_default(),
            findings: spi::facts::<Finding>(FINDINGS, &[])?,
            drawing,
            access: spi::facts::<Access>(ACCESS, &[])?,
        })
    })
}

// They run with search_path pinned.

const PLACE: &str = "
SELECT pg_catalog.jsonb_build_object(
         'database', pg_catalog.current_database(), 'server', pg_catalog.current_setting('server_version'),
         'reviewer', SESSION_USER,
         'at', pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))::text";

const FINDINGS: &str = "
SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
         'severity', f.severity, 'code', f.code, 'role', f.role_name, 'object', f.object_name, 'finding', f.finding,
         'since', pg_catalog.to_char(f.since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), 'fix', f.fix,
         'accepted', f.accepted_reason, 'accepted_by', f.accepted_by,
         'accepted_until', pg_catalog.to_char(f.accepted_until AT TIME ZONE 'UTC', 'YYYY-MM-DD')))::text
  FROM scope.review() WITH ORDINALITY AS f
 ORDER BY f.ordinality";

/// By schema, or by kind for what is in none. What superusers and predefined roles have, and what
/// everyone has, says nothing about a role, and what waits is nothing yet.
const ACCESS: &str = "
SELECT pg_catalog.jsonb_build_object('role', g.role_name, 'place', coalesce(g.schema, g.object_type || 's'),
         'object', coalesce(pg_catalog.substr(g.object_name, pg_catalog.length(g.schema) + 2), g.object_name), 'privileges', g.privileges)::text
  FROM (
    SELECT a.role_name, a.object_type, a.object_name, a.schema, pg_catalog.array_agg(DISTINCT a.privilege_type ORDER BY a.privilege_type) AS privileges
      FROM (SELECT e.*, pg_catalog.substring(e.object_name, '^(\"(?:[^\"]|\"\")*\"|[^.\"(]+)\\.') AS schema
              FROM scope.effective_access() e
             WHERE e.mode NOT IN ('superuser', 'public', 'default') AND e.object_type <> 'role'
               AND e.role_name NOT LIKE 'pg\\_%') a
     GROUP BY a.role_name, a.object_type, a.object_name, a.schema) g
 ORDER BY g.role_name, g.object_name";
