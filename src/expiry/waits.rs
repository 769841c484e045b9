//! Who keeps the end of a role waiting, and whom it keeps.

use std::collections::HashSet;

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::pg::{server, spi};

/// The sessions that keep the lock of the role, or of one that it is a member of, by a call of ours in a transaction
/// that is still open; not a superuser's.
pub fn open_calls(role: pg_sys::Oid) -> SpiResult<Vec<i32>> {
    let found = spi::query(
        "SELECT l.pid FROM pg_catalog.pg_locks l
           JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.backend_type = 'client backend'
           JOIN pg_catalog.pg_authid r ON r.oid = a.usesysid AND NOT r.rolsuper
          WHERE l.granted AND l.locktype = 'advisory' AND l.database = 0
            AND (l.objid = $1 OR l.objid IN (SELECT m.roleid FROM pg_catalog.pg_auth_members m WHERE m.member = $1))
            AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass",
        &[role.into()],
        |row| row.get::<i32>(1),
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Does anybody wait for a lock of this transaction?
pub fn is_waited_for() -> SpiResult<bool> {
    let found = spi::query(
        "SELECT true FROM pg_catalog.pg_locks l
          WHERE NOT l.granted AND l.pid <> pg_catalog.pg_backend_pid()
            AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(l.pid)) LIMIT 1",
        &[],
        |_| Ok(()),
    )?;
    Ok(!found.is_empty())
}

/// Which of the roles have prepared transactions.
pub fn with_prepared_transactions(roles: &[pg_sys::Oid]) -> SpiResult<HashSet<pg_sys::Oid>> {
    if !server::takes_prepared_transactions() {
        return Ok(HashSet::new());
    }
    let found = spi::query(
        "SELECT r.oid FROM pg_catalog.pg_prepared_xacts p JOIN pg_catalog.pg_authid r ON r.rolname = p.owner
          WHERE r.oid = ANY ($1)",
        &[roles.to_vec().into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// A prepared transaction of the role, in words: it keeps its locks until somebody decides about it.
pub fn prepared_transaction(role: pg_sys::Oid) -> SpiResult<Option<String>> {
    if !server::takes_prepared_transactions() {
        return Ok(None);
    }
    let found = spi::query(
        "SELECT pg_catalog.format('its prepared transaction %L in database %I is open: COMMIT PREPARED or ROLLBACK PREPARED it there',
                                  p.gid, p.database)
           FROM pg_catalog.pg_prepared_xacts p JOIN pg_catalog.pg_authid r ON r.rolname = p.owner
          WHERE r.oid = $1 ORDER BY p.prepared LIMIT 1",
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(found.into_iter().flatten().next())
}

/// How many sessions there are of a role and its members that began before a moment. Superusers,
/// who are members of all roles, do not count.
pub fn sessions_since_before(role: pg_sys::Oid, moment: &str) -> SpiResult<i64> {
    let found = spi::query(
        "SELECT pg_catalog.count(*)
           FROM pg_catalog.pg_stat_activity s
           JOIN pg_catalog.pg_authid r ON r.oid = s.usesysid
          WHERE s.backend_start <= $2::pg_catalog.timestamptz AND NOT r.rolsuper
            AND pg_catalog.pg_has_role(r.oid, $1, 'MEMBER')",
        &[role.into(), moment.into()],
        |row| row.get::<i64>(1),
    )?;
    Ok(found.into_iter().flatten().next().unwrap_or(0))
}
