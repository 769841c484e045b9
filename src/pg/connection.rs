//! The connection of this session's client, and who acts in it, without a look into the catalogues: an error may be under way.

use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::compat::Peer;
use super::text::bytes;
use super::{compat, identity, setting};

/// NULL without a client.
fn port() -> *mut pg_sys::Port {
    // SAFETY: a plain read of a backend global.
    unsafe { pg_sys::MyProcPort }
}

/// The client has shown who it is. Until then the start-up packet says what it likes.
static AUTHENTICATED: AtomicBool = AtomicBool::new(false);

pub fn authenticated() {
    AUTHENTICATED.store(true, Ordering::Relaxed);
}

/// The names of the session's user and of its role.
pub fn with_names<R>(look: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> R) -> R {
    // SAFETY: reads of backend globals; the strings are terminated and not changed meanwhile.
    unsafe {
        let port = port();
        let session = identity::session_user();
        let login = identity::authenticated_user();
        let user = if !port.is_null()
            && session == pg_sys::InvalidOid
            && !AUTHENTICATED.load(Ordering::Relaxed)
        {
            null()
        } else if !port.is_null() && (session == login || session == pg_sys::InvalidOid) {
            compat::port_user(port)
        } else if !port.is_null() || pg_sys::ParallelWorkerNumber >= 0 {
            setting::SESSION_AUTHORIZATION.text()
        } else {
            // A background worker.
            null()
        };
        let outer = identity::outer_user();
        let role = if user.is_null() || outer == session || outer == pg_sys::InvalidOid {
            user
        } else {
            setting::ROLE.text()
        };
        look(bytes(user), bytes(role))
    }
}

/// `application_name`, which the start-up packet has until the client has logged in.
pub fn with_application_name<R>(look: impl FnOnce(Option<&[u8]>) -> R) -> R {
    // SAFETY: reads of backend globals; terminated strings.
    unsafe {
        let mut name = pg_sys::application_name.cast_const();
        let port = port();
        if !port.is_null() && pg_sys::ClientAuthInProgress {
            name = compat::port_application_name(port);
        }
        look(bytes(name))
    }
}

/// The client's end, its TCP port, and the name of the database. In a process with a client.
pub fn with_place<R>(look: impl FnOnce(Peer, Option<u16>, Option<&[u8]>) -> R) -> Option<R> {
    let port = port();
    if port.is_null() {
        return None;
    }
    // SAFETY: this process's connection; terminated strings.
    unsafe {
        let database = bytes(compat::port_database(port)).filter(|name| !name.is_empty());
        let (peer, number) = (compat::remote_peer(port), compat::remote_port(port));
        Some(look(peer, number, database))
    }
}
