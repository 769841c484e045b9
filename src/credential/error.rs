//! Credentials: their options, scopes, what is done with them later.

use pgrx::prelude::*;

use super::deadline::Unacceptable;
use super::{BadOption, BadScopes, Error, itself, life};
use crate::error::{READ_ONLY, Report, sentence};
use crate::text::identifier;
use crate::timestamp;

impl Report for Unacceptable {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
    }
    fn detail(&self) -> String {
        match self {
            Self::NotPositive => "A credential must be valid for some time.".into(),
            Self::Infinite => "A credential always has a deadline.".into(),
            Self::TooLong { max_seconds } => {
                format!("The setting scope_roles.max_ttl allows at most {max_seconds} seconds.")
            }
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::TooLong { .. } => {
                "Ask for less and issue again in time, or have an administrator raise scope_roles.max_ttl."
                    .into()
            }
            _ => "Pass a positive interval such as '8 hours'.".into(),
        }
    }
}

impl Report for BadOption {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::TooLong { .. } | Self::TooMany { .. } => {
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::TooMany { count, max, .. } => {
                format!("It has {count}; at most {max} are allowed.")
            }
            Self::NullElement(option) => format!("Each element of {option} must have a value."),
            Self::NoWayIn => {
                "allowed_ips is empty, so no address may connect, and allow_local is not true."
                    .into()
            }
            Self::Network(_) => "It is not an IPv4 or IPv6 network.".into(),
            Self::Hours(_) => {
                "Hours are days, a space, and two different times of day with a hyphen between."
                    .into()
            }
            Self::TimeZone(_) => "It is not in the view pg_timezone_names.".into(),
            Self::NoTimeZone => {
                "Hours are local times, and it is not said of which time zone.".into()
            }
            Self::ConnectionLimit => "With fewer the role could never log in.".into(),
            Self::Duration { .. } => {
                "It must be between 0 and 2147483647 milliseconds, without months or years.".into()
            }
            Self::SchemaName => "Each element must have 1 to 63 bytes.".into(),
            Self::TooLong { bytes, max } => format!(
                "They take {bytes} bytes; at most {max} can be read while a client logs in."
            ),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NullElement(_) => "Leave the element out.".into(),
            Self::NoWayIn => {
                "Name the networks of its clients, or pass allow_local => true for Unix sockets only."
                    .into()
            }
            Self::Network(_) => "Pass networks such as '{10.0.0.0/8,2001:db8::/32}'.".into(),
            Self::Hours(_) => {
                "Pass hours such as '{Mon-Fri 08:00-18:00}', '{daily 22:00-02:00}', or '{\"Mon,Wed 08:00-24:00\"}'."
                    .into()
            }
            Self::TimeZone(_) | Self::NoTimeZone => {
                "Pass a time zone by its name, such as 'Europe/Zurich' or 'UTC'.".into()
            }
            Self::ConnectionLimit => "Leave it out for no limit.".into(),
            Self::Duration { .. } => "Pass an interval such as '30 seconds'; 0 means no limit.".into(),
            Self::SchemaName => {
                "Pass the schemas' names unquoted, each as an element of its own: '{app,public}'."
                    .into()
            }
            Self::TooLong { .. } => "Name fewer, larger networks, and fewer hours.".into(),
            Self::TooMany { .. } => "Name fewer.".into(),
        }
    }
}

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoTable => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Exists { .. } => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::NoTls => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Option(error) => error.code(),
            Self::PurposeTooLong { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Random | Self::Vanished | Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Name(error) => error.code(),
            Self::Deadline(error) => error.code(),
            Self::Scope(error) => error.code(),
            Self::Scopes(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NoTable => "The argument \"table\" is NULL.".into(),
            Self::Exists { .. } => "Roles are shared by all databases of the server.".into(),
            Self::NoTls => "The setting ssl is off, so the role could never log in.".into(),
            Self::Option(error) => error.detail(),
            Self::PurposeTooLong { bytes, max } => {
                format!("It has {bytes} bytes; at most {max} are kept.")
            }
            Self::ReadOnly => READ_ONLY.into(),
            Self::Random => "No password can be made without it.".into(),
            Self::Vanished => "Something dropped it meanwhile.".into(),
            Self::Sql(error) => sentence(error),
            Self::Name(error) => error.detail(),
            Self::Deadline(error) => error.detail(),
            Self::Scope(error) => error.detail(),
            Self::Scopes(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NoTable => "Pass the table's name, as in 'schema.table'.".into(),
            Self::Exists { .. } => {
                "Choose another name, or leave role_name out to have one made.".into()
            }
            Self::PurposeTooLong { .. } => "Say it in fewer words.".into(),
            Self::NoTls => "Turn ssl on in postgresql.conf, or leave require_tls out.".into(),
            Self::Option(error) => error.hint(),
            Self::ReadOnly => {
                "Issue credentials on the primary, in a read-write transaction.".into()
            }
            Self::Vanished => "Look for event triggers and other tools that drop roles.".into(),
            Self::Random => "Check the operating system's random source.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
            Self::Name(error) => error.hint(),
            Self::Deadline(error) => error.hint(),
            Self::Scope(error) => error.hint(),
            Self::Scopes(error) => error.hint(),
        }
    }
}

