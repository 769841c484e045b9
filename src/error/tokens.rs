//! Tokens, switches and the lock.

use pgrx::prelude::*;

use super::{READ_ONLY, Report, sentence};
use crate::jwt::PathError;
use crate::lock::verdict::Violation;
use crate::verify::{issuer, revocation};
use crate::{claims, switch, verify};

impl Report for Violation {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Ended | Self::Revoked => {
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
            }
            _ => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Identity => {
                "Something changed the role in a way that PostgreSQL did not prevent.".into()
            }
            Self::Ended => "expired: the exp claim is in the past.".into(),
            Self::Revoked => "revoked: an administrator has revoked the token.".into(),
            Self::Gated => "It is an authenticator: without a token it can only be itself.".into(),
            Self::Idle => "It is an authenticator: it acts through the roles of tokens.".into(),
            Self::Ownership => {
                "A function or view of another role would run with that role's rights.".into()
            }
            Self::Cast => {
                "A foreign key would run its function with the rights of the owner of the referenced table."
                    .into()
            }
            Self::Trigger => {
                "A foreign key that cascades into the table would fire it with the rights of the table's owner."
                    .into()
            }
            Self::Hold => {
                "It would go on yielding the role's rows after the end of the switch.".into()
            }
            Self::Earlier => {
                "It would go on yielding rows that the role before the switch could read.".into()
            }
            _ => "The switch holds until the transaction, or the session that was switched, ends."
                .into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Ended | Self::Revoked => "ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.".into(),
            Self::Ownership => "Have an administrator change owners.".into(),
            Self::Cast | Self::Trigger => "Have an administrator create it.".into(),
            Self::Hold => "Leave out WITH HOLD, or switch the session with scope.set_jwt_session().".into(),
            Self::Earlier => "Take the role in a statement of its own, before the query.".into(),
            Self::Gated | Self::Idle => "BEGIN, then call scope.set_jwt_role() with a token.".into(),
            _ => "COMMIT or ROLLBACK ends the switch; begin a new transaction for another role."
                .into(),
        }
    }
}

impl Report for verify::Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoSecret
            | Self::BadSecret(_)
            | Self::SecretFile { .. }
            | Self::BadIssuer { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Token(_) | Self::UnknownIssuer | Self::Revoked => {
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
            }
            Self::NoRandomness | Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NoSecret => {
                "The setting scope_roles.jwt_secret is empty and no issuer is registered.".into()
            }
            Self::BadSecret(problem) => sentence(&problem.to_string()),
            Self::SecretFile { kind, .. } => format!("Reading the file failed: {kind}."),
            Self::BadIssuer { problem, .. } | Self::Sql(problem) => sentence(problem),
            Self::Token(refusal) => format!("{}: {refusal}.", refusal.reason()),
            Self::UnknownIssuer => {
                "unknown_issuer: the iss claim names no registered issuer.".into()
            }
            Self::NoRandomness => "Tokens cannot be told apart without it.".into(),
            Self::Revoked => "revoked: an administrator has revoked it, or its subject.".into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NoSecret | Self::BadSecret(_) => {
                "Set scope_roles.jwt_secret in postgresql.conf to a secret of at least 32 bytes, a JWK, a JWKS, a PEM public key, or @/path/of/a/file, and reload; or register an issuer with scope.add_jwt_issuer()."
                    .into()
            }
            Self::SecretFile { path, .. } => format!(
                "Make {path}, named by scope_roles.jwt_secret, readable for the server's operating system user."
            ),
            Self::BadIssuer { name, .. } => {
                format!("Give the issuer usable keys with scope.set_jwt_keys('{name}', …).")
            }
            Self::Token(refusal) => refusal.hint().into(),
            Self::UnknownIssuer => {
                "Register the issuer with scope.add_jwt_issuer(), or use a token of one that is."
                    .into()
            }
            Self::Revoked => "Obtain a new token.".into(),
            Self::NoRandomness => "Check the operating system's random source.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}

impl Report for switch::Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Verify(error) => error.code(),
            Self::Path(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::OpenCursors => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::RoleClaim(_) => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::Role(error) => error.code(),
            Self::NotGranted { .. }
            | Self::RoleNotAllowed { .. }
            | Self::RoleClaimFixed { .. }
            | Self::SecurityDefiner
            | Self::WouldBeUndone
            | Self::ForeignRole
            | Self::AlreadyLocked
            | Self::Replication
            | Self::NoSessionSwitch
            | Self::OtherToken => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Verify(error) => error.detail(),
            Self::Path(path) => path_problem(path),
            Self::RoleClaim(problem) => format!("{}: {problem}.", problem.reason()),
            Self::Role(error) => error.detail(),
            Self::NotGranted { session_user, .. } => format!(
                "role_not_granted: the session user \"{session_user}\" may not SET ROLE to it."
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
                "They would go on yielding rows that the role before the switch could read.".into()
            }
            Self::AlreadyLocked => "Another token has already set the role.".into(),
            Self::Replication => {
                "Its replication commands would still run with the rights of the login.".into()
            }
            Self::NoSessionSwitch => "scope.set_jwt_session() has not been called.".into(),
            Self::OtherToken => "It was switched by another token.".into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Verify(error) => error.hint(),
            Self::Path(_) => PATH_HINT.into(),
            Self::RoleClaim(problem) => problem.hint().into(),
            Self::Role(error) => error.hint(),
            Self::NotGranted { role, session_user } => {
                format!("GRANT \"{role}\" TO \"{session_user}\";")
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
            Self::AlreadyLocked => {
                "COMMIT or ROLLBACK first; each token needs a transaction of its own.".into()
            }
            Self::Replication => "Use an ordinary connection.".into(),
            Self::NoSessionSwitch => {
                "COMMIT or ROLLBACK ends the switch of a transaction.".into()
            }
            Self::OtherToken => "Pass the token that switched the session, or disconnect.".into(),
        }
    }
}

