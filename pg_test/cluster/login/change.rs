//! scope.set_login_policy(): the rules of a login that exists.

use super::*;

#[test]
fn a_login_gets_other_rules_and_keeps_what_was_not_said() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "policy_change");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    let mut open = cred.connect();
    for (change, ways) in [
        ("", "46s"),
        ("allowed_ips => '{127.0.0.0/8}'", "4"),
        ("allow_local => true", "4s"),
        ("allowed_ips => '{::1}'", "6s"),
        ("allowed_ips => '{}'", "s"),
        ("allowed_ips => '{10.0.0.0/8}', allow_local => false", ""),
        ("allowed_ips => '{0.0.0.0/0,::/0}'", "46"),
        ("allow_local => true, require_tls => false", "46s"),
    ] {
        let comma = if change.is_empty() { "" } else { ", " };
        admin.run(&format!(
            "SELECT scope.set_login_policy('{}'{comma}{change})",
            cred.role
        ));
        door.assert_ways(&cred, &f.name, ways);
    }
    // Undone with its transaction.
    admin.run(&format!(
        "BEGIN; SELECT scope.set_login_policy('{}', allow_local => false); ROLLBACK",
        cred.role
    ));
    door.assert_ways(&cred, &f.name, "46s");
    open.run("SELECT count(*) FROM orders");
}

#[test]
fn rules_change_for_those_who_may_renew_only() {
    let f = Fixture::new("policy_authority");
    let mut admin = f.admin();
    let creator = f.issuer("creator");
    admin.run(&format!("ALTER TABLE orders OWNER TO {creator}"));
    let cred = f.login(&creator).issue("'orders', valid_for => '1 hour'");
    let call = format!(
        "SELECT scope.set_login_policy('{}', allowed_ips => '{{127.0.0.1}}')",
        cred.role
    );
    let stranger = f.issuer("stranger");
    admin.run(&format!(
        "GRANT EXECUTE ON FUNCTION scope.set_login_policy TO {creator}, {stranger}, {}",
        cred.role
    ));
    f.login(&stranger).refused(&call, "42501");
    // A login must not lift its own rules.
    cred.connect().refused(&call, "42501");
    admin.run(&format!(
        "REVOKE EXECUTE ON FUNCTION scope.set_login_policy FROM {stranger}"
    ));
    f.login(&stranger).denied(&call, "42501");
    f.login(&creator).run(&call);
    let ips = format!(
        "SELECT allowed_ips FROM scope.credentials WHERE role = '{}'",
        cred.role
    );
    assert_eq!(admin.text(&ips), "{127.0.0.1/32}");
    for (wrong, sqlstate) in [
        (String::from("NULL"), "22004"),
        (String::from("'nobody_at_all'"), "42704"),
        (format!("'{creator}'"), "42809"),
        (format!("'{}'", admin.scope_of(&cred.role)), "42809"),
        (
            format!(
                "'{}', allowed_ips => '{{}}', allow_local => false",
                cred.role
            ),
            "22023",
        ),
        (
            format!("'{}', allowed_ips => '{{NULL}}'", cred.role),
            "22004",
        ),
        (format!("'{}', require_tls => true", cred.role), "55000"),
        (
            format!("'{}', allowed_hours => '{{daily 08:00-18:00}}'", cred.role),
            "22023",
        ),
        (
            format!(
                "'{}', allowed_hours => '{{8-18}}', time_zone => 'UTC'",
                cred.role
            ),
            "22023",
        ),
        (
            format!(
                "'{}', allowed_hours => '{{daily 08:00-18:00}}', time_zone => 'UTC+2'",
                cred.role
            ),
            "22023",
        ),
        (
            format!(
                "'{}', allowed_ips => ARRAY(SELECT ('10.0.' || n || '.0/24')::cidr FROM generate_series(1, 60) n)",
                cred.role
            ),
            "54000",
        ),
    ] {
        admin.refused(&format!("SELECT scope.set_login_policy({wrong})"), sqlstate);
    }
    admin.run("SET default_transaction_read_only = on");
    admin.refused(&call, "25006");
    admin.run("SET default_transaction_read_only = off");
    assert_eq!(admin.text(&ips), "{127.0.0.1/32}");
    admin.run(&format!("SELECT scope.revoke_role('{}')", cred.role));
    admin.refused(&call, "55000");
}

#[test]
fn the_other_login_of_a_rotation_is_named() {
    let f = Fixture::new("policy_rotation");
    let mut admin = f.admin();
    let old = admin.issue("'orders'");
    let new = admin.handed(&format!(
        "scope.rotate_password('{}', overlap => '1 hour')",
        old.role
    ));
    admin.notices();
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allow_local => false)",
        new.role
    ));
    let notices = admin.notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.message.contains(&old.role)),
        "{notices:?}"
    );
    f.server.login(&old.role, &f.name);
    assert!(f.server.try_login(&new.role, &f.name).is_err());
}

