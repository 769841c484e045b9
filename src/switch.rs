//! Switching the role by a token: `scope.set_jwt_role` and `scope.set_jwt_session`.

mod error;
mod roles;
pub mod standing;

use std::cell::{OnceCell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::audit::{self, Class, Event};
use crate::claim_path::{ClaimPath, PathError, RoleClaim};
use crate::claims::encoding;
use crate::composite;
use crate::error::{report, require_preload};
use crate::guc;
use crate::jwt::{self, Verified};
use crate::pg::catalog::Role;
use crate::pg::name::SharedName;
use crate::pg::{catalog, clock, identity, server, statement, text, xact};
use crate::presence::Person;
use crate::session::switch_state::{self, Prepared};
use crate::session::{gate, leftovers, role_changers, switching};
use crate::switch_text::{Extent, State};
use crate::verify::{self, Accepted, AsOf, Presented, Rules};
use roles::{Grounds, Permitted, permitted_now};
pub use roles::{Untakeable, privileged, takeable};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Verify(#[from] verify::Error),
    #[error("the path of the claim is not valid")]
    Path(PathError),
    #[error("the token names no role that can be taken")]
    RoleClaim {
        problem: RoleClaim,
        claim: String,
        named_by: NamedBy,
    },
    #[error(transparent)]
    Role(#[from] Untakeable),
    #[error(transparent)]
    Composite(#[from] composite::Error),
    #[error("the role \"{role}\" may not be taken by this session")]
    NotGranted { role: String, session_user: String },
    #[error("the role \"{role}\" may not be taken by this session")]
    Itself { role: String },
    #[error("the role \"{role}\" may not be taken by this session")]
    NotListed { role: String, session_user: String },
    #[error("the role \"{role}\" may not be taken by this token")]
    RoleNotAllowed { role: String, issuer: String },
    #[error("the role of this token may not be read from another claim")]
    RoleClaimFixed { issuer: String },
    #[error("a token cannot switch the role inside a SECURITY DEFINER function")]
    SecurityDefiner,
    #[error("a token cannot switch the role where that would be undone")]
    WouldBeUndone,
    #[error("a token cannot switch the role of a session whose role another library has set")]
    ForeignRole,
    #[error("the role was set by a token and is locked")]
    AlreadyLocked,
    #[error("a token cannot switch the role while cursors are open")]
    OpenCursors,
    #[error("scope.end_jwt_session() must be a statement of its own")]
    NotAlone,
    #[error("a token cannot switch the role of a connection for replication")]
    Replication,
    #[error("a token cannot switch a whole session of this login")]
    Shared,
    #[error("the token was refused")]
    IssuerNotTaken,
    #[error("this token cannot take the place of the session's")]
    OtherPerson,
    #[error("this token cannot take the place of the session's")]
    OtherRole { role: String },
    #[error("the switch of this session ends with the session")]
    ByToken,
    #[error("this session has not been switched by a token")]
    NoSessionSwitch,
    #[error("this token cannot end the switch of this session")]
    OtherToken,
}

/// What says which claim names the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// The argument of the call.
    Caller,
    /// scope_roles.jwt_role_claim.
    Setting,
    /// The issuer of this name.
    Issuer(String),
}

thread_local! {
    /// The last claim path that a caller has named: calls tend to repeat it.
    static PATH: RefCell<Option<(String, ClaimPath)>> = const { RefCell::new(None) };
}

/// Switches until the transaction ends. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn set_jwt_role(token: Option<&[u8]>, claim: Option<&[u8]>) -> Result<SharedName, ErrorReport> {
    require_preload()?;
    statement::hide(jwt::redact);
    recorded("set_jwt_role", switch(token, claim, Extent::Transaction)).map(SharedName)
}

/// Switches until the session ends. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn set_jwt_session(token: Option<&[u8]>, claim: Option<&[u8]>) -> Result<SharedName, ErrorReport> {
    require_preload()?;
    statement::hide(jwt::redact);
    recorded("set_jwt_session", switch(token, claim, Extent::Session)).map(SharedName)
}

/// Moves the end of a session's switch. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn refresh_session(token: Option<&[u8]>) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    require_preload()?;
    statement::hide(jwt::redact);
    leftovers::token_presented();
    let until = refresh(&text::of(token.unwrap_or_default()));
    recorded("refresh_session", until).map(clock::to_sql)
}

