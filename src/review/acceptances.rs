//! Findings that somebody has accepted, for a time.

use std::collections::HashMap;

use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, MICROS_PER_DAY, find, findings, text, writable};
use crate::audit::{self, Action};
use crate::error::report;
use crate::pg::arguments::Text;
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, spi};

const LONGEST_DAYS: i64 = 366;

pub struct Accepted {
    pub reason: String,
    pub until: i64,
    pub by: String,
}

/// Those that still hold, by what they are for.
pub fn current() -> Result<HashMap<(String, String, String), Accepted>, Error> {
    let none: [DatumWithOid<'_>; 0] = [];
    let column = |row: &spi::Row<'_>, number| {
        Ok::<_, pgrx::spi::Error>(row.get::<String>(number)?.unwrap_or_default())
    };
    let rows = identity::elevated(|| {
        spi::read(
            "SELECT code, role, object, reason, accepted_by, (extract(epoch FROM until) * 1000000)::bigint
               FROM _scope.accepted_finding WHERE until > now()",
            &none,
            |row| {
                let key = (column(&row, 1)?, column(&row, 2)?, column(&row, 3)?);
                let accepted = Accepted {
                    reason: column(&row, 4)?,
                    by: column(&row, 5)?,
                    until: row.get(6)?.unwrap_or(0),
                };
                Ok((key, accepted))
            },
        )
    })?;
    Ok(rows.into_iter().collect())
}

#[pg_extern(sql = false)]
fn accept_finding(
    code: Option<Text>,
    role: Option<Name>,
    reason: Option<Text>,
    valid_for: Option<Interval>,
    object: Option<Text>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let code = code.as_deref();
    let reason = reason.as_deref();
    let object = object.as_deref();
    let accept = || -> Result<i64, Error> {
        let code = code.ok_or(Error::Null("code"))?;
        let reason = text("reason", reason)?;
        let valid_for = valid_for.ok_or(Error::Null("valid_for"))?;
        writable()?;
        if !findings::codes().any(|known| known == code) {
            return Err(Error::NoSuchCode {
                code: code.to_owned(),
            });
        }
        let now = clock::now();
        let until = clock::after(now, valid_for);
        if until <= now || until > now.saturating_add(LONGEST_DAYS * MICROS_PER_DAY) {
            return Err(Error::Duration);
        }
        let role = role.map(|Name(role)| role);
        let key = (
            code.to_owned(),
            role.unwrap_or_default(),
            object.unwrap_or_default().to_owned(),
        );
        if !find()?.iter().any(|finding| finding.key() == key) {
            return Err(Error::NoSuchFinding {
                code: code.to_owned(),
                about: match (key.1.is_empty(), key.2.is_empty()) {
                    (true, true) => "Neither a role nor an object was given".to_owned(),
                    (false, true) => format!("It is asked for role \"{}\" and no object", key.1),
                    (true, false) => format!("It is asked for no role and object {}", key.2),
                    (false, false) => {
                        format!("It is asked for role \"{}\" and object {}", key.1, key.2)
                    }
                },
            });
        }
        let (code, role, object) = key;
        let arguments: [DatumWithOid<'_>; 6] = [
            code.as_str().into(),
            role.as_str().into(),
            object.as_str().into(),
            reason.as_str().into(),
            clock::to_sql(until).into(),
            catalog::name_of(identity::current_user()).into(),
        ];
        identity::elevated(|| {
            spi::query(
                "INSERT INTO _scope.accepted_finding (code, role, object, reason, until, accepted_by) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (code, role, object) DO UPDATE
                    SET reason = excluded.reason, until = excluded.until, accepted_by = excluded.accepted_by, accepted_at = excluded.accepted_at",
                &arguments,
                |_| Ok(()),
            )
        })?;
        let fields = [
            ("code", Some(code.as_str()).into()),
            ("on", Some(object.as_str()).into()),
            ("reason", Some(reason.as_str()).into()),
            ("until", audit::deadline(Some(until))),
        ];
        audit::administered(Action::Review, "accept_finding", &role, &fields);
        Ok(until)
    };
    accept().map(clock::to_sql).map_err(report)
}
