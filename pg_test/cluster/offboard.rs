//! `scope.offboard()`: what a person leaves behind, in one list, and its end in one call.

mod attacks;

use serde_json::json;

use crate::harness::*;
use crate::jwt::issuers::{ED, claims, register};
use crate::jwt::{Gate, switch_session};

/// What a person may call who issues logins.
const CREATE: &str = "scope.create_scope, scope.alter_scope, scope.create_credential, scope.create_authenticator, \
    scope.grant_temporary, scope.rotate_password";

/// A person with something of everything, as `bob`, and a service of the application that goes on.
pub struct Leaver<'a> {
    pub f: Fixture<'a>,
    pub bob: String,
    pub owner: String,
    /// Made by bob, of his table.
    pub scope: String,
    pub credential: Credential,
    /// Of the application's owner; bob has rotated its password.
    pub service: Credential,
}

impl Leaver<'static> {
    pub fn new(name: &str) -> Self {
        let f = Fixture::new(name);
        let (bob, owner) = (f.role("bob", "LOGIN"), f.role("owner", "LOGIN"));
        let other = f.role("other", "LOGIN");
        let mut admin = f.admin();
        admin.run(&format!(
            "GRANT {owner} TO {bob};
             GRANT EXECUTE ON FUNCTION {CREATE} TO {bob}, {owner};
             GRANT CONNECT ON DATABASE {name} TO {bob}, {owner} WITH GRANT OPTION;
             CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO {bob};
             CREATE TABLE app (x int); ALTER TABLE app OWNER TO {owner};
             CREATE ROLE {name}_incident"
        ));
        f.login(&owner).run(&format!(
            "SELECT scope.create_scope('{name}_app', '{{SELECT}}', '{{app}}')"
        ));
        let service = f.login(&owner).handed(&format!(
            "scope.create_credential('{{{name}_app}}', '{name}_service')"
        ));
        let mut s = f.login(&bob);
        let service = s.handed(&format!(
            "scope.rotate_password('{}', '0 seconds')",
            service.role
        ));
        let scope = format!("{name}_scope");
        s.run(&format!(
            "SELECT scope.create_scope('{scope}', '{{SELECT}}', '{{mine}}')"
        ));
        let credential = s.handed(&format!(
            "scope.create_credential('{{{scope}}}', '{name}_cred')"
        ));
        s.run(&format!(
            "SELECT scope.grant_temporary('{scope}', '{other}', '1 hour')"
        ));
        // Last: what is issued by a right for a time ends with it.
        admin.run(&format!(
            "SELECT scope.grant_temporary('{name}_incident', '{bob}', '1 hour')"
        ));
        Leaver {
            f,
            bob,
            owner,
            scope,
            credential,
            service,
        }
    }

    pub fn call(&self, arguments: &str) -> String {
        format!(
            "SELECT kind, name, done, coalesce(detail, ''), coalesce(password, ''), coalesce(new_login, ''), coalesce(connection_uri, ''), action
               FROM scope.offboard('{}'{arguments})",
            self.bob
        )
    }
}

/// `kind name done` of each.
pub fn told(rows: &[Vec<Option<String>>]) -> Vec<String> {
    let field = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
    rows.iter()
        .map(|row| format!("{} {} {}", field(row, 0), field(row, 1), field(row, 2)))
        .collect()
}

fn state_of(f: &Fixture<'_>, role: &str) -> String {
    f.admin().text(&format!(
        "SELECT coalesce((SELECT state FROM scope.roles WHERE role = '{role}'), 'gone')"
    ))
}

/// What stays for people to decide.
fn rest(l: &Leaver<'_>) -> [String; 2] {
    [
        format!("membership {} f", l.owner),
        "object table public.mine f".to_owned(),
    ]
}