/// Ends a session's switch. Documented in `sql/tokens.sql`.
#[pg_extern(sql = false)]
fn end_jwt_session(
    token: Option<&[u8]>,
    call: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    require_preload()?;
    statement::hide(jwt::redact);
    let ended = recorded(
        "end_jwt_session",
        end(&text::of(token.unwrap_or_default()), call),
    );
    if ended.is_ok() {
        audit::record(Event::SwitchEnded);
    }
    ended
}

/// The outcome, written into the audit trail.
fn recorded<T>(function: &'static str, outcome: Result<T, Error>) -> Result<T, ErrorReport> {
    match outcome {
        Ok(done) => {
            if switch_state::is_locked() {
                record_switch(function);
            }
            Ok(done)
        }
        Err(error) => {
            audit::refused(Class::Switch, &error, |problem| Event::SwitchRefused {
                function,
                problem,
            });
            Err(report(error))
        }
    }
}

fn record_switch(function: &'static str) {
    audit::record(Event::Switch {
        function,
        until: switch_state::ends_at(),
        actors: &audit::actors(),
    });
}

/// A switch that was permitted, ready to be made.
pub struct Switch {
    made_for: Asked,
    claim: Option<String>,
    permitted: Rc<Permitted>,
    /// What `scope.switch` is set to.
    state: Prepared,
    /// What its audit lines say of the token, once one has been written.
    audit: OnceCell<audit::OfToken>,
}

/// What, with the token and the claim, decides which switch is made and whether it may be.
#[derive(PartialEq, Eq)]
struct Asked {
    extent: Extent,
    grounds: Grounds,
}

fn switch(token: Option<&[u8]>, claim: Option<&[u8]>, extent: Extent) -> Result<Rc<CStr>, Error> {
    leftovers::token_presented();
    let token = &text::of(token.unwrap_or_default());
    let claim = claim.map(text::of);
    let claim = claim.as_deref();
    if token.is_empty()
        && let Some(role) = guc::anon_role()
    {
        return anonymous(role, extent);
    }
    let (presented, as_of) = verify::verify(token)?;
    switch_by(presented, as_of, claim, extent)
}

/// The verdict on such a token while the client logs in, as far as it can be given before anything is read in the database that it asks for.
pub fn before_login(token: &str, issuers: &[String]) -> Result<Accepted, Error> {
    let asked = server::database_asked_for();
    let database = asked.and_then(|name| server::database_of_name(&name));
    let database = database.ok_or(verify::Error::NotAtHand { bytes: None })?;
    let accepted = verify::early::verify(token, database)?;
    taken(&accepted, issuers)?;
    Ok(accepted)
}

/// Does it name one of the roles that a login's tokens may? By the names alone: what the database says comes later.
pub fn names_one_of(
    token: &Accepted,
    claim: Option<&str>,
    roles: &[String],
    login: &str,
) -> Result<(), Error> {
    let named = role_of(&token.rules, &token.verified, claim, Some(roles))?;
    // What it takes together is of these.
    if roles.is_empty() || roles.contains(&named.role) || !named.together.is_empty() {
        return Ok(());
    }
    Err(Error::NotListed {
        role: named.role,
        session_user: login.to_owned(),
    })
}

/// Is it a token of one of these issuers?
fn taken(token: &Accepted, issuers: &[String]) -> Result<(), Error> {
    let issuer = token.rules.name.as_ref();
    match issuer.is_some_and(|name| issuers.contains(name)) {
        true => Ok(()),
        false => Err(Error::IssuerNotTaken),
    }
}

/// Switches the session for its length by the token that its client has logged in with: one of these issuers.
pub fn at_login(token: &str, claim: Option<&str>, issuers: &[String]) -> Result<(), Error> {
    let (presented, as_of) = verify::verify(token)?;
    taken(&presented.token, issuers)?;
    make_ready(&presented.token, claim)?;
    switch_by(presented, as_of, claim, Extent::Session)?;
    record_switch("login");
    Ok(())
}

