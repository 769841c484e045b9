//! Names that try to leave their place in what the extension writes: SQL, messages, pictures, pages, JSON, log lines.
//!
//! Whoever may create a role, a schema, a table or a database chooses its name; whoever runs what is proposed is a superuser.

use std::collections::BTreeSet;

use crate::harness::*;

/// What each of them would like to do in SQL.
const PAYLOAD: &str = "CREATE ROLE pwned SUPERUSER";

/// At most 63 bytes each, and no two alike.
fn names() -> Vec<String> {
    [
        format!("x\n{PAYLOAD}; --"),
        format!("x\r\n{PAYLOAD};\r\n--"),
        format!("x\"; {PAYLOAD}; --"),
        format!("x'; {PAYLOAD}; --"),
        format!("x\\'; {PAYLOAD}; --"),
        format!("x*/ {PAYLOAD}; /*"),
        format!("x--> {PAYLOAD}; <!--"),
        format!("$$; {PAYLOAD}; $$"),
        "`touch pwned` $(touch pwned)".to_owned(),
        "</script><script>pwned()</script>".to_owned(),
        "\"><img src=x onerror=pwned()>".to_owned(),
        "x\"]; pwned [label=\"y\\".to_owned(),
        "x\"] --> pwned[\"y; %s %n %I %L".to_owned(),
        "x|y#35;&#60;b&gt; [z](javascript:pwned) ~~".to_owned(),
        "safe\u{202E}detrevni\u{202C}\u{2066}iso\u{2069}".to_owned(),
        "line\u{2028}para\u{2029}zero\u{200B}\u{FEFF}\u{200F}".to_owned(),
        "tab\tbell\u{7}esc\u{1b}[31m del\u{7f} c1\u{85}".to_owned(),
        "select".to_owned(),
        "public".to_owned(),
        "none of it".to_owned(),
        ",a\\,b{\"c\"}=d/e:f".to_owned(),
        "L".repeat(63),
    ]
    .into_iter()
    .filter(|name| name != "public")
    // Roles and databases have no line breaks in their names from 19 on.
    .filter(|name| shared().version() < 190_000 || !name.contains(['\n', '\r']))
    .collect()
}

/// Neither in a message nor in a log line may one of these be.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[track_caller]
fn assert_seen(what: &str, text: &str) {
    assert!(!text.contains(is_unseen), "{what}: {text:?}");
}

fn roles(s: &mut Session) -> BTreeSet<String> {
    s.column("SELECT rolname || ' ' || rolsuper::text FROM pg_authid")
        .into_iter()
        .collect()
}

/// Runs what is proposed as whoever copies it does, and undoes it: no role more, no superuser more.
#[track_caller]
fn run_and_undo<T>(
    s: &mut Session,
    before: &BTreeSet<String>,
    sql: &str,
    then: impl FnOnce(&mut Session) -> T,
) -> Result<T, Refusal> {
    s.run("BEGIN");
    let outcome = s.attempt(sql);
    let outcome = outcome.map(|_| {
        // A name with " true" behind it is a superuser. Rotations make logins.
        let is_new = |role: &String| match role.strip_suffix(" false") {
            Some(name) => name == "pwned",
            None => !before.contains(role),
        };
        let more: Vec<String> = roles(s).into_iter().filter(is_new).collect();
        assert!(more.is_empty(), "{sql:?} made {more:?}");
        then(s)
    });
    s.run("ROLLBACK");
    assert_eq!(&roles(s), before, "{sql:?} left its transaction");
    outcome
}