#[test]
fn a_person_leaves_and_what_they_have_issued_ends() {
    let l = Leaver::new("offboard_ends");
    let (f, n) = (&l.f, &l.f.name);
    let mut open = f.login(&l.bob);
    let mut of_cred = l.credential.connect();
    let mut admin = f.admin();
    let all = |done: &str| {
        let scope = format!("scope {} f", l.scope);
        let [membership, object] = rest(&l);
        vec![
            format!("login {} {done}", l.bob),
            format!("sessions {} {done}", l.bob),
            format!("temporary membership {n}_incident {done}"),
            format!("credential {n}_cred {done}"),
            scope,
            format!("temporary membership {} {done}", l.scope),
            format!("password {n}_service {done}"),
            membership,
            object,
        ]
    };
    let mut expected = all("f");
    let mut shown = told(&admin.rows(&l.call("")));
    assert!(shown[0].starts_with("login"), "{shown:?}");
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);
    // Nothing has happened.
    assert_eq!(open.text("SELECT 1"), "1");
    assert_eq!(of_cred.text("SELECT 1"), "1");
    f.login(&l.bob);

    let call = l.call(", reason => 'left', apply => true");
    let rows = admin.rows(&call);
    let (mut expected, mut done) = (all("t"), told(&rows));
    expected.sort();
    done.sort();
    assert_eq!(done, expected, "{rows:?}");
    let refusal = f.server.try_login(&l.bob, n).err().expect("no login");
    assert_eq!(refusal.code, "28000");
    open.fails("SELECT 1");
    wait_until("the credential is gone", 20, || {
        state_of(f, &l.credential.role) == "gone"
    });
    of_cred.fails("SELECT 1");
    admin.assert_that(&format!(
        "NOT EXISTS (SELECT FROM scope.credentials WHERE granted_to = '{}' AND state = 'active')",
        l.bob
    ));
    // The service goes on by a new password, and with the old one for an hour.
    let new = rows
        .iter()
        .find(|row| row[0].as_deref() == Some("password"))
        .expect("a password");
    let field = |at: usize| new[at].clone().unwrap_or_default();
    let mut s = f
        .server
        .try_password(&field(5), &field(4), n)
        .expect("the new login");
    s.rows("SELECT * FROM app");
    assert!(field(6).contains(&field(5)), "{}", field(6));
    l.service.connect().rows("SELECT * FROM app");
    admin.assert_that(&format!(
        "(SELECT replaced_by IS NOT NULL AND time_left <= interval '1 hour' FROM scope.credentials WHERE role = '{}')",
        l.service.role
    ));
    // A record of the whole, one row.
    assert_eq!(
        admin.column(
            "SELECT concat_ws(' ', event, object, details ->> 'reason', details ->> 'done', details ->> 'left')
               FROM scope.audit_log WHERE function = 'offboard'"
        ),
        [format!("offboard {} left 6 3", l.bob)]
    );
    // Again: what is left is for people.
    let again = told(&admin.rows(&call));
    let [membership, object] = rest(&l);
    assert_eq!(again, [format!("scope {} f", l.scope), membership, object]);
    admin.assert_that(&format!(
        "(SELECT count(*) FROM scope.audit_log WHERE function = 'rotate_password' AND object = '{}') = 2",
        l.service.role
    ));
}

#[test]
fn a_successor_gets_what_a_person_has_made() {
    let l = Leaver::new("offboard_heir");
    let (f, n) = (&l.f, &l.f.name);
    let mut admin = f.admin();
    let call = l.call(&format!(
        ", reason => 'left', apply => true, successor => '{}', overlap => '0 seconds'",
        l.owner
    ));
    let rows = admin.rows(&call);
    let of = |kind: &str, name: &str| {
        rows.iter()
            .find(|row| row[0].as_deref() == Some(kind) && row[1].as_deref() == Some(name))
            .unwrap_or_else(|| panic!("{kind} {name}: {rows:?}"))
            .clone()
    };
    for (kind, name) in [
        ("login", &l.bob),
        ("scope", &l.scope),
        ("credential", &l.credential.role),
        ("temporary membership", &format!("{n}_incident")),
    ] {
        assert_eq!(of(kind, name)[2].as_deref(), Some("t"), "{kind}: {rows:?}");
    }
    admin.assert_that(&format!(
        "(SELECT bool_and(created_by = '{}') AND count(*) >= 5 FROM scope.roles WHERE role::text LIKE '{n}\\_%' AND state = 'active')",
        l.owner
    ));
    // What bob was shown is worth nothing any more, without an overlap.
    for (cred, table) in [(&l.credential, "mine"), (&l.service, "app")] {
        let row = of("password", &cred.role);
        assert_eq!(row[2].as_deref(), Some("t"), "{rows:?}");
        assert_eq!(row[5].as_deref(), Some(cred.role.as_str()));
        let refusal = cred.try_connect().err().expect("the old password");
        assert_eq!(refusal.code, "28P01");
        f.server
            .try_password(&cred.role, row[4].as_deref().unwrap_or_default(), n)
            .expect("the new one")
            .rows(&format!("SELECT * FROM {table}"));
    }
    assert_eq!(told(&admin.rows(&call)), rest(&l));
    let row = admin.rows(&call);
    let action = row[1][7].clone().unwrap_or_default();
    assert_eq!(
        action,
        format!("REASSIGN OWNED BY {} TO {}", l.bob, l.owner)
    );
    // What is proposed runs.
    for row in row {
        admin.run(&row[7].clone().expect("an action"));
    }
    assert!(admin.rows(&call).is_empty());
}

