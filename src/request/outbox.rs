//! What a notifier has told people of.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, store, writable};
use crate::access::PG_MONITOR;
use crate::error::{report, require_preload};
use crate::pg::{catalog, identity};

/// Documented in `sql/requests.sql`.
#[pg_extern(sql = false)]
fn acknowledge(ids: Option<Vec<Option<pgrx::Uuid>>>) -> Result<i32, ErrorReport> {
    require_preload()?;
    let acknowledge = || -> Result<i32, Error> {
        writable()?;
        if !catalog::has_privileges_of(identity::current_user(), PG_MONITOR.into()) {
            return Err(Error::Monitor);
        }
        let ids = ids.ok_or(Error::Null("ids"))?;
        store::told(ids.into_iter().flatten().map(|id| id.to_string()).collect())
    };
    acknowledge().map_err(report)
}
