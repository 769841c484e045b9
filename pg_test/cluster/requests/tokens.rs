//! People who come by a token: the subject is the person.

use serde_json::json;

use crate::harness::*;
use crate::jwt::{Gate, switch};

/// An authenticator for two roles: those who ask, and those who decide.
struct Tokens {
    g: Gate<'static>,
    auth: Credential,
    scope: String,
}

impl Tokens {
    fn new(name: &str) -> Self {
        let g = Gate::new(name);
        let mut admin = g.f.admin();
        let auth = admin.handed(&format!(
            "scope.create_authenticator('{name}_gated', '{{{},{}}}')",
            g.reader, g.writer
        ));
        let scope = format!("{name}_scope");
        admin.run(&format!(
            "SELECT scope.create_scope('{scope}', tables => '{{vault}}');
             SELECT scope.create_request_policy('vault', '{{{scope}}}', '{{{},{}}}', '[{{\"role\": \"{}\"}}]', kind => 'credential')",
            g.reader, g.writer, g.writer
        ));
        Tokens { g, auth, scope }
    }

    /// One transaction of a subject, as a role.
    fn acting(&self, role: &str, subject: &str, more: serde_json::Value) -> Session {
        let mut claims = json!({"role": role, "sub": subject});
        if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
            claims.extend(more.clone());
        }
        let mut session = self.auth.connect();
        session.run(&format!("BEGIN; {}", switch(&self.g.token(claims))));
        session
    }

    fn ask(&self, role: &str, subject: &str) -> i64 {
        let mut session = self.acting(role, subject, json!({}));
        let id = session.text(&format!(
            "SELECT request FROM scope.request_access('{}', '1 h', 'report')",
            self.scope
        ));
        session.run("COMMIT");
        id.parse().expect("a number")
    }
}

#[test]
fn the_subject_is_the_person_who_asks_and_who_decides() {
    let t = Tokens::new("request_tokens");
    let (reader, writer) = (t.g.reader.as_str(), t.g.writer.as_str());
    let id = t.ask(reader, "ann");
    // Each sees what is theirs, by one login.
    let mut eve = t.acting(reader, "eve", json!({}));
    assert!(eve.rows("SELECT * FROM scope.requests").is_empty());
    eve.refused(&format!("SELECT scope.withdraw({id})"), "42501");
    let mut ben = t.acting(writer, "ben", json!({"jti": "t1"}));
    assert_eq!(
        ben.rows("SELECT requester, to_decide::text FROM scope.requests"),
        [["ann", "true"].map(|cell| Some(cell.to_owned()))]
    );
    ben.run(&format!("SELECT scope.approve({id}, 'fine')"));
    ben.run("COMMIT");
    t.g.f.admin().assert_that(&format!(
        "(SELECT subject = 'ben' AND jti = 't1' AND role = '{writer}' FROM scope.request_log WHERE event = 'approved' AND request = {id})"
    ));
    let mut eve = t.acting(reader, "eve", json!({}));
    eve.refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "42501",
    );
    // It lasts for what was asked for, not for what the token has left.
    let mut ann = t.acting(reader, "ann", json!({"exp": now() + 60}));
    let cred = ann.handed(&format!("scope.take_credential({id})"));
    ann.run("COMMIT");
    assert_eq!(cred.connect().text("SELECT secret FROM vault"), "treasure");
    t.g.f.admin().assert_that(&format!(
        "(SELECT valid_until > now() + '59 min' FROM scope.credentials WHERE role = '{}')",
        cred.role
    ));
}

#[test]
fn attack_a_subject_decides_on_the_own_request() {
    let t = Tokens::new("request_subjects");
    let (reader, writer) = (t.g.reader.as_str(), t.g.writer.as_str());
    let id = t.ask(reader, "ann");
    let call = format!("SELECT scope.approve({id})");
    // By another role, as an actor for somebody else, and as the one for whom somebody acts.
    t.acting(writer, "ann", json!({})).refused(&call, "42501");
    t.acting(writer, "robot", json!({"act": {"sub": "ann"}}))
        .refused(&call, "42501");
    t.acting(
        writer,
        "robot",
        json!({"act": {"sub": "x", "act": {"sub": "ann"}}}),
    )
    .refused(&call, "42501");
    // By a login that came of the own request.
    t.g.f.admin().run(&format!(
        "SELECT scope.create_request_policy('writing', '{{{0}}}', '{{{1}}}', '[{{\"role\": \"{1}\"}}]', kind => 'credential',
           auto_approve => '{{\"max_duration\": \"1 hour\"}}');
         SELECT scope.create_request_policy('vault', '{{{0}}}', '{{{1},{2}}}', '[{{\"role\": \"{0}\"}}]', kind => 'credential', replace => true)",
        t.scope, writer, reader
    ));
    let mut ann = t.acting(writer, "ann", json!({}));
    let own: i64 = ann
        .text(&format!(
            "SELECT request FROM scope.request_access('{}', '1 h', 'x', policy => 'writing')",
            t.scope
        ))
        .parse()
        .expect("a number");
    let cred = ann.handed(&format!("scope.take_credential({own})"));
    ann.run("COMMIT");
    let refusal = cred.connect().refused(&call, "42501");
    assert!(refusal.detail.contains("same subject"), "{refusal}");
}

#[test]
fn a_subject_asks_for_no_membership_and_a_revoked_one_gets_nothing() {
    let t = Tokens::new("request_revoked");
    let (reader, writer) = (t.g.reader.as_str(), t.g.writer.as_str());
    t.g.f.admin().run(&format!(
        "SELECT scope.create_request_policy('member', '{{{}}}', '{{{reader}}}', '[{{\"role\": \"{writer}\"}}]', kind => 'membership')",
        t.scope
    ));
    t.acting(reader, "ann", json!({})).refused(
        &format!(
            "SELECT scope.request_access('{}', '1 h', 'x', policy => 'member')",
            t.scope
        ),
        "42809",
    );
    t.acting(reader, "ann", json!({})).refused(
        &format!("SELECT scope.request_access('{}', '1 h', 'x')", t.scope),
        "22023",
    );
    t.g.f
        .admin()
        .run("SELECT scope.drop_request_policy('member')");
    let id = t.ask(reader, "ann");
    let mut ben = t.acting(writer, "ben", json!({}));
    ben.run(&format!("SELECT scope.approve({id})"));
    ben.run("COMMIT");
    t.g.f.admin().run("SELECT scope.revoke_subject('ann')");
    let later = json!({"iat": now() + 1});
    std::thread::sleep(std::time::Duration::from_secs(2));
    t.acting(reader, "ann", later).refused(
        &format!("SELECT * FROM scope.take_credential({id})"),
        "55000",
    );
}