/// A server with each of the names wherever a name can be, and something to find about it.
fn scene(server: &Server) -> (Fixture<'_>, Session) {
    let f = Fixture::on(server, "hostile");
    let mut admin = f.admin();
    admin.run("CREATE ROLE plain; CREATE ROLE middle; CREATE ROLE top; GRANT top TO middle");
    for (n, name) in names().iter().enumerate() {
        let (role, text) = (ident(name), literal(name));
        admin.run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT middle TO plain;
             CREATE SCHEMA {role} AUTHORIZATION {role}; GRANT CREATE ON SCHEMA {role} TO PUBLIC;
             CREATE TABLE {role}.{role} ({role} int); ALTER TABLE {role}.{role} OWNER TO {role};
             GRANT SELECT ON {role}.{role} TO PUBLIC;
             CREATE FUNCTION {role}.{role}({role} int) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';
             ALTER FUNCTION {role}.{role}(int) OWNER TO {role};
             ALTER DEFAULT PRIVILEGES FOR ROLE {role} IN SCHEMA {role} GRANT SELECT ON TABLES TO PUBLIC"
        ));
        // What is ours can be renamed by others.
        admin.run(&format!(
            "SELECT scope.create_scope('hostile_scope_{n}', '{{select}}', tables => ARRAY[{quoted}::regclass], purpose => {text});
             SELECT scope.create_credential('{{hostile_scope_{n}}}', 'hostile_cred_{n}', purpose => {text});
             ALTER ROLE hostile_cred_{n} RENAME TO {cred};
             ALTER ROLE hostile_scope_{n} RENAME TO {scope};
             GRANT {cred_in} TO {scope}; GRANT UPDATE ON vault TO {scope} WITH GRANT OPTION;
             SELECT scope.create_scope('hostile_empty_{n}', '{{select}}', tables => ARRAY[{quoted}::regclass]);
             ALTER ROLE hostile_empty_{n} RENAME TO {empty}",
            quoted = literal(&format!("{role}.{role}")),
            cred = ident(&short("c", name)),
            scope = ident(&short("s", name)),
            empty = ident(&short("e", name)),
            cred_in = "top",
        ));
        let group = ident(&short("g", name));
        admin.run(&format!(
            "CREATE ROLE {group} CREATEROLE BYPASSRLS REPLICATION; GRANT {group} TO {role} WITH ADMIN OPTION;
             GRANT middle TO {group}; SET password_encryption = md5; ALTER ROLE {role} PASSWORD 'x'; RESET password_encryption"
        ));
        if n % 4 == 0 {
            let boss = ident(&short("b", name));
            admin.run(&format!(
                "CREATE ROLE {boss} SUPERUSER; GRANT {boss} TO {role}; GRANT pg_read_server_files TO {group}"
            ));
        }
    }
    (f, admin)
}

/// The name with a letter in front, as long as names may be.
fn short(letter: &str, name: &str) -> String {
    let mut name = format!("{letter}{name}");
    while name.len() > 63 {
        name.pop();
    }
    name
}

