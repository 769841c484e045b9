//! Request policies that do not work, or in which nobody else decides; what was taken by breaking a glass.

use crate::harness::*;

struct Scene<'a> {
    f: Fixture<'a>,
    db: &'a str,
}

impl Scene<'static> {
    fn new(db: &'static str) -> Self {
        let f = Fixture::new(db);
        for suffix in ["owner", "dev", "dba"] {
            f.role(suffix, "NOLOGIN");
        }
        f.role("alice", &format!("LOGIN IN ROLE {db}_dev"));
        f.role("bob", "LOGIN");
        Self { f, db }
    }

    fn policy_sql(&self, name: &str, more: &str) -> String {
        let db = self.db;
        format!(
            "SELECT scope.create_request_policy({}, '{{{db}_owner}}', '{{{db}_dev}}', '[{{\"role\": \"{db}_dba\"}}]'{more})",
            literal(name)
        )
    }

    #[track_caller]
    fn policy(&self, more: &str) {
        self.run(&self.policy_sql("p", &format!("{more}, replace => true")));
    }

    #[track_caller]
    fn run(&self, sql: &str) {
        self.f.admin().run(&sql.replace("DB", self.db));
    }

    /// "severity code object" of what is about requests.
    fn found(&self) -> Vec<String> {
        self.f.admin().column(
            "SELECT concat_ws(' ', severity, code, object_name) FROM scope.review() WHERE code LIKE 'request%' AND accepted_reason IS NULL ORDER BY 1",
        )
    }

    fn fix(&self, code: &str) -> String {
        self.f.admin().text(&format!(
            "SELECT fix FROM scope.review() WHERE code = '{code}'"
        ))
    }
}

const NOTHING: [&str; 0] = [];

/// Its number, if it could be asked for.
fn number(asked: Result<Vec<Vec<Option<String>>>, Refusal>) -> Option<String> {
    asked.ok()?.first()?.first()?.clone()
}

const UNDECIDED: [&str; 1] = ["medium request_undecided request policy p"];

#[test]
fn a_policy_where_nobody_is_left_to_say_yes_is_found() {
    let scene = Scene::new("review_undecided");
    scene.policy("");
    assert_eq!(scene.found(), UNDECIDED, "no login has the role");
    assert!(scene.fix("request_undecided").starts_with("-- "));
    scene.run("GRANT DB_dba TO DB_bob");
    assert_eq!(scene.found(), NOTHING, "one has it");
    // Who asks is nobody else.
    scene.run("REVOKE DB_dba FROM DB_bob; GRANT DB_dba TO DB_alice");
    assert_eq!(scene.found(), UNDECIDED, "who asks has it");
    let carol = scene
        .f
        .role("carol", &format!("LOGIN IN ROLE {}_dev", scene.db));
    assert_eq!(scene.found(), NOTHING, "one who asks has it for the others");
    scene.run(&format!("DROP ROLE {carol}"));
    // Nor is a login that the same person has issued.
    scene.run("GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO DB_alice; CREATE TABLE t (); ALTER TABLE t OWNER TO DB_alice");
    let issued = scene
        .f
        .login(&format!("{}_alice", scene.db))
        .handed("scope.create_readonly_role('t', 'review_undecided_second')");
    scene.run(&format!(
        "GRANT DB_dba TO {}; REVOKE DB_dba FROM DB_alice",
        issued.role
    ));
    assert_eq!(scene.found(), UNDECIDED, "it is of the same person");
    scene.run(&format!(
        "REVOKE DB_dba FROM {}; GRANT DB_dba TO DB_bob",
        issued.role
    ));
    // Two are not one …
    let two = format!(
        "SELECT scope.create_request_policy('p', '{{{0}_owner}}', '{{{0}_dev}}', '[{{\"role\": \"{0}_dba\", \"n\": 2}}]', replace => true)",
        scene.db
    );
    scene.run(&two);
    assert_eq!(scene.found(), UNDECIDED, "one of two");
    scene.run("GRANT DB_dba TO DB_alice");
    assert_eq!(scene.found(), UNDECIDED, "two of two, of whom one asks");
    scene.run("REVOKE DB_dba FROM DB_alice; REVOKE DB_dba FROM DB_bob");
    // … but whoever comes by tokens is many.
    scene.run(
        "SELECT scope.create_scope('DB_web'); SELECT scope.create_authenticator('DB_gate', '{DB_web}'); GRANT DB_dba TO DB_web",
    );
    assert_eq!(scene.found(), NOTHING, "subjects are many");
    scene.run("REVOKE DB_dba FROM DB_web; GRANT DB_dba TO DB_bob");
    assert_eq!(scene.found(), UNDECIDED);
    // Roles that are gone.
    scene.run("DROP OWNED BY DB_dba; DROP ROLE DB_dba; CREATE ROLE DB_dba IN ROLE DB_dev; GRANT DB_dba TO DB_bob");
    assert_eq!(scene.found(), UNDECIDED, "another of the name");
}

