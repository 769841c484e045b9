//! The connection of this session's client, and who acts in it, without a look into the catalogues: an error may be under way.

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
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

/// The certificate of the client, in DER, if it has shown one that the server has verified. As OpenSSL has it, by the function of the
/// very library that the server runs with.
pub fn client_certificate() -> Option<Vec<u8>> {
    type Encode = unsafe extern "C" fn(*const c_void, *mut *mut u8) -> c_int;
    let port = port();
    if port.is_null() {
        return None;
    }
    // SAFETY: the port is this process's. The server has made the certificate, so that its OpenSSL is there, whose i2d_X509 has this
    // type: it gives the length, and writes as many bytes where there is a buffer.
    unsafe {
        let certificate = compat::peer_certificate(port);
        if certificate.is_null() {
            return None;
        }
        let function = libc::dlsym(libc::RTLD_DEFAULT, c"i2d_X509".as_ptr());
        if function.is_null() {
            return None;
        }
        let encode = std::mem::transmute::<*mut c_void, Encode>(function);
        let length = encode(certificate, null_mut());
        let mut der = vec![0; usize::try_from(length).ok()?];
        let mut end = der.as_mut_ptr();
        (encode(certificate, &raw mut end) == length).then_some(der)
    }
}