/// A window of the clock in `zone`, from and to so many minutes from now, with the day on which it begins.
fn window(admin: &mut Session, zone: &str, from: i32, to: i32) -> (String, String) {
    let row = admin.rows(&format!(
        "SELECT to_char(t + make_interval(mins => {from}), 'Dy'), to_char(t + make_interval(mins => {from}), 'HH24:MI')
                || '-' || to_char(t + make_interval(mins => {to}), 'HH24:MI')
           FROM (SELECT clock_timestamp() AT TIME ZONE '{zone}') c(t)"
    ));
    match row.as_slice() {
        [cells] => match cells.as_slice() {
            [Some(day), Some(times)] => (day.clone(), times.clone()),
            _ => panic!("{row:?}"),
        },
        _ => panic!("{row:?}"),
    }
}

const DAYS: &str = "Mon,Tue,Wed,Thu,Fri,Sat,Sun";

#[test]
fn hours_are_those_of_the_clock_in_their_time_zone() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "policy_hours");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    // Summer time is in force in one half of the world or the other; half-hours too.
    for zone in [
        "UTC",
        "Australia/Sydney",
        "Pacific/Auckland",
        "Europe/Zurich",
        "america/new_york",
        "Asia/Kolkata",
    ] {
        let mut set = |hours: &str| {
            admin.run(&format!(
                "SELECT scope.set_login_policy('{}', allowed_hours => ARRAY[{}], time_zone => '{zone}')",
                cred.role,
                literal(hours)
            ));
        };
        // Closer than the hour of summer time.
        let (day, times) = window(&mut f.admin(), zone, -20, 20);
        set(&format!("daily {times}"));
        door.assert_ways(&cred, &f.name, "46s");
        set(&format!("{day} {times}"));
        door.assert_ways(&cred, &f.name, "46s");
        let others: Vec<&str> = DAYS.split(',').filter(|other| *other != day).collect();
        set(&format!("{} {times}", others.join(",")));
        door.assert_ways(&cred, &f.name, "");
        for (from, to) in [(20, 50), (-50, -20)] {
            let (_, times) = window(&mut f.admin(), zone, from, to);
            set(&format!("daily {times}"));
            door.assert_ways(&cred, &f.name, "");
        }
    }
    assert!(
        door.server
            .log()
            .contains("it may not log in at this time: ")
    );
    assert!(
        door.server.log().contains("America/New_York"),
        "its proper name"
    );
    // Emptied: at any time.
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allowed_hours => '{{}}')",
        cred.role
    ));
    door.assert_ways(&cred, &f.name, "46s");
    admin.assert_that(&format!(
        "(SELECT allowed_hours IS NULL AND time_zone IS NULL FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
}

#[test]
fn hours_go_past_midnight() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "policy_midnight");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    // Somewhere on earth it is between midnight and one o'clock.
    let zone = admin.text(
        "SELECT 'Etc/GMT' || CASE WHEN h <= 12 THEN '+' || h ELSE '-' || 24 - h END
           FROM (SELECT extract(hour FROM clock_timestamp() AT TIME ZONE 'UTC')::int) c(h)",
    );
    let day = |days: i32| {
        f.admin().text(&format!(
            "SELECT to_char(clock_timestamp() AT TIME ZONE '{zone}' + make_interval(days => {days}), 'Dy')"
        ))
    };
    for (hours, ways) in [
        (format!("{} 23:00-03:00", day(-1)), "46s"),
        (format!("{} 23:00-03:00", day(0)), ""),
        (format!("{} 23:00-03:00", day(1)), ""),
        (format!("{} 00:00-03:00", day(0)), "46s"),
    ] {
        admin.run(&format!(
            "SELECT scope.set_login_policy('{}', allowed_hours => ARRAY[{}], time_zone => '{zone}')",
            cred.role,
            literal(&hours)
        ));
        door.assert_ways(&cred, &f.name, ways);
    }
    assert_eq!(
        admin.text(&format!(
            "SELECT allowed_hours[1] || ' ' || time_zone FROM scope.credentials WHERE role = '{}'",
            cred.role
        )),
        format!("{} 00:00-03:00 {zone}", day(0))
    );
}

/// A label restored from a server that knows more time zones.
#[test]
fn hours_in_an_unknown_time_zone_let_nobody_in() {
    let door = Door::open(Options::default());
    let f = Fixture::on(&door.server, "policy_zone");
    let mut admin = f.admin();
    let cred = admin.issue("'orders'");
    admin.run(&format!(
        "SELECT scope.set_login_policy('{}', allowed_hours => '{{daily 00:00-24:00}}', time_zone => 'UTC')",
        cred.role
    ));
    door.assert_ways(&cred, &f.name, "46s");
    admin.run(&format!(
        "UPDATE pg_shseclabel SET label = replace(label, '\"UTC\"', '\"Mars/Olympus\"') WHERE objoid = '{}'::regrole",
        cred.role
    ));
    door.assert_ways(&cred, &f.name, "");
    assert!(door.server.log().contains("Mars/Olympus"));
}
