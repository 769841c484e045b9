//! docs/providers.md: what is registered there takes the token that is shown, and none that lacks something.

use serde_json::{Value, json};

use crate::harness::*;

const PAGE: &str = include_str!("../../../docs/providers.md");
/// In place of the algorithms of the page: one key is quickly made.
const ALGORITHM: &str = "ES256";

fn blocks<'a>(section: &'a str, kind: &str) -> Vec<&'a str> {
    let begin = format!("```{kind}\n");
    let block = |text: &'a str| text.split_once("\n```").expect("an end").0;
    section.split(&begin[..]).skip(1).map(block).collect()
}

/// The token as shown, issued just now.
fn token(key: &Key, header: &Value, payload: &Value) -> String {
    let (mut header, mut payload) = (header.clone(), payload.clone());
    header["alg"] = json!(ALGORITHM);
    header["kid"] = json!("documents");
    for (claim, after) in [("iat", -5), ("nbf", -5), ("auth_time", -60), ("exp", 600)] {
        if payload.get(claim).is_some() {
            payload[claim] = json!(now() + after);
        }
    }
    key.token_with(&header, &payload)
}

#[test]
fn each_provider_of_the_page_takes_its_own_token_and_no_other() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "providers");
    let mut admin = f.admin();
    admin.run(
        "CREATE ROLE shop_reports; CREATE ROLE shop_clerk; CREATE ROLE shop_migrations; CREATE ROLE authenticated;
         CREATE ROLE web LOGIN NOINHERIT IN ROLE shop_reports, shop_clerk, shop_migrations, authenticated",
    );
    let key = Key::p256("documents");
    let mut session = f.login("web");
    let mut providers = 0;
    for section in PAGE.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        let json: Vec<Value> = blocks(section, "json")
            .into_iter()
            .map(|text| serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}")))
            .collect();
        let [header, payload] = json.as_slice() else {
            panic!("{name}: a header and a payload")
        };
        let [sql] = blocks(section, "sql")[..] else {
            panic!("{name}: one block of SQL")
        };
        let expected = sql
            .split_once("-- this token takes ")
            .expect("a role")
            .1
            .trim();
        let of_page = header["alg"].as_str().expect("an alg");
        assert!(sql.contains(of_page), "{name}: {of_page}");
        admin.run(
            &sql.replace(r#"{"keys": [ … ]}"#, &jwks(&[&key]))
                .replace(of_page, ALGORITHM)
                .replace("{ES256,ES256}", "{ES256}"),
        );
        let mut takes = |header: &Value, payload: &Value| {
            session.run("BEGIN");
            let call = format!(
                "SELECT scope.set_jwt_role({})",
                literal(&token(&key, header, payload))
            );
            let taken = session.attempt(&call);
            session.run("ROLLBACK");
            taken.map(|rows| rows[0][0].clone().unwrap_or_default())
        };
        let taken = takes(header, payload);
        assert_eq!(taken.as_deref().ok(), Some(expected), "{name}: {taken:?}");
        // Each claim that the page asks for is asked for: a token without it is refused.
        let row = admin.text(
            &format!(
                "SELECT row_to_json(i) FROM (SELECT required_claims, audiences, role_claim FROM scope.jwt_issuers WHERE issuer = {}) i",
                literal(payload["iss"].as_str().expect("an iss"))
            ),
        );
        let rules: Value = serde_json::from_str(&row).expect("JSON");
        let mut asked = vec![
            rules["role_claim"].as_str().expect("a claim").to_owned(),
            "exp".into(),
        ];
        asked.extend(
            rules["required_claims"]
                .as_object()
                .expect("claims")
                .keys()
                .cloned(),
        );
        if rules["audiences"] != json!([]) {
            asked.push("aud".into());
        }
        assert!(asked.len() > 2, "{name}: {asked:?}");
        for claim in asked {
            let outermost = match claim.strip_prefix('.') {
                Some(path) if path.starts_with('"') => path.split('"').nth(1),
                Some(path) => path.split('.').next(),
                None => Some(claim.as_str()),
            };
            let mut other = payload.clone();
            let claims = other.as_object_mut().expect("claims");
            assert!(
                claims.remove(outermost.expect("a claim")).is_some(),
                "{name}: {claim}"
            );
            let taken = takes(header, &other);
            assert!(taken.is_err(), "{name}, without {claim}: {taken:?}");
        }
        providers += 1;
    }
    assert_eq!(providers, 10);
}
