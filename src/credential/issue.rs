//! Issuing: a new login that is a member of scopes, with its password and its label.

use std::cell::Cell;
use std::collections::BTreeMap;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use zeroize::Zeroizing;

use super::options::{self, Options};
use super::{Error, Secret, deadline_of, itself, password, uri};
use crate::advisory::{self, Key, Mode};
use crate::audit::{self, Action, Value};
use crate::label::{self, Kind, MAX_PURPOSE_BYTES};
use crate::memberships;
use crate::pg::compat::{Peer, Port};
use crate::pg::name::Name;
use crate::pg::{catalog, clock, identity, server, spi, xact};
use crate::scope::name;
use crate::session_libraries;
use crate::timestamp;
use crate::waiting;
use crate::{error, guc};

/// What the caller asks for, authority over the scopes aside.
pub struct Request<'a> {
    /// `None`: a name is made, `subject_verb_suffix`.
    pub role_name: Option<&'a str>,
    /// `None`: the default.
    pub valid_for: Option<Interval>,
    pub purpose: Option<&'a str>,
    pub options: Options,
    /// What was called.
    pub function: &'static str,
    /// For a name that is made.
    pub verb: &'a str,
    pub right: Right,
}

/// By whose right a login is issued.
pub enum Right {
    /// That of its caller, whose right it does not outlive.
    Caller,
    /// That of a token, which it does not outlive.
    Token { owner: label::Token, ends_at: i64 },
    /// What others have decided on a request, for so long, for whoever takes it now; the current user has the authority.
    Decided { request: i64, ends_at: i64 },
}

impl Right {
    fn token(&self) -> Option<&label::Token> {
        match self {
            Self::Token { owner, .. } => Some(owner),
            _ => None,
        }
    }
}

/// What the credential will be a member of. The scopes are locked, and the caller may hand them out.
pub struct Membership {
    pub scopes: Vec<String>,
    /// For a generated name.
    pub subject: String,
    /// The scope as which its sessions start, and which then owns what they create. The login
    /// itself inherits nothing.
    pub acts_as: Option<String>,
}

/// What the caller gets, once.
pub struct Issued {
    pub role: String,
    pub password: Zeroizing<String>,
    /// Unix microseconds; `None` for an authenticator without a deadline.
    pub valid_until: Option<i64>,
    pub uri: Zeroizing<String>,
}

/// `role_name, password, valid_until, connection_uri`
pub type Row = (Name, String, Option<TimestampWithTimeZone>, String);

impl Issued {
    pub fn into_row(self) -> Row {
        (
            Name(self.role),
            self.password.to_string(),
            self.valid_until.and_then(clock::to_sql),
            self.uri.to_string(),
        )
    }
}

/// Checks the request, then calls `membership`, which checks the caller's authority and finds or
/// makes the scopes, and makes the login. What is slow comes before any lock on a scope.
pub fn issue<E: Into<Error>>(
    request: Request<'_>,
    mut membership: impl FnMut() -> Result<Membership, E>,
) -> Result<Issued, Error> {
    if xact::is_read_only() {
        return Err(Error::ReadOnly);
    }
    if let Some(role) = request.role_name {
        name::check(role)?;
    }
    check_purpose(request.purpose)?;
    check_tls(&request.options)?;
    let valid_until = match request.right {
        Right::Caller => deadline_of(request.valid_for)?,
        Right::Token { ends_at, .. } => deadline_of(request.valid_for)?.min(ends_at),
        Right::Decided { ends_at, .. } => ends_at,
    };
    if let Some(role) = request.role_name {
        require_free(role)?;
    }
    let secret = Secret::generate()?;
    let role = waiting::giving_way(|| {
        let membership = membership().map_err(Into::into)?;
        if let Some(role) = request.role_name {
            claim_free(role)?;
        }
        make(&request, &membership, &secret, valid_until)
    })?;
    Ok(Issued {
        uri: connection_uri(&role, Some(&secret.password), &request.options.rules),
        role,
        password: secret.password,
        valid_until: Some(valid_until),
    })
}