#[test]
fn a_subject_leaves() {
    let g = Gate::new("offboard_subject");
    register(&g, "corp", &jwks(&[&ED]), "");
    let f = &g.f;
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.exchange_token TO {0};
         ALTER ROLE {0} SET scope_roles.session_switches = on;
         GRANT EXECUTE ON FUNCTION scope.create_scope, scope.create_credential, scope.rotate_password TO {1};
         GRANT CONNECT ON DATABASE {2} TO {1} WITH GRANT OPTION;
         CREATE TABLE theirs (x int); ALTER TABLE theirs OWNER TO {1}",
        g.auth, g.reader, f.name
    ));
    // What joe issues ends before ann's right does.
    let begun = now();
    let token = |sub: &str| {
        let exp = begun + if sub == "offboard-ann" { 900 } else { 600 };
        let claims = claims(&g, "corp", json!({"sub": sub, "exp": exp, "iat": begun}));
        ED.token("EdDSA", &claims)
    };
    let exchanged = g.login().handed(&format!(
        "scope.exchange_token({})",
        literal(&token("offboard-ann"))
    ));
    let mut psql = f
        .server
        .try_password(&exchanged.role, &exchanged.password, &f.name)
        .expect("a login");
    let (mut ann, mut joe) = (g.login(), g.login());
    ann.run(&switch_session(&token("offboard-ann")));
    joe.run(&switch_session(&token("offboard-joe")));
    // Two logins of the application, one issued by ann, one by the role's other people, whose password ann has rotated.
    joe.run("SELECT scope.create_scope('offboard_subject_s', '{SELECT}', '{theirs}')");
    ann.run("SELECT scope.create_credential('{offboard_subject_s}', 'offboard_subject_hers')");
    joe.run("SELECT scope.create_credential('{offboard_subject_s}', 'offboard_subject_his')");
    joe.run("SELECT scope.create_credential('{offboard_subject_s}', 'offboard_subject_theirs')");
    ann.run("SELECT scope.rotate_password('offboard_subject_theirs', '0 seconds')");
    let call = |more: &str| {
        format!(
            "SELECT kind, name, done, detail FROM scope.offboard(subject => 'offboard-ann'{more})"
        )
    };
    // Not of another issuer.
    assert!(
        told(&admin.rows(&call(", issuer => 'https://else.example.org/'")))
            .iter()
            .all(|told| told.starts_with("tokens "))
    );
    let expected = |done: &str| {
        vec![
            format!("tokens offboard-ann {done}"),
            format!("login for a token {} {done}", exchanged.role),
            format!("sessions offboard-ann {done}"),
            format!("credential offboard_subject_hers {done}"),
            format!("password offboard_subject_theirs {done}"),
        ]
    };
    assert_eq!(
        told(&admin.rows(&call(", issuer => 'corp'"))),
        expected("f")
    );
    let apply = call(", issuer => 'corp', reason => 'left', apply => true");
    let rows = admin.rows(&apply);
    assert_eq!(told(&rows), expected("t"), "{rows:?}");
    ann.fails("SELECT 1");
    psql.fails("SELECT 1");
    assert_eq!(joe.text("SELECT scope.jwt_subject()"), "offboard-joe");
    // Also one that she gets tomorrow.
    let claims = claims(
        &g,
        "corp",
        json!({"sub": "offboard-ann", "exp": now() + 900, "iat": now() + 20}),
    );
    g.login().refused_with(
        &switch_session(&ED.token("EdDSA", &claims)),
        "28000",
        "revoked",
    );
    assert!(admin.rows(&apply).is_empty());
    admin.assert_that(
        "EXISTS (SELECT FROM scope.audit_log WHERE event = 'offboard' AND object = 'offboard-ann' AND details ->> 'of_issuer' = 'https://corp.example.org/')",
    );
    // With a successor what he has issued goes on.
    let more = ", reason => 'left', apply => true, successor => 'postgres'";
    let rows = admin.rows(&call(more).replace("'offboard-ann'", "'offboard-joe'"));
    let told = told(&rows);
    assert!(
        told.contains(&"password offboard_subject_his t".to_owned()),
        "{rows:?}"
    );
}

#[test]
fn a_credential_leaves_as_a_person_does() {
    let l = Leaver::new("offboard_managed");
    let mut admin = l.f.admin();
    let mut open = l.credential.connect();
    let call = format!(
        "SELECT kind, name, done FROM scope.offboard('{}', reason => 'left', apply => true)",
        l.credential.role
    );
    assert_eq!(
        told(&admin.rows(&call)),
        [
            format!("login {} t", l.credential.role),
            format!("sessions {} t", l.credential.role)
        ]
    );
    open.fails("SELECT 1");
    assert_ne!(state_of(&l.f, &l.credential.role), "active");
}

