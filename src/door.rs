//! Logging in by token (docs/design.md, "A token in place of a password"): the client's password is a token, or PostgreSQL's own exchange for
//! OAuth has taken one from it, and its session is that token's for its length.

mod bearer;

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
use crate::text::visible;
use crate::verify::{self, Accepted};

/// What the client has presented, until its session begins.
struct Presented {
    token: Zeroizing<Box<str>>,
    /// The claim that names the role, where the line of pg_hba.conf says one.
    role_claim: Option<String>,
}

thread_local! {
    static PRESENTED: RefCell<Option<Presented>> = const { RefCell::new(None) };
}

/// Asks the client for its token, in place of a password, unless it has shown one. While it logs in, when no database can be read.
pub fn ask(login: &Metadata) {
    let presented = PRESENTED.take().unwrap_or_else(|| {
        let token = password_message::ask();
        // Before the client is told that it has logged in. Where the issuers are not at hand the tables alone judge, when the session begins.
        match switch::before_login(&token, &login.issuers) {
            Ok(_) | Err(switch::Error::Verify(verify::Error::NotAtHand { .. })) => {}
            Err(error) => refuse(&error.detail()),
        }
        Presented {
            token,
            role_claim: None,
        }
    });
    gate::open_by_token();
    lock::watch_commits();
    connection::watch();
    PRESENTED.set(Some(presented));
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
    pub line: Line,
}

/// What a line of pg_hba.conf with the method oauth says.
pub struct Line {
    /// What clients are told, for the discovery of OpenID Connect or RFC 8414, and which scopes they are to ask for.
    pub issuer: Option<String>,
    pub scope: Option<String>,
    /// The name of the only issuer that counts.
    pub only: Option<String>,
    pub role_claim: Option<String>,
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
        line,
    } = bearer;
    let (role, login) = login::that_takes_tokens(&user, client)?;
    let verdict = switch::before_login(&token, &login.issuers).map_err(|error| error.detail());
    let verdict = verdict.and_then(|accepted| {
        line.takes(&accepted)?;
        switch::names_one_of(&accepted, line.role_claim.as_deref(), &login.roles, &user)
            .map_err(|error| error.detail())?;
        identity(&accepted)
    });
    match verdict {
        Ok(identity) => {
            PRESENTED.set(Some(Presented {
                token,
                role_claim: line.role_claim,
            }));
            Some(identity)
        }
        Err(reason) => {
            login::token_refused(role, &user, client, &reason);
            None
        }
    }
}

impl Line {
    /// Is it a token for this line?
    fn takes(&self, token: &Accepted) -> Result<(), String> {
        let is_only = self.only.is_none() || self.only == token.rules.name;
        let issuer = token.verified.issuer().unwrap_or_default();
        let is_told =
            (self.issuer.as_deref()).is_none_or(|line| bearer::is_issuer_of(line, &issuer));
        if !is_only || !is_told {
            return Err(
                "issuer_not_taken: the line of pg_hba.conf takes tokens of another issuer.".into(),
            );
        }
        let scope = self.scope.as_deref().unwrap_or_default();
        match bearer::missing_scope(scope, token.verified.payload()) {
            Some(missing) => Err(format!(
                "scope_missing: the line of pg_hba.conf asks for the scope \"{}\".",
                visible(missing)
            )),
            None => Ok(()),
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
    let Some(Presented { token, role_claim }) = PRESENTED.take() else {
        return;
    };
    let begin = || {
        let login = login::by_token().ok_or("it is no login by token any more")?;
        switch::at_login(&token, role_claim.as_deref(), &login.issuers)
            .map_err(|error| error.detail())?;
        match login.subject_limit {
            Some(limit) if presence::of_the_same_person() > limit as usize => Err(format!(
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
