//! What README and `docs/` say is so.

mod pages;
mod providers;
mod sql;
mod vectors;