#[test]
fn what_is_no_leave_is_refused() {
    let l = Leaver::new("offboard_refused");
    let mut admin = l.f.admin();
    let bob = &l.bob;
    for (arguments, code) in [
        (String::new(), "22023"),
        (format!("role => '{bob}', subject => 'x'"), "22023"),
        (format!("role => '{bob}', issuer => 'x'"), "22023"),
        ("subject => ''".to_owned(), "22023"),
        ("subject => 'x', issuer => ''".to_owned(), "22023"),
        (format!("'{bob}', successor => '{bob}'"), "22023"),
        (format!("'{bob}', reason => repeat('x', 201)"), "22023"),
        (format!("'{bob}', apply => NULL"), "22004"),
        (format!("'{bob}', overlap => NULL"), "22004"),
        (format!("'{bob}', apply => true"), "22004"),
        ("'nobody there'".to_owned(), "42704"),
        (format!("'{}'", l.scope), "42809"),
        ("session_user".to_owned(), "42501"),
    ] {
        admin.refused(&format!("SELECT * FROM scope.offboard({arguments})"), code);
    }
    admin.refused(
        &format!(
            "BEGIN READ ONLY; SELECT * FROM scope.offboard('{bob}', reason => 'x', apply => true)"
        ),
        "25006",
    );
    admin.run("ROLLBACK");
    admin.run(&format!(
        "BEGIN READ ONLY; SELECT * FROM scope.offboard('{bob}'); COMMIT"
    ));
    // A successor that cannot be one: each row says why.
    let rows =
        admin.rows(&l.call(", reason => 'left', apply => true, successor => 'nobody there'"));
    let scope = rows
        .iter()
        .find(|row| row[0].as_deref() == Some("scope"))
        .expect("the scope");
    assert_eq!(scope[2].as_deref(), Some("f"));
    assert!(
        scope[3].as_deref().unwrap_or_default().contains("42704"),
        "{scope:?}"
    );
    assert_eq!(state_of(&l.f, &l.credential.role), "active");
}

/// What others have locked fails by itself, in time, and is there the next time.
#[test]
fn one_thing_that_is_locked_stops_no_other() {
    let l = Leaver::new("offboard_locked");
    let mut admin = l.f.admin();
    let mut other = l.f.admin();
    other.run(&format!(
        "BEGIN; SELECT scope.alter_scope('{}', 'add', '{{INSERT}}', '{{mine}}')",
        l.scope
    ));
    let call = l.call(&format!(
        ", reason => 'left', apply => true, successor => '{}'",
        l.owner
    ));
    let rows = admin.rows(&call);
    let told_first = told(&rows);
    assert!(
        told_first.contains(&format!("login {} t", l.bob)),
        "{rows:?}"
    );
    assert!(
        told_first.contains(&format!("scope {} f", l.scope)),
        "{rows:?}"
    );
    assert!(
        rows.iter()
            .any(|row| row[3].as_deref().unwrap_or_default().contains("55P03")),
        "{rows:?}"
    );
    other.run("ROLLBACK");
    let again = told(&admin.rows(&call));
    assert!(again.contains(&format!("scope {} t", l.scope)), "{again:?}");
}

/// What is owned in other databases is counted there.
#[test]
fn objects_of_other_databases_are_counted() {
    let f = Fixture::new("offboard_elsewhere");
    let bob = f.role("bob", "LOGIN");
    let mut admin = f.admin();
    admin.run("CREATE DATABASE offboard_elsewhere_2");
    f.server.admin("offboard_elsewhere_2").run(&format!(
        "CREATE SCHEMA s AUTHORIZATION {bob}; CREATE TABLE s.t (); ALTER TABLE s.t OWNER TO {bob}"
    ));
    admin.run(&format!(
        "ALTER DATABASE offboard_elsewhere_2 OWNER TO {bob}; CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;
         ALTER FUNCTION f() OWNER TO {bob}"
    ));
    let rows = admin.rows(&format!(
        "SELECT kind, name, done, detail FROM scope.offboard('{bob}')"
    ));
    let mut told = told(&rows);
    told.sort();
    assert_eq!(
        told,
        [
            format!("login {bob} f"),
            "object database offboard_elsewhere_2 f".to_owned(),
            "object function public.f() f".to_owned(),
            "objects of a database offboard_elsewhere_2 f".to_owned(),
        ]
    );
    assert!(
        rows.iter().any(|row| row[3]
            .as_deref()
            .unwrap_or_default()
            .starts_with("2 objects")),
        "{rows:?}"
    );
    admin.run(&format!("REASSIGN OWNED BY {bob} TO postgres"));
}

