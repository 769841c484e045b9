//! What README and `docs/` say is so.

mod pages;
mod sql;
mod vectors;
