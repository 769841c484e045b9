//! The connection of this session's client, and who acts in it, without a look into the catalogues: an error may be under way.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys;

use super::compat::Port;
use super::text::bytes;
use super::{identity, setting};

/// The client has shown who it is. Until then the start-up packet says what it likes.
static AUTHENTICATED: AtomicBool = AtomicBool::new(false);

pub fn authenticated() {
    AUTHENTICATED.store(true, Ordering::Relaxed);
}

/// Who is told of a client whose authentication has failed.
static FAILED: OnceLock<unsafe fn()> = OnceLock::new();

/// Once, in the postmaster.
pub fn told_of_failures_by(tell: unsafe fn()) {
    FAILED.get_or_init(|| tell);
}

/// The client has not shown who it is, though PostgreSQL took it for so.
pub fn authentication_failed() {
    if let Some(tell) = FAILED.get() {
        // SAFETY: it may be called in a backend that has a client.
        unsafe { tell() };
    }
}

/// Who judges what is sent to clients.
static WATCH: OnceLock<fn()> = OnceLock::new();

/// Once, in the postmaster: what has the messages to this session's client judged.
pub fn watched_by(watch: fn()) {
    WATCH.get_or_init(|| watch);
}

/// From now on, in this session: where something may end, or rows are counted.
pub fn watch() {
    if let Some(watch) = WATCH.get() {
        watch();
    }
}

/// The names of the session's user and of its role.
pub fn with_names<R>(look: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> R) -> R {
    let nobody = pg_sys::InvalidOid;
    let session = identity::session_user();
    let port = Port::current();
    // SAFETY: terminated, or NULL, and not changed meanwhile.
    let named = |setting: &setting::Setting| unsafe { bytes(setting.text()) };
    let user = match &port {
        Some(_) if session == nobody && !AUTHENTICATED.load(Ordering::Relaxed) => None,
        Some(port) if session == nobody || session == identity::authenticated_user() => port.user(),
        // A background worker.
        None if !identity::is_parallel_worker() => None,
        _ => named(&setting::SESSION_AUTHORIZATION),
    };
    let outer = identity::outer_user();
    let role = if user.is_none() || outer == session || outer == nobody {
        user
    } else {
        named(&setting::ROLE)
    };
    look(user, role)
}

/// `application_name`, which the start-up packet has until the client has logged in.
pub fn with_application_name<R>(look: impl FnOnce(Option<&[u8]>) -> R) -> R {
    // SAFETY: reads of backend globals; a terminated string.
    let (logs_in, name) = unsafe {
        (
            pg_sys::ClientAuthInProgress,
            bytes(pg_sys::application_name),
        )
    };
    match Port::current().filter(|_| logs_in) {
        Some(port) => look(port.application_name()),
        None => look(name),
    }
}

/// The certificate of the client, in DER, if it has shown one that the server has verified. As OpenSSL has it, by the function of the
/// very library that the server runs with.
pub fn client_certificate() -> Option<Vec<u8>> {
    type Encode = unsafe extern "C" fn(*const c_void, *mut *mut u8) -> c_int;
    let certificate = Port::current()?.peer_certificate()?.as_ptr();
    // SAFETY: The server has made the certificate, so that its OpenSSL is there, whose i2d_X509 has this
    // type: it gives the length, and writes as many bytes where there is a buffer.
    unsafe {
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
