//! Why keys could not be fetched, in words of ours alone: nothing that was fetched is among them.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::BadPlace;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Problem {
    #[error("the keys' URL cannot be used: {0}")]
    Place(BadPlace),
    #[error("the URL in the issuer's description cannot be used: {0}")]
    Described(BadPlace),
    #[error("the CA file {0}")]
    CaFile(File),
    #[error("the CA file has no certificate")]
    NoAuthority,
    #[error("the system has no certificates of authorities where they are looked for")]
    NoSystemAuthorities,
    #[error("the bearer token's file {0}")]
    TokenFile(File),
    #[error("the bearer token's file holds no token")]
    NoToken,
    #[error("the host's name could not be looked up")]
    Lookup,
    #[error(
        "the host has a loopback, private or link-local address and is not in scope_roles.jwks_hosts"
    )]
    Address,
    #[error("no connection could be made")]
    Connection,
    #[error("the proxy made no connection")]
    Proxy,
    #[error("the server's certificate is not from an authority that is trusted")]
    Authority,
    #[error("the server's certificate is for another host")]
    OtherHost,
    #[error("the server's certificate is not valid today")]
    Expired,
    #[error("the server's certificate cannot be used")]
    Certificate,
    #[error("no TLS connection could be made")]
    Tls,
    #[error("there was no whole answer within 10 seconds")]
    Time,
    #[error("the connection ended before the answer did")]
    Cut,
    #[error("the answer is not HTTP")]
    Http,
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer is a redirect, with status {0}, and none is followed")]
    Redirect(u16),
    #[error("the answer has more than 64 KiB")]
    Size,
    #[error("the issuer's description is not a JSON object")]
    Description,
    #[error("the issuer's description is of another issuer")]
    Issuer,
    #[error("the issuer's description names no jwks_uri")]
    NoUri,
    #[error("the answer is no key set")]
    NoKeySet,
    #[error("the key set has more than 100 keys")]
    Number,
    #[error("the key set has no public key that verifies signatures by an algorithm of the issuer")]
    NoKeys,
    #[error("the process that fetched them ended too early")]
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum File {
    #[error("does not exist")]
    Missing,
    #[error("may not be read")]
    Denied,
    #[error("is too large")]
    Large,
    #[error("cannot be read")]
    Other,
}

impl From<io::Error> for File {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::FileTooLarge => Self::Large,
            _ => Self::Other,
        }
    }
}
