//! Access on request: asking, deciding, having it, giving it back.

mod attacks;
mod copies;
mod holding;
mod races;
mod roles;
mod statements;
mod tokens;
mod trojans;

use std::io::{BufRead, BufReader};

use crate::harness::*;

/// People who ask, people who decide, and an owner whose table nobody else reads.
struct Scene<'a> {
    f: Fixture<'a>,
    owner: String,
    scope: String,
    oncall: String,
    dba: String,
    data: String,
    alice: String,
    bob: String,
    carol: String,
    dave: String,
}

impl Scene<'static> {
    fn new(name: &str) -> Self {
        Scene::on(Fixture::new(name))
    }
}

impl<'a> Scene<'a> {
    fn on(f: Fixture<'a>) -> Self {
        let [owner, oncall, dba, data] =
            ["owner", "oncall", "dba", "data"].map(|name| f.role(name, "NOLOGIN"));
        let alice = f.role("alice", &format!("LOGIN IN ROLE {oncall}"));
        let bob = f.role("bob", &format!("LOGIN IN ROLE {dba}"));
        let carol = f.role("carol", &format!("LOGIN IN ROLE {dba}, {data}"));
        let dave = f.role("dave", &format!("LOGIN IN ROLE {data}, {oncall}"));
        let scope = format!("{}_scope", f.name);
        f.admin().run(&format!(
            "GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE vault OWNER TO {owner};
             SELECT scope.create_scope('{scope}', tables => '{{orders}}')"
        ));
        Scene {
            f,
            owner,
            scope,
            oncall,
            dba,
            data,
            alice,
            bob,
            carol,
            dave,
        }
    }

    /// A policy for the owner's role, by the superuser.
    #[track_caller]
    fn policy(&self, name: &str, more: &str) {
        self.f
            .admin()
            .run(&self.policy_sql(name, "membership", &self.owner, more));
    }

    fn policy_sql(&self, name: &str, kind: &str, target: &str, more: &str) -> String {
        format!(
            "SELECT scope.create_request_policy('{name}', '{{{target}}}', '{{{}}}', '[{{\"role\": \"{}\"}}]', kind => '{kind}'{more})",
            self.oncall, self.dba
        )
    }

    /// Its number.
    #[track_caller]
    fn ask(&self, who: &str, more: &str) -> i64 {
        let asked = self.f.login(who).text(&format!(
            "SELECT request FROM scope.request_access('{}', reason => 'incident 12'{more})",
            self.owner
        ));
        asked.parse().expect("a number")
    }

    #[track_caller]
    fn decide(&self, who: &str, function: &str, id: i64) -> String {
        self.f
            .login(who)
            .text(&format!("SELECT scope.{function}({id}, 'seen')"))
    }

    #[track_caller]
    fn state(&self, id: i64) -> String {
        self.f.admin().text(&format!(
            "SELECT state FROM scope.requests WHERE request = {id}"
        ))
    }

    fn events(&self, id: i64) -> Vec<String> {
        self.f.admin().column(&format!(
            "SELECT event FROM scope.request_log WHERE request = {id} ORDER BY at"
        ))
    }

    #[track_caller]
    fn reads(&self, who: &str) {
        assert_eq!(
            self.f.login(who).text("SELECT secret FROM vault"),
            "treasure"
        );
    }

    #[track_caller]
    fn does_not_read(&self, who: &str) {
        self.f.login(who).denied("SELECT * FROM vault", "42501");
    }
}

