//! Logging in by token (docs/design.md, "A token in place of a password"): the client's password is a token, and its session is that
//! token's for its length.

use std::cell::RefCell;

use zeroize::Zeroizing;

use crate::error::Report;
use crate::label::Metadata;
use crate::login;
use crate::pg::{connection, password_message, wire, xact};
use crate::session::{ends, gate};
use crate::switch;

/// What the client has presented, until its session begins.
struct Presented {
    token: Zeroizing<Box<str>>,
    issuers: Vec<String>,
}

thread_local! {
    static PRESENTED: RefCell<Option<Presented>> = const { RefCell::new(None) };
}

/// Asks the client for its token, in place of a password. While it logs in, when no database can be read.
pub fn ask(login: &Metadata) {
    let token = password_message::ask();
    gate::open_by_token();
    wire::watch();
    PRESENTED.set(Some(Presented {
        token,
        issuers: login.issuers.clone(),
    }));
}

/// The session begins: it is switched by the token, or ends. Before anything runs in it, outside of a transaction.
pub fn enter() {
    let Some(Presented { token, issuers }) = PRESENTED.take() else {
        return;
    };
    let reason = match xact::transaction(|| switch::at_login(&token, &issuers)) {
        Ok(Ok(())) => return login::welcome(),
        Ok(Err(error)) => error.detail(),
        Err(failure) => failure.message,
    };
    drop(token);
    // What makes others wait who have sent a wrong password makes these wait, too.
    connection::authentication_failed();
    login::turn_away(&reason);
}

/// The server is about to wait for the client: PostgreSQL has stopped all timers where there was an error.
pub fn at_rest() {
    if gate::is_by_token() {
        ends::ensure();
    }
}
