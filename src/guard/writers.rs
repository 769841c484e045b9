//! Functions that may change data on behalf of roles that only read.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::pg_sys;

use crate::own_tables;
use crate::pg::{catalog, identity, spi, xact};

thread_local! {
    static ALLOWED: RefCell<HashSet<u32>> = RefCell::default();
    static READ_AT: Cell<u64> = const { Cell::new(0) };
    /// Those that are running.
    static RUNNING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Writes down, or strikes out, a function: its name, `None` when there is none.
pub fn change(function: pg_sys::Oid, allowed: bool) -> Option<String> {
    let caller = catalog::name_of(identity::current_user());
    identity::elevated(|| {
        let names = spi::query(
            "SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p WHERE p.oid = $1",
            &[function.into()],
            |row| row.get::<String>(1),
        );
        let name = xact::raised(names).into_iter().flatten().next()?;
        let arguments = [name.as_str().into(), caller.as_str().into()];
        let done = if allowed {
            spi::query(
                "INSERT INTO scope.writing_function (function, allowed_by) VALUES ($1, $2)
                 ON CONFLICT (function) DO UPDATE SET allowed_by = $2, allowed_at = pg_catalog.now()",
                &arguments,
                |_| Ok(()),
            )
        } else {
            let [name, _] = arguments;
            spi::query(
                "DELETE FROM scope.writing_function WHERE function = $1",
                &[name],
                |_| Ok(()),
            )
        };
        xact::raised(done);
        Some(name)
    })
}

/// Reads the list again when it may have changed. Inside a transaction, where statements can run.
pub fn learn() {
    let generation = own_tables::generation();
    if READ_AT.get() == generation || identity::is_own_work() {
        return;
    }
    own_tables::learn();
    let functions = if own_tables::has_rows(own_tables::WRITING_FUNCTION) {
        // By name: one that is made anew is another function by number only.
        identity::elevated(|| {
            spi::latest(
                "SELECT pg_catalog.to_regprocedure(function)::pg_catalog.oid::text FROM scope.writing_function",
                &[],
            )
        })
    } else {
        Vec::new()
    };
    let functions = functions
        .into_iter()
        .filter_map(|oid| oid.parse().ok())
        .collect();
    ALLOWED.set(functions);
    READ_AT.set(generation);
}

/// In a session that only reads.
pub fn is_allowed(function: pg_sys::Oid) -> bool {
    ALLOWED.with_borrow(|allowed| allowed.contains(&function.into()))
}

pub fn begins(function: pg_sys::Oid) {
    RUNNING.with_borrow_mut(|running| running.push(function.into()));
}

/// It has returned, or failed.
pub fn ends(function: pg_sys::Oid) {
    RUNNING.with_borrow_mut(|running| {
        if running.last() == Some(&function.into()) {
            running.pop();
        }
    });
}

pub fn is_running() -> bool {
    RUNNING.with_borrow(|running| !running.is_empty())
}
