//! The classic roles in one call each: a scope of just that for the caller, and a login of it.

use aws_lc_rs::digest;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{Error, Issued, Membership, Options, hands_out, issue};
use crate::error::{report, require_preload};
use crate::pg::arguments::{Cidr, Text};
use crate::pg::name::Name;
use crate::pg::{catalog, compat, identity, server};
use crate::scope::privilege::{Privilege, Verbs};
use crate::scope::request::Request;
use crate::scope::{self, elements, found, name, notices, oids, remembered};

#[derive(Debug, Clone, Copy)]
enum Form {
    ReadOnly,
    ReadWrite,
    Admin,
}

/// They differ in the objects that they take. Documented in `sql/functions.sql`.
macro_rules! classic {
    ($function:ident($($first:tt)*), ($($between:tt)*), $form:expr, $table:expr, $schemas:expr) => {
        hands_out!(
            $function(
                $($first)*
                role_name: Option<Text>,
                valid_for: Option<Interval>,
                purpose: Option<Text>,
                tables: Option<Vec<Option<pg_sys::Oid>>>,
                $($between)*
                future_tables: Option<bool>,
            ),
            |options| options.map_err(Error::from).and_then(|options| {
                let login = Login {
                    role_name: role_name.as_deref(),
                    valid_for,
                    purpose: purpose.as_deref(),
                    options,
                };
                run($form, $table, tables, $schemas, future_tables, login)
            })
        );
    };
}

classic!(
    create_readonly_role(table: Option<pg_sys::Oid>,),
    (schemas: Option<Vec<Option<pg_sys::Oid>>>,),
    Form::ReadOnly,
    table,
    schemas
);
classic!(
    create_readwrite_role(table: Option<pg_sys::Oid>,),
    (schemas: Option<Vec<Option<pg_sys::Oid>>>,),
    Form::ReadWrite,
    table,
    schemas
);
classic!(
    create_admin_role(schemas: Option<Vec<Option<pg_sys::Oid>>>,),
    (),
    Form::Admin,
    None,
    schemas
);

/// What the caller wants of the login itself.
struct Login<'a> {
    role_name: Option<&'a str>,
    valid_for: Option<Interval>,
    purpose: Option<&'a str>,
    options: Options,
}

fn run(
    form: Form,
    table: Option<pg_sys::Oid>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    schemas: Option<Vec<Option<pg_sys::Oid>>>,
    future: Option<bool>,
    login: Login<'_>,
) -> Result<Issued, Error> {
    let request = request(form, table, tables, schemas, future)?;
    let wanted = super::Request {
        role_name: login.role_name,
        valid_for: login.valid_for,
        purpose: login.purpose,
        options: login.options,
        function: form.function(),
        verb: form.verb(),
        right: issue::Right::Caller,
    };
    issue(wanted, || membership(form, &request))
}

impl Form {
    /// For names.
    fn verb(self) -> &'static str {
        match self {
            Form::ReadOnly => "ro",
            Form::ReadWrite => "rw",
            Form::Admin => "admin",
        }
    }

    /// For the audit trail.
    fn function(self) -> &'static str {
        match self {
            Form::ReadOnly => "create_readonly_role",
            Form::ReadWrite => "create_readwrite_role",
            Form::Admin => "create_admin_role",
        }
    }

    fn verbs(self, whole_schemas: bool) -> Verbs {
        match self {
            Form::ReadOnly => Verbs::read(),
            Form::ReadWrite => Verbs::read_write(),
            Form::Admin if whole_schemas => Verbs::administration(compat::HAS_MAINTAIN),
            Form::Admin => Verbs::administration_of_tables(compat::HAS_MAINTAIN),
        }
    }
}

fn request(
    form: Form,
    table: Option<pg_sys::Oid>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    schemas: Option<Vec<Option<pg_sys::Oid>>>,
    future: Option<bool>,
) -> Result<Request, Error> {
    let mut all = vec![];
    all.extend(table.map(Some));
    all.extend(
        elements(Some(tables.unwrap_or_default()), "tables")?
            .into_iter()
            .map(Some),
    );
    let mut tables = oids(Some(all), "tables")?;
    let mut schemas = oids(Some(schemas.unwrap_or_default()), "schemas")?;
    // The order of a list must not matter for the name of its scope.
    tables.sort_unstable();
    schemas.sort_unstable();
    if tables.is_empty() && schemas.is_empty() {
        return Err(Error::NoTable);
    }
    Ok(Request {
        verbs: form.verbs(!schemas.is_empty()),
        tables,
        columns: None,
        sequences: Vec::new(),
        functions: Vec::new(),
        schemas,
        future: future.ok_or(scope::Error::Null("future_tables"))?,
    })
}

/// The caller's scope that holds what was asked for and nothing else, made when there is none.
///
/// Its name follows from the request and the caller, so that the same call finds it again. One
/// scope per caller: what one grantor may hand out is never mixed with another's.
fn membership(form: Form, request: &Request) -> Result<Membership, Error> {
    let caller = identity::current_user();
    let planned = remembered::plan(request, caller)?;
    let subject = match planned.objects {
        0 | 1 => planned.first.clone(),
        several => format!("{}_and_{}", planned.first, several - 1),
    };
    let open = request.future || request.verbs.has(Privilege::Create);
    let mut seed = format!(
        "{} {} {} {:?} {:?} {open}",
        u32::from(server::database()),
        u32::from(caller),
        request.verbs.to_text(),
        request.tables,
        request.schemas,
    );
    if !open {
        // Another set of tables is another scope: nobody gets more because of a later call.
        seed += &format!(" {:?}", planned.through_schemas);
    }
    let seed = digest::digest(&digest::SHA256, seed.as_bytes());
    const CANDIDATES: u8 = 8;
    let foreseen = (0..CANDIDATES).map(|attempt| {
        let suffix: Vec<u8> = seed
            .as_ref()
            .iter()
            .skip(usize::from(attempt))
            .take(6)
            .copied()
            .collect();
        Ok(name::compose(&subject, form.verb(), &name::tag(&suffix)))
    });
    // Where all these are taken by others, a name that nobody can foresee.
    let unforeseen = std::iter::once_with(|| issue::free_name(&subject, form.verb()));
    for role in foreseen.chain(unforeseen) {
        let role = role?;
        if found::find_or_make(&role, seed.as_ref(), request, &planned, open)? {
            notices::tell(catalog::oid_of(&role), request, &planned)?;
            return Ok(Membership {
                // Whoever may create in a schema works as the scope, which then owns what is made.
                acts_as: request.verbs.has(Privilege::Create).then(|| role.clone()),
                scopes: vec![role],
                subject,
            });
        }
    }
    Err(scope::Error::NoFreeName.into())
}