#[test]
fn who_is_let_in_by_the_right_person_has_it_until_the_end_of_its_time() {
    let scene = Scene::new("request_whole");
    scene.policy(
        "prod",
        ", max_duration => '2 hours', default_duration => '3 s'",
    );
    let mut alice = scene.f.login(&scene.alice);
    assert_eq!(
        alice.rows("SELECT target, kind, policy, max_duration, approvals FROM scope.my_options()"),
        [[
            scene.owner.as_str(),
            "membership",
            "prod",
            "02:00:00",
            &format!("1 of {}", scene.dba)
        ]
        .map(|cell| Some(cell.to_owned()))]
    );
    let asked = alice.rows(&format!(
        "SELECT request, state, next FROM scope.request_access('{}', reason => 'incident 12', ticket => 'OPS-1')",
        scene.owner
    ));
    let [Some(id), Some(state), Some(next)] = &asked[0][..] else {
        panic!("{asked:?}")
    };
    assert_eq!(state, "pending");
    assert!(
        next.contains(&format!("the yes of 1 of {}", scene.dba)),
        "{next}"
    );
    let id: i64 = id.parse().expect("a number");
    scene.does_not_read(&scene.alice);
    // Each sees what is theirs.
    assert_eq!(
        alice.rows("SELECT request::text, mine::text, to_decide::text FROM scope.requests"),
        [[id.to_string().as_str(), "true", "false"].map(|cell| Some(cell.to_owned()))]
    );
    let mut bob = scene.f.login(&scene.bob);
    assert_eq!(
        bob.rows("SELECT requester, mine::text, to_decide::text, needs FROM scope.requests"),
        [[
            scene.alice.as_str(),
            "false",
            "true",
            &format!("1 of {}", scene.dba)
        ]
        .map(|cell| Some(cell.to_owned()))]
    );
    assert!(
        scene
            .f
            .login(&scene.dave)
            .rows("SELECT * FROM scope.requests")
            .is_empty()
    );
    assert_eq!(
        bob.text("SELECT what FROM scope.request_board"),
        scene.owner
    );
    let said = bob.text(&format!("SELECT scope.approve({id}, 'go on')"));
    assert!(said.starts_with("active: lasts until "), "{said}");
    assert_eq!(alice.text("SELECT secret FROM vault"), "treasure");
    // The clock has started with the yes.
    scene.f.admin().assert_that(&format!(
        "(SELECT ends_at - active_from <= '3 s' AND ends_at > clock_timestamp() FROM scope.requests WHERE request = {id})"
    ));
    wait_until("it has ended", 20, || scene.state(id) == "ended");
    alice.denied("SELECT * FROM vault", "42501");
    wait_until("its end is in the log", 20, || {
        scene.events(id) == ["asked", "approved", "started", "ended"]
    });
    scene.f.admin().assert_that(&format!(
        "(SELECT login = '{}' AND note = 'go on' AND details -> 'policy' ->> 'kind' = 'membership' AND details -> 'person' ->> 'name' = login
            FROM scope.request_log WHERE request = {id} AND event = 'approved')",
        scene.bob
    ));
    // What is inherited through a membership that has ended is refused until the worker has taken it away.
    wait_until("she is herself again", 20, || {
        alice.attempt("SELECT FROM scope.requests").is_ok()
    });
    // Decided ones stay to be seen.
    assert_eq!(
        alice.text("SELECT decisions FROM scope.requests"),
        format!("approved by {}: go on", scene.bob)
    );
}

#[test]
fn it_begins_when_it_is_to() {
    let scene = Scene::new("request_later");
    scene.policy("prod", "");
    let id = scene.ask(
        &scene.alice,
        ", starts_at => now() + '3 s', valid_for => '1 h'",
    );
    assert!(
        scene
            .decide(&scene.bob, "approve", id)
            .starts_with("approved: begins at ")
    );
    scene.does_not_read(&scene.alice);
    wait_until("it has begun", 30, || scene.state(id) == "active");
    scene.reads(&scene.alice);
    scene.f.admin().assert_that(&format!(
        "(SELECT active_from >= starts_at AND ends_at - active_from > '59 min' FROM scope.requests WHERE request = {id})"
    ));
    // Given back.
    assert_eq!(scene.decide(&scene.alice, "withdraw", id), "revoked");
    scene.does_not_read(&scene.alice);
}

