//! Who holds a role's end up.

use pgrx::pg_sys;
use pgrx::spi::SpiResult;

use crate::pg::spi;

/// Who keeps the role from being changed or dropped, in words: whoever has locked it, else one who
/// is changing roles, else the oldest transaction that has changed something here. (What was granted on
/// a table is in its owner's hands, and PostgreSQL does not keep a lock that shows it.)
pub fn lock_holder(role: pg_sys::Oid) -> SpiResult<Option<String>> {
    let found = spi::query(
        "SELECT CASE WHEN l.pid IS NOT NULL THEN pg_catalog.format('process %s', l.pid)
                     ELSE pg_catalog.format('prepared transaction \"%s\"', p.gid) END
                || CASE l.locktype WHEN 'object' THEN ' holds a lock on the role'
                                   WHEN 'advisory' THEN ' has called a function for the role'
                                   WHEN 'relation' THEN ' is changing roles'
                                   ELSE ' has made changes and is not done' END
           FROM pg_catalog.pg_locks l
           LEFT JOIN (pg_catalog.pg_locks t
                      JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid)
             ON l.pid IS NULL AND t.pid IS NULL AND t.virtualtransaction = l.virtualtransaction
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
          WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
            AND (l.locktype IN ('object', 'advisory') AND l.database = 0 AND l.objid = $1
                   AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass
                 OR l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
                   AND l.relation = 'pg_catalog.pg_authid'::pg_catalog.regclass
                 OR l.locktype = 'transactionid'
                   AND (a.datname = pg_catalog.current_database() OR p.database = pg_catalog.current_database()))
          ORDER BY pg_catalog.array_position(ARRAY['advisory', 'object', 'relation'], l.locktype),
                   a.xact_start, l.pid LIMIT 1",
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    Ok(found.into_iter().flatten().next())
}
