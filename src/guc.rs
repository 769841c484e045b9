//! Every setting: private statics, typed accessors. All are PGC_SIGHUP or PGC_POSTMASTER: only an administrator's
//! configuration counts, nothing that a session can SET. One is a superuser's, for ALTER ROLE … SET.

mod checks;

use std::ffi::CString;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

use zeroize::Zeroizing;

use crate::jwks::Trust;
use crate::pg::{checked_setting, compat, preload, secret_setting};

type Text = GucSetting<Option<CString>>;

const DAY: i32 = 24 * 60 * 60;

static JWT_SECRET_IS_BASE64: GucSetting<bool> = GucSetting::<bool>::new(false);
static JWT_AUDIENCE: Text = Text::new(None);
static JWT_ISSUER: Text = Text::new(None);
static JWT_ROLE_CLAIM: Text = Text::new(Some(c"role"));
static JWT_LEEWAY: GucSetting<i32> = GucSetting::<i32>::new(30);
static JWT_REQUIRE_EXP: GucSetting<bool> = GucSetting::<bool>::new(true);
static JWT_MAX_AGE: GucSetting<i32> = GucSetting::<i32>::new(0);
static JWT_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(1_000);
static JWKS_HOSTS: Text = Text::new(None);
static JWKS_LOOPBACK_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
static JWKS_PROXY: Text = Text::new(None);
static JWKS_MIN_AGE: GucSetting<i32> = GucSetting::<i32>::new(5 * 60);
static JWKS_MAX_AGE: GucSetting<i32> = GucSetting::<i32>::new(DAY);
static JWKS_WAIT: GucSetting<i32> = GucSetting::<i32>::new(2_000);
static ANON_ROLE: Text = Text::new(None);
static SESSION_SWITCHES: GucSetting<bool> = GucSetting::<bool>::new(false);
static DEFAULT_TTL: GucSetting<i32> = GucSetting::<i32>::new(90 * DAY);
static MAX_TTL: GucSetting<i32> = GucSetting::<i32>::new(365 * DAY);
static MAX_PASSWORD_AGE: GucSetting<i32> = GucSetting::<i32>::new(90 * DAY);
static UNUSED_AFTER: GucSetting<i32> = GucSetting::<i32>::new(90 * DAY);
static CONNECTION_HOST: Text = Text::new(None);
static CONNECTION_PORT: GucSetting<i32> = GucSetting::<i32>::new(0);
static AUDIT_TEXT: GucSetting<AuditText> = GucSetting::<AuditText>::new(AuditText::Fingerprint);
static AUDIT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(365 * DAY);
static SINGLE_USE_TOKENS: GucSetting<i32> = GucSetting::<i32>::new(65_536);
static ISSUER_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(256);
static TOKEN_LOGIN_GROUP: Text = Text::new(Some(c"token_logins"));
static EXCHANGE_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(3);
static LOGIN_FACTS: GucSetting<i32> = GucSetting::<i32>::new(50_000);
static EXPIRY: GucSetting<bool> = GucSetting::<bool>::new(true);
static EXPORT_ALERT_ROWS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
static EXPORT_ALERT_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(60 * 60);
static DDL_ALERT: GucSetting<DdlAlert> = GucSetting::<DdlAlert>::new(DdlAlert::All);

/// Whose DDL is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum DdlAlert {
    #[name = c"off"]
    Off,
    /// Of roles that are ours, or switched to.
    #[name = c"managed"]
    Managed,
    /// Of everybody who is neither a superuser nor a member of a scope that creates.
    #[name = c"all"]
    All,
}

/// What audit lines say of a statement's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum AuditText {
    #[name = c"off"]
    Off,
    #[name = c"fingerprint"]
    Fingerprint,
    #[name = c"full"]
    Full,
}

pub fn init() {
    checked_setting::while_defining(define);
}