#[test]
fn no_and_taking_back_end_it() {
    let scene = Scene::new("request_ends");
    scene.policy("prod", ", pending_for => '3 s'");
    let denied = scene.ask(&scene.alice, "");
    assert_eq!(scene.decide(&scene.bob, "deny", denied), "denied");
    scene
        .f
        .login(&scene.carol)
        .refused(&format!("SELECT scope.approve({denied})"), "55000");
    let withdrawn = scene.ask(&scene.alice, "");
    assert_eq!(
        scene.decide(&scene.alice, "withdraw", withdrawn),
        "withdrawn"
    );
    scene
        .f
        .login(&scene.bob)
        .refused(&format!("SELECT scope.approve({withdrawn})"), "55000");
    let revoked = scene.ask(&scene.alice, "");
    scene.decide(&scene.bob, "approve", revoked);
    let mut open = scene.f.login(&scene.alice);
    assert_eq!(open.text("SELECT secret FROM vault"), "treasure");
    assert_eq!(scene.decide(&scene.carol, "revoke", revoked), "revoked");
    open.denied("SELECT * FROM vault", "42501");
    let expired = scene.ask(&scene.alice, "");
    wait_until("it expires", 20, || {
        scene.events(expired) == ["asked", "expired"]
    });
    let refusal = scene
        .f
        .login(&scene.bob)
        .refused(&format!("SELECT scope.approve({expired})"), "55000");
    assert!(refusal.detail.contains("expired"), "{refusal}");
    scene.does_not_read(&scene.alice);
}

#[test]
fn several_must_say_yes() {
    let scene = Scene::new("request_quorum");
    let both = format!(
        "SELECT scope.create_request_policy('both', '{{{}}}', '{{{}}}', '[{{\"role\": \"{}\", \"n\": 1}}, {{\"role\": \"{}\", \"n\": 1}}]', kind => 'membership')",
        scene.owner, scene.oncall, scene.dba, scene.data
    );
    scene.f.admin().run(&both);
    let id = scene.ask(&scene.alice, "");
    // Carol has both roles, and is one person.
    let said = scene.decide(&scene.carol, "approve", id);
    assert!(said.contains("for the yes of 1 of"), "{said}");
    scene
        .f
        .login(&scene.carol)
        .refused(&format!("SELECT scope.approve({id})"), "42710");
    assert!(
        scene
            .decide(&scene.bob, "approve", id)
            .starts_with("active")
    );
    let mut alice = scene.f.login(&scene.alice);
    alice.refused(
        &format!(
            "SELECT scope.request_access('{}', reason => 'again')",
            scene.owner
        ),
        "55000",
    );
    assert_eq!(
        alice.text(&format!("SELECT scope.withdraw({id})")),
        "revoked"
    );
    // One of them is enough.
    scene.f.admin().run(&both.replace(
        "'membership')",
        "'membership', require => 'any', replace => true)",
    ));
    let id = scene.ask(&scene.alice, "");
    assert!(
        scene
            .decide(&scene.dave, "approve", id)
            .starts_with("active")
    );
}

#[test]
fn what_is_changed_is_approved_anew() {
    let scene = Scene::new("request_alter");
    scene.f.admin().run(&format!(
        "SELECT scope.create_request_policy('two', '{{{}}}', '{{{}}}', '[{{\"role\": \"{}\", \"n\": 2}}]', kind => 'membership')",
        scene.owner, scene.oncall, scene.dba
    ));
    let id = scene.ask(&scene.alice, ", valid_for => '1 h'");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    alice.run(&format!(
        "SELECT scope.alter_request({id}, valid_for => '8 h')"
    ));
    let said = scene.decide(&scene.carol, "approve", id);
    assert!(said.contains("1 of"), "{said}");
    assert!(
        scene
            .decide(&scene.bob, "approve", id)
            .starts_with("active")
    );
    alice.refused(
        &format!("SELECT scope.alter_request({id}, valid_for => '1 h')"),
        "55000",
    );
    assert_eq!(
        scene.events(id),
        [
            "asked", "approved", "changed", "approved", "approved", "started"
        ]
    );
}

