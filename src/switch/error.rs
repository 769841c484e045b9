//! Why a token switches to no role.

use pgrx::prelude::*;

use super::{Error, NamedBy, Untakeable};
use crate::claims::error::{PATH_HINT, path_problem};
use crate::error::Report;
use crate::text::identifier;

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Verify(error) => error.code(),
            Self::Path(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::OpenCursors | Self::NotAlone => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::RoleClaim { .. } => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::Role(error) => error.code(),
            Self::Composite(error) => error.code(),
            Self::NotGranted { .. }
            | Self::Itself { .. }
            | Self::NotListed { .. }
            | Self::RoleNotAllowed { .. }
            | Self::RoleClaimFixed { .. }
            | Self::SecurityDefiner
            | Self::WouldBeUndone
            | Self::ForeignRole
            | Self::AlreadyLocked
            | Self::Replication
            | Self::Shared
            | Self::NoSessionSwitch
            | Self::OtherPerson
            | Self::OtherRole { .. }
            | Self::ByToken
            | Self::OtherToken => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::IssuerNotTaken => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Verify(error) => error.detail(),
            Self::Path(path) => path_problem(path),
            Self::RoleClaim {
                problem,
                claim,
                named_by,
            } => format!(
                "{}: {problem}. That is \"{claim}\", {}.",
                problem.reason(),
                match named_by {
                    NamedBy::Caller => "the argument claim of this call".to_owned(),
                    NamedBy::Setting => "by scope_roles.jwt_role_claim".to_owned(),
                    NamedBy::Issuer(name) => format!("the role_claim of the issuer \"{name}\""),
                }
            ),
            Self::Role(error) => error.detail(),
            Self::Composite(error) => error.detail(),
            Self::NotGranted { session_user, .. } => format!(
                "role_not_granted: the session user \"{session_user}\" may not SET ROLE to it."
            ),
            Self::Itself { .. } => {
                "role_is_login: it is the session user itself, and a token gives another role.".into()
            }
            Self::NotListed { session_user, .. } => format!(
                "role_not_listed: the authenticator \"{session_user}\" was not made for it."
            ),
            Self::RoleNotAllowed { issuer, .. } => format!(
                "role_not_allowed: it is not among the allowed roles of the issuer \"{issuer}\"."
            ),
            Self::RoleClaimFixed { issuer } => format!(
                "role_claim_fixed: the issuer \"{issuer}\" has a role claim, and no other may name the role."
            ),
            Self::SecurityDefiner => {
                "PostgreSQL does not allow changing the role inside a SECURITY DEFINER function."
                    .into()
            }
            Self::WouldBeUndone => {
                "A calling function has a SET clause for the role or the claims, which puts them back when it returns."
                    .into()
            }
            Self::ForeignRole => {
                "It was set past PostgreSQL's settings (as set_user() does), and the end of the switch would take it away.".into()
            }
            Self::OpenCursors => {
                "They would go on returning rows that the role before the switch could read.".into()
            }
            Self::NotAlone => {
                "Anything else in the statement, or around it, would go on as the login after the switch has ended.".into()
            }
            Self::AlreadyLocked => "Another token has already set the role.".into(),
            Self::Replication => {
                "Its replication commands would still run with the rights of the login.".into()
            }
            Self::Shared => {
                "It is an authenticator, whose connections are shared: nobody else could use this one any more.".into()
            }
            Self::NoSessionSwitch => "Neither has scope.set_jwt_session() been called, nor has it logged in by token.".into(),
            Self::OtherToken => "It was switched by another token.".into(),
            Self::IssuerNotTaken => {
                "issuer_not_taken: the login takes tokens of other issuers.".into()
            }
            Self::OtherPerson => "It has another issuer or another subject, or none.".into(),
            Self::OtherRole { role } => format!("It names the role \"{role}\", which is another."),
            Self::ByToken => "It has logged in with this token.".into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Verify(error) => error.hint(),
            Self::Path(_) => PATH_HINT.into(),
            Self::RoleClaim { problem, .. } => problem.hint().into(),
            Self::Role(error) => error.hint(),
            Self::Composite(error) => error.hint(),
            Self::NotGranted { role, session_user } => {
                format!("GRANT {} TO {};", identifier(role), identifier(session_user))
            }
            Self::Itself { .. } => {
                "Have the token name a role that the login is a member of.".into()
            }
            Self::NotListed { .. } => {
                "Declare it among the authenticator's roles in a spec (scope.apply()), or make another authenticator for it."
                    .into()
            }
            Self::RoleNotAllowed { .. } => {
                "Have the identity provider name another role, or register the issuer with more allowed roles."
                    .into()
            }
            Self::RoleClaimFixed { .. } => {
                "Leave the argument claim out: users can often edit other claims themselves.".into()
            }
            Self::SecurityDefiner => "Call the function directly.".into(),
            Self::WouldBeUndone => {
                "Call it outside that function, or drop its SET clause.".into()
            }
            Self::ForeignRole => "Give that role back first, in a transaction of its own (SELECT reset_user()).".into(),
            Self::OpenCursors => {
                "CLOSE ALL first, and call it neither inside a loop over a query nor with results of an earlier statement still to be fetched."
                    .into()
            }
            Self::NotAlone => {
                "SELECT scope.end_jwt_session($1), and nothing else; not in a function or a DO block.".into()
            }
            Self::AlreadyLocked => {
                "COMMIT or ROLLBACK first; each token needs a transaction of its own.".into()
            }
            Self::Replication => "Use an ordinary connection.".into(),
            Self::Shared => {
                "BEGIN, then call scope.set_jwt_role(). Where its connections are not shared: ALTER ROLE ... SET scope_roles.session_switches = on."
                    .into()
            }
            Self::NoSessionSwitch => {
                "COMMIT or ROLLBACK ends the switch of a transaction.".into()
            }
            Self::OtherToken => "Pass the token that switched the session, or disconnect.".into(),
            Self::IssuerNotTaken => "Use a token of an issuer that the login was made for.".into(),
            Self::OtherPerson | Self::OtherRole { .. } => {
                "Pass a new token of the same person for the same role, or begin a new session with this one.".into()
            }
            Self::ByToken => "Disconnect.".into(),
        }
    }
}

impl Report for Untakeable {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }
    fn detail(&self) -> String {
        match self {
            Self::Reserved { .. } => {
                "role_reserved: names that begin with pg_, and public and none, are PostgreSQL's own."
                    .into()
            }
            Self::Unknown { .. } => "role_unknown: there is no role of that name.".into(),
            Self::Privileged { why, .. } => format!("role_privileged: the role {why}."),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Reserved { .. } => "Name an ordinary role.".into(),
            Self::Unknown { .. } => "Create the role, or correct its name.".into(),
            Self::Privileged { .. } => {
                "Tokens activate ordinary roles only. Create one with just the grants that it needs."
                    .into()
            }
        }
    }
}
