//! Names, privileges and scopes.

use pgrx::prelude::*;

use super::name::BadName;
use super::{BadVerb, Error};
use crate::error::{READ_ONLY, Report, sentence};
use crate::pg::spi::literal;
use crate::text::{identifier, some_of};

impl Report for BadName {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Empty | Self::Character { .. } | Self::Duration => {
                PgSqlErrorCode::ERRCODE_INVALID_NAME
            }
            Self::TooLong { .. } => PgSqlErrorCode::ERRCODE_NAME_TOO_LONG,
            Self::Reserved | Self::Keyword => PgSqlErrorCode::ERRCODE_RESERVED_NAME,
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Empty => "The name has no characters.".into(),
            Self::Character { position } => format!(
                "Character {position} is not one of a-z, 0-9 and _, or a digit comes first."
            ),
            Self::Duration => "A name is expected in this place.".into(),
            Self::TooLong { bytes } => {
                format!("It has {bytes} bytes; PostgreSQL keeps 63.")
            }
            Self::Reserved => {
                "Names that begin with pg_, and public and none, are PostgreSQL's own.".into()
            }
            Self::Keyword => "SQL reserves it.".into(),
        }
    }
    fn hint(&self) -> String {
        if matches!(self, Self::Duration) {
            return "How long the login is valid is the next argument; pass it by name: valid_for => '8 hours'."
                .into();
        }
        "Use lower-case letters, digits and underscores, so that the name never needs quoting; or leave role_name out to have one made."
            .into()
    }
}