/// Makes the login; its name.
fn make(
    request: &Request<'_>,
    membership: &Membership,
    secret: &Secret,
    valid_until: i64,
) -> Result<String, Error> {
    let role = match request.role_name {
        Some(role) => role.to_owned(),
        None => free_name(&membership.subject, request.verb)?,
    };
    // Who manages one that is for a token is not whoever has passed that on.
    let creator = match request.right.token() {
        Some(_) => catalog::owner_of_database(server::database()).ok_or(Error::Vanished)?,
        None => identity::current_user(),
    };
    let mut metadata = label::fresh(Kind::Credential, creator, request.purpose);
    metadata.token = request.right.token().cloned();
    if let Right::Decided { request, .. } = request.right {
        metadata.request = Some(request);
    }
    metadata.login = request.options.rules.clone();
    metadata.bound = !matches!(request.right, Right::Decided { .. }) && itself::ends_at().is_some();
    metadata.scopes = numbered(&membership.scopes);
    if !metadata.fits() {
        metadata.scopes.clear();
    }
    options::require_room(&metadata)?;
    let login = Login {
        role: &role,
        verifier: Some(&secret.verifier),
        valid_until: Some(valid_until),
        memberships: &membership.scopes,
        inherits: membership.acts_as.is_none(),
        options: &request.options,
        metadata: &metadata,
    };
    identity::elevated(|| login.create())?;
    if let Some(scope) = &membership.acts_as {
        identity::elevated(|| act_as(&role, scope))?;
    }
    issued(request.function, &login);
    Ok(role)
}

/// Names are what a dump carries, numbers stay when somebody renames.
fn numbered(scopes: &[String]) -> BTreeMap<String, u32> {
    let number = |name: &String| Some((name.clone(), catalog::role_by_name(name)?.oid.into()));
    scopes.iter().filter_map(number).collect()
}

/// For the audit trail.
pub fn issued(function: &str, login: &Login<'_>) {
    let options = &login.metadata.login;
    let mut fields = vec![
        ("scopes", Value::Texts(login.memberships)),
        ("valid_until", audit::deadline(login.valid_until)),
        ("purpose", login.metadata.purpose.as_deref().into()),
        ("require_tls", Value::Bool(options.tls)),
    ];
    if let Some(token) = &login.metadata.token {
        fields.extend([
            ("token_issuer", token.iss.as_deref().into()),
            ("token_subject", Value::Text(&token.sub)),
            ("token_id", token.jti.as_deref().into()),
        ]);
    }
    audit::administered(Action::Issue, function, login.role, &fields);
}

/// A login of ours that is being made.
pub struct Login<'a> {
    pub role: &'a str,
    /// `None`: no password, until it is rotated.
    pub verifier: Option<&'a str>,
    pub valid_until: Option<i64>,
    pub memberships: &'a [String],
    /// What its roles hold is its own; else it can only take them.
    pub inherits: bool,
    pub options: &'a Options,
    pub metadata: &'a label::Metadata,
}

impl Login<'_> {
    /// One string of statements: each round trip costs as much as the role itself. Elevated.
    pub fn create(&self) -> Result<(), Error> {
        let role = spi::identifier(self.role);
        let (inherit, membership_options) = if self.inherits {
            ("INHERIT", memberships::INHERIT_ONLY)
        } else {
            ("NOINHERIT", memberships::SWITCH_ONLY)
        };
        let mut sql = format!(
            "CREATE ROLE {role} LOGIN {inherit} {}",
            catalog::WITHOUT_POWER
        );
        if let Some(deadline) = self.valid_until {
            sql += " ";
            sql += &valid_until(deadline);
        }
        if let Some(limit) = self.options.connection_limit {
            sql += &format!(" CONNECTION LIMIT {limit}");
        }
        let memberships: Vec<String> = self
            .memberships
            .iter()
            .map(|role| spi::identifier(role))
            .collect();
        if !memberships.is_empty() {
            sql += &format!(
                "; GRANT {} TO {role}{membership_options}",
                memberships.join(", ")
            );
        }
        sql += &settings(&role, self.options);
        spi::execute(&sql)?;
        let made = catalog::role_by_name(self.role).is_some_and(|role| {
            session_libraries::bind(role.oid);
            self.verifier
                .is_none_or(|verifier| catalog::set_password(role.oid, verifier))
        });
        if made && label::attach_metadata(self.role, &self.metadata.until(self.valid_until)) {
            Ok(())
        } else {
            Err(Error::Vanished)
        }
    }
}

/// Has the sessions of a new login start as its scope. It inherits nothing, so that what it creates
/// is the scope's; where CONNECT is not everyone's it needs one of its own, as the scope has. Elevated.
fn act_as(login: &str, scope: &str) -> Result<(), Error> {
    let role = catalog::role_by_name(login).ok_or(Error::Vanished)?;
    // Not ALTER ROLE … SET role: elevated code may not run it, nor callers who are not members.
    spi::query(
        "WITH known AS (
           UPDATE pg_catalog.pg_db_role_setting SET setconfig = setconfig || $2
            WHERE setrole = $1 AND setdatabase = 0 RETURNING 1)
         INSERT INTO pg_catalog.pg_db_role_setting (setdatabase, setrole, setconfig)
         SELECT 0, $1, ARRAY[$2] WHERE NOT EXISTS (SELECT FROM known)",
        &[role.oid.into(), format!("role={scope}").into()],
        |_| Ok(()),
    )?;
    let connects = spi::query(
        "SELECT pg_catalog.has_database_privilege($1, pg_catalog.current_database(), 'CONNECT')",
        &[role.oid.into()],
        |row| row.get::<bool>(1),
    )?;
    if connects != [Some(true)] {
        let connect = format!(
            "GRANT CONNECT ON DATABASE {} TO {}",
            spi::identifier(&server::database_name()),
            spi::identifier(login)
        );
        waiting::retrying(|| spi::execute(&connect))?;
    }
    Ok(())
}

