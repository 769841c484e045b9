//! The hook on authentication: who logs in.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::admission::Client;
use crate::login;
use crate::pg::compat::{Peer, Port};
use crate::pg::{connection, text};
use crate::presence;

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
    let client = match port.remote() {
        Peer::Socket(_) => Client::Local,
        Peer::Tcp(address) => Client::Tcp {
            address,
            tls: port.uses_tls(),
        },
        Peer::Unknown => Client::Unknown,
    };
    let user = port.user().map(text::of);
    if let Some(role) = user.and_then(|user| login::enforce(&user, client)) {
        presence::logged_in(role, port.uses_tls(), port.authentication_method());
    }
}
