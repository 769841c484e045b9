//! A policy as the call that makes it.

use serde_json::json;

use super::given::Given;
use crate::pg::spi::{array, literal};

/// Without what the function has anyway.
pub fn creation(name: &str, given: &Given, replace: bool) -> String {
    let Given {
        kind,
        targets,
        requesters,
        approvals,
        require,
        max_duration,
        default_duration,
        pending_for,
        reason_pattern,
        ticket_required,
        hours,
        time_zone,
        auto_approve,
        break_glass,
    } = given;
    let list = |items: &Vec<String>| (!items.is_empty()).then(|| array(items));
    let text = |text: &String| Some(literal(text));
    let json = |json: serde_json::Value| literal(&json.to_string());
    let default = Given::of_nothing();
    let named = [
        (
            "require",
            text(require).filter(|_| *require != default.require),
        ),
        ("max_duration", text(max_duration)),
        ("default_duration", default_duration.as_ref().and_then(text)),
        (
            "pending_for",
            text(pending_for).filter(|_| *pending_for != default.pending_for),
        ),
        (
            "reason_pattern",
            match reason_pattern {
                None => Some("NULL".to_owned()),
                Some(pattern) => {
                    text(pattern).filter(|_| *reason_pattern != default.reason_pattern)
                }
            },
        ),
        (
            "ticket_required",
            ticket_required.then(|| "true".to_owned()),
        ),
        ("hours", list(hours)),
        ("time_zone", time_zone.as_ref().and_then(text)),
        (
            "auto_approve",
            auto_approve.as_ref().map(|auto| json(json!(auto))),
        ),
        ("break_glass", list(break_glass)),
        ("kind", text(kind).filter(|_| *kind != default.kind)),
        ("replace", replace.then(|| "true".to_owned())),
    ];
    let named: Vec<String> = named
        .into_iter()
        .filter_map(|(name, value)| Some(format!(", {name} => {}", value?)))
        .collect();
    format!(
        "SELECT scope.create_request_policy({}, {}, {}, {}{})",
        literal(name),
        array(targets),
        array(requesters),
        json(json!(approvals)),
        named.concat()
    )
}

pub fn end(name: &str) -> String {
    format!("SELECT scope.drop_request_policy({})", literal(name))
}
