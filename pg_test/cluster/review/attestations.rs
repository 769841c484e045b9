//! What has changed since somebody signed: everything, and nothing that was to change.

use super::{NOTHING, clean, findings};
use crate::harness::*;

/// No rows.
const NOBODY: Vec<Vec<Option<String>>> = Vec::new();
const CHANGED: &str = "SELECT finding FROM scope.review() WHERE code = 'attestation_changed'";

fn scene<'a>(server: &'a Server, name: &str) -> Fixture<'a> {
    let f = clean(server, name);
    f.admin().run(
        "CREATE ROLE team; GRANT SELECT, INSERT, UPDATE ON orders TO team; CREATE ROLE rest; GRANT rest TO postgres; GRANT SELECT ON vault TO rest;
         CREATE ROLE person LOGIN VALID UNTIL '2100-01-01'; GRANT SELECT ON vault TO person",
    );
    f
}

#[test]
fn an_end_that_was_planned_is_no_change_and_one_that_was_not_is() {
    let server = Server::start(Options::default());
    let f = scene(&server, "attest_ends");
    let mut admin = f.admin();
    admin.run("SELECT scope.grant_temporary('team', 'person', '3 seconds'); SELECT scope.attest('person', 'until then')");
    admin.assert_that("(SELECT bool_or(line ~ 'SELECT on table public.orders .* until 20') FROM _scope.attestation, unnest(access) line)");
    assert_eq!(findings(&mut admin), NOTHING);
    wait_until("it has ended", 30, || {
        !admin.holds("EXISTS (SELECT FROM scope.credentials WHERE kind = 'temporary')")
    });
    admin.assert_that("NOT has_table_privilege('person', 'orders', 'SELECT')");
    assert_eq!(findings(&mut admin), NOTHING);
    // Earlier than it was to end.
    admin.run("SELECT scope.grant_temporary('team', 'person', '1 hour'); SELECT scope.attest('person', 'for an hour'); SELECT scope.revoke_temporary('team', 'person')");
    wait_until("it has gone", 30, || {
        !admin.holds("EXISTS (SELECT FROM scope.credentials WHERE kind = 'temporary')")
    });
    let told = admin.text(CHANGED);
    assert!(
        told.contains("gone: INSERT, SELECT, UPDATE on table public.orders") && !told.contains('"'),
        "{told}"
    );
    // What is proposed is not to sign what nobody has looked at.
    let fix = admin.text("SELECT fix FROM scope.review() WHERE code = 'attestation_changed'");
    assert!(fix.starts_with("-- revoke what is not right"), "{fix}");
    // A login's own deadline.
    admin.run("SELECT scope.create_scope('reads', tables => '{orders}'); SELECT scope.create_credential('{reads}', 'cred', '1 hour'); SELECT scope.attest('cred', 'for an hour')");
    admin.run(
        "SELECT scope.attest('person', 'as it is'); SELECT scope.renew_role('cred', '2 hours')",
    );
    assert_eq!(findings(&mut admin), NOTHING);
}

#[test]
fn all_that_has_changed_is_shown() {
    let server = Server::start(Options::default());
    let f = scene(&server, "attest_all");
    let mut admin = f.admin();
    admin.run(
        "SELECT scope.attest('person', 'one table');
         DO $$ BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE t%s (); GRANT SELECT, DELETE ON t%1$s TO person', i); END LOOP; END $$",
    );
    let told = admin.text(CHANGED);
    for i in 1..=40 {
        assert!(
            told.contains(&format!(
                "new: DELETE, SELECT on table public.t{i} (direct)"
            )),
            "t{i}: {told}"
        );
    }
    assert!(!told.contains("more"), "{told}");
}

/// Names and memberships are not read in one moment, nor is either a matter of the transaction's snapshot.
#[test]
fn a_role_that_has_gone_is_shown_to_nobody() {
    let server = Server::start(Options::default());
    let f = scene(&server, "attest_gone");
    let (mut admin, mut old) = (f.admin(), f.admin());
    admin.run("SELECT scope.grant_temporary('team', 'person', '1 hour'); SELECT scope.attest('person', 'for an hour')");
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_auth_members");
    let nameless = "SELECT * FROM scope.effective_access() WHERE '' IN (role_name, grantor) OR object_name IN ('', '\"\"') OR '' = ANY (path)";
    assert_eq!(old.rows(nameless), NOBODY);
    admin.run("SELECT scope.revoke_temporary('team', 'person')");
    // While the worker is at it, and afterwards.
    wait_until("it has gone", 30, || {
        assert_eq!(admin.rows(nameless), NOBODY);
        assert_eq!(old.rows(nameless), NOBODY);
        let told = old.text(CHANGED);
        assert!(!told.contains("\"\""), "{told}");
        !admin.holds("EXISTS (SELECT FROM scope.credentials WHERE kind = 'temporary')")
    });
    assert_eq!(old.rows(nameless), NOBODY);
    let told = old.text(CHANGED);
    assert!(told.contains("gone: ") && !told.contains("\"\""), "{told}");
}
