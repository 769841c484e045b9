//! What the lock refuses.

use pgrx::prelude::*;

use super::verdict::Violation;
use crate::error::Report;

impl Report for Violation {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            violation if violation.is_of_the_token() => {
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
            Self::Withdrawn => "withdrawn: its key, its issuer or what that allows has been taken away.".into(),
            Self::Unknown => "unknown: the transaction has made more switches than are kept, and a rollback has brought this one back.".into(),
            Self::Gated => "It is an authenticator: without a token it can only be itself.".into(),
            Self::Idle => "It is an authenticator: it acts through the roles of tokens.".into(),
            Self::Ownership => {
                "A function or view of another role would run with that role's rights.".into()
            }
            Self::AlterRole => {
                "It would last beyond the token: a password opens the role without one, and whoever takes it next starts with its settings."
                    .into()
            }
            Self::Cast => {
                "A foreign key would run its function with the rights of the owner of the referenced table."
                    .into()
            }
            Self::Trigger => {
                "A foreign key that cascades into the table would fire it with the rights of the table's owner."
                    .into()
            }
            Self::Cascade => {
                "Before PostgreSQL 18 triggers that a foreign key sets off after a change run as the role that changes the referenced table."
                    .into()
            }
            Self::Planted => {
                "It would find what comes later in its search_path instead: temporary objects of its caller.".into()
            }
            Self::Prepared => {
                "Connections of an authenticator are shared: its text may hold another user's values, or token.".into()
            }
            Self::TemporaryType => {
                "Connections of an authenticator are shared, and functions and drivers keep what a type's name meant to them at first: later users would find it gone.".into()
            }
            Self::PreparedTexts => {
                "Connections of an authenticator are shared: their texts may hold other users' values, and tokens.".into()
            }
            Self::Hold => {
                "It would go on returning the role's rows after the switch has ended.".into()
            }
            Self::PrepareTransaction => {
                "Only its owner, the role of the token, may commit it, and COMMIT PREPARED runs outside transactions, where no token is active.".into()
            }
            Self::Earlier => {
                "It would go on returning rows that the role before the switch could read.".into()
            }
            _ => "The switch holds until the transaction, or the session that was switched, ends."
                .into(),
        }
    }
    fn hint(&self) -> String {
        match self {
            violation if violation.is_of_the_token() => "ROLLBACK, or disconnect if the whole session was switched; then begin again with a new token.".into(),
            Self::Ownership => "Have an administrator change owners.".into(),
            Self::AlterRole => "Have an administrator do it; SET changes settings for this switch.".into(),
            Self::Cast | Self::Trigger | Self::Cascade => "Have an administrator create it.".into(),
            Self::Prepared => "Run it by the protocol, or PREPARE it by SQL in this transaction.".into(),
            Self::Planted => "Qualify the names in the function with the schema, or give the function to an owner that no token can take.".into(),
            Self::TemporaryType => "Use a composite type, or a type of a schema that an administrator has made.".into(),
            Self::PreparedTexts => "Keep a list of them in the client.".into(),
            Self::Hold => "Leave out WITH HOLD, or switch the session with scope.set_jwt_session().".into(),
            Self::PrepareTransaction => "COMMIT it, or use a login that may switch its session with scope.set_jwt_session().".into(),
            Self::Earlier => "Take the role in a statement of its own, before the query.".into(),
            Self::Gated | Self::Idle => "BEGIN, then call scope.set_jwt_role() with a token.".into(),
            _ => "COMMIT or ROLLBACK ends the switch; begin a new transaction for another role."
                .into(),
        }
    }
}
