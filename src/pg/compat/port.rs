//! The connection of a client, as the server keeps it.

use std::ffi::{OsStr, c_char, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};

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
    hba: *const HbaLinePrefix,
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

/// The beginning of `struct HbaLine` (libpq/hba.h), likewise.
#[repr(C)]
struct HbaLinePrefix {
    #[cfg(not(feature = "pg15"))]
    sourcefile: *mut c_char,
    linenumber: i32,
    rawline: *mut c_char,
    conntype: i32,
    databases: *mut c_void,
    roles: *mut c_void,
    addr: libc::sockaddr_storage,
    addrlen: i32,
    mask: libc::sockaddr_storage,
    masklen: i32,
    ip_cmp_method: i32,
    hostname: *mut c_char,
    auth_method: u32,
    /// Of other methods: texts, numbers and flags.
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    others: OtherMethods,
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    oauth_issuer: *mut c_char,
    #[cfg(any(feature = "pg18", feature = "pg19"))]
    oauth_scope: *mut c_char,
}

#[cfg(any(feature = "pg18", feature = "pg19"))]
#[repr(C)]
struct OtherMethods {
    usermap_pamservice: [*mut c_char; 2],
    pam_use_hostname_ldaptls: [bool; 2],
    ldapscheme_server: [*mut c_char; 2],
    ldapport: i32,
    ldapbinddn_to_basedn: [*mut c_char; 5],
    ldapscope: i32,
    ldapprefix_suffix: [*mut c_char; 2],
    clientcert_name: [i32; 2],
    krb_realm: *mut c_char,
    realm_flags: [bool; 3],
    #[cfg(feature = "pg18")]
    radius: [*mut c_void; 8],
}

/// `USER_AUTH_LAST` (libpq/hba.h).
const LAST_AUTHENTICATION_METHOD: u32 = if cfg!(feature = "pg18") { 15 } else { 14 };

/// What pg_hba.conf calls a method.
pub fn name_of_authentication_method(method: u32) -> Option<String> {
    unsafe extern "C-unwind" {
        fn hba_authname(method: u32) -> *const c_char;
    }
    if method > LAST_AUTHENTICATION_METHOD {
        return None;
    }
    // SAFETY: one of the methods; the result is a constant.
    unsafe { text::owned(hba_authname(method)) }
}

/// `uaTrust` of `enum UserAuth`.
const TRUST: u32 = 2;

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

/// The connection of this process's client: a pointer and no reference, because without OpenSSL the record is shorter.
#[derive(Clone, Copy)]
pub struct Port(NonNull<PortPrefix>);

impl Port {
    /// `None` in a process without a client.
    pub fn current() -> Option<Self> {
        // SAFETY: a plain read of a backend global, which lives as long as the process.
        NonNull::new(unsafe { pg_sys::MyProcPort }.cast()).map(Self)
    }

    /// The role in the start-up packet, which is there before authentication starts.
    pub fn user(&self) -> Option<&[u8]> {
        // SAFETY: a valid connection; its texts are terminated, or NULL.
        unsafe { text::bytes((*self.0.as_ptr()).user_name) }
    }

    pub fn database(&self) -> Option<&[u8]> {
        // SAFETY: as in `user`.
        unsafe { text::bytes((*self.0.as_ptr()).database_name) }
    }

    pub fn application_name(&self) -> Option<&[u8]> {
        // SAFETY: as in `user`.
        unsafe { text::bytes((*self.0.as_ptr()).application_name) }
    }

    /// The client's TCP port.
    pub fn remote_port(self) -> Option<u16> {
        // SAFETY: a valid connection; the family says which struct the storage holds.
        unsafe {
            let storage = &raw const (*self.0.as_ptr()).raddr.address;
            match i32::from((*storage).ss_family) {
                libc::AF_INET => Some((*storage.cast::<libc::sockaddr_in>()).sin_port),
                libc::AF_INET6 => Some((*storage.cast::<libc::sockaddr_in6>()).sin6_port),
                _ => None,
            }
            .map(u16::from_be)
        }
    }

    /// The client's end.
    pub fn remote(self) -> Peer {
        // SAFETY: a valid connection.
        unsafe { (*self.0.as_ptr()).raddr.peer() }
    }

    /// The server's end.
    pub fn local(self) -> Peer {
        // SAFETY: a valid connection.
        unsafe { (*self.0.as_ptr()).laddr.peer() }
    }

    /// Is the connection encrypted by TLS?
    pub fn uses_tls(self) -> bool {
        // SAFETY: a valid connection.
        unsafe { (*self.0.as_ptr()).ssl_in_use }
    }

    /// Has a line of pg_hba.conf let the client in without asking for anything?
    pub fn is_trusted(self) -> bool {
        self.authentication_method() == TRUST
    }

    /// The method of the line of pg_hba.conf that let the client in, as PostgreSQL numbers them.
    pub fn authentication_method(self) -> u32 {
        // SAFETY: a valid connection; the line lives as long as the process, NULL before one was chosen.
        unsafe {
            let line = (*self.0.as_ptr()).hba;
            line.as_ref().map_or(u32::MAX, |line| line.auth_method)
        }
    }

    /// The issuer and the scope that the line of pg_hba.conf says, where its method is oauth.
    pub fn oauth(self) -> [Option<String>; 2] {
        #[cfg(any(feature = "pg18", feature = "pg19"))]
        // SAFETY: as above; its texts are terminated, or NULL.
        unsafe {
            let line = (*self.0.as_ptr()).hba;
            let texts = line
                .as_ref()
                .map(|line| [line.oauth_issuer, line.oauth_scope]);
            texts.map_or([None, None], |texts| texts.map(|text| text::owned(text)))
        }
        #[cfg(not(any(feature = "pg18", feature = "pg19")))]
        [None, None]
    }

    /// OpenSSL's `X509` of the client, if it has shown one that the server has verified.
    pub fn peer_certificate(self) -> Option<NonNull<c_void>> {
        // SAFETY: a valid connection; only a server with OpenSSL has connections with TLS, and then the last field is there.
        unsafe {
            let port = self.0.as_ptr();
            let is_there = (*port).ssl_in_use && (*port).peer_cert_valid;
            NonNull::new(if is_there { (*port).peer } else { null_mut() })
        }
    }
}
