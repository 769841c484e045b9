//! What the session of this process is: switched by a token, of an authenticator, until when; and what it leaves to
//! whoever uses its connection next.

pub mod cancelling;
pub mod claim_settings;
pub mod ends;
pub mod gate;
pub mod leftovers;
pub mod parsing;
pub mod planted;
pub mod role_changers;
pub mod role_settings;
pub mod switch_state;
pub mod switching;
