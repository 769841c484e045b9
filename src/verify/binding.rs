//! Tokens that are bound to a certificate (RFC 8705 section 3): whoever shows one has shown the certificate, too.

use std::cell::OnceCell;

use aws_lc_rs::digest;

use crate::jwt::{Confirmation, Refusal, Verified};
use crate::pg::connection;

/// What an issuer's `cnf` claim means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bound {
    /// Each token is bound to the certificate of this session's client.
    Required,
    /// One that says so is.
    #[default]
    IfPresent,
    /// It means nothing.
    Ignored,
}

impl Bound {
    pub const WORDS: [(&'static str, Self); 3] = [
        ("required", Self::Required),
        ("if_present", Self::IfPresent),
        ("ignored", Self::Ignored),
    ];

    pub fn parse(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words.find(|(known, _)| *known == word).map(|one| one.1)
    }
}

/// Why a token may not be used in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbound {
    /// The token must be bound to a certificate, and is not.
    Not,
    /// It is bound, by something else.
    Otherwise,
    /// The client of this session has shown no certificate.
    NoCertificate,
    /// It has shown another one.
    Elsewhere,
    /// The claim is not of the form that it must have.
    Form(Refusal),
}

thread_local! {
    /// The SHA-256 of the certificate of this session's client, which stays the same.
    static CERTIFICATE: OnceCell<Option<[u8; 32]>> = const { OnceCell::new() };
}

pub fn check(bound: Bound, verified: &Verified) -> Result<(), Unbound> {
    if bound == Bound::Ignored {
        return Ok(());
    }
    let to = match verified.confirmation().map_err(Unbound::Form)? {
        Confirmation::Certificate(to) => to,
        _ if bound == Bound::IfPresent => return Ok(()),
        Confirmation::None => return Err(Unbound::Not),
        Confirmation::Other => return Err(Unbound::Otherwise),
    };
    match certificate() {
        None => Err(Unbound::NoCertificate),
        Some(own) if own == to => Ok(()),
        Some(_) => Err(Unbound::Elsewhere),
    }
}

fn certificate() -> Option<[u8; 32]> {
    CERTIFICATE.with(|known| {
        *known.get_or_init(|| {
            let der = connection::client_certificate()?;
            digest::digest(&digest::SHA256, &der)
                .as_ref()
                .try_into()
                .ok()
        })
    })
}