#[test]
fn more_time_is_a_decision_of_its_own_and_has_an_end() {
    let scene = Scene::new("request_extend");
    scene.policy("prod", ", max_duration => '2 hours'");
    let id = scene.ask(&scene.alice, ", valid_for => '1 h'");
    scene.decide(&scene.bob, "approve", id);
    let mut alice = scene.f.login(&scene.alice);
    alice.refused(
        &format!("SELECT scope.extend({id}, '61 min', 'not done')"),
        "22023",
    );
    let more: i64 = alice
        .text(&format!(
            "SELECT request FROM scope.extend({id}, '1 h', 'not done')"
        ))
        .parse()
        .expect("a number");
    alice.refused(
        &format!("SELECT scope.extend({id}, '1 min', 'more')"),
        "22023",
    );
    let ends = format!("SELECT ends_at - active_from FROM scope.requests WHERE request = {id}");
    assert!(
        scene.f.admin().text(&ends).starts_with("01:00:00")
            || scene.f.admin().text(&ends).starts_with("00:59:59")
    );
    scene.decide(&scene.bob, "approve", more);
    scene
        .f
        .admin()
        .assert_that(&format!("({ends}) > '01:59:59'"));
    scene.f.admin().assert_that(&format!(
        "(SELECT valid_until > now() + '119 min' FROM scope.credentials WHERE granted_to = '{}')",
        scene.alice
    ));
    alice.refused(
        &format!("SELECT scope.extend({id}, '2 s', 'more')"),
        "22023",
    );
    assert_eq!(scene.decide(&scene.alice, "withdraw", id), "revoked");
    scene.does_not_read(&scene.alice);
}

#[test]
fn nobody_is_asked_where_all_conditions_hold() {
    let scene = Scene::new("request_auto");
    scene.policy(
        "prod",
        &format!(
            ", auto_approve => '{{\"max_duration\": \"1 hour\", \"member_of\": \"{}\", \"hours\": [\"daily 00:00-24:00\"], \"time_zone\": \"UTC\"}}'",
            scene.oncall
        ),
    );
    let long = scene.ask(&scene.alice, ", valid_for => '61 min'");
    assert_eq!(scene.state(long), "pending");
    scene.decide(&scene.alice, "withdraw", long);
    let short = scene.ask(&scene.alice, ", valid_for => '1 h'");
    assert_eq!(scene.state(short), "active");
    assert_eq!(scene.events(short), ["asked", "auto_approved", "started"]);
    scene.reads(&scene.alice);
    scene.decide(&scene.alice, "withdraw", short);
    // From somewhere, which a socket is not; not at these hours.
    for conditions in [
        r#"{"max_duration": "1 hour", "addresses": ["127.0.0.0/8"]}"#,
        r#"{"max_duration": "1 hour", "hours": ["Mon 00:00-00:01"], "time_zone": "Pacific/Kiritimati"}"#,
        &format!(
            r#"{{"max_duration": "1 hour", "member_of": "{}"}}"#,
            scene.dba
        ),
    ] {
        scene.policy(
            "prod",
            &format!(", auto_approve => '{conditions}', replace => true"),
        );
        let id = scene.ask(&scene.alice, ", valid_for => '1 min'");
        assert_eq!(scene.state(id), "pending", "{conditions}");
        scene.decide(&scene.alice, "withdraw", id);
    }
}

#[test]
fn who_breaks_the_glass_has_it_at_once_and_all_hear_of_it() {
    let scene = Scene::new("request_glass");
    scene.policy("prod", &format!(", break_glass => '{{{}}}'", scene.alice));
    let mut listener = scene.f.admin();
    listener.run("LISTEN scope_requests");
    scene.f.login(&scene.dave).refused(
        &format!(
            "SELECT scope.request_access('{}', reason => 'fire', break_glass => true)",
            scene.owner
        ),
        "42501",
    );
    let id = scene.ask(&scene.alice, ", break_glass => true");
    assert_eq!(scene.state(id), "active");
    scene.reads(&scene.alice);
    assert_eq!(scene.events(id), ["asked", "break_glass", "started"]);
    scene.f.admin().assert_that(&format!(
        "EXISTS (SELECT FROM scope.audit_log WHERE event = 'request' AND function = 'break_glass' AND details ->> 'reason' = 'incident 12'
                    AND login = '{}')",
        scene.alice
    ));
    scene
        .f
        .login(&scene.alice)
        .refused(&format!("SELECT scope.sign({id}, 'fine')"), "42501");
    scene
        .f
        .login(&scene.bob)
        .refused(&format!("SELECT scope.sign({id}, '')"), "22004");
    scene.decide(&scene.bob, "sign", id);
    scene
        .f
        .login(&scene.carol)
        .refused(&format!("SELECT scope.sign({id}, 'too')"), "55000");
    scene.f.admin().assert_that(&format!(
        "(SELECT signed FROM scope.requests WHERE request = {id})"
    ));
}

