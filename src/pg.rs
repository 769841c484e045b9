//! Everything that touches PostgreSQL's C interface. The only room with `unsafe` code: each block
//! says why it is sound, and what leaves this room is safe to call from any backend code.

pub mod acl;
pub mod advisory;
pub mod arguments;
pub mod audit;
pub mod catalog;
pub mod clock;
pub mod compat;
pub mod dependencies;
pub mod gate;
pub mod guards;
pub mod hooks;
pub mod identity;
pub mod invalidation;
pub mod json;
pub mod leftovers;
pub mod login_memory;
pub mod name;
pub mod own_table;
pub mod planted;
pub mod preload;
mod raw;
pub mod role_changers;
pub mod seclabel;
pub mod secret_setting;
pub mod server;
pub mod sessions;
pub mod shared_rows;
pub mod shared_tokens;
pub mod spi;
pub mod statements;
pub mod switch_state;
pub mod time_zone;
pub mod timer;
pub mod wakeup;
pub mod worker;
pub mod xact;
