//! From whatever state, to whatever spec: a plan is reached, once; and what is exported is what there is.

use super::{apply, holdings, plan};
use crate::harness::*;

/// A small generator of numbers, so that a failure comes again with its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// Something that somebody does by hand.
fn mischief(dice: &mut Dice, db: &str) -> String {
    let scope = dice.pick(&["one", "two"]);
    let scope = format!("{db}_{scope}");
    let owner = format!("{db}_owner");
    let person = format!("{db}_{}", dice.pick(&["ana", "ben"]));
    let table = dice.pick(&[
        "app.orders",
        "app.customers",
        "app.\"Odd \"\"t\"",
        "public.vault",
    ]);
    let word = dice.pick(&[
        "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER",
    ]);
    let class = dice.pick(&[
        "SELECT ON TABLES",
        "USAGE ON SEQUENCES",
        "EXECUTE ON FUNCTIONS",
        "INSERT ON TABLES",
    ]);
    let place = dice.pick(&["IN SCHEMA app", "IN SCHEMA app", "IN SCHEMA public", ""]);
    let guarded = dice.pick(&["one", "two", "group", "login"]);
    let action = dice.pick(&["alert", "block"]);
    match dice.roll(22) {
        0..=2 => format!("GRANT {word} ON {table} TO {scope}"),
        3 => format!("REVOKE {word} ON {table} FROM {scope}"),
        4 => format!("SET ROLE {owner}; GRANT {word} ON app.customers TO {scope}; RESET ROLE"),
        5 => format!("GRANT SELECT (id), UPDATE (note) ON app.orders TO {scope}"),
        6 => format!("REVOKE USAGE ON SCHEMA app FROM {scope}"),
        7 => format!(
            "GRANT {} ON SCHEMA {} TO {scope}",
            dice.pick(&["USAGE", "CREATE"]),
            dice.pick(&["app", "\"Empty one\""])
        ),
        8 => format!(
            "GRANT {} ON SEQUENCE app.orders_id_seq TO {scope}",
            dice.pick(&["USAGE", "SELECT"])
        ),
        9 => format!("GRANT EXECUTE ON FUNCTION app.f(int, text) TO {scope}"),
        10 => format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} {place} GRANT {class} TO {scope}"),
        11 => format!("ALTER DEFAULT PRIVILEGES {place} GRANT {class} TO {scope}"),
        12 => format!(
            "GRANT {scope} TO {person} {}",
            dice.pick(&["", "WITH ADMIN OPTION"])
        ),
        13 => format!("REVOKE {scope} FROM {person}"),
        14 => format!("GRANT {db}_group TO {scope}"),
        15 => format!(
            "{} CONNECT ON DATABASE {db} FROM_TO PUBLIC",
            dice.pick(&["GRANT", "REVOKE"])
        ),
        16 => format!(
            "SELECT scope.set_guard('{db}_{guarded}', {}, action => '{action}')",
            dice.pick(&[
                "5",
                "NULL",
                "NULL, 10, '1 h', '{do,ddl}'",
                "forbid => '{lock}'"
            ])
        ),
        17 => format!(
            "SELECT scope.set_login_policy('{db}_login', allowed_hours => '{{{}}}', time_zone => '{}')",
            dice.pick(&[
                "",
                "\"Sat,Sun 08:00-18:00\"",
                "daily 01:00-02:00,Mon 03:00-04:00"
            ]),
            dice.pick(&["UTC", "Europe/Berlin"])
        ),
        18 => format!(
            "SELECT scope.allow_writes('app.f(int, text)', {})",
            dice.pick(&["true", "false"])
        ),
        19 => format!(
            "SELECT scope.create_request_policy('{}', '{{{db}_{}}}', '{{{person},{db}_group}}', '[{{\"role\": \"{owner}\", \"n\": {}}}]',
                default_duration => '{}', reason_pattern => {}, replace => true)",
            dice.pick(&["p", "q/~ \"r\""]),
            dice.pick(&["one", "two", "group"]),
            dice.roll(2) + 1,
            dice.pick(&["8 hours", "90 min"]),
            dice.pick(&["NULL", "'^INC'"]),
        ),
        20 => format!("SELECT scope.drop_request_policy('{}', true)", dice.pick(&["p", "q/~ \"r\""])),
        _ => format!("GRANT SELECT ON pg_catalog.pg_authid TO {scope}"),
    }
}