/// The role of several that the token takes together must be there.
fn make_ready(accepted: &Accepted, claim: Option<&str>) -> Result<(), Error> {
    let named = role_in_session(&accepted.rules, &accepted.verified, claim)?;
    if named.together.is_empty() {
        return Ok(());
    }
    for role in &named.together {
        roles::permitted(role)?;
    }
    let login = identity::session_user();
    Ok(composite::ensure(
        &named.together,
        login,
        accepted.ends_at(),
    )?)
}

fn switch_by(
    presented: Rc<Presented>,
    as_of: AsOf,
    claim: Option<&str>,
    extent: Extent,
) -> Result<Rc<CStr>, Error> {
    let accepted = &presented.token;
    let asked = Asked {
        extent,
        grounds: Grounds::now(),
    };
    let switch = prepared(accepted, claim, asked)?;
    activate(&switch.permitted, &switch.state, || {
        verify::use_up(accepted)
    })?;
    Ok(made(presented, switch, as_of))
}

/// The switch stands; the role's name.
fn made(presented: Rc<Presented>, switch: Rc<Switch>, as_of: AsOf) -> Rc<CStr> {
    standing::permitted(switch.made_for.grounds.roles);
    if audit::wants(Class::Switch) {
        let members = switch.audit.get_or_init(|| members_of(&presented.token));
        audit::switched(members);
    }
    let role = switch.permitted.name.clone();
    standing::made(presented, switch, as_of);
    role
}

/// Gives the session's switch a new token of the same issuer and subject, for the same role; until when it is good.
fn refresh(token: &str) -> Result<i64, Error> {
    let (presented, as_of) = verify::verify(token)?;
    if !switch_state::lasts_for_the_session() {
        return Err(Error::NoSessionSwitch);
    }
    require_lasting()?;
    let accepted = &presented.token;
    let before = standing::active().ok_or(Error::NoSessionSwitch)?;
    let is_same = {
        let (old, new) = (&before.token.verified, &accepted.verified);
        let subject = old.subject().filter(|subject| !subject.is_empty());
        subject.is_some()
            && subject == new.subject()
            && before.token.rules.name == accepted.rules.name
            && old.issuer() == new.issuer()
    };
    if !is_same {
        return Err(Error::OtherPerson);
    }
    if !standing::takes(&accepted.rules) {
        return Err(Error::IssuerNotTaken);
    }
    let claim = standing::claim();
    make_ready(accepted, claim.as_deref())?;
    let asked = Asked {
        extent: Extent::Session,
        grounds: Grounds::now(),
    };
    let switch = prepared(accepted, claim.as_deref(), asked)?;
    if Some(switch.permitted.role.oid) != switching::locked_to() {
        return Err(Error::OtherRole {
            role: switch.permitted.role.name.clone(),
        });
    }
    verify::use_up(accepted)?;
    standing::ending();
    switching::refresh(&switch.permitted.name, &switch.state);
    let until = accepted.ends_at();
    made(presented, switch, as_of);
    Ok(until)
}

fn prepared(accepted: &Accepted, claim: Option<&str>, asked: Asked) -> Result<Rc<Switch>, Error> {
    match accepted.kept::<Switch>() {
        Some(last) if last.made_for == asked && last.claim.as_deref() == claim => Ok(last),
        _ => {
            let switch = Rc::new(prepare(accepted, claim, asked)?);
            accepted.keep(switch.clone());
            Ok(switch)
        }
    }
}

fn prepare(accepted: &Accepted, claim: Option<&str>, asked: Asked) -> Result<Switch, Error> {
    let named = role_in_session(&accepted.rules, &accepted.verified, claim)?;
    let shown = if named.as_role {
        None
    } else {
        jwt::with_role(accepted.verified.payload(), &named.role).map(encoding::for_setting)
    };
    let permitted = named.permitted(asked.grounds)?;
    let state = State {
        extent: asked.extent,
        role: permitted.role.oid.into(),
        ends_at: accepted.ends_at(),
        tag: accepted.tag,
        claims: accepted.claims(),
        with_role: shown.as_deref(),
    };
    let verified = &accepted.verified;
    let (issuer, subject, actors) = (verified.issuer(), verified.subject(), verified.actors());
    let person = Person {
        issuer: issuer.as_deref(),
        subject: subject.as_deref(),
        actor: actors.first().map(String::as_str),
    };
    let state = Prepared::new(&state, &person);
    Ok(Switch {
        made_for: asked,
        claim: claim.map(str::to_owned),
        permitted,
        state,
        audit: OnceCell::new(),
    })
}

