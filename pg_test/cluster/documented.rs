//! What README and `docs/` say is so.

mod sql;
mod vectors;
