//! The hook on access to objects: functions that are called, what is made or altered, names that are looked up.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::error_context::explaining;
use super::judge::{
    acts_as_another, before_anything, before_inherited_use, before_query, before_query_of_another,
    inherits_for_a_time,
};
use super::{compat, guards, sealed};
use super::{quiet, statements};
use crate::lock::verdict::{Event, Statement, Violation};
use crate::lock::{self, is_bound, triggers};
use crate::login;
use crate::pg::{catalog, spi, timer};
use crate::session::planted::{self, Meaning};
use crate::session::{claim_settings, gate, leftovers, switch_state, switching};

static mut PREVIOUS: pg_sys::object_access_hook_type = None;

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_access);
    }
}

#[cold]
#[pg_guard]
extern "C-unwind" fn refuse_in_given() {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "permission denied to run functions while a statement for approval is read",
        function_name!(),
    )
    .set_detail("One of its literals is of a type with a domain whose check calls a function.")
    .set_hint("Give the value as a parameter, of a type without such a domain.")
    .report(PgLogLevel::ERROR);
}

unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    sub_object: i32,
    argument: *mut c_void,
) {
    if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE && spi::is_analysing_given() {
        refuse_in_given();
    }
    if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE && quiet::is_quiet() {
        if claim_settings::reads(object) {
            before_read();
        }
    } else if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE {
        // The fast path of the protocol calls functions without a statement.
        // SAFETY: a plain read of a backend global.
        let is_fast_path = unsafe { pg_sys::ActivePortal.is_null() };
        if is_fast_path && statements::are_queries_recorded() {
            statements::called(object);
        }
        if is_fast_path && login::standing::is_watched() {
            before_anything();
        }
        if inherits_for_a_time() && !is_pure_function(object) {
            before_inherited_use();
        }
        if is_bound() {
            if is_fast_path {
                timer::called();
                // SAFETY: in the backend, while it executes something.
                unsafe { explaining(std::ptr::null(), || before_query()) }
            }
            before_function(object);
        }
        if claim_settings::reads(object) {
            before_read();
        }
        // SAFETY: in a transaction, as all execution.
        unsafe { guards::functions::before_function(object) }
        if is_fast_path && acts_as_another() {
            before_query_of_another();
        }
    } else {
        match access {
            pg_sys::ObjectAccessType::OAT_POST_CREATE if class == pg_sys::TriggerRelationId => {
                sealed::after_trigger(object);
            }
            _ => {}
        }
        if is_bound() {
            match access {
                pg_sys::ObjectAccessType::OAT_POST_CREATE
                | pg_sys::ObjectAccessType::OAT_POST_ALTER => {
                    leftovers::changed();
                    if class == pg_sys::TriggerRelationId {
                        after_trigger(object);
                    }
                    if class == pg_sys::TypeRelationId
                        && access == pg_sys::ObjectAccessType::OAT_POST_CREATE
                    {
                        after_type(object);
                    }
                }
                pg_sys::ObjectAccessType::OAT_NAMESPACE_SEARCH => {
                    // SAFETY: what PostgreSQL passes with this kind of access.
                    unsafe { before_search(object, argument.cast()) }
                }
                _ => {}
            }
        }
    }
    // SAFETY: the arguments go on as they came.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(access, class, object, sub_object, argument);
        }
    }
}

#[pg_guard]
extern "C-unwind" fn is_pure_function(function: pg_sys::Oid) -> bool {
    catalog::is_postgresqls(function, |_, volatility| {
        volatility == pg_sys::PROVOLATILE_IMMUTABLE
    })
}

#[pg_guard]
extern "C-unwind" fn before_read() {
    claim_settings::before_read();
}

#[pg_guard]
extern "C-unwind" fn before_function(function: pg_sys::Oid) {
    // The view `pg_prepared_statements` is made of it.
    let event = if gate::is_shared() && u32::from(function) == pg_sys::F_PG_PREPARED_STATEMENT {
        Event::PreparedTexts
    } else if !switch_state::is_locked() && lock::reach::reaches_beyond(function) {
        Event::Reach
    } else {
        Event::Function
    };
    lock::enforce(&event);
}

/// The table's name may have got another meaning since the statement was judged, and its partitions
/// have got clones of the trigger.
#[pg_guard]
extern "C-unwind" fn after_trigger(trigger: pg_sys::Oid) {
    let (Some(role), Some(made)) = (switching::locked_to(), catalog::new_trigger(trigger)) else {
        return;
    };
    if !triggers::is_own(&made) {
        lock::enforce(&Event::Utility(Statement::Trigger { own: false }));
    }
    if compat::CASCADES_FIRE_TRIGGERS_AS_WHO_BEGAN
        && (triggers::cascades_into_tables_of(&made, role)
            || triggers::runs_code_after(&made) && triggers::others_cascade_into_tables_of(role))
    {
        lock::enforce(&Event::Utility(Statement::Cascade));
    }
}

/// PL/pgSQL keeps what a type's name meant at a function's first call in the session, and looks at none but rows again; drivers keep that of
/// a parameter. Temporary ones come first, and would be gone for all later users of the connection.
#[pg_guard]
extern "C-unwind" fn after_type(made: pg_sys::Oid) {
    if gate::login().is_some() && catalog::is_new_temporary_type(made) {
        lock::enforce(&Event::TemporaryType);
    }
}

/// Names are not looked up where a user of this connection may plant something: PL/pgSQL keeps the
/// types that a name meant at its first call in the session, for all later users of the connection.
///
/// # Safety
/// `search` is valid.
#[pg_guard]
unsafe extern "C-unwind" fn before_search(
    schema: pg_sys::Oid,
    search: *mut pg_sys::ObjectAccessNamespaceSearch,
) {
    // SAFETY: by contract. A schema that is named in full is reported, one of the path is left out.
    unsafe {
        if (*search).ereport_on_violation {
            return;
        }
        let Some(login) = gate::login() else {
            return;
        };
        match planted::judge(schema, login) {
            Meaning::Kept => {}
            Meaning::LeftOut => (*search).result = false,
            Meaning::Changed => lock::refuse(&Violation::Planted),
        }
    }
}