/// The option of CREATE ROLE and ALTER ROLE.
pub fn valid_until(deadline: i64) -> String {
    match deadline {
        i64::MAX => "VALID UNTIL 'infinity'".to_owned(),
        _ => format!(
            "VALID UNTIL {}",
            spi::literal(&timestamp::rfc3339(deadline))
        ),
    }
}

/// What a session of the role starts with, in every database.
fn settings(role: &str, options: &Options) -> String {
    let mut sql = String::new();
    let timeouts = [
        ("statement_timeout", options.statement_timeout),
        (
            "idle_in_transaction_session_timeout",
            options.idle_in_transaction_session_timeout,
        ),
    ];
    for (name, milliseconds) in timeouts {
        if let Some(milliseconds) = milliseconds {
            sql += &format!("; ALTER ROLE {role} SET {name} = {milliseconds}");
        }
    }
    if let Some(schemas) = &options.search_path {
        let schemas: Vec<String> = schemas.iter().map(|name| spi::literal(name)).collect();
        let schemas = if schemas.is_empty() {
            "''".to_owned()
        } else {
            schemas.join(", ")
        };
        sql += &format!("; ALTER ROLE {role} SET search_path = {schemas}");
    }
    sql
}

pub fn check_purpose(purpose: Option<&str>) -> Result<(), Error> {
    match purpose {
        Some(purpose) if purpose.len() > MAX_PURPOSE_BYTES => Err(Error::PurposeTooLong {
            bytes: purpose.len(),
            max: MAX_PURPOSE_BYTES,
        }),
        _ => Ok(()),
    }
}

/// A login that may come by TLS only, on a server that has none, could never come.
pub fn check_tls(options: &Options) -> Result<(), Error> {
    if options.rules.tls && !server::offers_tls() {
        Err(Error::NoTls)
    } else {
        Ok(())
    }
}

/// Is no role of this name there?
pub fn require_free(role: &str) -> Result<(), Error> {
    match catalog::role_by_name(role) {
        Some(_) => Err(Error::Exists {
            role: role.to_owned(),
        }),
        None => Ok(()),
    }
}

/// The same, locked until the transaction ends; after the question whether the caller may make it. Two
/// callers with one name: the second waits and is told.
pub fn claim_free(role: &str) -> Result<(), Error> {
    require_free(role)?;
    advisory::lock(Key::Text(role), Mode::Exclusive);
    require_free(role)
}

pub fn free_name(subject: &str, verb: &str) -> Result<String, Error> {
    loop {
        let mut bytes = [0; 8];
        password::fill(&mut bytes)?;
        let role = name::compose(subject, verb, &name::tag(&bytes));
        if catalog::role_by_name(&role).is_none() {
            return Ok(role);
        }
    }
}

thread_local! {
    /// Whether this session has been told that URIs name no host.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// How the client of this session reached the server: the folder of a Unix socket, or the
/// server's address. `None` in a process without a client.
fn endpoint() -> Option<String> {
    match Port::current()?.local() {
        Peer::Tcp(address) => Some(address.to_string()),
        Peer::Socket(path) => {
            let path = path?;
            let folder = path.parent()?.to_str()?;
            (!folder.is_empty()).then(|| folder.to_owned())
        }
        Peer::Unknown => None,
    }
}

/// Where the login can be used: as the administrator has set it, else the way that the caller came.
pub fn connection_uri(
    role: &str,
    password: Option<&str>,
    rules: &crate::admission::Rules,
) -> Zeroizing<String> {
    let host = guc::connection_host()
        .or_else(|| endpoint().filter(|host| !host.starts_with('/') || rules.allows_local()));
    if host.is_none() && !TOLD.replace(true) {
        error::notice(
            "the connection URI names no host".to_owned(),
            "Nothing says at which address its clients reach the server.",
            "Set scope_roles.connection_host, or add the host to the URI.",
        );
    }
    let by_tcp = !host.as_deref().is_some_and(|host| host.starts_with('/'));
    let target = uri::Target {
        host: host.as_deref(),
        port: guc::connection_port().unwrap_or_else(server::port),
        database: &server::database_name(),
        require_tls: by_tcp && server::offers_tls(),
    };
    uri::compose(&target, role, password)
}
