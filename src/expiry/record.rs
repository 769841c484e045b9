//! What has become of a role that ends: for the caller, and for the audit trail.

use super::Managed;
use crate::audit::{self, Event};
use crate::label::{self, Kind};

/// One row of `scope.expire_roles()`, and one line of the server log.
#[derive(Debug)]
pub struct Ended {
    pub role: String,
    pub action: Action,
    pub sessions_terminated: i32,
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Dropped,
    Ending,
    Quarantined,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Action::Dropped => "dropped",
            Action::Ending => "ending",
            Action::Quarantined => "quarantined",
        })
    }
}

/// Not again for a quarantine that lasts.
pub fn record(ended: &Ended, kind: Kind) {
    let step = ended.action.to_string();
    audit::record(Event::Expire {
        step: &step,
        kind: label::kind_name(kind),
        role_name: &ended.role,
        sessions_terminated: ended.sessions_terminated.into(),
        detail: ended.detail.as_deref(),
        failed: false,
    });
}

/// The same, of the first step.
pub fn record_disabled(role: &Managed) {
    audit::record(Event::Expire {
        step: "disabled",
        kind: label::kind_name(role.metadata.kind),
        role_name: &role.name,
        sessions_terminated: 0,
        detail: None,
        failed: false,
    });
}

/// The same, of a step that has failed, and will be tried again.
pub fn record_failure(role: &Managed, reason: &str) {
    audit::record(Event::Expire {
        step: "failed",
        kind: label::kind_name(role.metadata.kind),
        role_name: &role.name,
        sessions_terminated: 0,
        detail: Some(reason),
        failed: true,
    });
}