/// Each thing is asked for as its own function asks: somebody in charge of a part does that part.
#[test]
fn who_is_in_charge_of_a_part_does_that_part() {
    let l = Leaver::new("offboard_part");
    let f = &l.f;
    let lead = f.role("lead", &format!("LOGIN IN ROLE {}, {}", l.bob, l.owner));
    f.admin().run(&format!(
        "SELECT scope.revoke_temporary('{}_incident', '{}');
         GRANT pg_monitor TO {lead};
         GRANT EXECUTE ON FUNCTION scope.offboard, scope.reassign, scope.rotate_password TO {lead}",
        f.name, l.bob
    ));
    let mut s = f.login(&lead);
    let rows = s.rows(&l.call(&format!(
        ", reason => 'left', apply => true, successor => '{}'",
        l.owner
    )));
    let told = told(&rows);
    for (what, done) in [
        (format!("login {}", l.bob), false),
        (format!("scope {}", l.scope), true),
        (format!("credential {}", l.credential.role), true),
        (format!("password {}", l.service.role), true),
        (format!("password {}", l.credential.role), true),
    ] {
        let row = format!("{what} {}", if done { "t" } else { "f" });
        assert!(told.contains(&row), "{row}: {rows:?}");
    }
    // The login is there still, and nobody's session has ended.
    f.login(&l.bob);
}

#[test]
fn what_a_person_has_asked_for_is_taken_from_them() {
    let f = Fixture::new("offboard_requests");
    let (asks, decides) = (f.role("asks", "NOLOGIN"), f.role("decides", "NOLOGIN"));
    let (owner, bob) = (
        f.role("owner", "NOLOGIN"),
        f.role("bob", &format!("LOGIN IN ROLE {asks}")),
    );
    let dba = f.role("dba", &format!("LOGIN IN ROLE {decides}"));
    let mut admin = f.admin();
    admin.run(&format!(
        "ALTER TABLE vault OWNER TO {owner};
         SELECT scope.create_request_policy('prod', '{{{owner}}}', '{{{asks}}}', '[{{\"role\": \"{decides}\"}}]', break_glass => '{{{bob}}}')"
    ));
    let lasting = f.login(&bob).text(&format!(
        "SELECT request FROM scope.request_access('{owner}', reason => 'x')"
    ));
    f.login(&dba)
        .run(&format!("SELECT scope.approve({lasting})"));
    assert_eq!(f.login(&bob).text("SELECT secret FROM vault"), "treasure");
    let rows = admin.rows(&format!(
        "SELECT name, done::text FROM scope.offboard('{bob}', reason => 'left', apply => true) WHERE kind LIKE 'request%'"
    ));
    assert_eq!(
        rows,
        [
            [format!("request {lasting}"), "true".into()],
            ["prod".into(), "false".into()]
        ]
        .map(|row: [String; 2]| row.map(Some))
    );
    assert_eq!(
        admin.text(&format!(
            "SELECT state FROM scope.requests WHERE request = {lasting}"
        )),
        "revoked"
    );
    assert_eq!(
        admin.rows(&format!(
            "SELECT name FROM scope.offboard('{bob}', reason => 'left', apply => true) WHERE kind = 'request'"
        )),
        Vec::<Vec<Option<String>>>::new()
    );
}

/// A login that is disabled grants no more by itself; a policy that it has made does, in its name.
#[test]
fn a_policy_that_grants_in_the_name_of_a_person_is_shown() {
    let f = Fixture::new("offboard_policies");
    let (target, asks) = (f.role("target", "NOLOGIN"), f.role("asks", "NOLOGIN"));
    let bob = f.role("bob", "LOGIN");
    let mut admin = f.admin();
    admin.run(&format!(
        "GRANT {target} TO {bob} WITH ADMIN OPTION;
         GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {bob}"
    ));
    f.login(&bob).run(&format!(
        "SELECT scope.create_request_policy('his', '{{{target}}}', '{{{asks}}}', '[{{\"role\": \"pg_monitor\"}}]')"
    ));
    let call = format!(
        "SELECT kind, name, done, action FROM scope.offboard('{bob}', reason => 'left', apply => true) WHERE kind = 'request policy'"
    );
    let rows = admin.rows(&call);
    assert_eq!(told(&rows), ["request policy his f"]);
    admin.run(rows[0][3].as_deref().expect("an action"));
    assert!(admin.rows(&call).is_empty());
}
