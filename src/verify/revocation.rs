//! Revoked tokens and subjects: the tables `_scope.jwt_revoked_token` and `…_subject`.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::OnceLock;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, Rules};
use crate::audit::{self, Action};
use crate::bytes;
use crate::error;
use crate::guc;
use crate::jwt::{MAX_ID_BYTES, Verified};
use crate::own_tables;
use crate::pg::arguments::Text;
use crate::pg::{identity, server, spi, xact};

#[derive(Debug, thiserror::Error)]
pub enum Bad {
    #[error("{0} must not be null or empty")]
    Missing(&'static str),
    #[error("{what} is too long")]
    TooLong { what: &'static str, bytes: usize },
    #[error("cannot revoke in a read-only transaction")]
    ReadOnly,
    #[error("the revocation could not be written")]
    Sql(String),
}

impl From<pgrx::spi::Error> for Bad {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Sql(error.to_string())
    }
}

thread_local! {
    /// Whether there is any revocation, at which generation of the tables.
    static ANY: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
}

/// What is no longer good. `issuer`: its `iss`; `None` for any.
pub enum Revoked<'a> {
    Token {
        jti: &'a str,
        issuer: Option<&'a str>,
    },
    Subject {
        sub: &'a str,
        /// Unix microseconds.
        issued_before: i64,
        issuer: Option<&'a str>,
    },
    Issuer {
        issuer: &'a str,
        function: &'static str,
    },
}

impl Revoked<'_> {
    /// By which it was revoked.
    pub fn function(&self) -> &'static str {
        match self {
            Self::Token { .. } => "revoke_token",
            Self::Subject { .. } => "revoke_subject",
            Self::Issuer { function, .. } => function,
        }
    }
}