const POLICIES: [&str; 4] = [
    "",
    r#","require":"any","max_duration":"2 h","pending_for":"3 days","ticket_required":true"#,
    r#","reason_pattern":null,"hours":["Mon 03:00-04:00","daily 01:00-02:00"],"time_zone":"UTC","break_glass":["DB_ana","DB_owner"]"#,
    r#","auto_approve":{"max_duration":"10 min","addresses":["10.0.0.0/8","::1/128"],"member_of":"DB_ben"}"#,
];

/// What may be asked for.
fn any_policies(dice: &mut Dice, db: &str) -> String {
    let mut policies = Vec::new();
    for name in ["p", r#"q/~ \"r\""#] {
        if dice.roll(2) == 0 {
            let target = dice.pick(&["one", "two", "group"]);
            let kind = match target {
                "group" => "membership",
                _ => dice.pick(&["membership", "credential", "statement"]),
            };
            let more = dice.pick(&POLICIES).replace("DB", db);
            policies.push(format!(
                r#""{name}":{{"kind":"{kind}","targets":["{db}_{target}"],"requesters":["{db}_ana"],"approvals":[{{"role":"{db}_owner"}},{{"role":"{db}_ben","n":2}}]{more}}}"#
            ));
        }
    }
    format!(r#""request_policies":{{{}}}"#, policies.join(","))
}

const GUARDS: [&str; 4] = [
    r#""max_rows":5"#,
    r#""max_rows":0,"window_rows":10,"window":3600"#,
    r#""forbid":["ddl","do"]"#,
    r#""window_rows":7,"window":86400,"forbid":["lock"]"#,
];

/// The login's own policy, and guards, each on one die.
fn any_guards(dice: &mut Dice, db: &str) -> String {
    let mut guards = Vec::new();
    for role in ["one", "two", "group", "login"] {
        for action in ["alert", "block"] {
            if dice.roll(4) == 0 {
                let rule = dice.pick(&GUARDS);
                guards.push(format!(
                    r#"{{"role":"{db}_{role}","action":"{action}",{rule}}}"#
                ));
            }
        }
    }
    let hours = dice.pick(&[
        "",
        r#","allowed_hours":["Mon-Fri 08:00-18:00"],"time_zone":"UTC""#,
        r#","allowed_hours":["Mon 03:00-04:00","daily 01:00-02:00"],"time_zone":"Europe/Berlin""#,
    ]);
    let writers = dice.pick(&["", r#""app.f(integer,text)""#]);
    format!(
        r#""logins":[{{"role":"{db}_login"{hours}}}],"guards":[{}],"writing_functions":[{writers}]"#,
        guards.join(",")
    )
}

/// `GRANT … TO` and `REVOKE … FROM`.
fn spelled(sql: &str) -> String {
    let word = if sql.starts_with("REVOKE") {
        "FROM"
    } else {
        "TO"
    };
    sql.replace("FROM_TO", word)
}

const ENTRIES: [&str; 10] = [
    r#"{"privileges":["SELECT"],"tables":["app.orders","app.customers"]}"#,
    r#"{"privileges":["INSERT","UPDATE"],"tables":["app.orders"]}"#,
    r#"{"privileges":["SELECT","UPDATE"],"tables":["app.orders"],"columns":["id","note"]}"#,
    r#"{"privileges":["EXECUTE"],"functions":["app.f(integer,text)"]}"#,
    r#"{"privileges":["SELECT"],"schemas":["app"],"future_tables":true}"#,
    r#"{"privileges":["SELECT","INSERT","DELETE","EXECUTE"],"schemas":["app"]}"#,
    r#"{"privileges":["CREATE"],"schemas":["app"]}"#,
    r#"{"privileges":["USAGE"],"schemas":["Empty one"],"exact":true}"#,
    r#"{"privileges":["SELECT"],"tables":["app.\"Odd \"\"t\""],"exact":true}"#,
    r#"{"privileges":["USAGE"],"sequences":["app.orders_id_seq"]}"#,
];

fn any_spec(dice: &mut Dice, db: &str, mode: &str) -> String {
    let mut scope = |name: &str| {
        let entries: Vec<&str> = ENTRIES.into_iter().filter(|_| dice.roll(4) == 0).collect();
        format!(
            r#"{{"name":"{db}_{name}","grants":[{}]}}"#,
            entries.join(",")
        )
    };
    let scopes = [scope("one"), scope("two")].join(",");
    let mut memberships = Vec::new();
    for person in ["ana", "ben"] {
        if dice.roll(2) == 0 {
            let admin = dice.roll(2) == 0;
            memberships.push(format!(
                r#"{{"role":"{db}_one","member":"{db}_{person}","admin":{admin}}}"#
            ));
        }
    }
    let guards = any_guards(dice, db);
    let policies = any_policies(dice, db);
    format!(
        r#"{{"version":1,"mode":"{mode}","roles":["{db}_group"],"scopes":[{scopes}],"memberships":[{}],{guards},{policies}}}"#,
        memberships.join(",")
    )
}

fn scene(name: &str) -> Fixture<'static> {
    let f = super::fixture(name);
    for suffix in ["owner", "ana", "ben", "group"] {
        f.role(suffix, "");
    }
    f.admin().run(&format!(
        "REVOKE EXECUTE ON FUNCTION app.f FROM PUBLIC; CREATE SCHEMA \"Empty one\"; CREATE TABLE app.\"Odd \"\"t\" (x int);
         GRANT USAGE, CREATE ON SCHEMA app TO {name}_owner; ALTER TABLE app.customers OWNER TO {name}_owner;
         SELECT scope.create_scope('{name}_one', tables => '{{app.orders}}'); SELECT scope.create_scope('{name}_two');
         SELECT scope.create_readonly_role('public.vault', '{name}_login')"
    ));
    f
}

fn state(admin: &mut Session, db: &str) -> Vec<String> {
    let mut state = holdings(admin, &format!("{db}_one"));
    state.extend(holdings(admin, &format!("{db}_two")));
    // A scope may always keep what everyone has.
    state.retain(|held| !held.ends_with(" CONNECT"));
    state.extend(admin.column(&format!(
        "SELECT roleid::regrole || ' to ' || member::regrole || ' ' || admin_option FROM pg_auth_members
          WHERE roleid::regrole::text LIKE '{db}_%' OR member::regrole::text LIKE '{db}_%' ORDER BY 1"
    )));
    state.extend(admin.column(&format!(
        "SELECT concat_ws(' ', 'guard', role, action, max_rows, window_rows, \"window\", forbid) FROM scope.guards
          WHERE role LIKE '{db}_%' ORDER BY 1"
    )));
    state.extend(admin.column(&format!(
        "SELECT concat_ws(' ', 'hours', h, time_zone) FROM scope.credentials, unnest(allowed_hours) h WHERE role = '{db}_login' ORDER BY 1"
    )));
    state.extend(admin.column("SELECT 'writes ' || function FROM scope.writing_function"));
    state.extend(admin.column(
        "SELECT 'policy ' || name || ' ' || (to_jsonb(p) - 'changed_at')::text FROM scope.request_policies p ORDER BY 1",
    ));
    state
}

#[test]
fn every_spec_is_reached_from_every_state_and_once_is_enough() {
    const ROUNDS: u64 = 30;
    let db = "spec_random";
    let f = scene(db);
    let mut admin = f.admin();
    for seed in 1..=ROUNDS {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..dice.roll(12) {
            admin.run(&spelled(&mischief(&mut dice, db)));
        }
        let mode = dice.pick(&["additive", "authoritative", "authoritative"]);
        let spec = any_spec(&mut dice, db, mode);
        let planned = plan(&mut admin, &spec);
        let before = state(&mut admin, db);
        assert_eq!(apply(&mut admin, &spec), planned, "seed {seed}: {spec}");
        assert_eq!(plan(&mut admin, &spec), [""; 0], "seed {seed}: {spec}");
        let after = state(&mut admin, db);
        if mode == "additive" {
            let lost: Vec<_> = before.iter().filter(|held| !after.contains(held)).collect();
            // An option that was added is another line of the same membership, a guard that is declared
            // takes the place of the one before, and a policy is declared whole.
            let replaced = |held: &str| {
                let words: Vec<&str> = held.split(' ').take(3).collect();
                (held.starts_with("guard ") || held.starts_with("policy "))
                    && after.iter().any(|now| now.starts_with(&words.join(" ")))
            };
            assert!(
                lost.iter().all(|held| held.ends_with(" false")
                    || held.starts_with("hours ")
                    || replaced(held)),
                "seed {seed}: {lost:?}"
            );
            continue;
        }
        // From nothing it is the same.
        admin.run(&format!(
            "BEGIN; SELECT scope.drop_scope('{db}_one', force => true); SELECT scope.drop_scope('{db}_two', force => true)"
        ));
        apply(&mut admin, &spec);
        let anew = state(&mut admin, db);
        admin.run("ROLLBACK");
        // What nobody needs is granted to a new scope only.
        let needless = |held: &&String| held.as_str() == "public USAGE";
        let (after, anew): (Vec<_>, Vec<_>) = (
            after.iter().filter(|held| !needless(held)).collect(),
            anew.iter().filter(|held| !needless(held)).collect(),
        );
        let lacking: Vec<_> = anew.iter().filter(|held| !after.contains(held)).collect();
        let excess: Vec<_> = after.iter().filter(|held| !anew.contains(held)).collect();
        assert!(
            excess.is_empty() && lacking.is_empty(),
            "seed {seed}: {spec}\nexcess {excess:?}\nlacking {lacking:?}"
        );
    }
}

#[test]
fn every_state_exports_as_a_spec_with_an_empty_plan() {
    const ROUNDS: u64 = 30;
    let db = "spec_export";
    let f = scene(db);
    let mut admin = f.admin();
    for seed in 1..=ROUNDS {
        let mut dice = Dice(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        for _ in 0..=dice.roll(6) {
            admin.run(&spelled(&mischief(&mut dice, db)));
        }
        if dice.roll(4) == 0 {
            apply(
                &mut admin,
                &any_spec(&mut Dice(seed + 77), db, "authoritative"),
            );
        }
        for mode in ["additive", "authoritative"] {
            let spec = admin.text(&format!("SELECT scope.export_spec(mode => '{mode}')"));
            assert_eq!(plan(&mut admin, &spec), [""; 0], "seed {seed}: {spec}");
        }
        // It says all: whoever loses something gets it back by it.
        let spec = admin.text(&format!(
            "SELECT scope.export_spec('{{{db}_one,{db}_two,{db}_group,{db}_login}}', 'authoritative')"
        ));
        assert_eq!(plan(&mut admin, &spec), [""; 0], "seed {seed}: {spec}");
        // Functions that may write are no role's.
        let before = state(&mut admin, db);
        admin.run("BEGIN");
        admin.run(&spelled(&mischief(&mut dice, db)));
        // What only a superuser can grant by hand no spec makes, and some of it is not asked for.
        if admin
            .attempt(&format!("SELECT scope.apply({})", literal(&spec)))
            .is_ok()
        {
            let after = state(&mut admin, db);
            let roles = |state: Vec<String>| -> Vec<String> {
                state
                    .into_iter()
                    .filter(|held| !held.starts_with("writes "))
                    .collect()
            };
            assert_eq!(roles(after), roles(before.clone()), "seed {seed}: {spec}");
        }
        admin.run("ROLLBACK");
    }
}
