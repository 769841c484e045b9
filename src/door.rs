//! Logging in by token (docs/design.md, "A token in place of a password"): the client's password is a token, or PostgreSQL's own exchange for
//! OAuth has taken one from it, and its session is that token's for its length.

use std::cell::RefCell;

use zeroize::Zeroizing;

use crate::admission::Client;
use crate::error::Report;
use crate::label::Metadata;
use crate::lock;
use crate::login;
use crate::pg::{connection, password_message, preload, xact};
use crate::presence;
use crate::session::gate;
use crate::switch;
use crate::verify::{self, Accepted};

thread_local! {
    /// The token that the client has presented, until its session begins.
    static PRESENTED: RefCell<Option<Zeroizing<Box<str>>>> = const { RefCell::new(None) };
}

/// Asks the client for its token, in place of a password, unless it has shown one. While it logs in, when no database can be read.
pub fn ask(login: &Metadata) {
    let token = PRESENTED.take().unwrap_or_else(|| {
        let token = password_message::ask();
        // Before the client is told that it has logged in. Where the issuers are not at hand the tables alone judge, when the session begins.
        match switch::before_login(&token, &login.issuers) {
            Ok(_) | Err(switch::Error::Verify(verify::Error::NotAtHand { .. })) => {}
            Err(error) => refuse(&error.detail()),
        }
        token
    });
    gate::open_by_token();
    lock::watch_commits();
    connection::watch();
    PRESENTED.set(Some(token));
}

/// A client that has shown a token is that token's, or nobody: whatever has become of its login since.
pub fn require_asked() {
    if PRESENTED.with_borrow(Option::is_some) && !gate::is_by_token() {
        refuse("it is no login by token any more");
    }
}

/// A token that PostgreSQL's exchange for OAuth has received.
pub struct Bearer {
    pub token: Zeroizing<Box<str>>,
    /// As whom its client logs in.
    pub user: String,
    pub client: Client,
    /// The name of the only issuer that counts.
    pub only: Option<String>,
}

/// May its client log in? Then who it is, where it can be said. Refused without a word to the client, which PostgreSQL says itself.
pub fn validate(bearer: Bearer) -> Option<Option<String>> {
    if !preload::done() {
        // Neither labels nor tokens can be looked at.
        pgrx::log!("scope_roles: a token was refused: the server runs without scope_roles");
        return None;
    }
    let Bearer {
        token,
        user,
        client,
        only,
    } = bearer;
    let (role, login) = login::that_takes_tokens(&user, client)?;
    let verdict = switch::before_login(&token, &login.issuers).map_err(|error| error.detail());
    let verdict = verdict.and_then(|accepted| {
        let issuer = accepted.rules.name.as_ref();
        if only.is_some() && only.as_ref() != issuer {
            return Err(
                "issuer_not_taken: the line of pg_hba.conf takes tokens of another issuer.".into(),
            );
        }
        switch::names_one_of(&accepted, &login.roles, &user).map_err(|error| error.detail())?;
        identity(&accepted)
    });
    match verdict {
        Ok(identity) => {
            PRESENTED.set(Some(token));
            Some(identity)
        }
        Err(reason) => {
            login::token_refused(role, &user, client, &reason);
            None
        }
    }
}

/// Issuer and subject, for the maps of pg_ident.conf and for SYSTEM_USER: in ASCII, because no database's encoding is known yet. `None` without a subject.
fn identity(token: &Accepted) -> Result<Option<String>, String> {
    let (Some(issuer), Some(subject)) = (token.verified.issuer(), token.verified.subject()) else {
        return Ok(None);
    };
    if issuer.chars().chain(subject.chars()).any(char::is_control) {
        return Err("subject: the issuer or the subject has control characters.".into());
    }
    // The last colon parts them.
    let subject = ascii(&subject).replace(':', "%3A");
    Ok(Some(format!("{}:{subject}", ascii(&issuer))))
}

/// What is beyond ASCII, and what stands for it, as the bytes of UTF-8 in hex (RFC 3986, section 2.1).
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0x80.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(byte.into()),
        }
    }
    out
}

/// The session begins: it is switched by the token, or ends. Before anything runs in it, outside of a transaction.
pub fn enter() {
    let Some(token) = PRESENTED.take() else {
        return;
    };
    let begin = || {
        let login = login::by_token().ok_or("it is no login by token any more")?;
        switch::at_login(&token, &login.issuers).map_err(|error| error.detail())?;
        let sessions = presence::of_the_same_person();
        match login.subject_limit {
            Some(limit) if sessions > limit as usize => Err(format!(
                "subject_limit: the subject has {limit} sessions of this login already."
            )),
            _ => Ok(()),
        }
    };
    let reason = match xact::transaction(begin) {
        Ok(Ok(())) => return login::welcome(),
        Ok(Err(reason)) => reason,
        Err(failure) => failure.message,
    };
    drop(token);
    refuse(&reason);
}

fn refuse(reason: &str) -> ! {
    // What makes others wait who have sent a wrong password makes these wait, too.
    connection::authentication_failed();
    login::turn_away(reason)
}