#[test]
fn a_superuser_who_is_no_member_is_nobody_to_wait_for() {
    let scene = Scene::new("review_undecided_boss");
    scene.policy("");
    scene.run("CREATE ROLE DB_boss SUPERUSER LOGIN");
    assert_eq!(scene.found(), UNDECIDED);
    scene.run("GRANT DB_dba TO DB_boss");
    assert_eq!(scene.found(), NOTHING);
    scene.run("DROP ROLE DB_boss");
}

#[test]
fn a_policy_that_asks_nobody_else_is_found() {
    let scene = Scene::new("review_unasked");
    scene.run("GRANT DB_dba TO DB_bob");
    let name = "it's \"p\"; --";
    let auto = |conditions: &str| {
        format!(
            ", auto_approve => '{{\"max_duration\": \"1 h\"{conditions}}}', max_duration => '2 hours', replace => true"
        )
    };
    scene.run(&scene.policy_sql(name, &auto("")));
    let object = "request policy \"it's \"\"p\"\"; --\"";
    assert_eq!(scene.found(), [format!("medium request_unasked {object}")]);
    scene.run(&scene.fix("request_unasked"));
    assert_eq!(scene.found(), NOTHING);
    scene.f.admin().assert_that(&format!(
        "(SELECT auto_approve IS NULL AND max_duration = '2 hours' FROM scope.request_policies WHERE name = {})",
        literal(name)
    ));
    for conditions in [
        r#", "addresses": ["10.0.0.0/8"]"#,
        r#", "hours": ["daily 20:00-06:00"], "time_zone": "UTC""#,
        &format!(r#", "member_of": "{}_dba""#, scene.db),
    ] {
        scene.run(&scene.policy_sql(name, &auto(conditions)));
        assert_eq!(scene.found(), NOTHING, "{conditions}");
    }
    // Members of an approving role who may ask.
    scene.run("GRANT DB_dev TO DB_dba; CREATE ROLE DB_zoe LOGIN IN ROLE DB_dba");
    assert_eq!(scene.found(), [format!("low request_mutual {object}")]);
    scene.run(&format!(
        "SELECT scope.accept_finding('request_mutual', NULL, 'two of us look', '30 days', {})",
        literal(object)
    ));
    assert_eq!(scene.found(), NOTHING);
    // Somebody else has to say yes as well.
    scene.f.role("audit", "NOLOGIN");
    scene
        .f
        .role("eve", &format!("LOGIN IN ROLE {}_audit", scene.db));
    let both = format!(
        "SELECT scope.create_request_policy('pair', '{{DB_owner}}', '{{DB_dev}}', '[{{\"role\": \"DB_dba\"}}, {{\"role\": \"DB_audit\"}}]'{})",
        ", require => '…', replace => true"
    );
    scene.run(&both.replace('…', "all"));
    assert_eq!(scene.found(), NOTHING);
    scene.run(&both.replace('…', "any"));
    assert_eq!(scene.found(), ["low request_mutual request policy pair"]);
}

#[test]
fn a_policy_whose_creator_is_gone_or_may_not_any_more_is_found_and_made_anew() {
    let scene = Scene::new("review_creator");
    let db = scene.db;
    scene.run("GRANT DB_dba TO DB_bob");
    let maker = scene.f.role("maker", "LOGIN");
    let found = ["medium request_creator request policy p"];
    let ask = || {
        number(scene.f.login(&format!("{db}_alice")).attempt(&format!(
            "SELECT request FROM scope.request_access('{db}_owner', reason => 'x')"
        )))
    };
    let approve = |id: &str| {
        let said = scene
            .f
            .login(&format!("{db}_bob"))
            .text(&format!("SELECT scope.approve({id})"));
        let mut alice = scene.f.login(&format!("{db}_alice"));
        alice.attempt(&format!("SELECT scope.withdraw({id})")).ok();
        said
    };
    let works = || ask().is_some_and(|id| approve(&id).starts_with("active"));
    let grant = format!(
        "GRANT {db}_owner TO {maker} WITH ADMIN OPTION; GRANT EXECUTE ON FUNCTION scope.create_request_policy TO {maker}"
    );
    scene.run(&grant);
    scene
        .f
        .login(&maker)
        .run(&scene.policy_sql("p", ", max_duration => '3 hours'"));
    assert_eq!(scene.found(), NOTHING);
    assert!(works());
    let waits = ask().expect("a request");
    scene.run(&format!("REVOKE {db}_owner FROM {maker} CASCADE"));
    assert_eq!(scene.found(), found);
    assert!(!works());
    assert!(approve(&waits).starts_with("failed"));
    assert_eq!(
        scene.found(),
        ["low request_failed request policy p", found[0]]
    );
    // What has failed is told as well.
    scene.run(&scene.fix("request_creator"));
    assert_eq!(scene.found(), ["low request_failed request policy p"]);
    assert!(works());
    scene.f.admin().assert_that(
        "(SELECT created_by = 'postgres' AND max_duration = '3 hours' FROM scope.request_policies)",
    );
    scene.run("SELECT scope.drop_request_policy('p'); SELECT scope.accept_finding('request_failed', NULL, 'seen', '1 day', 'request policy p')");
    // Gone, with the name taken by somebody else.
    scene.run(&grant);
    scene.f.login(&maker).run(&scene.policy_sql("p", ""));
    scene.run(&format!("REASSIGN OWNED BY {maker} TO postgres; DROP OWNED BY {maker}; DROP ROLE {maker}; CREATE ROLE {maker} LOGIN; {grant}"));
    assert_eq!(scene.found(), found);
    assert!(!works());
    // A superuser who replaces it makes it theirs.
    scene.policy("");
    assert_eq!(scene.found(), NOTHING);
    assert!(works());
    scene
        .f
        .admin()
        .assert_that("(SELECT created_by = 'postgres' FROM scope.request_policies)");
    scene.run(&format!("DROP OWNED BY {maker}; DROP ROLE {maker}"));
}

#[test]
fn what_was_taken_by_breaking_the_glass_is_listed_until_somebody_signs_it() {
    let scene = Scene::new("review_unsigned");
    let db = scene.db;
    scene.run("GRANT DB_dba TO DB_bob");
    scene.policy(&format!(", break_glass => '{{{db}_alice}}'"));
    let broken = || {
        let mut alice = scene.f.login(&format!("{db}_alice"));
        let id = alice.text(&format!(
            "SELECT request FROM scope.request_access('{db}_owner', reason => 'x', break_glass => true)"
        ));
        alice.run(&format!("SELECT scope.withdraw({id})"));
        id
    };
    let (one, two) = (broken(), broken());
    let found = |id: &str| format!("high request_unsigned request {id}");
    assert_eq!(scene.found(), [found(&one), found(&two)]);
    let mut admin = scene.f.admin();
    admin.assert_that(&format!(
        "(SELECT bool_and(role_name = '{db}_alice' AND since < now()) FROM scope.review() WHERE code = 'request_unsigned')"
    ));
    let fix = admin.text(&format!(
        "SELECT fix FROM scope.review() WHERE object_name = 'request {one}'"
    ));
    let (_, sign) = fix.split_once(": ").expect("a statement");
    scene.f.login(&format!("{db}_bob")).run(sign);
    assert_eq!(scene.found(), [found(&two)]);
    scene.run("SELECT scope.drop_request_policy('p')");
    assert!(scene.fix("request_unsigned").contains("its policy is gone"));
}