fn define() {
    let none = GucFlags::empty();
    let seconds = GucFlags::UNIT_S;
    secret_setting::define(
        c"scope_roles.jwt_secret",
        c"The key that verifies tokens.",
        c"A secret of at least 32 bytes, a JWK, a JWKS, a PEM public key, or @/path/of/a/file that holds one. Never shown.",
        checks::is_secret,
    );
    GucRegistry::define_bool_guc(
        c"scope_roles.jwt_secret_is_base64",
        c"Whether scope_roles.jwt_secret is the base64 form of a secret.",
        c"Both the standard and the URL alphabet are read.",
        &JWT_SECRET_IS_BASE64,
        GucContext::Sighup,
        none,
    );
    checked_setting::define::<checks::Audience>(
        c"scope_roles.jwt_audience",
        c"The audiences that a token's aud claim may name, separated by commas.",
        c"When set, a token must have an aud claim that names one of them. Empty: aud is not checked.",
        &JWT_AUDIENCE,
    );
    checked_setting::define::<checks::Issuer>(
        c"scope_roles.jwt_issuer",
        c"The iss claim that tokens must have.",
        c"Empty: iss is not checked.",
        &JWT_ISSUER,
    );
    checked_setting::define::<checks::RoleClaim>(
        c"scope_roles.jwt_role_claim",
        c"The claim that names the role, when a call does not say which.",
        c"A claim's name, a path such as .realm_access.roles[0], or RFC 9535 JSONPath that starts with $.",
        &JWT_ROLE_CLAIM,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwt_leeway",
        c"How far clocks may differ when exp, nbf and iat are judged.",
        c"",
        &JWT_LEEWAY,
        0,
        10 * 60,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_bool_guc(
        c"scope_roles.jwt_require_exp",
        c"Whether a token must have an exp claim.",
        c"",
        &JWT_REQUIRE_EXP,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwt_max_age",
        c"How old a token may be, counted from its iat claim.",
        c"0: no limit.",
        &JWT_MAX_AGE,
        0,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwt_cache_size",
        c"How many verified tokens each session keeps.",
        c"0: none; then tokens verified by other sessions do not help either.",
        &JWT_CACHE_SIZE,
        0,
        1_000_000,
        GucContext::Sighup,
        none,
    );
    checked_setting::define::<checks::Hosts>(
        c"scope_roles.jwks_hosts",
        c"Hosts from which keys of issuers may be fetched, beside each issuer's own, separated by commas.",
        c"These may have private addresses. Names or addresses, without ports.",
        &JWKS_HOSTS,
    );
    GucRegistry::define_bool_guc(
        c"scope_roles.jwks_loopback_http",
        c"Whether keys may be fetched by http from this machine, for tests.",
        c"From hosts in scope_roles.jwks_hosts.",
        &JWKS_LOOPBACK_HTTP,
        GucContext::Sighup,
        none,
    );
    checked_setting::define::<checks::Proxy>(
        c"scope_roles.jwks_proxy",
        c"The proxy through which keys of issuers are fetched: http://host:port.",
        c"Empty: none. The environment of the server names none. Where there is a proxy, it looks hosts up, and their addresses are not checked.",
        &JWKS_PROXY,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwks_min_age",
        c"How long fetched keys hold at least before they are fetched again.",
        c"",
        &JWKS_MIN_AGE,
        30,
        DAY,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwks_max_age",
        c"How long fetched keys hold at most before they are fetched again, whatever their server says.",
        c"",
        &JWKS_MAX_AGE,
        60,
        30 * DAY,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.jwks_wait",
        c"How long a call waits for the worker to fetch a key that its token names and the issuer's known keys lack.",
        c"0: not at all.",
        &JWKS_WAIT,
        0,
        30_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    checked_setting::define::<checks::AnonRole>(
        c"scope_roles.anon_role",
        c"The role of requests that have no token.",
        c"Empty: a token is required. A token that is refused never gives this role.",
        &ANON_ROLE,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.default_ttl",
        c"How long a credential is valid when the call does not say.",
        c"",
        &DEFAULT_TTL,
        1,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.max_ttl",
        c"The longest time that a credential may be valid.",
        c"",
        &MAX_TTL,
        1,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.max_password_age",
        c"From which age on scope.review() finds a password too old.",
        c"",
        &MAX_PASSWORD_AGE,
        1,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.unused_after",
        c"How long a login must not have been used to be found by scope.review() and scope.prune().",
        c"",
        &UNUSED_AFTER,
        1,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    checked_setting::define::<checks::Host>(
        c"scope_roles.connection_host",
        c"The host in connection URIs.",
        c"Empty: the URI names no host and the client's default applies.",
        &CONNECTION_HOST,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.connection_port",
        c"The port in connection URIs.",
        c"0: the server's own.",
        &CONNECTION_PORT,
        0,
        65_535,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_bool_guc(
        c"scope_roles.expiry",
        c"Whether the worker ends credentials at their deadlines.",
        c"Off: it changes nothing; logins past the deadline are refused all the same.",
        &EXPIRY,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.export_alert_rows",
        c"How many rows a role that only reads may return in a window before an alert.",
        c"0: no alert.",
        &EXPORT_ALERT_ROWS,
        0,
        i32::MAX,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.export_alert_window",
        c"The window of scope_roles.export_alert_rows.",
        c"",
        &EXPORT_ALERT_WINDOW,
        1,
        7 * DAY,
        GucContext::Sighup,
        seconds,
    );
    GucRegistry::define_bool_guc(
        c"scope_roles.session_switches",
        c"Whether sessions of an authenticator may switch until they end, by scope.set_jwt_session().",
        c"Set it for authenticators whose connections are not shared: ALTER ROLE ... SET.",
        &SESSION_SWITCHES,
        GucContext::Suset,
        GucFlags::NOT_WHILE_SEC_REST,
    );
    GucRegistry::define_string_guc(
        c"scope_roles.token_login_group",
        c"The role whose members log in by token: for the lines of pg_hba.conf that ask them for no password.",
        c"scope.create_token_login() makes it and puts its logins into it. Nobody else in it passes a line with trust.",
        &TOKEN_LOGIN_GROUP,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.exchange_limit",
        c"How many logins of scope.exchange_token() a subject may have at a time.",
        c"0: none.",
        &EXCHANGE_LIMIT,
        0,
        1_000,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_enum_guc(
        c"scope_roles.ddl_alert",
        c"Whose DDL raises an alert: all, managed or off.",
        c"Never that of superusers and of members of a scope that creates.",
        &DDL_ALERT,
        GucContext::Sighup,
        none,
    );
    // PostgreSQL takes such a setting at no other time.
    if preload::in_progress() {
        GucRegistry::define_int_guc(
            c"scope_roles.login_facts",
            c"For how many roles the server keeps when, how often and from where they logged in.",
            c"230 bytes of shared memory each. 0: for none. What finds no room is not kept.",
            &LOGIN_FACTS,
            0,
            10_000_000,
            GucContext::Postmaster,
            none,
        );
        GucRegistry::define_int_guc(
            c"scope_roles.single_use_tokens",
            c"How many used tokens of issuers with single_use the server remembers until they end.",
            c"24 bytes of shared memory each. When all have not ended, further ones are refused.",
            &SINGLE_USE_TOKENS,
            0,
            10_000_000,
            GucContext::Postmaster,
            none,
        );
        GucRegistry::define_int_guc(
            c"scope_roles.issuer_memory",
            c"How much shared memory there is for a copy of the issuers of databases, by which logins by token are judged.",
            c"Where the issuers of one database have no room, its logins by token are refused.",
            &ISSUER_MEMORY,
            16,
            1_048_576,
            GucContext::Postmaster,
            GucFlags::UNIT_KB,
        );
    }
    GucRegistry::define_enum_guc(
        c"scope_roles.audit_text",
        c"What audit lines say of a statement's text.",
        c"off; fingerprint: query_id, as pg_stat_statements has it; full: also the text, without passwords and tokens.",
        &AUDIT_TEXT,
        GucContext::Sighup,
        none,
    );
    GucRegistry::define_int_guc(
        c"scope_roles.audit_retention",
        c"How long the rows of scope.audit_log are kept.",
        c"0: for ever.",
        &AUDIT_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        seconds,
    );
    compat::define_mark_of_settings();
    compat::reserve_setting_prefix(c"scope_roles");
}

pub fn jwt_secret() -> Option<Zeroizing<String>> {
    secret_setting::get()
}

pub fn jwt_secret_is_base64() -> bool {
    JWT_SECRET_IS_BASE64.get()
}

pub fn jwt_audiences() -> Vec<String> {
    text(&JWT_AUDIENCE)
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|audience| !audience.is_empty())
        .map(str::to_owned)
        .collect()
}

pub fn jwt_issuer() -> Option<String> {
    text(&JWT_ISSUER)
}

pub fn jwt_role_claim() -> String {
    text(&JWT_ROLE_CLAIM).unwrap_or_else(|| "role".to_owned())
}

/// Seconds.
pub fn jwt_leeway() -> i64 {
    JWT_LEEWAY.get().into()
}

pub fn jwt_require_exp() -> bool {
    JWT_REQUIRE_EXP.get()
}

/// Seconds; `None` without a limit.
pub fn jwt_max_age() -> Option<i64> {
    Some(i64::from(JWT_MAX_AGE.get())).filter(|&age| age > 0)
}

pub fn jwt_cache_size() -> usize {
    usize::try_from(JWT_CACHE_SIZE.get()).unwrap_or(0)
}

/// From where keys may be fetched.
pub fn jwks_trust() -> Trust {
    Trust {
        hosts: Trust::hosts(&text(&JWKS_HOSTS).unwrap_or_default()),
        loopback_http: JWKS_LOOPBACK_HTTP.get(),
    }
}

pub fn jwks_proxy() -> Option<String> {
    text(&JWKS_PROXY)
}

/// Seconds: how long keys hold at least, and at most.
pub fn jwks_ages() -> (i64, i64) {
    let least = i64::from(JWKS_MIN_AGE.get());
    (least, least.max(JWKS_MAX_AGE.get().into()))
}

pub fn jwks_wait() -> Duration {
    Duration::from_millis(u64::try_from(JWKS_WAIT.get()).unwrap_or(0))
}

pub fn anon_role() -> Option<String> {
    text(&ANON_ROLE)
}

pub fn token_login_group() -> Option<String> {
    text(&TOKEN_LOGIN_GROUP)
}

pub fn session_switches() -> bool {
    SESSION_SWITCHES.get()
}

/// Seconds, never more than [`max_ttl`].
pub fn default_ttl() -> i64 {
    i64::from(DEFAULT_TTL.get()).min(max_ttl())
}

/// Seconds.
pub fn max_ttl() -> i64 {
    MAX_TTL.get().into()
}

/// Seconds.
pub fn max_password_age() -> i32 {
    MAX_PASSWORD_AGE.get()
}

/// Seconds.
pub fn unused_after() -> i32 {
    UNUSED_AFTER.get()
}

pub fn connection_host() -> Option<String> {
    text(&CONNECTION_HOST)
}

pub fn connection_port() -> Option<i32> {
    Some(CONNECTION_PORT.get()).filter(|&port| port > 0)
}

pub fn audit_text() -> AuditText {
    AUDIT_TEXT.get()
}

/// Seconds; `None`: for ever.
pub fn audit_retention() -> Option<i64> {
    Some(i64::from(AUDIT_RETENTION.get())).filter(|&age| age > 0)
}

/// How many roles.
pub fn login_facts() -> usize {
    usize::try_from(LOGIN_FACTS.get()).unwrap_or(0)
}

/// How many logins a subject may have for its tokens.
pub fn exchange_limit() -> usize {
    usize::try_from(EXCHANGE_LIMIT.get()).unwrap_or(0)
}

/// How many used tokens are remembered.
pub fn single_use_tokens() -> usize {
    usize::try_from(SINGLE_USE_TOKENS.get()).unwrap_or(0)
}

/// Bytes.
pub fn issuer_memory() -> usize {
    usize::try_from(ISSUER_MEMORY.get())
        .unwrap_or(0)
        .saturating_mul(1_024)
}

pub fn expiry() -> bool {
    EXPIRY.get()
}

/// `None` when nothing is to be reported.
pub fn export_alert_rows() -> Option<u64> {
    u64::try_from(EXPORT_ALERT_ROWS.get())
        .ok()
        .filter(|&rows| rows > 0)
}

/// Seconds.
pub fn export_alert_window() -> i64 {
    EXPORT_ALERT_WINDOW.get().into()
}

pub fn ddl_alert() -> DdlAlert {
    DDL_ALERT.get()
}

/// Is anybody's DDL reported?
pub fn watches_ddl() -> bool {
    ddl_alert() != DdlAlert::Off
}

/// An empty setting counts as none.
fn text(setting: &Text) -> Option<String> {
    let value = setting.get()?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}
