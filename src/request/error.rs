//! Requests and their policies.

use pgrx::prelude::*;

use super::Error;
use crate::error::{READ_ONLY, Report, sentence};
use crate::timestamp;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::NoSuchRole(_) | Self::NoSuchPolicy(_) | Self::NoSuchRequest(_) => {
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            }
            Self::PolicyExists(_) | Self::Again { .. } => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::NotYourPolicy { .. }
            | Self::EndsItself(_)
            | Self::NotForStatements(_)
            | Self::MayNotGive { .. }
            | Self::NotToBeAskedFor { .. }
            | Self::NotYours(_)
            | Self::NoSubject
            | Self::Oneself { .. }
            | Self::MayNotDecide { .. }
            | Self::Monitor => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Bad { .. } | Self::Several { .. } => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::NeedsALogin => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::TooMany(_) => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::State { .. }
            | Self::HasIt { .. }
            | Self::Hours(_)
            | Self::PolicyGone(_)
            | Self::NotAnyMore(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NotOnItsOwn(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::InBlock(_) | Self::HoldsUp(_) => PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::Changeable(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Rows { .. } => PgSqlErrorCode::ERRCODE_CARDINALITY_VIOLATION,
            Self::Vanished | Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Temporary(error) => error.code(),
            Self::Credential(error) => error.code(),
            Self::Life(error) => error.code(),
            Self::Option(error) => error.code(),
            Self::Deadline(error) => error.code(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::NoSuchRole(_) => "No role has that name.".into(),
            Self::NoSuchPolicy(_) => "No policy of this database has that name.".into(),
            Self::NoSuchRequest(_) => "No request of this database has that number.".into(),
            Self::PolicyExists(_) => "Policies of one name are one policy.".into(),
            Self::Again { .. } => "You, or somebody who may be you, has approved it already.".into(),
            Self::NotYourPolicy { creator, .. } => format!("\"{creator}\" has made it."),
            Self::EndsItself(role) => format!("What \"{role}\" may do now ends, and the policy would stay."),
            Self::NotForStatements(_) => "It is a superuser, or a login of scope_roles.".into(),
            Self::MayNotGive { caller, .. } => {
                format!("\"{caller}\" has not made it, has no ADMIN OPTION on it and cannot act as it.")
            }
            Self::NotToBeAskedFor { caller, .. } => format!("No policy lets \"{caller}\" ask for it."),
            Self::NotYours(_) => "Somebody else has asked for it.".into(),
            Self::Oneself { why, .. } => format!("Who decides must be somebody else than who asks, and {why}."),
            Self::MayNotDecide { needs, caller, .. } => {
                format!("It is for {needs}, and \"{caller}\" has the privileges of none of these roles.")
            }
            Self::Monitor => "It is for members of pg_monitor.".into(),
            Self::Bad { why, .. } => (*why).to_owned(),
            Self::Several { policies, .. } => format!("The policies {} let you ask for it.", policies.join(", ")),
            Self::NeedsALogin => {
                "A membership is given to a person's own login, and this one is shared by many, was issued, or acts by a token.".into()
            }
            Self::TooMany(why) => sentence(why),
            Self::State { state, until, .. } => match until {
                Some(until) => format!("It is {}, since {}.", state.name(), timestamp::rfc3339(*until)),
                None => format!("It is {}.", state.name()),
            },
            Self::HasIt { until } => format!("You have it until {}.", timestamp::rfc3339(*until)),
            Self::Hours(policy) => format!("The policy \"{policy}\" has hours, and this is none of them."),
            Self::PolicyGone(policy) => {
                format!("The policy \"{policy}\", by which it was asked for, is gone or does not give this any more.")
            }
            Self::NotAnyMore(why) => sentence(why),
            Self::NotOnItsOwn(_) => {
                "Functions, views and triggers of others could otherwise decide in your name while you read their tables.".into()
            }
            Self::InBlock(_) => "It returns rows, which a rollback would let you read again and again.".into(),
            Self::Changeable(_) => "It could be something else when the statement runs than when it was approved.".into(),
            Self::Rows { rows, expected, .. } => {
                format!("It has returned or changed {rows} rows, and {expected} were approved. Nothing of it stays.")
            }
            Self::HoldsUp(_) => "Until it ends nobody else could end the access, or change the role.".into(),
            Self::NoSubject => "The token that the session acts by has no subject (sub), and is anybody's.".into(),
            Self::Vanished => "It was dropped meanwhile.".into(),
            Self::Sql(problem) => sentence(problem),
            Self::Temporary(error) => error.detail(),
            Self::Credential(error) => error.detail(),
            Self::Life(error) => error.detail(),
            Self::Option(error) => error.detail(),
            Self::Deadline(error) => error.detail(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Null(_) => "Pass a value.".into(),
            Self::ReadOnly => {
                "Call it on the primary server, in a transaction that may write.".into()
            }
            Self::NoSuchRole(_) => "See pg_roles.".into(),
            Self::NoSuchPolicy(_) => "See scope.request_policies, or scope.my_options().".into(),
            Self::NoSuchRequest(_) | Self::NotYours(_) | Self::State { .. } => {
                "See scope.requests.".into()
            }
            Self::PolicyExists(_) => "Pass replace => true to change it.".into(),
            Self::Again { .. } => "Somebody else has to say yes too.".into(),
            Self::NotYourPolicy { creator, .. } => {
                format!("Have \"{creator}\", a member of that role or a superuser change it.")
            }
            Self::EndsItself(_) => "Have a role make it that does not end.".into(),
            Self::NotForStatements(_) => "Name a scope, or the role that owns the tables.".into(),
            Self::MayNotGive { .. } => {
                "Have the policy made by who has authority over the role.".into()
            }
            Self::NotToBeAskedFor { .. } => {
                "SELECT * FROM scope.my_options() shows what you may ask for.".into()
            }
            Self::Oneself { .. } => "Have another person decide.".into(),
            Self::MayNotDecide { .. } => {
                "Act as such a role by SET ROLE, if you are a member without its privileges.".into()
            }
            Self::Monitor => "Have pg_monitor granted to you.".into(),
            Self::Bad { .. } => "See \\df+ in psql, and docs/requests.md.".into(),
            Self::Several { .. } => "Say which by policy => '…'.".into(),
            Self::NeedsALogin => "Ask by a policy of kind credential, or statement.".into(),
            Self::TooMany(_) => "Withdraw some, wait for decisions, or come back later.".into(),
            Self::HasIt { .. } => "Ask for more time with scope.extend().".into(),
            Self::Hours(_) => "Ask within them; scope.request_policies shows them.".into(),
            Self::PolicyGone(_) => "Ask anew.".into(),
            Self::NotAnyMore(_) => "Ask anew when that is as it was.".into(),
            Self::NotOnItsOwn(function) => format!("Send SELECT scope.{function}(…) by itself."),
            Self::InBlock(_) => {
                "Send it by itself; with a token, switch the session by scope.set_jwt_session()."
                    .into()
            }
            Self::Changeable(_) => "Name what is the target's, or a superuser's.".into(),
            Self::Rows { .. } => "Look at the data, and ask anew.".into(),
            Self::HoldsUp(function) => format!(
                "Send SELECT scope.{function}(…) by itself, outside of blocks and pipelines, and for all of its rows."
            ),
            Self::NoSubject => "Have the identity provider issue tokens that name one.".into(),
            Self::Vanished => "Try again.".into(),
            Self::Sql(_) => "See the server log.".into(),
            Self::Temporary(error) => error.hint(),
            Self::Credential(error) => error.hint(),
            Self::Life(error) => error.hint(),
            Self::Option(error) => error.hint(),
            Self::Deadline(error) => error.hint(),
        }
    }
}
