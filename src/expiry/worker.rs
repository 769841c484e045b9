//! The worker in one database: takes every due credential as far as it can there, and ends.

use pgrx::prelude::*;

use super::end::{self, Action, Ended};
use super::{Credential, credentials};
use crate::pg::{clock, worker, xact};

pub fn run() {
    worker::report_activity(Some(c"ending credentials"));
    // Nobody's long transaction may stop the others' end: what waits is tried again later.
    worker::set_for_session(c"lock_timeout", c"3s");
    worker::set_for_session(c"statement_timeout", c"0");
    let due = xact::transaction(|| {
        let now = clock::now();
        credentials()
            .into_iter()
            .filter(|role| role.is_due(now))
            .collect::<Vec<_>>()
    });
    match due {
        Ok(due) => due.iter().for_each(finish),
        Err(failure) => warning!(
            "scope_roles: reading the catalogs failed: {}",
            failure.message
        ),
    }
}

/// One commit a step, so that a crash between two loses nothing.
fn finish(due: &Credential) {
    let disabled = xact::transaction(|| match end::claim(due) {
        Some(due) => end::disable(&due).map(|()| true),
        None => Ok(false),
    });
    match disabled {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return,
        Ok(Err(error)) => return give_up(due, &error.to_string()),
        Err(failure) => return give_up(due, &failure.message),
    }
    let mut sessions_terminated = end::terminate(due.oid);
    let outcome = xact::transaction(|| match end::claim(due) {
        Some(due) => end::release_and_drop(&due).map(Some),
        None => Ok(None),
    });
    match outcome {
        Ok(Ok(Some((action, detail)))) => {
            if action == Action::Dropped {
                // A login that was between its checks and its first command when the role went.
                sessions_terminated += end::terminate(due.oid);
            }
            // What has not changed since the last attempt is known already.
            if action == Action::Dropped || detail != due.metadata.error {
                let role = due.name.clone();
                end::record(&Ended {
                    role,
                    action,
                    sessions_terminated,
                    detail,
                });
            }
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => give_up(due, &error.to_string()),
        Err(failure) => give_up(due, &failure.message),
    }
}

/// Leaves the reason where a DBA looks, and the rest for the next attempt.
fn give_up(due: &Credential, error: &str) {
    let noted = xact::transaction(|| match super::credential(due.oid) {
        Some(due) if due.metadata.error.as_deref() != Some(error) => end::note_failure(&due, error),
        _ => Ok(()),
    });
    let problem = match noted {
        Ok(Ok(())) => String::new(),
        Ok(Err(second)) => format!("; the reason could not be noted: {second}"),
        Err(second) => format!("; the reason could not be noted: {}", second.message),
    };
    warning!(
        "scope_roles: ending credential \"{}\" failed: {error}{problem}",
        due.name
    );
}
