//! PostgreSQL's things with a safe face, named as PostgreSQL names them: no word of ours, and no import from a room above.
//! `unsafe` code is here and in `hooks` only: each block says why it is sound, and what leaves this room is safe to call from
//! any backend code.

pub mod acl;
pub mod after_commit;

pub mod arguments;
pub mod catalog;
pub mod checked_setting;
pub mod child;
pub mod clock;
pub mod compat;
pub mod connection;
pub mod cursor;
pub mod db_role_setting;
pub mod dblink;
pub mod discard;
pub mod exit;
pub mod given;
pub mod identity;
pub mod invalidation;
pub mod json;
pub mod list;
pub mod lock;
pub mod log;
pub mod name;
pub mod notify;
pub mod own_setting;
pub mod password_message;
pub mod per_backend;
mod pinned_settings;
pub mod plans;
pub mod preload;
pub mod prepared;
pub mod raw;
pub mod relation;
pub mod replaced_setting;
mod scan;
pub mod search_path;
pub mod seclabel;
pub mod secret_setting;
pub mod server;
pub mod session_settings;
pub mod sessions;
pub mod setting;
pub mod shared;
pub mod shared_comment;
pub mod shared_table;
pub mod shdepend;
pub mod shown_setting;
pub mod spi;
pub mod statement;
pub mod text;
pub mod time_zone;
pub mod timer;
pub mod worker;
pub mod xact;
pub mod xact_end;