#[test]
fn a_credential_is_taken_by_who_asked_for_it() {
    let scene = Scene::new("request_credential");
    let scope = scene.scope.clone();
    scene.f.admin().run(&scene.policy_sql(
        "reading",
        "credential",
        &scope,
        ", max_duration => '1 hour'",
    ));
    let mut alice = scene.f.login(&scene.alice);
    let id: i64 = alice
        .text(&format!(
            "SELECT request FROM scope.request_access('{scope}', reason => 'report')"
        ))
        .parse()
        .expect("a number");
    alice.refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "55000",
    );
    let said = scene.decide(&scene.bob, "approve", id);
    assert!(
        said.contains(&format!("scope.take_credential({id})")),
        "{said}"
    );
    scene.f.login(&scene.bob).refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "42501",
    );
    let cred = alice.handed(&format!("scope.take_credential({id})"));
    alice.refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "55000",
    );
    let mut session = cred.connect();
    assert_eq!(session.text("SELECT count(*) FROM orders"), "2");
    // What it has issued is the policy's creator's to manage, and a person's to account for.
    scene.f.admin().assert_that(&format!(
        "(SELECT purpose = 'request {id} of {}' AND created_by = 'postgres' FROM scope.credentials WHERE role = '{}')",
        scene.alice, cred.role
    ));
    // More time for it.
    scene.f.admin().run(&scene.policy_sql(
        "reading",
        "credential",
        &scope,
        ", max_duration => '3 hours', replace => true",
    ));
    let more: i64 = alice
        .text(&format!(
            "SELECT request FROM scope.extend({id}, '1 h', 'longer')"
        ))
        .parse()
        .expect("a number");
    scene.decide(&scene.bob, "approve", more);
    scene.f.admin().assert_that(&format!(
        "(SELECT valid_until > now() + '119 min' FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
    assert_eq!(scene.decide(&scene.bob, "revoke", id), "revoked");
    wait_until("the login is gone", 20, || {
        cred.try_connect().is_err() && session.attempt("SELECT 1").is_err()
    });
}

#[test]
fn a_notifier_reads_everything_at_least_once() {
    let scene = Scene::new("request_outbox");
    scene.policy("prod", "");
    let monitor = scene.f.role("monitor", "LOGIN IN ROLE pg_monitor");
    let id = scene.ask(&scene.alice, "");
    scene.decide(&scene.bob, "deny", id);
    let mut notifier = scene.f.login(&monitor);
    assert_eq!(
        notifier.column("SELECT event FROM scope.request_outbox ORDER BY at"),
        ["asked", "denied"]
    );
    assert_eq!(
        notifier.text("SELECT scope.acknowledge(ARRAY(SELECT id FROM scope.request_outbox WHERE event = 'asked'))"),
        "1"
    );
    assert_eq!(
        notifier.column("SELECT event FROM scope.request_outbox"),
        ["denied"]
    );
    assert_eq!(
        notifier.text("SELECT scope.acknowledge(ARRAY(SELECT id FROM scope.request_log))"),
        "1"
    );
    assert_eq!(notifier.text("SELECT count(*) FROM scope.request_log"), "2");
    scene
        .f
        .login(&scene.alice)
        .denied("SELECT scope.acknowledge('{}')", "42501");
}

/// The recipe of docs/recipes.md, as it stands there.
#[test]
fn the_notifier_of_the_recipes_tells_what_it_has_missed_too() {
    let Some(packages) = std::env::var_os("SCOPE_ROLES_PYTHON_DRIVERS") else {
        return skip("there are no Python drivers here (SCOPE_ROLES_PYTHON_DRIVERS)");
    };
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md"));
    let page = page.expect("docs/recipes.md");
    let (_, recipe) = page
        .split_once("## Telling people of requests")
        .expect("the recipe");
    let (_, recipe) = recipe.split_once("```python").expect("its program");
    let (program, _) = recipe.split_once("```").expect("its end");
    let scene = Scene::new("request_notifier");
    scene.policy("prod", "");
    let monitor = scene.f.role("monitor", "LOGIN IN ROLE pg_monitor");
    let id = scene.ask(&scene.alice, "");
    let mut notifier = scene.f.server.client("psql");
    let mut python = std::process::Command::new("python3");
    for (name, value) in notifier.get_envs() {
        if let Some(value) = value {
            python.env(name, value);
        }
    }
    notifier.env_clear();
    let mut running = python
        .args(["-B", "-c", program])
        .env("PYTHONPATH", packages)
        .env("PGUSER", &monitor)
        .env("PGDATABASE", &scene.f.name)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let mut told = |event: &str| {
        let line = lines.next().expect("a line").expect("a line");
        assert_eq!(
            line,
            format!(
                "request {id} of {} for {}: {event}",
                scene.alice, scene.owner
            )
        );
    };
    told("asked");
    scene.decide(&scene.bob, "deny", id);
    told("denied");
    wait_until("all is acknowledged", 20, || {
        scene
            .f
            .admin()
            .text("SELECT count(*) FROM scope.request_outbox")
            == "0"
    });
    running.kill().expect("it runs");
    running.wait().expect("its end");
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    let scene = Scene::new("request_policy");
    let mut admin = scene.f.admin();
    let call = |kind: &str, target: &str, requesters: &str, approvals: &str, more: &str| {
        format!(
            "SELECT scope.create_request_policy('p', '{{{target}}}', '{{{requesters}}}', '{approvals}', kind => '{kind}'{more})"
        )
    };
    let (owner, oncall) = (scene.owner.as_str(), scene.oncall.as_str());
    let yes = format!("[{{\"role\": \"{}\"}}]", scene.dba);
    for (sql, sqlstate) in [
        (call("all", owner, oncall, &yes, ""), "22023"),
        (call("membership", "nobody", oncall, &yes, ""), "42704"),
        (call("membership", owner, "nobody", &yes, ""), "42704"),
        (
            call("membership", owner, oncall, "[{\"role\": \"nobody\"}]", ""),
            "42704",
        ),
        (call("membership", "", oncall, &yes, ""), "22023"),
        (call("membership", owner, "", &yes, ""), "22023"),
        (call("membership", owner, oncall, "[]", ""), "22023"),
        (call("membership", owner, oncall, "{}", ""), "22023"),
        (
            call(
                "membership",
                owner,
                oncall,
                "[{\"role\": \"x\", \"m\": 1}]",
                "",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes.replace('}', ", \"n\": 0}"),
                "",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes.replace('}', ", \"n\": 11}"),
                "",
            ),
            "22023",
        ),
        (call("membership", "postgres", oncall, &yes, ""), "42501"),
        (call("statement", "postgres", oncall, &yes, ""), "42501"),
        (call("credential", owner, oncall, &yes, ""), "42809"),
        (
            call("membership", owner, oncall, &yes, ", require => 'most'"),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", max_duration => '-1 s'",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", max_duration => '10 years'",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", default_duration => '9 h'",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", pending_for => '91 days'",
            ),
            "22023",
        ),
        (
            call("membership", owner, oncall, &yes, ", reason_pattern => '('"),
            "22023",
        ),
        (
            call("membership", owner, oncall, &yes, ", hours => '{Mon}'"),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", hours => '{Mon 08:00-09:00}'",
            ),
            "22023",
        ),
        (
            call("membership", owner, oncall, &yes, ", auto_approve => '{}'"),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", auto_approve => '{\"max_duration\": \"9 h\"}'",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", auto_approve => '{\"max_duration\": \"x\"}'",
            ),
            "22023",
        ),
        (
            call(
                "membership",
                owner,
                oncall,
                &yes,
                ", auto_approve => '{\"max_duration\": \"1 h\", \"addresses\": [\"x\"]}'",
            ),
            "22023",
        ),
        ("SELECT scope.drop_request_policy('p')".to_owned(), "42704"),
        (format!("SELECT scope.request_access('{owner}')"), "42501"),
    ] {
        admin.refused(&sql, sqlstate);
    }
    admin.run(&call("membership", owner, oncall, &yes, ""));
    admin.refused(&call("membership", owner, oncall, &yes, ""), "42710");
    admin.run(&call(
        "membership",
        owner,
        oncall,
        &yes,
        ", replace => true, hours => '{Mon 08:00-09:00}', time_zone => 'europe/vienna'",
    ));
    assert_eq!(
        admin.text("SELECT time_zone FROM scope.request_policies"),
        "Europe/Vienna"
    );
    admin.run("SELECT scope.drop_request_policy('p')");
    admin.run("SELECT scope.drop_request_policy('p', if_exists => true)");
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let scene = Scene::new("request_bad");
    scene.policy(
        "prod",
        ", reason_pattern => '^incident [0-9]+$', ticket_required => true, max_duration => '1 h'",
    );
    let mut alice = scene.f.login(&scene.alice);
    let owner = &scene.owner;
    for (arguments, sqlstate) in [
        (format!("'{owner}', reason => 'incident 1'"), "22023"),
        (format!("'{owner}', reason => 'x', ticket => 'T'"), "22023"),
        (format!("'{owner}', ticket => 'T'"), "22023"),
        (format!("'{owner}', '2 h', 'incident 1', 'T'"), "22023"),
        (format!("'{owner}', '-1 h', 'incident 1', 'T'"), "22023"),
        (
            format!("'{owner}', '1 h', 'incident 1', 'T', now() + '91 days'"),
            "22023",
        ),
        (
            format!("'{owner}', '1 h', 'incident 1', 'T', policy => 'none'"),
            "42704",
        ),
        (
            format!("'{}', '1 h', 'incident 1', 'T'", scene.dba),
            "42501",
        ),
        ("'nobody', '1 h', 'incident 1', 'T'".to_owned(), "42704"),
        ("NULL, '1 h', 'incident 1', 'T'".to_owned(), "22004"),
        (
            format!("'{owner}', '1 h', 'incident 1', repeat('x', 501)"),
            "22023",
        ),
    ] {
        alice.refused(
            &format!("SELECT scope.request_access({arguments})"),
            sqlstate,
        );
    }
    for call in [
        "withdraw(1)",
        "approve(1)",
        "deny(1)",
        "revoke(1)",
        "sign(1, 'x')",
        "take_credential(1)",
        "alter_request(1)",
        "extend(1, '1 h')",
    ] {
        alice.refused(&format!("SELECT scope.{call}"), "42704");
    }
    for call in [
        "withdraw(NULL)",
        "approve(NULL)",
        "take_credential(NULL)",
        "alter_request(NULL)",
    ] {
        alice.refused(&format!("SELECT scope.{call}"), "22004");
    }
    assert!(
        scene
            .f
            .admin()
            .rows("SELECT * FROM scope.request_log")
            .is_empty()
    );
    let mut standing = scene.f.login(&scene.bob);
    standing.run("SET default_transaction_read_only = on");
    standing.refused(&format!("SELECT scope.request_access('{owner}')"), "25006");
    // Twenty may wait, and two hundred may be asked for in a day: nothing of it is ever forgotten.
    let ask =
        |at: i32| format!("SELECT scope.request_access('{owner}', '1 h', 'incident {at}', 'T')");
    for round in 0..10 {
        for at in 0..20 {
            alice.run(&ask(at));
        }
        let refusal = alice.refused(&ask(21), "54000");
        assert!(refusal.detail.contains("waiting"), "{refusal}");
        if round < 9 {
            alice.run("SELECT scope.withdraw(request) FROM scope.requests WHERE state = 'pending'");
        }
    }
    let last = alice.text("SELECT max(request) FROM scope.requests");
    for at in 0..50 {
        alice.run(&format!(
            "SELECT scope.alter_request({last}, reason => 'incident {at}')"
        ));
    }
    alice.refused(
        &format!("SELECT scope.alter_request({last}, reason => 'incident 51')"),
        "54000",
    );
    alice.run("SELECT scope.withdraw(request) FROM scope.requests WHERE state = 'pending'");
    let refusal = alice.refused(&ask(22), "54000");
    assert!(refusal.detail.contains("24 hours"), "{refusal}");
}