#[test]
fn every_proposal_does_what_it_says_whatever_the_names() {
    let server = Server::start(Options::default().set("scope_roles.max_password_age", "1d"));
    let (f, mut admin) = scene(&server);
    admin.run("UPDATE pg_shseclabel SET label = jsonb_set(label::jsonb, '{created_at}', '\"2020-01-01T00:00:00Z\"') - 'rotated_at' WHERE provider = 'scope_roles'");
    let before = roles(&mut admin);
    let findings =
        admin.rows("SELECT code, role_name, object_name, finding, fix FROM scope.review()");
    let codes: BTreeSet<&str> = findings
        .iter()
        .filter_map(|row| row[0].as_deref())
        .collect();
    for code in [
        "superuser",
        "superuser_member",
        "server_files",
        "md5_password",
        "bypassrls",
        "createrole",
        "replication",
        "definer_search_path",
        "definer_public",
        "public_create",
        "public_table",
        "default_privileges",
        "no_deadline",
        "old_password",
        "admin_option",
        "scope_has_more",
        "scope_widened",
        "long_chain",
        "empty_scope",
        "unused",
    ] {
        assert!(codes.contains(code), "no {code} among {codes:?}");
    }
    let (mut ran, mut tried) = (0, BTreeSet::new());
    for row in &findings {
        let [code, role, object, finding, fix] = row.as_slice() else {
            panic!("{row:?}")
        };
        let code = code.as_deref().expect("a code");
        assert_seen(code, finding.as_deref().unwrap_or_default());
        let Some(fix) = fix.as_deref() else {
            continue;
        };
        if fix.starts_with("--") {
            // A comment names nobody.
            assert_seen(code, fix);
            assert!(!fix.contains("pwned") && fix.is_ascii(), "{fix}");
            continue;
        }
        if let Some((_, command)) = fix.split_once("\\password ") {
            // psql reads to the end of the line.
            assert!(!command.contains(|c: char| c.is_control()), "{fix:?}");
            continue;
        }
        // One of each kind and of each name is enough.
        let name = role.clone().or_else(|| object.clone()).unwrap_or_default();
        if !tried.insert((code.to_owned(), name)) {
            continue;
        }
        let key = |cell: &Option<String>| cell.as_deref().map_or("NULL".to_owned(), literal);
        let same = format!(
            "EXISTS (SELECT FROM scope.review() WHERE code = '{code}' AND role_name IS NOT DISTINCT FROM {} AND object_name IS NOT DISTINCT FROM {} AND finding = {})",
            key(role),
            key(object),
            key(finding)
        );
        // The whole review is slow: ask whether it is gone for some of each kind.
        let look = tried.iter().filter(|(other, _)| other == code).count() <= 3;
        let outcome = run_and_undo(&mut admin, &before, fix, |s| !look || !s.holds(&same));
        match outcome {
            Ok(is_gone) => assert!(is_gone, "{code} is still there after {fix:?}"),
            // PostgreSQL's own rule.
            Err(e) => panic!("{code}: {fix:?}: {e}"),
        }
        ran += 1;
    }
    assert!(ran > 150, "only {ran} proposals");
    // The statements of harden and prune, and as they run them themselves.
    for call in ["harden", "prune"] {
        for statement in admin.column(&format!(
            "SELECT statement FROM scope.{call}(false) WHERE statement IS NOT NULL"
        )) {
            if let Err(e) = run_and_undo(&mut admin, &before, &statement, |_| ()) {
                panic!("{call}: {statement:?}: {e}");
            }
        }
        if let Err(e) = run_and_undo(
            &mut admin,
            &before,
            &format!("SELECT scope.{call}(true)"),
            |_| (),
        ) {
            panic!("{call}: {e}");
        }
    }
    drop(f);
}