fn members_of(accepted: &Accepted) -> audit::OfToken {
    let verified = &accepted.verified;
    audit::OfToken {
        token: audit::token_members(
            verified.issuer().as_deref(),
            verified.subject().as_deref(),
            verified.token_id().as_deref(),
        ),
        actors: audit::actor_members(
            &verified.actors(),
            verified.authorized_party().as_deref(),
            verified.client_id().as_deref(),
        ),
    }
}

/// The switch of a request without a token.
fn anonymous(role: String, extent: Extent) -> Result<Rc<CStr>, Error> {
    let grounds = Grounds::now();
    let permitted = permitted_now(&role, grounds)?;
    let claims = encoding::for_setting(serde_json::json!({ "role": role }).to_string());
    let state = State {
        extent,
        role: permitted.role.oid.into(),
        ends_at: i64::MAX,
        tag: 0,
        claims: &claims,
        with_role: None,
    };
    let state = Prepared::new(&state, &Person::default());
    activate(&permitted, &state, || Ok(()))?;
    standing::permitted(grounds.roles);
    Ok(permitted.name.clone())
}

/// A role that a token names.
struct Named {
    role: String,
    /// As the value of its claim `role`.
    as_role: bool,
    /// The roles that it gives together, where these are several.
    together: Vec<String>,
}

impl Named {
    /// By a map, or for tokens that name none.
    fn otherwise(mut roles: Vec<String>) -> Self {
        roles.sort_unstable();
        let role = match roles.len() {
            1 => roles.pop().unwrap_or_default(),
            _ => composite::name(&roles),
        };
        Self {
            role,
            as_role: false,
            together: roles,
        }
    }

    fn permitted(&self, grounds: Grounds) -> Result<Rc<Permitted>, Error> {
        let permitted = permitted_now(&self.role, grounds)?;
        // Nobody takes several by the name that these have together.
        if permitted.is_composite == self.together.is_empty() {
            return Err(Error::NotListed {
                role: self.role.clone(),
                session_user: catalog::name_of(identity::session_user()),
            });
        }
        Ok(permitted)
    }
}

/// The role that the token would take in this session.
pub fn role_of_token(token: &Accepted, claim: Option<&str>) -> Result<Role, Error> {
    let named = role_in_session(&token.rules, &token.verified, claim)?;
    Ok(named.permitted(Grounds::now())?.role.clone())
}

/// The role that the token names here.
fn role_in_session(rules: &Rules, token: &Verified, claim: Option<&str>) -> Result<Named, Error> {
    let login = standing::login();
    role_of(
        rules,
        token,
        claim,
        login.as_ref().map(|login| login.roles.as_slice()),
    )
}

/// The role that the token names, by the rules of its issuer. A login by token takes all that a map gives of its own `listed` roles together.
fn role_of(
    rules: &Rules,
    token: &Verified,
    claim: Option<&str>,
    listed: Option<&[String]>,
) -> Result<Named, Error> {
    let issuer = || rules.name.clone().unwrap_or_default();
    let map = rules.role_map.as_ref();
    // What a map makes roles of is the administrator's to say.
    let asked = claim.filter(|_| rules.role_claim.is_none() && map.is_none());
    let is_fixed = asked.is_none();
    let path = asked.unwrap_or(&rules.role_path.text);
    if is_fixed && claim.is_some_and(|asked| asked != path) {
        return Err(Error::RoleClaimFixed { issuer: issuer() });
    }
    let look = |path: &ClaimPath| match map {
        Some(map) => {
            let mut roles = map.roles(path, token.payload())?;
            let is_listed = |role: &String| listed.is_some_and(|listed| listed.contains(role));
            if roles.iter().any(is_listed) {
                roles.retain(is_listed);
            } else {
                roles.truncate(1);
            }
            Ok(roles)
        }
        None => path.role_of(token).map(|role| vec![role]),
    };
    let roles = match asked {
        Some(asked) => with_path(asked, look),
        None => rules
            .role_path
            .path
            .as_ref()
            .map(look)
            .map_err(Clone::clone),
    };
    let mut roles = match (roles.map_err(Error::Path)?, &rules.anon_role) {
        (Err(RoleClaim::Missing), Some(anonymous)) => {
            return Ok(Named::otherwise(vec![anonymous.clone()]));
        }
        (Err(problem), _) => {
            return Err(Error::RoleClaim {
                problem,
                claim: path.to_owned(),
                named_by: match (&rules.role_claim, is_fixed) {
                    (Some(_), _) => NamedBy::Issuer(issuer()),
                    (None, true) => NamedBy::Setting,
                    (None, false) => NamedBy::Caller,
                },
            });
        }
        (Ok(roles), _) => roles,
    };
    let is_refused = |role: &String| {
        let allowed = rules.allowed_roles.as_ref();
        allowed.is_some_and(|allowed| !allowed.contains(role))
    };
    if let Some(refused) = roles.iter().position(is_refused) {
        return Err(Error::RoleNotAllowed {
            role: roles.swap_remove(refused),
            issuer: issuer(),
        });
    }
    Ok(Named {
        as_role: map.is_none() && path == "role",
        ..Named::otherwise(roles)
    })
}