impl Report for switch::Untakeable {
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

impl Report for claims::Bad {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
    }
    fn detail(&self) -> String {
        path_problem(&self.0)
    }
    fn hint(&self) -> String {
        PATH_HINT.into()
    }
}

impl Report for issuer::Bad {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) | Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Exists => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Unknown(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Empty(_)
            | Self::Keys(_)
            | Self::Algorithm(_)
            | Self::Unserved
            | Self::RoleClaim(_)
            | Self::Duration(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) | Self::Empty(what) => format!("The argument {what} is needed."),
            Self::NullElement(what) => format!("An element of {what} is NULL."),
            Self::Keys(problem) => sentence(&problem.to_string()),
            Self::Algorithm(_) => {
                "Known are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA."
                    .into()
            }
            Self::Unserved => "No token could ever be verified.".into(),
            Self::RoleClaim(path) => path_problem(path),
            Self::Duration(_) => "It is a length of time.".into(),
            Self::Exists => "Names are unique, and each iss has one issuer.".into(),
            Self::Unknown(_) => "Issuers belong to one database.".into(),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Keys(_) => {
                "Pass the text itself of a JWKS, a JWK, a PEM public key, or a random secret of at least 32 bytes."
                    .into()
            }
            Self::Unserved => {
                "Secrets serve HS256, HS384 and HS512 as far as they are long enough, RSA keys RS and PS, keys on P-256, P-384 and P-521 ES256, ES384 and ES512, Ed25519 EdDSA."
                    .into()
            }
            Self::RoleClaim(_) => PATH_HINT.into(),
            Self::Duration(_) => "Pass an interval such as '30 seconds', or NULL.".into(),
            Self::Exists => {
                "Use scope.set_jwt_keys() to change its keys, or scope.drop_jwt_issuer() first."
                    .into()
            }
            Self::ReadOnly => "Change issuers on the primary; standbys follow.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
            _ => "See the view scope.jwt_issuers and \\df+ scope.add_jwt_issuer.".into(),
        }
    }
}

impl Report for revocation::Bad {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Missing(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::TooLong { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Missing(what) => format!("The argument {what} is needed."),
            Self::TooLong { bytes, .. } => format!(
                "It has {bytes} bytes; at most {} are accepted.",
                crate::jwt::MAX_ID_BYTES
            ),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::ReadOnly => "Revoke on the primary; standbys follow.".into(),
            Self::TooLong { what: "issuer", .. } => "Leave issuer out: NULL stands for any.".into(),
            Self::TooLong { .. } => {
                "Nothing is to be done: tokens with so long a claim are refused anyway.".into()
            }
            Self::Missing(_) => "Pass the jti or sub claim as the token has it, and a time.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}

const PATH_HINT: &str = "Use a claim's name (role), a path (.realm_access.roles[0]), or JSONPath ($.realm_access.roles[0]).";

fn path_problem(PathError { position, message }: &PathError) -> String {
    format!("At character {position}: {message}.")
}
