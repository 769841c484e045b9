//! The end of old rows of `scope.audit_log`; in the worker of a database.

use pgrx::prelude::*;
use pgrx::spi::SpiResult;

use crate::guc;
use crate::own_tables;
use crate::pg::{clock, identity, spi, worker, xact};
use crate::waiting;

const BATCH: i64 = 10_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// One commit a batch, while `goes_on`.
pub fn run(mut goes_on: impl FnMut() -> bool) {
    let Some(age) = guc::audit_retention() else {
        return;
    };
    let before = clock::now().saturating_sub(age.saturating_mul(MICROS_PER_SECOND));
    worker::wait_at_most(waiting::patience());
    while goes_on() {
        match xact::transaction(|| xact::raised(identity::elevated(|| delete(before)))) {
            Ok(BATCH..) => {}
            Ok(_) => return,
            Err(failure) => {
                warning!(
                    "scope_roles: deleting old rows of scope.audit_log failed: {}",
                    crate::text::visible(&failure.message)
                );
                return;
            }
        }
    }
}

/// How many rows older than `before` were deleted. Only from the extension's own table: in a database
/// without it, one of that name is somebody else's, and so are its triggers.
fn delete(before: i64) -> SpiResult<i64> {
    if own_tables::find(own_tables::AUDIT_LOG).is_none() {
        return Ok(0);
    }
    let deleted = spi::query(
        "WITH old AS (SELECT id FROM scope.audit_log WHERE at OPERATOR(pg_catalog.<) $1 ORDER BY at LIMIT $2),
              gone AS (DELETE FROM scope.audit_log a USING old WHERE a.id OPERATOR(pg_catalog.=) old.id RETURNING 1)
         SELECT pg_catalog.count(*) FROM gone",
        &[clock::to_sql(before).into(), BATCH.into()],
        |row| row.get::<i64>(1),
    )?;
    Ok(deleted.into_iter().flatten().sum())
}
