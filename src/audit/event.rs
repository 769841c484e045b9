//! What is recorded, and the fields that each event has of its own; `docs/audit.md` is their schema.
//! Pure.
#![forbid(unsafe_code)]

use super::class::Class;
use super::line::{Line, Value};
use crate::timestamp;

/// The fields of an event that differ from call to call.
pub type Fields<'a> = &'a [(&'static str, Value<'a>)];

#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A managed or guarded role logs in; `refused` is the whole reason.
    Login { refused: Option<&'a str>, tls: bool },
    /// A token, or the anonymous role, has switched the role.
    Switch {
        function: &'static str,
        /// When its statements end, in Unix microseconds; `i64::MAX`: never.
        until: i64,
        /// Who acts for the subject, as members of the line.
        actors: &'a [u8],
    },
    SwitchRefused {
        function: &'static str,
        problem: Problem<'a>,
    },
    /// The token of a session's switch has ended it.
    SwitchEnded,
    /// Something that the lock, or the gate of an authenticator, has stopped.
    LockViolation { problem: Problem<'a> },
    /// Something that an administrator has done; also a row of `scope.audit_log`.
    Admin {
        action: Action,
        /// The SQL function.
        function: &'a str,
        /// What it was done to: a role, a scope, an issuer, a token's jti.
        object: &'a str,
        fields: Fields<'a>,
    },
    /// The row of an administrative event could not be written; it is done without.
    Unrecorded {
        function: &'a str,
        object: &'a str,
        problem: Problem<'a>,
    },
    /// A step of a role's end.
    Expire {
        step: &'a str,
        kind: &'a str,
        role_name: &'a str,
        sessions_terminated: i64,
        /// What it waits for, or why it failed.
        detail: Option<&'a str>,
        failed: bool,
    },
    Ddl {
        /// `tag` and `objects`.
        members: &'a [u8],
    },
    /// An error with SQLSTATE 42501.
    Denied {
        problem: Problem<'a>,
        /// The command and its fingerprint, as far as they are known by then.
        tag: Option<&'a str>,
        query_id: Option<i64>,
        /// What the client has sent.
        text: Option<&'a str>,
    },
    /// Events of somebody without a token that were counted in this minute and not written.
    Flood { of: &'static str, count: u32 },
    /// A message that looks like a line of ours, written in place of it.
    Forgery { message: &'a [u8] },
    /// A statement that has ended.
    Statement {
        /// `tag`, `reads`, `writes`, `query_id` and `text`.
        members: &'a [u8],
        rows: Option<i64>,
        micros: i64,
        /// 1 for what the client has sent, more for what runs inside it.
        depth: i64,
        failed: bool,
    },
    /// A guard has noticed something. Also a NOTIFY on the channel `scope_alert`, where that is possible.
    Alert {
        /// Which guard: `max_rows`, `export_rows`, `ddl` …
        guard: &'a str,
        /// Was the statement refused?
        blocked: bool,
        fields: Fields<'a>,
    },
}

/// An error as the client has got it.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    pub sqlstate: &'a str,
    pub message: &'a [u8],
    pub detail: Option<&'a [u8]>,
}

/// What an administrator does; the name of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Issue,
    Renew,
    Rotate,
    Revoke,
    /// A scope is made, changed or dropped.
    Scope,
    /// A temporary membership is granted or revoked.
    Temporary,
    /// An issuer, or its keys.
    Issuer,
    /// A fetch has brought other keys of an issuer.
    KeysChanged,
    /// A fetch has failed, otherwise than the one before.
    KeysFailed,
    /// A token or a subject is revoked.
    Token,
    /// A login policy, a guard, or what they allow.
    Policy,
    /// Findings of a review are accepted or attested.
    Review,
    /// Sessions are ended.
    Sessions,
    /// Access is asked for, or somebody decides on it.
    Request,
    /// A person has left.
    Offboard,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Issue => "issue",
            Action::Renew => "renew",
            Action::Rotate => "rotate",
            Action::Revoke => "revoke",
            Action::Scope => "scope",
            Action::Temporary => "temporary",
            Action::Issuer => "issuer",
            Action::KeysChanged => "keys_changed",
            Action::KeysFailed => "keys_failed",
            Action::Token => "token",
            Action::Policy => "policy",
            Action::Review => "review",
            Action::Sessions => "sessions",
            Action::Request => "request",
            Action::Offboard => "offboard",
        }
    }
}

impl Action {
    /// Is it not done when its row can't be written? What gives something out is not; what takes away or
    /// limits, a revocation above all, must not depend on the record.
    pub fn needs_its_row(self, function: &str, fields: Fields<'_>) -> bool {
        match self {
            Action::Issue | Action::Renew => true,
            Action::Rotate
            | Action::Revoke
            | Action::Token
            | Action::Sessions
            | Action::Offboard => false,
            // A key that has gone must not stay because its record fails.
            Action::KeysChanged | Action::KeysFailed => false,
            Action::Scope => match function {
                "alter_scope" => fields.iter().any(|(key, _)| *key == "granted"),
                function => !matches!(function, "drop_scope" | "restrict_function"),
            },
            Action::Temporary => function == "grant_temporary",
            Action::Issuer => matches!(function, "add_jwt_issuer" | "alter_jwt_issuer"),
            Action::Policy => {
                matches!(function, "apply" | "allow_writes" | "create_request_policy")
            }
            Action::Review => function != "harden",
            Action::Request => !matches!(function, "deny" | "withdraw" | "revoke"),
        }
    }
}

