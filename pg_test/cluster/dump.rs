//! pg_dump by those who could dump the database before it had the extension: its owner, members of pg_read_all_data.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::harness::*;

const SECRET: &str = "dumped-dumped-dumped-dumped-dumped-dumped";

fn dump(f: &Fixture<'_>, login: &str, options: &[&str]) -> Result<PathBuf, String> {
    let file = f
        .server
        .socket()
        .with_file_name(format!("{}_{login}.dump", f.name));
    let done = f
        .server
        .client("pg_dump")
        .args(["-U", login, "-f"])
        .arg(&file)
        .args(options)
        .arg(&f.name)
        .output()
        .expect("pg_dump");
    match done.status.success() {
        true => Ok(file),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// The database's owner, and a member of pg_read_all_data who owns nothing.
fn dumpers(f: &Fixture<'_>) -> [String; 2] {
    let owner = f.role("owner", "LOGIN");
    let reader = f.role("reader", "LOGIN IN ROLE pg_read_all_data");
    f.admin().run(&format!(
        "ALTER DATABASE {} OWNER TO {owner}; ALTER TABLE orders OWNER TO {owner}; ALTER TABLE vault OWNER TO {owner}",
        f.name
    ));
    [owner, reader]
}

/// Something in each table that is kept.
fn fill(f: &Fixture<'_>) {
    f.admin().run(&format!(
        "SELECT scope.add_jwt_issuer('hmac', 'https://hmac.example.org', '{SECRET}');
         SELECT scope.add_jwt_issuer('rsa', 'https://rsa.example.org', {});
         SELECT scope.revoke_token('jti-1', now() + '1 hour'), scope.revoke_subject('sub-1');
         SELECT scope.create_scope('{}_s', tables => '{{orders}}');
         CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT scope.allow_writes('w()');
         INSERT INTO _scope.accepted_finding VALUES ('public_create', '', '', 'known', now() + '1 day', 'somebody');
         SELECT scope.attest('{1}_s', 'all is well')",
        literal(&jwks(&[&Key::rsa("dump")])),
        f.name,
    ));
}

fn command(f: &Fixture<'_>, name: &str) -> Command {
    f.server.client(name)
}

#[test]
fn who_could_dump_before_the_extension_can_after_it() {
    let f = Fixture::new("dump_who");
    let dumpers = dumpers(&f);
    f.admin().run("DROP EXTENSION scope_roles");
    for login in &dumpers {
        dump(&f, login, &[]).expect("before");
    }
    f.admin().run("CREATE EXTENSION scope_roles");
    for login in &dumpers {
        dump(&f, login, &[]).expect("empty");
    }
    fill(&f);
    for login in &dumpers {
        for options in [
            &[][..],
            &["-Fc"],
            &["--data-only"],
            &["--schema-only"],
            &["--enable-row-security"],
            &["--inserts"],
        ] {
            let file = dump(&f, login, options).expect("filled");
            let text = fs::read(&file).expect("the dump");
            let has = |word: &str| {
                text.windows(word.len())
                    .any(|window| window == word.as_bytes())
            };
            assert!(!has(SECRET), "{login} {options:?}");
            if options.is_empty() {
                for kept in [
                    "jti-1",
                    "sub-1",
                    "https://hmac.example.org",
                    "public.orders",
                    "all is well",
                    "public_create",
                ] {
                    assert!(has(kept), "{login}: {kept}");
                }
            }
        }
    }
    // A superuser's has no secret either.
    let file = dump(&f, "postgres", &[]).expect("a superuser's");
    assert!(!fs::read_to_string(file).expect("the dump").contains(SECRET));
    // Others could not, and cannot.
    let other = f.role("other", "LOGIN");
    dump(&f, &other, &[]).expect_err("it owns nothing");
}

#[test]
fn what_they_have_dumped_is_restored_and_secrets_are_set_anew() {
    let f = Fixture::new("dump_restore");
    let dumpers = dumpers(&f);
    fill(&f);
    let keys = |admin: &mut Session| {
        admin.rows("SELECT name, issuer, keys FROM _scope.jwt_issuer ORDER BY 1")
    };
    let before = keys(&mut f.admin());
    for (number, login) in dumpers.iter().enumerate() {
        let file = dump(&f, login, &["-Fc"]).expect("the dump");
        let copy = format!("{}_{number}", f.name);
        output(command(&f, "createdb").arg(&copy));
        output(
            command(&f, "pg_restore")
                .args(["--exit-on-error", "-d", &copy])
                .arg(&file),
        );
        let mut admin = f.server.admin(&copy);
        assert_eq!(keys(&mut admin), before);
        for table in [
            "_scope.jwt_revoked_token",
            "_scope.jwt_revoked_subject",
            "scope.writing_function",
            "_scope.accepted_finding",
            "_scope.attestation",
        ] {
            assert_eq!(
                admin.text(&format!("SELECT count(*) FROM {table}")),
                "1",
                "{table}"
            );
        }
        admin.assert_that(&format!(
            "EXISTS (SELECT FROM scope.scope_declarations WHERE scope = '{}_s')",
            f.name
        ));
        admin.assert_that("EXISTS (SELECT FROM scope.audit_log)");
        // An issuer without its secret verifies nothing, whatever it is asked.
        let token = |secret: &str| {
            sign_with(
                &json!({"iss": "https://hmac.example.org", "sub": "x", "exp": now() + 60}),
                secret,
                jsonwebtoken::Algorithm::HS256,
            )
        };
        let verify = |secret: &str| format!("SELECT scope.verify_jwt({})", literal(&token(secret)));
        for secret in [
            SECRET,
            "00000000-0000-0000-0000-00000000000000000000-0000-0000-0000-000000000000",
        ] {
            let refusal = admin.refused_with(&verify(secret), "28000", "keys_expired");
            assert!(
                refusal.hint.contains("scope.set_jwt_keys('hmac'"),
                "{refusal}"
            );
        }
        let keys = "SELECT key_count FROM scope.jwt_issuers WHERE name = 'hmac'";
        let finding = "EXISTS (SELECT FROM scope.review() WHERE code = 'issuer_without_keys' AND object_name = 'issuer hmac')";
        assert_eq!(admin.text(keys), "0");
        admin.assert_that(finding);
        admin.run(&format!("SELECT scope.set_jwt_keys('hmac', '{SECRET}')"));
        assert_eq!(admin.text(keys), "1");
        admin.assert_that(&format!("NOT {finding}"));
        admin.rows(&verify(SECRET));
    }
}

/// They read what is dumped; secrets are elsewhere, and writing is superusers'.
#[test]
fn those_who_dump_read_no_secret_and_write_nothing() {
    let f = Fixture::new("dump_attack");
    let mut all = dumpers(&f).to_vec();
    all.push(f.role("all", "LOGIN IN ROLE pg_read_all_data, pg_write_all_data"));
    fill(&f);
    let mut admin = f.admin();
    admin.run("ANALYZE; SELECT scope.add_jwt_issuer('mixed', 'https://mixed.example.org', '{\"keys\":[{\"kty\":\"oct\",\"k\":\"bWl4ZWRtaXhlZG1peGVkbWl4ZWRtaXhlZG1peGVkbWl4ZWQ\"}]}')");
    let tables = admin.column("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = ANY ('{scope,_scope}'::regnamespace[]) AND relkind = 'r'");
    assert!(tables.len() >= 9, "{tables:?}");
    for login in &all {
        let mut s = f.login(login);
        let mut seen = String::new();
        for table in &tables {
            if let Ok(rows) = s.attempt(&format!("SELECT t::text FROM {table} t")) {
                seen += &format!("{rows:?}");
            }
            for attack in [
                "INSERT INTO {t} DEFAULT VALUES",
                "UPDATE {t} SET ctid = ctid",
                "DELETE FROM {t}",
                "TRUNCATE {t}",
                "COPY {t} FROM STDIN",
            ] {
                s.fails(&attack.replace("{t}", table));
            }
            let column = admin.text(&format!(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum = 1"
            ));
            for attack in [
                "UPDATE {t} SET {c} = {c}",
                "DELETE FROM {t} WHERE {c} IS NULL",
                "INSERT INTO {t} SELECT * FROM {t}",
                "ALTER TABLE {t} DISABLE TRIGGER only_superusers",
                "SET session_replication_role = replica",
            ] {
                s.denied(
                    &attack.replace("{t}", table).replace("{c}", &column),
                    "42501",
                );
            }
        }
        assert!(
            !seen.contains(SECRET) && !seen.contains("bWl4ZWRt"),
            "{login}: {seen}"
        );
        assert!(seen.contains("https://hmac.example.org"), "{login}: {seen}");
        for sql in [
            "SELECT stavalues1::text FROM pg_statistic WHERE starelid = '_scope.jwt_issuer_secret'::regclass",
            "SELECT * FROM pg_stats WHERE tablename = 'jwt_issuer_secret'",
            "SELECT * FROM scope.jwt_issuers",
        ] {
            if let Ok(rows) = s.attempt(sql) {
                assert!(!format!("{rows:?}").contains(SECRET), "{login}: {sql}");
            }
        }
    }
    // An issuer that is made anew has nothing of the one before it.
    admin.run("DELETE FROM _scope.jwt_issuer WHERE name = 'hmac'");
    admin.run("SELECT scope.add_jwt_issuer('hmac', 'https://hmac.example.org', 'another-another-another-another-another')");
    assert_eq!(
        admin.text("SELECT keys FROM _scope.jwt_issuer_secret WHERE name = 'hmac'"),
        "another-another-another-another-another"
    );
    // Public keys take the secret's place, and the other way round.
    admin.run(&format!(
        "SELECT scope.set_jwt_keys('hmac', {})",
        literal(&jwks(&[&Key::rsa("then")]))
    ));
    admin.assert_that("NOT EXISTS (SELECT FROM _scope.jwt_issuer_secret WHERE name = 'hmac') AND (SELECT keys IS NOT NULL FROM _scope.jwt_issuer WHERE name = 'hmac')");
    admin.run("SELECT scope.set_jwt_keys('hmac', 'another-another-another-another-another'); SELECT scope.drop_jwt_issuer('hmac')");
    admin.assert_that("NOT EXISTS (SELECT FROM _scope.jwt_issuer_secret WHERE name = 'hmac')");
}