impl Report for BadScopes {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::None | Self::Elsewhere { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotAScope { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::Ending { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NotYours { .. } | Self::Privileged { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::None => "Without one it could read nothing.".into(),
            Self::Unknown { .. } => "No role has that name.".into(),
            Self::NotAScope { .. } => "It was not made by scope_roles as a scope.".into(),
            Self::Ending { .. } => {
                "It has been dropped, and the background worker has not finished yet.".into()
            }
            Self::Elsewhere { databases, .. } => crate::scope::elsewhere(databases),
            Self::NotYours { caller, .. } => format!(
                "\"{caller}\" is neither its creator nor a member of that role, and has no ADMIN OPTION on it."
            ),
            Self::Privileged { why, .. } => format!("It {why}: somebody has changed it by hand."),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) | Self::None | Self::Unknown { .. } | Self::NotAScope { .. } => {
                "See the roles of kind scope in scope.roles, or make one with scope.create_scope()."
                    .into()
            }
            Self::Ending { .. } => "Use another scope.".into(),
            Self::Elsewhere { .. } => {
                "Connect to a database that has, and issue the credential there.".into()
            }
            Self::NotYours { scope, caller } => format!(
                "Have its creator issue the credential, or: GRANT {} TO {} WITH ADMIN OPTION;",
                identifier(scope),
                identifier(caller)
            ),
            Self::Privileged { scope, .. } => {
                format!("Take the attribute or the membership away from \"{scope}\".")
            }
        }
    }
}

impl Report for life::Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::BeyondCap { .. } | Self::Overlap | Self::ReasonTooLong { .. } => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::Widened { .. }
            | Self::Bound { .. }
            | Self::CutOff { .. }
            | Self::Outlasts { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Endless { .. }
            | Self::Replaced { .. }
            | Self::OfToken { .. }
            | Self::NoPassword { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Authority(error) => error.code(),
            Self::Credential(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::BeyondCap { latest, .. } => format!(
                "It may live until {} at the latest: scope_roles.max_ttl counts from its issue.",
                timestamp::rfc3339(*latest)
            ),
            Self::Endless { .. } => "An authenticator need not have one.".into(),
            Self::Widened { beyond, .. } => format!(
                "It has what its caller could not give it: {}.",
                beyond.join("; ")
            ),
            Self::CutOff { left_out, .. } => format!(
                "The new login could not connect to this database. Its caller could not give it: {}.",
                left_out.join("; ")
            ),
            Self::Bound { beyond, .. } => format!(
                "Its issuer had the right only for a time; the caller could not give it: {}.",
                beyond.join("; ")
            ),
            Self::Outlasts { .. } => {
                "It lasts longer than the caller's own login, token or temporary membership.".into()
            }
            Self::OfToken { .. } => {
                "It ends with its token, and has the password that was shown then.".into()
            }
            Self::NoPassword { .. } => "It has no password.".into(),
            Self::Replaced { .. } => "It is in the overlap of a rotation.".into(),
            Self::Overlap => "It is how long the old password goes on working.".into(),
            Self::ReasonTooLong { bytes, max } => {
                format!("It has {bytes} bytes; at most {max} are kept.")
            }
            Self::Authority(error) => error.detail(),
            Self::Credential(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::BeyondCap { .. } => "Ask for less, or issue a new credential.".into(),
            Self::Endless { .. } => "It needs no renewal.".into(),
            Self::Widened { .. } => {
                "Have that revoked, or have somebody who may grant all of it, or a superuser, rotate it; with an overlap it is left out. scope.revoke_role() ends the login."
                    .into()
            }
            Self::Bound { .. } => {
                "Have somebody who may grant all of it, or a superuser, renew it.".into()
            }
            Self::Outlasts { .. } => {
                "Call it as a role that does not end; scope.revoke_role() can be called.".into()
            }
            Self::CutOff { .. } => {
                "Have CONNECT on the database granted to its scopes, or have a superuser rotate it."
                    .into()
            }
            Self::NoPassword { .. } => "Revoke a token that has leaked, or its subject: scope.revoke_token(), scope.revoke_subject().".into(),
            Self::OfToken { .. } => "Exchange a new token, by scope.exchange_token().".into(),
            Self::Replaced { successor, .. } => format!("Use \"{successor}\" instead."),
            Self::Overlap => "Pass an interval such as '1 hour', or leave it out.".into(),
            Self::ReasonTooLong { .. } => "Say it in fewer words.".into(),
            Self::Authority(error) => error.hint(),
            Self::Credential(error) => error.hint(),
        }
    }
}

impl Report for itself::NotItsOwn {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        "A role that cannot log in, or that tokens take, changes nothing of itself that lasts beyond the session."
            .into()
    }
    fn hint(&self) -> String {
        "Have the role's creator, or a superuser, alter it; SET changes a setting for the session."
            .into()
    }
}

impl Report for itself::Refused {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        format!(
            "\"{}\" is managed by scope_roles: passwords, settings, labels and memberships are not its own to change.",
            self.role
        )
    }
    fn hint(&self) -> String {
        "Ask who issued it to call scope.rotate_password() or scope.renew_role(); SET changes a setting for the session."
            .into()
    }
}
