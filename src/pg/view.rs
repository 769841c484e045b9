//! What views reach.

use pgrx::pg_sys;

use super::{identity, spi};

/// A relation, and what the queries of views name.
pub fn reached(relation: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: a catalogue look-up.
    let kind = unsafe { pg_sys::get_rel_relkind(relation) } as u8;
    if kind != pg_sys::RELKIND_VIEW {
        return vec![relation];
    }
    let oid = u32::from(relation).to_string();
    let oids = identity::elevated(|| spi::latest(REACHED, &[Some(&oid)]));
    oids.iter()
        .filter_map(|oid| oid.parse::<u32>().ok())
        .map(pg_sys::Oid::from)
        .collect()
}

/// The stored query has the OIDs of all tables in it; pg_depend leaves out PostgreSQL's own.
const REACHED: &str = "
WITH RECURSIVE reached(oid) AS (
    SELECT $1::pg_catalog.oid
     UNION
    SELECT m.match[1]::pg_catalog.oid
      FROM reached r JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) r.oid
     CROSS JOIN LATERAL pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':relid ([0-9]+)', 'g') AS m(match))
SELECT oid::pg_catalog.text FROM reached";