fn with_path<R>(text: &str, look: impl FnOnce(&ClaimPath) -> R) -> Result<R, PathError> {
    PATH.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(known, _)| known != text) {
            *kept = Some((text.to_owned(), ClaimPath::parse(text)?));
        }
        match kept {
            Some((_, path)) => Ok(look(path)),
            None => ClaimPath::parse(text).map(|path| look(&path)),
        }
    })
}

/// What is set now stays when the calling function returns.
fn require_lasting() -> Result<(), Error> {
    if identity::in_security_definer() {
        return Err(Error::SecurityDefiner);
    }
    if switch_state::would_be_undone() {
        return Err(Error::WouldBeUndone);
    }
    Ok(())
}

/// `last` comes when nothing else can refuse it.
fn activate(
    permitted: &Permitted,
    state: &Prepared,
    last: impl FnOnce() -> Result<(), verify::Error>,
) -> Result<(), Error> {
    require_lasting()?;
    if server::is_replication_connection() {
        return Err(Error::Replication);
    }
    // Whoever shares the connection could not use it any more.
    if state.extent == Extent::Session
        && gate::is_closed()
        && !guc::session_switches()
        && !gate::is_by_token()
    {
        return Err(Error::Shared);
    }
    match switch_state::is(state) {
        // The same token again: it is what the session is already.
        Some(true) => return Ok(()),
        Some(false) => return Err(Error::AlreadyLocked),
        None => {}
    }
    if role_changers::hold_the_role() {
        return Err(Error::ForeignRole);
    }
    // A cursor goes on with the privileges, and the rows, of the role that opened it.
    if xact::has_open_cursors() {
        return Err(Error::OpenCursors);
    }
    last()?;
    xact::close_large_objects();
    if state.extent == Extent::Transaction && xact::ends_with_statement() {
        warn_no_transaction();
    }
    switching::activate(&permitted.name, state, &permitted.settings);
    Ok(())
}

fn end(token: &str, call: pg_sys::FunctionCallInfo) -> Result<(), Error> {
    let tag = verify::tag(token)?;
    let same = switch_state::with(|state| {
        let known = state.extent == Extent::Session;
        known.then(|| verify_slices_are_equal(&state.tag.to_ne_bytes(), &tag.to_ne_bytes()).is_ok())
    });
    match same.flatten() {
        None => Err(Error::NoSessionSwitch),
        Some(false) => Err(Error::OtherToken),
        // Nobody else logs in with it.
        Some(true) if gate::is_by_token() => Err(Error::ByToken),
        // They are the token's role's.
        Some(true) if xact::has_open_cursors() => Err(Error::OpenCursors),
        Some(true) if !statement::is_call_alone(call) => Err(Error::NotAlone),
        Some(true) => {
            // What is deferred is the token's, and is done while it is here.
            xact::fire_deferred();
            xact::close_large_objects();
            standing::ending();
            switching::deactivate();
            Ok(())
        }
    }
}

/// As PostgreSQL warns of SET LOCAL.
fn warn_no_transaction() {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
        "scope.set_jwt_role() can only be used in transaction blocks",
        function_name!(),
    )
    .set_detail("The switch ends with this statement.")
    .set_hint("BEGIN first.")
    .report(PgLogLevel::WARNING);
}
