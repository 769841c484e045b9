//! From each room's errors to what the client sees: SQLSTATE, message, DETAIL, HINT.
//! No text here holds a token, a secret, a password or a claim's value.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::credential::BadOption;
use crate::credential::deadline::Unacceptable;
use crate::jwt::PathError;
use crate::lock::verdict::Violation;
use crate::pg::preload;
use crate::scope::name::BadName;
use crate::verify::{issuer, revocation};
use crate::{authenticator, claims, credential, scope, switch, verify};

/// How an error is shown.
pub trait Report: std::error::Error {
    fn code(&self) -> PgSqlErrorCode;
    fn detail(&self) -> String;
    fn hint(&self) -> String;
}

/// For `#[pg_extern]` functions, which keep the SQLSTATE of this type only.
pub fn report<E: Report>(error: E) -> ErrorReport {
    ErrorReport::new(error.code(), error.to_string(), "scope_roles")
        .set_detail(error.detail())
        .set_hint(error.hint())
}

/// Raises the error here and now.
pub fn raise<E: Report>(error: &E) -> ! {
    ErrorReport::new(error.code(), error.to_string(), "scope_roles")
        .set_detail(error.detail())
        .set_hint(error.hint())
        .report(PgLogLevel::ERROR);
    unreachable!("reporting at ERROR does not return")
}

/// The library must come from shared_preload_libraries: the lock and the worker rest on it.
#[derive(Debug, thiserror::Error)]
#[error("scope_roles is not loaded by shared_preload_libraries")]
pub struct NotPreloaded;

/// First line of every SQL function that needs the hooks or the worker.
pub fn require_preload() -> Result<(), ErrorReport> {
    if preload::done() {
        Ok(())
    } else {
        Err(report(NotPreloaded))
    }
}

impl Report for NotPreloaded {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
    }
    fn detail(&self) -> String {
        "Without the preload no hook locks a role and no worker ends credentials.".into()
    }
    fn hint(&self) -> String {
        "Add scope_roles to shared_preload_libraries in postgresql.conf and restart the server."
            .into()
    }
}

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
            _ => "The switch holds until the transaction, or the session that was switched, ends."
                .into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Ended | Self::Revoked => "ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.".into(),
            Self::Ownership => "Have an administrator change owners.".into(),
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
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
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
            | Self::AlreadyLocked
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
            Self::OpenCursors => {
                "They would go on yielding rows that the role before the switch could read.".into()
            }
            Self::AlreadyLocked => "Another token has already set the role.".into(),
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
            Self::OpenCursors => {
                "CLOSE ALL first, and call it neither inside a loop over a query nor with results of an earlier statement still to be fetched."
                    .into()
            }
            Self::AlreadyLocked => {
                "COMMIT or ROLLBACK first; each token needs a transaction of its own.".into()
            }
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
                "Pass a JWKS, a JWK, a PEM public key, or a secret of at least 32 bytes.".into()
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
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Missing(what) => format!("The argument {what} is needed."),
            Self::ReadOnly => READ_ONLY.into(),
            Self::Sql(problem) => sentence(problem),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::ReadOnly => "Revoke on the primary; standbys follow.".into(),
            Self::Missing(_) => "Pass the jti or sub claim as the token has it, and a time.".into(),
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}

const READ_ONLY: &str = "The server is a standby, or the transaction is read-only.";
const PATH_HINT: &str = "Use a claim's name (role), a path (.realm_access.roles[0]), or JSONPath ($.realm_access.roles[0]).";

fn path_problem(PathError { position, message }: &PathError) -> String {
    format!("At character {position}: {message}.")
}

impl Report for BadName {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Empty | Self::Character { .. } => PgSqlErrorCode::ERRCODE_INVALID_NAME,
            Self::TooLong { .. } => PgSqlErrorCode::ERRCODE_NAME_TOO_LONG,
            Self::Reserved => PgSqlErrorCode::ERRCODE_RESERVED_NAME,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Empty => "The name has no characters.".into(),
            Self::Character { position } => format!(
                "Character {position} is not one of a-z, 0-9 and _, or a digit comes first."
            ),
            Self::TooLong { bytes } => {
                format!("It has {bytes} bytes; PostgreSQL keeps 63.")
            }
            Self::Reserved => {
                "Names that begin with pg_, and public and none, are PostgreSQL's own.".into()
            }
        }
    }
    fn hint(&self) -> String {
        "Use lower-case letters, digits and underscores, so that the name never needs quoting; or leave role_name out to have one made."
            .into()
    }
}

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