static ALSO: OnceLock<fn(&Revoked<'_>)> = OnceLock::new();

/// What ends with it, in the same transaction: a room above knows. In the postmaster.
pub fn ends_also(end: fn(&Revoked<'_>)) {
    ALSO.get_or_init(|| end);
}

/// It is written down that this is no longer good.
pub fn tell(revoked: &Revoked<'_>) {
    if let Some(end) = ALSO.get() {
        end(revoked);
    }
}

/// Changes with every commit that touches issuers or revocations.
pub fn generation() -> u64 {
    own_tables::generation()
}

/// Refuses a token that is revoked by its `jti`, or by its `sub` and `iat`, as of the last commit
/// of anybody, whatever the transaction's own snapshot shows.
pub fn check(rules: &Rules, verified: &Verified) -> Result<(), Error> {
    if !any() {
        return Ok(());
    }
    let issuer = rules
        .policy
        .issuer
        .as_deref()
        .map(Cow::Borrowed)
        .or_else(|| verified.issuer());
    let issued = verified.issued_at.map(as_date);
    let (token, subject) = (verified.token_id(), verified.subject());
    let asked = [token.as_deref(), subject.as_deref(), issuer.as_deref()];
    // What the tables have is in the database's encoding, what a token says in UTF-8.
    let is_recoded = !server::takes_utf8() && !asked.iter().flatten().all(|text| text.is_ascii());
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let in_hex: [Option<String>; 3] = asked.map(|text| text.map(hex));
    let (sql, [token, subject, issuer]) = match is_recoded {
        false => (REVOKED, asked),
        true => (REVOKED_IN_UTF8, in_hex.each_ref().map(Option::as_deref)),
    };
    let revoked =
        identity::elevated(|| spi::latest(sql, &[token, subject, issuer, issued.as_deref()]));
    if revoked.is_empty() {
        Ok(())
    } else {
        Err(Error::Revoked)
    }
}

/// What is revoked, where a column is what the parameter says.
macro_rules! revoked {
    ($jti:literal, $sub:literal, $issuer:literal) => {
        concat!(
            "SELECT 1 FROM _scope.jwt_revoked_token
              WHERE ", $jti, "
                AND (issuer OPERATOR(pg_catalog.=) '' OR ", $issuer, ")
                AND until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()
             UNION ALL
             SELECT 1 FROM _scope.jwt_revoked_subject
              WHERE ", $sub, "
                AND (issuer OPERATOR(pg_catalog.=) '' OR ", $issuer, ")
                AND ($4 IS NULL OR $4::pg_catalog.timestamptz OPERATOR(pg_catalog.<) issued_before)"
        )
    };
}

/// By indexes.
const REVOKED: &str = revoked!(
    "jti OPERATOR(pg_catalog.=) $1",
    "sub OPERATOR(pg_catalog.=) $2",
    "issuer OPERATOR(pg_catalog.=) $3"
);

/// By the whole tables: only for what is beyond ASCII, in a database that is not in UTF-8. The texts are in hex.
const REVOKED_IN_UTF8: &str = revoked!(
    "pg_catalog.convert_to(jti, 'UTF8') OPERATOR(pg_catalog.=) pg_catalog.decode($1, 'hex')",
    "pg_catalog.convert_to(sub, 'UTF8') OPERATOR(pg_catalog.=) pg_catalog.decode($2, 'hex')",
    "pg_catalog.convert_to(issuer, 'UTF8') OPERATOR(pg_catalog.=) pg_catalog.decode($3, 'hex')"
);

/// A text of the database's as tokens and labels have it.
pub fn in_utf8(text: &str) -> Result<String, Bad> {
    if server::takes_utf8() || text.is_ascii() {
        return Ok(String::from_utf8_lossy(&bytes::bytes(text)).into_owned());
    }
    const SQL: &str = "SELECT pg_catalog.convert_to($1, 'UTF8')";
    let bytes = identity::elevated(|| {
        let text = Text(text.to_owned());
        spi::query(SQL, &[text.into()], |row| row.get::<Vec<u8>>(1))
    })?;
    let bytes = bytes.into_iter().flatten().next().unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An `iat` as a time that PostgreSQL has.
pub fn as_date(issued_at: i64) -> String {
    crate::timestamp::rfc3339(issued_at.clamp(EARLIEST, LATEST))
}

/// The years 1 and 9999: `iat` may be anything, PostgreSQL's timestamps may not.
const EARLIEST: i64 = -62_135_596_800_000_000;
const LATEST: i64 = 253_370_764_800_000_000;

fn any() -> bool {
    let generation = generation();
    if let Some((known_at, any)) = ANY.get()
        && known_at == generation
    {
        return any;
    }
    own_tables::learn();
    let any = own_tables::has_rows(own_tables::REVOKED_TOKEN)
        || own_tables::has_rows(own_tables::REVOKED_SUBJECT);
    ANY.set(Some((generation, any)));
    any
}

/// Revokes one token. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn revoke_token(
    jti: Option<Text>,
    until: Option<TimestampWithTimeZone>,
    issuer: Option<Text>,
) -> Result<(), ErrorReport> {
    let jti = jti.as_deref();
    let issuer = issuer.as_deref();
    let revoke = || -> Result<(), Bad> {
        let jti = identifier("jti", jti)?;
        let issuer = of_issuer(issuer)?;
        let issuer = issuer.as_deref();
        let until = until.ok_or(Bad::Missing("until"))?;
        // Entries past their date refuse nothing any more.
        write(
            "DELETE FROM _scope.jwt_revoked_token
              WHERE until OPERATOR(pg_catalog.<) pg_catalog.now()",
            &[],
        )?;
        write(
            "INSERT INTO _scope.jwt_revoked_token AS t (jti, issuer, until) VALUES ($1, $2, $3)
             ON CONFLICT (jti, issuer)
             DO UPDATE SET until = GREATEST(t.until, EXCLUDED.until)",
            &[jti.into(), issuer.unwrap_or_default().into(), until.into()],
        )?;
        let fields = [("of_issuer", issuer.into())];
        audit::administered(Action::Token, "revoke_token", jti, &fields);
        let issuer = issuer.map(in_utf8).transpose()?;
        tell(&Revoked::Token {
            jti: &in_utf8(jti)?,
            issuer: issuer.as_deref(),
        });
        Ok(())
    };
    revoke().map_err(error::report)
}

/// Revokes all tokens of a subject up to a moment. Documented in `sql/functions.sql`.
#[pg_extern(sql = false)]
fn revoke_subject(
    sub: Option<Text>,
    issued_before: Option<TimestampWithTimeZone>,
    issuer: Option<Text>,
) -> Result<(), ErrorReport> {
    let sub = sub.as_deref();
    let issuer = issuer.as_deref();
    let revoke = || -> Result<(), Bad> {
        let sub = identifier("sub", sub)?;
        let issuer = of_issuer(issuer)?;
        let issuer = issuer.as_deref();
        let issued_before = issued_before.ok_or(Bad::Missing("issued_before"))?;
        write(
            "INSERT INTO _scope.jwt_revoked_subject AS s (sub, issuer, issued_before)
             VALUES ($1, $2, $3)
             ON CONFLICT (sub, issuer)
             DO UPDATE SET issued_before = GREATEST(s.issued_before, EXCLUDED.issued_before)",
            &[
                sub.into(),
                issuer.unwrap_or_default().into(),
                issued_before.into(),
            ],
        )?;
        let fields = [("of_issuer", issuer.into())];
        audit::administered(Action::Token, "revoke_subject", sub, &fields);
        let issuer = issuer.map(in_utf8).transpose()?;
        tell(&Revoked::Subject {
            sub: &in_utf8(sub)?,
            issued_before: crate::timestamp::from_postgres(issued_before.into()),
            issuer: issuer.as_deref(),
        });
        Ok(())
    };
    revoke().map_err(error::report)
}

fn identifier<'a>(what: &'static str, text: Option<&'a str>) -> Result<&'a str, Bad> {
    match text.unwrap_or_default() {
        "" => Err(Bad::Missing(what)),
        text => short(what, text),
    }
}

/// The `iss` that is meant: it may be given by the name of a registered issuer.
fn of_issuer(issuer: Option<&str>) -> Result<Option<String>, Bad> {
    let Some(issuer) = issuer.filter(|issuer| !issuer.is_empty()) else {
        return Ok(None);
    };
    short("issuer", issuer)?;
    let known = registered(issuer)?;
    if known.is_none() && guc::jwt_issuer().as_deref() != Some(issuer) {
        error::notice(
            format!("no issuer of this database is called \"{issuer}\" or has that iss"),
            "Tokens with this iss are revoked all the same, should any be accepted.",
            "Look at name and issuer in scope.jwt_issuers.",
        );
    }
    Ok(Some(known.unwrap_or_else(|| issuer.to_owned())))
}

/// The `iss` of the registered issuer that has this one, or this name.
pub fn registered(issuer: &str) -> Result<Option<String>, Bad> {
    const SQL: &str = "
        SELECT i.issuer FROM _scope.jwt_issuer i
         WHERE i.issuer OPERATOR(pg_catalog.=) $1 OR i.name OPERATOR(pg_catalog.=) $1
         ORDER BY i.issuer OPERATOR(pg_catalog.=) $1 DESC LIMIT 1";
    let known =
        identity::elevated(|| spi::query(SQL, &[issuer.into()], |row| row.get::<String>(1)))?;
    Ok(known.into_iter().flatten().next())
}

/// Tokens with a longer jti or sub are refused anyway.
fn short<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Bad> {
    let bytes = text.len();
    if bytes > MAX_ID_BYTES {
        return Err(Bad::TooLong { what, bytes });
    }
    Ok(text)
}

fn write(sql: &str, arguments: &[pgrx::datum::DatumWithOid<'_>]) -> Result<(), Bad> {
    if xact::is_read_only() {
        return Err(Bad::ReadOnly);
    }
    identity::elevated(|| spi::query(sql, arguments, |_| Ok(())))?;
    Ok(())
}
