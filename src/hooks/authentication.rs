//! The hook on authentication: who logs in.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::admission::Client;
use crate::pg::compat::{Peer, Port};
use crate::pg::{connection, text};
use crate::session::gate;
use crate::{door, login, presence};

unsafe extern "C-unwind" {
    /// libpq/auth.h, which pgrx does not bind.
    static mut ClientAuthentication_hook: Option<AuthenticationHook>;
}
type AuthenticationHook = unsafe extern "C-unwind" fn(*mut pg_sys::Port, i32);

static mut PREVIOUS: Option<AuthenticationHook> = None;

/// Once, in the postmaster.
pub fn install() {
    // SAFETY: single-threaded; saves what was there before.
    unsafe {
        PREVIOUS = ClientAuthentication_hook;
        ClientAuthentication_hook = Some(client_authentication);
    }
    connection::told_of_failures_by(failed);
}

/// As PostgreSQL itself tells all of a wrong password, those in front of us too.
unsafe fn failed() {
    // SAFETY: in a backend with a client; one of them is ours, which passes it on.
    unsafe {
        if let Some(hook) = ClientAuthentication_hook {
            hook(pg_sys::MyProcPort, pg_sys::STATUS_ERROR);
        }
    }
}

unsafe extern "C-unwind" fn client_authentication(port: *mut pg_sys::Port, status: i32) {
    // SAFETY: the arguments go on as they came; PostgreSQL passes the port of this process.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(port, status);
        }
        // A failed authentication ends the connection anyway, with its own message.
        if status == pg_sys::STATUS_OK as i32 {
            connection::authenticated();
            after_authentication();
        }
    }
}

#[pg_guard]
extern "C-unwind" fn after_authentication() {
    let Some(port) = Port::current() else {
        return;
    };
    let client = client(port);
    if let Some(user) = port.user() {
        let visitor = login::Visitor {
            user: text::of(user).into_owned(),
            client,
            is_trusted: port.is_trusted(),
        };
        if let Some(role) = login::enforce(&visitor, door::ask) {
            let method = match port.is_trusted() && gate::is_by_token() {
                true => presence::BY_TOKEN,
                false => port.authentication_method(),
            };
            presence::logged_in(role, port.uses_tls(), method);
        }
        door::require_asked();
    }
}

pub(super) fn client(port: Port) -> Client {
    match port.remote() {
        Peer::Socket(_) => Client::Local,
        Peer::Tcp(address) => Client::Tcp {
            address,
            tls: port.uses_tls(),
        },
        Peer::Unknown => Client::Unknown,
    }
}