impl Report for scope::Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoSuchTable { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::WrongKind { .. } | Self::Temporary { .. } => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::System { .. } | Self::MayNotGrant { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::NoFreeName => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NoSuchTable { oid } => format!("No relation has OID {oid}."),
            Self::WrongKind { kind, .. } => format!("It is {kind}."),
            Self::Temporary { .. } => "It is temporary: no other session can see it.".into(),
            Self::System { .. } => "It belongs to PostgreSQL itself.".into(),
            Self::MayNotGrant {
                caller, privilege, ..
            } => {
                format!("\"{caller}\" neither owns it nor holds {privilege} WITH GRANT OPTION.")
            }
            Self::NoFreeName => {
                "Every name for the scope is taken by roles with other grants.".into()
            }
            Self::Sql(error) => sentence(error),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::NoSuchTable { .. } => "Pass the table's name, as in 'schema.table'.".into(),
            Self::WrongKind { .. } => {
                "Pass a table, partitioned table, view, materialized view or foreign table.".into()
            }
            Self::Temporary { .. } => "Pass a permanent table.".into(),
            Self::System { .. } => {
                "Create a view that shows what is needed, and pass the view.".into()
            }
            Self::MayNotGrant {
                object,
                privilege,
                caller,
            } => format!(
                "Call it as the owner, or have the owner run: GRANT {privilege} ON {object} TO \"{caller}\" WITH GRANT OPTION;"
            ),
            Self::NoFreeName => {
                "Drop the scopes of this table that someone has changed by hand.".into()
            }
            Self::Sql(_) => "Look at the server log.".into(),
        }
    }
}

impl Report for BadOption {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::TooLong { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::NullElement(option) => format!("Each element of {option} must have a value."),
            Self::NoWayIn => {
                "allowed_ips is empty, so no address may connect, and allow_local is not true."
                    .into()
            }
            Self::Network(_) => "It is not an IPv4 or IPv6 network.".into(),
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
            Self::ConnectionLimit => "Leave it out for no limit.".into(),
            Self::Duration { .. } => "Pass an interval such as '30 seconds'; 0 means no limit.".into(),
            Self::SchemaName => {
                "Pass the schemas' names unquoted, each as an element of its own: '{app,public}'."
                    .into()
            }
            Self::TooLong { .. } => "Name fewer, larger networks.".into(),
        }
    }
}

impl Report for credential::Error {
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
        }
    }
}

impl Report for authenticator::Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NoRoles => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::MayNotGrant { .. } | Self::MayNotConnect { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::Role(error) => error.code(),
            Self::Credential(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed."),
            Self::NoRoles => "Without one its tokens could switch to nothing.".into(),
            Self::MayNotGrant { caller, .. } => {
                format!("\"{caller}\" has no ADMIN OPTION on it.")
            }
            Self::MayNotConnect { caller, .. } => {
                format!("\"{caller}\" neither owns it nor holds CONNECT WITH GRANT OPTION.")
            }
            Self::Role(error) => error.detail(),
            Self::Credential(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Null(_) | Self::NoRoles => {
                "Pass the name of the login and the roles that its tokens may name.".into()
            }
            Self::MayNotGrant { role, caller } => {
                format!("GRANT \"{role}\" TO \"{caller}\" WITH ADMIN OPTION;")
            }
            Self::MayNotConnect { database, caller } => format!(
                "GRANT CONNECT ON DATABASE \"{database}\" TO \"{caller}\" WITH GRANT OPTION;"
            ),
            Self::Role(error) => error.hint(),
            Self::Credential(error) => error.hint(),
        }
    }
}

/// DETAIL is a sentence (PostgreSQL's error message style guide).
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let mut sentence: String = match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => return String::new(),
    };
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}