impl Report for Error {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Null(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::TooMany { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::Verb(_)
            | Self::Action(_)
            | Self::NothingNamed
            | Self::ColumnsOfWhat
            | Self::NoColumns
            | Self::FutureOfWhat
            | Self::PurposeTooLong { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoSuchTable { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::NoSuchSchema { .. } => PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
            Self::NoSuchFunction { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            Self::NoSuchColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::Unknown { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::WrongKind { .. }
            | Self::NotASequence { .. }
            | Self::NotAScope { .. }
            | Self::Temporary { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::System { .. }
            | Self::MayNotGrant { .. }
            | Self::MayNotActForCreators { .. }
            | Self::MayNotRestrict { .. }
            | Self::MayNotAdopt
            | Self::NotYours { .. }
            | Self::ByALogin { .. }
            | Self::Widened { .. }
            | Self::NotDone { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Exists { .. } | Self::Differs { .. } | Self::NoFreeName => {
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT
            }
            Self::Elsewhere { .. } | Self::Ending { .. } | Self::HeldByTable { .. } => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::HasMembers { .. } | Self::Owns { .. } => {
                PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST
            }
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::Sql(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Self::Name(error) => error.code(),
        }
    }
    fn detail(&self) -> String {
        match self {
            Self::Null(what) => format!("The argument {what} is needed, without NULL elements."),
            Self::TooMany { count, max, .. } => {
                format!("There are {count} or more; at most {max} are allowed in one list.")
            }
            Self::Verb(error) => verb_problem(error),
            Self::Action(_) => "It is \"add\", \"remove\" or \"reset\".".into(),
            Self::NothingNamed => {
                "None of tables, sequences, functions and schemas names an object.".into()
            }
            Self::ColumnsOfWhat => {
                "Columns can be given for one table only, which is named, not for the tables of a whole schema.".into()
            }
            Self::NoColumns => "NULL stands for whole tables.".into(),
            Self::FutureOfWhat => {
                "PostgreSQL grants on future tables by the schema that they will be in.".into()
            }
            Self::NoSuchTable { oid } => format!("No relation has OID {oid}."),
            Self::NoSuchSchema { oid } => format!("No schema has OID {oid}."),
            Self::NoSuchFunction { oid } => format!("No function has OID {oid}."),
            Self::NoSuchColumn { .. } => "Columns are named exactly, without quotes.".into(),
            Self::WrongKind { kind, .. } => format!("It is {kind}."),
            Self::NotASequence { .. } => "It is another kind of relation.".into(),
            Self::Temporary { .. } => "It is temporary: no other session can see it.".into(),
            Self::System { .. } => "It belongs to PostgreSQL itself.".into(),
            Self::Widened { beyond, .. } => sentence(&format!("beyond that: {}", some_of(beyond))),
            Self::MayNotGrant {
                caller,
                privilege,
                others,
                ..
            } => {
                let more = match others {
                    0 => String::new(),
                    more => format!(" There are {more} more such privileges."),
                };
                format!(
                    "\"{caller}\" neither owns it nor holds {privilege} WITH GRANT OPTION.{more}"
                )
            }
            Self::MayNotActForCreators { creators, .. } => format!(
                "Default privileges belong to the role that creates, and the caller is not a member of any of these: {}.",
                creators.join(", ")
            ),
            Self::MayNotRestrict { caller, .. } => {
                format!("\"{caller}\" is neither its owner nor a member of its owner.")
            }
            Self::NotYours {
                creator,
                is_restored: false,
                is_orphaned: true,
                ..
            } => format!("A role \"{creator}\" that is gone has made it."),
            Self::NotYours {
                creator, caller, ..
            } => format!("\"{creator}\" has made it; \"{caller}\" is not a member of that role."),
            Self::MayNotAdopt => {
                "It gives restored roles to the roles that have the names of their creators now.".into()
            }
            Self::ByALogin { caller } => {
                format!("\"{caller}\" is a login that ends, and a scope would outlive it.")
            }
            Self::Unknown { .. } => "No role has this name.".into(),
            Self::NotAScope { what, .. } => (*what).into(),
            Self::Elsewhere { databases, .. } => elsewhere(databases),
            Self::Ending { waits, .. } => sentence(waits),
            Self::Exists { .. } => "Roles are shared by all databases of the server.".into(),
            Self::Differs { difference, .. } => format!("It {difference}."),
            Self::HasMembers { members, .. } => {
                format!("{} member(s): {}.", members.len(), some_of(members))
            }
            Self::Owns { objects, .. } => sentence(&some_of(objects)),
            Self::HeldByTable { grant, .. } => format!("It holds {grant}."),
            Self::NotDone { left, .. } => format!("Still to do: {}.", some_of(left)),
            Self::PurposeTooLong { bytes, max } => {
                format!("It has {bytes} bytes; at most {max} are kept.")
            }
            Self::ReadOnly => READ_ONLY.into(),
            Self::NoFreeName => {
                "Every name for the scope is taken by roles with other grants.".into()
            }
            Self::Sql(error) => sentence(error),
            Self::Name(error) => error.detail(),
        }
    }
    fn hint(&self) -> String {
        match self {
            Self::Verb(BadVerb::Misfit(_) | BadVerb::NothingFor(_)) => {
                "Name the objects that the privilege is for, or leave it out.".into()
            }
            Self::Verb(BadVerb::NotByColumn(_)) => {
                "By column there are SELECT, INSERT, UPDATE and REFERENCES.".into()
            }
            Self::Verb(_) => {
                "Tables have SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER and (from PostgreSQL 17 on) MAINTAIN; sequences SELECT, UPDATE and USAGE; functions EXECUTE; schemas CREATE."
                    .into()
            }
            Self::TooMany { .. } => {
                "Pass their schema, or add them in several calls of scope.alter_scope().".into()
            }
            Self::Null(_) | Self::Action(_) => "See \\df+ scope.*".into(),
            Self::NothingNamed => "Pass the objects that the privileges are on; for \"reset\" none.".into(),
            Self::ColumnsOfWhat => "Call it once for each table whose columns count.".into(),
            Self::NoColumns => "Name the columns, or leave the argument out.".into(),
            Self::FutureOfWhat => "Pass the schemas, or leave future_tables out.".into(),
            Self::NoSuchTable { .. } => "Pass the table's name, as in 'schema.table'.".into(),
            Self::NoSuchSchema { .. } => "Pass the schema's name.".into(),
            Self::NoSuchFunction { .. } => {
                "Pass the function with the types of its arguments, as in 'schema.f(integer)'."
                    .into()
            }
            Self::NoSuchColumn { .. } => "See \\d for the columns of the table.".into(),
            Self::WrongKind { kind: "a sequence", .. } => {
                "Pass sequences in the argument sequences.".into()
            }
            Self::WrongKind { .. } => {
                "Pass a table, partitioned table, view, materialized view or foreign table.".into()
            }
            Self::NotASequence { .. } => "Pass tables in the argument tables.".into(),
            Self::Temporary { .. } => "Pass a permanent table.".into(),
            Self::System { .. } => {
                "Create a view or function that shows what is needed, and pass that.".into()
            }
            Self::MayNotGrant {
                object,
                privilege,
                caller,
                ..
            } => format!(
                "Call it as the owner, or have the owner run: GRANT {privilege} ON {object} TO {} WITH GRANT OPTION;", identifier(caller)
            ),
            Self::Widened { scope, .. } => format!(
                "Have its creator call scope.alter_scope({}, 'reset'), which takes that away, or call it as a superuser or a role that may grant all of it.",
                literal(scope)
            ),
            Self::MayNotActForCreators { .. } => {
                "Call it as a member of the roles that create tables there, or as a superuser."
                    .into()
            }
            Self::MayNotRestrict { .. } => "Call it as the owner of the function.".into(),
            Self::NotYours {
                is_restored: true, ..
            } => {
                "A restore has brought it from another cluster. Have a superuser call scope.adopt_restored()."
                    .into()
            }
            Self::NotYours {
                creator,
                is_orphaned: true,
                ..
            } => format!(
                "Have a superuser hand it over: SELECT * FROM scope.reassign({}, 'the role that is to manage it');",
                literal(creator)
            ),
            Self::NotYours { creator, .. } => format!(
                "Call it as \"{creator}\", or as a superuser. Roles are shared by all databases of the server: a scope of one's own needs a name of its own."
            ),
            Self::MayNotAdopt => "Call it as a superuser, when all roles are restored.".into(),
            Self::ByALogin { .. } => "Call it as the owner of the objects.".into(),
            Self::Unknown { .. } => {
                "The view scope.scopes lists them; scope.create_scope() makes one.".into()
            }
            Self::NotAScope { .. } => {
                "Only scopes, as scope.scopes lists them, can be changed here.".into()
            }
            Self::Elsewhere { .. } => {
                "Connect to the database that has, or give this one a part: scope.create_scope(…, if_not_exists => true)."
                    .into()
            }
            Self::Ending { .. } => {
                "Wait until the background worker has dropped it; scope.roles shows how far it is."
                    .into()
            }
            Self::Exists { .. } => {
                "Choose another name, or pass if_not_exists => true for a scope that may be there."
                    .into()
            }
            Self::Differs { .. } => {
                "Use scope.alter_scope() to add or remove privileges; nothing was changed.".into()
            }
            Self::HasMembers { .. } => {
                "End them first, or pass force => true to take the scope from them.".into()
            }
            Self::Owns { .. } => {
                "Give the objects to another role (REASSIGN OWNED BY … TO …), or drop them.".into()
            }
            Self::HeldByTable { .. } => {
                "Remove the privilege on the table, then add the columns that remain.".into()
            }
            Self::NotDone { .. } => {
                "See who has granted what (\\dp), and have them change it.".into()
            }
            Self::PurposeTooLong { .. } => "Say it in fewer words.".into(),
            Self::ReadOnly => "Change scopes on the primary; standbys follow.".into(),
            Self::NoFreeName => {
                "Drop the scopes of this name that someone has changed by hand.".into()
            }
            Self::Sql(_) => "Look at the server log.".into(),
            Self::Name(error) => error.hint(),
        }
    }
}

/// Where a scope is, in words.
pub fn elsewhere(databases: &[String]) -> String {
    if databases.is_empty() {
        return "No database has a part of it.".to_owned();
    }
    let names: Vec<String> = databases.iter().map(|name| format!("\"{name}\"")).collect();
    format!("Databases that have a part of it: {}.", some_of(&names))
}

fn verb_problem(error: &BadVerb) -> String {
    match error {
        BadVerb::Unknown { .. } => "PostgreSQL has no privilege of that name.".into(),
        BadVerb::NoMaintain => "It came with PostgreSQL 17.".into(),
        BadVerb::NotForScopes(_) => {
            "A scope may connect to its own database, and to no other.".into()
        }
        BadVerb::Misfit(_) => "Nothing was named that it can be granted on.".into(),
        BadVerb::NotByColumn(_) => "It is a privilege on whole tables.".into(),
        BadVerb::NothingFor(_) => "None of the given privileges fits them.".into(),
    }
}