#[test]
fn pictures_pages_and_json_hold_any_name() {
    let server = Server::start(Options::default());
    let (f, mut admin) = scene(&server);
    // DOT: its statements are ours, whatever is in the labels.
    let dot = admin.text("SELECT scope.role_map('dot')");
    for line in dot.lines() {
        let mut outside = String::new();
        let (mut inside, mut escaped) = (false, false);
        for c in line.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => inside = !inside,
                _ if !inside => outside.push(c),
                _ => {}
            }
        }
        assert!(!inside, "an open label: {line}");
        assert_seen("dot", line);
        let known = outside.trim_start().starts_with('n')
            || ["digraph roles {", "}", "rankdir=LR;", "edge "]
                .iter()
                .any(|ours| outside.trim_start().starts_with(ours));
        assert!(known && !outside.contains("pwned"), "{line}");
    }
    if has_dot() {
        let out = dot_reads(&dot);
        assert!(
            out.contains("digraph") && !out.contains("\n\tpwned"),
            "{out}"
        );
    }
    // Mermaid: a label has letters, digits and numbers of characters.
    let mermaid = admin.text("SELECT scope.role_map('mermaid')");
    for line in mermaid.lines() {
        assert_seen("mermaid", line);
        if let Some(label) = line.split('"').nth(1) {
            assert_eq!(line.matches('"').count(), 2, "{line}");
            let label = label.replace("<br/>", "");
            assert!(
                !label.contains(
                    ['<', '>', '[', ']', '`', '|', '\\', '%', '{', '}', '(', ')'].as_slice()
                ) || label.contains('('),
                "{line}"
            );
            assert!(
                !label.contains(['<', '>', '[', ']', '`', '|', '\\', '%', '{', '}'].as_slice()),
                "{line}"
            );
        } else {
            assert!(!line.contains("pwned"), "{line}");
        }
    }
    admin.assert_that("scope.role_map('json')::jsonb -> 'roles' @> jsonb_build_array(jsonb_build_object('name', 'select'))");
    for name in names() {
        admin.assert_that(&format!(
            "EXISTS (SELECT FROM jsonb_array_elements(scope.role_map('json')::jsonb -> 'roles') r WHERE r ->> 'name' = {})",
            literal(&name)
        ));
    }
    // The page: tags of ours, and ASCII.
    let page = admin.text("SELECT scope.review_html()");
    assert!(page.is_ascii());
    let mut rest = page.as_str();
    while let Some(start) = rest.find('<') {
        let tag = &rest[start..];
        let end = tag.find('>').expect("a tag that ends");
        // What is in quotes is text.
        let bare: String = tag[1..end].split('"').step_by(2).collect();
        let word: String = bare
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        assert!(
            !["img", "iframe", "object", "embed"].contains(&word.as_str())
                && !bare.contains("onerror")
                && !bare.contains("pwned"),
            "{}",
            &tag[..=end]
        );
        rest = &tag[end..];
    }
    assert!(!page.contains("<script>pwned"), "a script of a name's");
    for number in ["&#8238;", "&#8294;", "&#8232;", "&#8203;"] {
        assert!(!page.contains(number), "{number} turns the page");
    }
    // A spec holds them all, and is applied to what is there without a step.
    admin.run("SELECT scope.apply(scope.export_spec())");
    drop(f);
}

fn has_dot() -> bool {
    std::process::Command::new("dot").arg("-V").output().is_ok()
}