impl Event<'_> {
    /// `None`: recorded unless nothing is.
    pub fn class(&self) -> Option<Class> {
        Some(match self {
            Event::Forgery { .. } | Event::Flood { .. } => return None,
            Event::Login { .. } => Class::Login,
            Event::Switch { .. } | Event::SwitchRefused { .. } | Event::SwitchEnded => {
                Class::Switch
            }
            Event::LockViolation { .. } => Class::Lock,
            Event::Admin { .. } | Event::Unrecorded { .. } => Class::Admin,
            Event::Expire { .. } => Class::Expire,
            Event::Ddl { .. } => Class::Ddl,
            Event::Denied { .. } => Class::Denied,
            Event::Statement { .. } => Class::Statement,
            Event::Alert { .. } => Class::Export,
        })
    }

    pub fn name(&self) -> &'static str {
        match self {
            Event::Login { .. } => "login",
            Event::Switch { .. } | Event::SwitchRefused { .. } => "switch",
            Event::SwitchEnded => "switch_end",
            Event::LockViolation { .. } => "lock_violation",
            Event::Admin { action, .. } => action.name(),
            Event::Unrecorded { .. } => "unrecorded",
            Event::Expire { .. } => "expire",
            Event::Ddl { .. } => "ddl",
            Event::Denied { .. } => "denied",
            Event::Forgery { .. } => "forgery",
            Event::Flood { .. } => "flood",
            Event::Statement { .. } => "statement",
            Event::Alert { .. } => "alert",
        }
    }

    /// Of an event that is true whatever becomes of its transaction.
    pub fn outcome(&self) -> &'static str {
        match self {
            Event::Login {
                refused: Some(_), ..
            }
            | Event::SwitchRefused { .. }
            | Event::LockViolation { .. }
            | Event::Denied { .. }
            | Event::Forgery { .. }
            | Event::Flood { .. }
            | Event::Alert { blocked: true, .. } => "refused",
            Event::Unrecorded { .. }
            | Event::Expire { failed: true, .. }
            | Event::Statement { failed: true, .. } => "failed",
            _ => "ok",
        }
    }

    /// Is it undone when its transaction rolls back? Then the line waits for the outcome.
    pub fn is_transactional(&self) -> bool {
        match self {
            // No rollback brings a session back.
            Event::Admin { action, .. } => *action != Action::Sessions,
            Event::Ddl { .. } | Event::Expire { .. } => true,
            _ => false,
        }
    }

    pub fn write(&self, line: &mut Line) {
        match *self {
            Event::Login { refused, tls } => {
                line.field("tls", Value::Bool(tls));
                line.field("reason", refused.into());
            }
            Event::Switch {
                function,
                until,
                actors,
            } => {
                line.field("function", Value::Text(function));
                let until = match until {
                    // As good as never, and no date that RFC 3339 can write.
                    timestamp::BEYOND.. => Value::Null,
                    until => Value::Time(until),
                };
                line.field("until", until);
                line.members(actors);
            }
            Event::SwitchRefused { function, problem } => {
                line.field("function", Value::Text(function));
                problem.write(line);
            }
            Event::SwitchEnded => {}
            Event::Flood { of, count } => {
                line.field("of", Value::Text(of));
                line.field("count", Value::Number(count.into()));
            }
            Event::Forgery { message } => line.field("message", Value::Bytes(message)),
            Event::LockViolation { problem } => problem.write(line),
            Event::Denied {
                problem,
                tag,
                query_id,
                text,
            } => {
                problem.write(line);
                line.field("tag", tag.into());
                line.field("query_id", query_id.map_or(Value::Null, Value::Number));
                line.field("text", text.into());
            }
            Event::Admin {
                function,
                object,
                fields,
                ..
            } => {
                line.field("function", Value::Text(function));
                line.field("object", Value::Text(object));
                write(line, fields);
            }
            Event::Unrecorded {
                function,
                object,
                problem,
            } => {
                line.field("function", Value::Text(function));
                line.field("object", Value::Text(object));
                problem.write(line);
            }
            Event::Expire {
                step,
                kind,
                role_name,
                sessions_terminated,
                detail,
                ..
            } => {
                line.field("step", Value::Text(step));
                line.field("kind", Value::Text(kind));
                line.field("object", Value::Text(role_name));
                line.field("sessions_terminated", Value::Number(sessions_terminated));
                line.field("detail", detail.into());
            }
            Event::Ddl { members } => line.members(members),
            Event::Statement {
                members,
                rows,
                micros,
                depth,
                ..
            } => {
                line.members(members);
                line.field("rows", rows.map_or(Value::Null, Value::Number));
                line.field("duration_us", Value::Number(micros));
                line.field("depth", Value::Number(depth));
            }
            Event::Alert {
                guard,
                blocked,
                fields,
            } => {
                line.field("guard", Value::Text(guard));
                line.field("blocked", Value::Bool(blocked));
                write(line, fields);
            }
        }
    }
}

impl Problem<'_> {
    fn write(&self, line: &mut Line) {
        line.field("sqlstate", Value::Text(self.sqlstate));
        line.field("message", Value::Bytes(self.message));
        line.field("detail", self.detail.map_or(Value::Null, Value::Bytes));
    }
}

fn write(line: &mut Line, fields: Fields<'_>) {
    for (key, value) in fields {
        line.field(key, *value);
    }
}
