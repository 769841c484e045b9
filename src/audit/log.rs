//! `scope.audit_log`: administrative events as rows, in the transaction of what they record.

use std::cell::RefCell;

use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiResult};

use super::event::Fields;
use super::line::Line;
use crate::bytes;
use crate::pg::{identity, server, spi, xact};
use crate::session::switch_state;

thread_local! {
    static INSERT: RefCell<Option<OwnedPreparedStatement>> = const { RefCell::new(None) };
}

/// A row to be written.
pub struct Row([Option<String>; 7]);

impl Row {
    pub fn of(event: &str, function: &str, object: &str, fields: Fields<'_>) -> Self {
        let mut line = Line::begin(Vec::new(), "");
        for (key, value) in fields {
            line.field(key, *value);
        }
        let mut details = line.end();
        details.pop();
        // ASCII throughout.
        let details = String::from_utf8(details).unwrap_or_default();
        let claims = switch_state::claims().unwrap_or_default();
        let claim = |name| {
            claims
                .get(name)
                .and_then(serde_json::Value::as_str)
                .map(|claim| server::fitted(claim).into_owned())
        };
        Self([
            Some(event.to_owned()),
            Some(function.to_owned()),
            Some(server::fitted(&bytes::shown(object)).into_owned()),
            claim("iss"),
            claim("sub"),
            claim("jti"),
            Some(details),
        ])
    }

    /// Raises PostgreSQL's error when it can't be written.
    pub fn insert(&self) {
        xact::raised(identity::elevated(|| write(&self.0)));
    }

    /// The same, and what an administrator's deferred constraints and triggers say of it is asked now
    /// rather than at COMMIT.
    pub fn insert_at_once(&self) {
        xact::raised(identity::elevated(|| {
            write(&self.0)?;
            for constraints in spi::latest(DEFERRED, &[]) {
                spi::execute(&format!("SET CONSTRAINTS {constraints} IMMEDIATE"))?;
            }
            Ok(())
        }));
    }
}

const DEFERRED: &str = "
SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.conname), ', ')
  FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace
 WHERE c.conrelid OPERATOR(pg_catalog.=) 'scope.audit_log'::pg_catalog.regclass AND c.condeferrable";

fn write(arguments: &[Option<String>; 7]) -> SpiResult<()> {
    let arguments = arguments.each_ref().map(|text| text.as_deref().into());
    Spi::connect_mut(|client| {
        INSERT.with_borrow_mut(|kept| {
            if kept.is_none() {
                let types = [const { PgOid::BuiltIn(PgBuiltInOids::TEXTOID) }; 7];
                let plan = client.prepare_mut(
                    "INSERT INTO scope.audit_log
                       (event, function, object, login, role, issuer, subject, jti, client,
                        application_name, pid, details)
                     VALUES ($1, $2, $3, session_user,
                       CASE pg_catalog.current_setting('role') WHEN 'none' THEN session_user
                         ELSE pg_catalog.current_setting('role') END,
                       $4, $5, $6, pg_catalog.inet_client_addr(),
                       pg_catalog.current_setting('application_name'), pg_catalog.pg_backend_pid(),
                       $7::json)",
                    &types,
                )?;
                *kept = Some(plan.keep());
            }
            match kept {
                Some(plan) => client.update(&*plan, None, &arguments).map(|_| ()),
                None => Ok(()),
            }
        })
    })
}
