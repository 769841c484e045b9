//! All that PostgreSQL calls: hooks, callbacks, entry points of workers. Each decodes what it is given, asks a room,
//! and chains on.

pub mod labels;
mod workers;
