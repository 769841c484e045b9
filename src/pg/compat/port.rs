//! The connection of a client, as the server keeps it.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::pg::text;
use pgrx::pg_sys;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Tcp(IpAddr),
    /// A Unix socket, with its path at the end that has one.
    Socket(Option<PathBuf>),
    /// A family that this library does not know.
    Unknown,
}

/// The beginning of `struct Port` (libpq/libpq-be.h), which pgrx does not bind.
/// The tests of logins fail if a version moves a field.
#[repr(C)]
struct PortPrefix {
    sock: i32,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: *mut c_char,
    remote_hostname: *mut c_char,
    remote_hostname_resolv: i32,
    remote_hostname_errcode: i32,
    remote_port: *mut c_char,
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    can_accept_connections: i32,
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    local_host: [c_char; 64],
    database_name: *mut c_char,
    user_name: *mut c_char,
    cmdline_options: *mut c_char,
    guc_options: *mut c_void,
    application_name: *mut c_char,
    hba: *mut c_void,
    #[cfg(feature = "pg15")]
    authn_id: *const c_char,
    /// Default and current keepalives_idle, _interval, _count and tcp_user_timeout.
    tcp_settings: [i32; 8],
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    scram_keys: [u8; 64],
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    has_scram_keys: bool,
    gss: *mut c_void,
    ssl_in_use: bool,
    peer_cn: *mut c_char,
    peer_dn: *mut c_char,
    peer_cert_valid: bool,
    #[cfg(any(feature = "pg17", feature = "pg18", feature = "pg19"))]
    alpn_used: bool,
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    last_read_was_eof: bool,
    /// From here on with OpenSSL only.
    ssl: *mut c_void,
    peer: *mut c_void,
}

#[repr(C)]
struct SockAddr {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl SockAddr {
    fn peer(&self) -> Peer {
        let storage = &raw const self.address;
        match i32::from(self.address.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which struct the storage holds.
                let address = unsafe { (*storage.cast::<libc::sockaddr_in>()).sin_addr };
                Peer::Tcp(Ipv4Addr::from(address.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let address = unsafe { (*storage.cast::<libc::sockaddr_in6>()).sin6_addr };
                Peer::Tcp(Ipv6Addr::from(address.s6_addr).into())
            }
            libc::AF_UNIX => {
                let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
                let end = usize::try_from(self.length).unwrap_or(0);
                let length = end
                    .min(size_of::<libc::sockaddr_storage>())
                    .saturating_sub(start);
                // SAFETY: inside the storage; the kernel has filled it up to `length`.
                let path =
                    unsafe { std::slice::from_raw_parts(storage.cast::<u8>().add(start), length) };
                let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
                let path = (!path.is_empty()).then(|| OsStr::from_bytes(path).into());
                Peer::Socket(path)
            }
            _ => Peer::Unknown,
        }
    }
}

/// The role name in the start-up packet.
///
/// # Safety
/// `port` is the one that PostgreSQL passes to ClientAuthentication_hook.
pub unsafe fn port_user_name(port: *mut pg_sys::Port) -> Option<String> {
    // SAFETY: by contract; user_name is set before authentication starts.
    unsafe {
        let name = (*port.cast::<PortPrefix>()).user_name;
        if name.is_null() {
            None
        } else {
            Some(text::read(CStr::from_ptr(name)).into_owned())
        }
    }
}

/// The role, the database and the application name in the start-up packet: terminated, or NULL.
///
/// # Safety
/// `port` is this process's connection.
pub unsafe fn port_user(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).user_name }
}

/// # Safety
/// As [`port_user`].
pub unsafe fn port_database(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).database_name }
}

/// # Safety
/// As [`port_user`].
pub unsafe fn port_application_name(port: *mut pg_sys::Port) -> *const c_char {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).application_name }
}

/// The client's TCP port.
///
/// # Safety
/// As [`port_user`].
pub unsafe fn remote_port(port: *mut pg_sys::Port) -> Option<u16> {
    // SAFETY: by contract; the family says which struct the storage holds.
    unsafe {
        let storage = &raw const (*port.cast::<PortPrefix>()).raddr.address;
        match i32::from((*storage).ss_family) {
            libc::AF_INET => Some((*storage.cast::<libc::sockaddr_in>()).sin_port),
            libc::AF_INET6 => Some((*storage.cast::<libc::sockaddr_in6>()).sin6_port),
            _ => None,
        }
        .map(u16::from_be)
    }
}

/// The server's end of a connection.
///
/// # Safety
/// `port` is a connection of this process.
pub unsafe fn local_peer(port: *mut pg_sys::Port) -> Peer {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).laddr.peer() }
}

/// The client's end of a connection.
///
/// # Safety
/// As [`local_peer`].
pub unsafe fn remote_peer(port: *mut pg_sys::Port) -> Peer {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).raddr.peer() }
}

/// Is the connection encrypted by TLS?
///
/// # Safety
/// As [`local_peer`].
pub unsafe fn uses_tls(port: *mut pg_sys::Port) -> bool {
    // SAFETY: by contract.
    unsafe { (*port.cast::<PortPrefix>()).ssl_in_use }
}

/// OpenSSL's `X509` of the client of a connection: NULL without one that the server has verified.
///
/// # Safety
/// As [`local_peer`].
pub unsafe fn peer_certificate(port: *mut pg_sys::Port) -> *mut c_void {
    // SAFETY: by contract; only a server with OpenSSL has connections with TLS, and then the field is there.
    unsafe {
        let port = port.cast::<PortPrefix>();
        if (*port).ssl_in_use && (*port).peer_cert_valid {
            (*port).peer
        } else {
            std::ptr::null_mut()
        }
    }
}