fn dot_reads(text: &str) -> String {
    use std::io::Write;
    let mut child = std::process::Command::new("dot")
        .arg("-Tcanon")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("dot");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(text.as_bytes())
        .expect("dot reads");
    let out = child.wait_with_output().expect("dot");
    assert!(out.status.success());
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// One line each, in which nobody else's line can be: errors with DETAIL and HINT, NOTICEs, the server log.
#[test]
fn no_message_and_no_log_line_is_forged_by_a_name() {
    let server = Server::start(
        Options::default()
            .set("log_min_messages", "log")
            .set("scope_roles.audit", "none"),
    );
    let (f, mut admin) = scene(&server);
    let caller = f.role("caller", "LOGIN");
    admin.run(&format!(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA scope TO {caller}"
    ));
    let mut s = f.login(&caller);
    let before = roles(&mut admin);
    let mut hints = BTreeSet::new();
    for name in names() {
        let (text, cred, scope) = (
            literal(&name),
            literal(&short("c", &name)),
            literal(&short("s", &name)),
        );
        let table = literal(&format!("{0}.{0}", ident(&name)));
        for call in [
            format!("scope.revoke_role({text})"),
            format!("scope.revoke_role({cred})"),
            format!("scope.renew_role({cred})"),
            format!("scope.rotate_password({cred})"),
            format!("scope.drop_scope({scope})"),
            format!("scope.drop_scope({text})"),
            format!("scope.create_scope({text})"),
            format!("scope.alter_scope({scope}, 'add', '{{select}}', '{{orders}}')"),
            format!("scope.create_credential(ARRAY[{scope}]::name[])"),
            format!("scope.create_credential(ARRAY[{scope}]::name[], {text})"),
            format!("scope.create_readonly_role({table}::regclass)"),
            format!("scope.create_authenticator('hostile_api', ARRAY[{text}])"),
            format!("scope.create_authenticator({text}, ARRAY['top'])"),
            format!("scope.grant_temporary({text}, {text}, '1 hour')"),
            format!("scope.grant_temporary('top', {text}, '1 hour')"),
            format!("scope.revoke_temporary({text}, {text})"),
            format!("scope.set_guard({text}, max_rows => 1)"),
            format!("scope.set_guard({cred}, max_rows => 1, action => {text})"),
            format!("scope.guard_login({text}, allow_local => true)"),
            format!("scope.unguard_login({text})"),
            format!(
                "scope.set_login_policy({cred}, time_zone => {text}, allowed_hours => ARRAY[{text}])"
            ),
            format!("scope.role_map({text})"),
            format!("scope.accept_finding({text}, {text}, 'x')"),
            format!("scope.attest('top'::regrole, {text})"),
            format!("scope.plan(jsonb_build_object('version', 1, {text}, 1)::text)"),
            format!(
                "scope.plan(jsonb_build_object('version', 1, 'scopes', jsonb_build_array(jsonb_build_object('name', {text})))::text)"
            ),
            format!(
                "scope.plan(jsonb_build_object('version', 1, 'roles', jsonb_build_array({cred}))::text)"
            ),
            format!(
                "scope.restrict_function({0}::regprocedure, ARRAY[{scope}]::name[])",
                literal(&format!("{0}.{0}(int)", ident(&name)))
            ),
            format!("scope.drop_jwt_issuer({text})"),
            format!("scope.set_jwt_role({text})"),
        ] {
            for session in [&mut s, &mut admin] {
                session.run("BEGIN");
                let outcome = session.attempt(&format!("SELECT {call}"));
                session.run("ROLLBACK");
                // What PostgreSQL says itself has no HINT here.
                let told = outcome.err().into_iter().chain(session.notices());
                for refusal in told.filter(|refusal| !refusal.hint.is_empty()) {
                    for part in [&refusal.message, &refusal.detail, &refusal.hint] {
                        assert_seen(&call, part);
                    }
                    hints.insert(refusal.hint);
                }
            }
        }
    }
    // Whoever copies a hint's statement runs that statement.
    let verbs = ["GRANT ", "REVOKE ", "ALTER ROLE "];
    let statements: Vec<&str> = hints
        .iter()
        .filter_map(|hint| {
            let start = verbs.iter().filter_map(|verb| hint.find(verb)).min()?;
            Some(&hint[start..])
        })
        .filter(|statement| statement.contains(';'))
        .collect();
    assert!(statements.len() > names().len(), "{hints:?}");
    for statement in statements {
        let statement = statement
            .strip_suffix(" first.")
            .or(statement.strip_suffix(" and try again."))
            .unwrap_or(statement);
        if let Err(e) = run_and_undo(&mut admin, &before, statement, |_| ()) {
            // On an object that is not there, or by the wrong one; no other statement.
            assert!(
                ["42704", "42501", "0LP01"].contains(&e.code.as_str()),
                "{statement:?}: {e}"
            );
        }
    }
    // The end of logins by the worker, and refused logins, write to the log.
    for name in names() {
        let cred = short("c", &name);
        admin.run(&format!(
            "CREATE TABLE of_it (x int); ALTER TABLE of_it OWNER TO {0}",
            ident(&cred)
        ));
        admin.run(&format!(
            "SELECT scope.revoke_role({}, {})",
            literal(&cred),
            literal(&name)
        ));
        let _ = server.try_login(&cred, &f.name);
        admin.run("DROP TABLE of_it");
    }
    wait_until("all are dropped", 60, || {
        admin.run("SELECT scope.expire_roles()");
        admin.holds("NOT EXISTS (SELECT FROM scope.credentials WHERE kind = 'credential')")
    });
    for line in server
        .log()
        .lines()
        .filter(|line| line.contains("scope_roles: "))
    {
        // What stands before it is PostgreSQL's.
        let ours = line
            .split_once("scope_roles: ")
            .map_or("", |(_, ours)| ours);
        assert_seen("log", ours);
    }
}
