//! Issuers whose tokens are for anybody.

use crate::harness::*;

#[test]
fn an_issuer_whose_tokens_are_for_anybody_is_found() {
    let f = Fixture::new("review_issuer");
    let mut admin = f.admin();
    let keys = literal(&Key::ed25519("ed").jwk().to_string());
    for (name, keys, more) in [
        ("open \"one\"", keys.as_str(), ""),
        ("meant", &keys, ", audiences => '{db}'"),
        (
            "required",
            &keys,
            ", required_claims => '{\"azp\": \"shop\"}'",
        ),
        ("typed", &keys, ", token_types => '{at+jwt}'"),
        // Whoever knows a secret is one, and signs for whom it likes.
        ("secret", "repeat('s', 40)", ""),
    ] {
        admin.run(&format!(
            "SELECT scope.add_jwt_issuer('{name}', 'https://{name}.example.org', {keys}{more})"
        ));
    }
    let found = "SELECT concat_ws('|', object_name, severity, role_name, fix) FROM scope.review() WHERE code = 'issuer_for_anybody' ORDER BY object_name";
    let rows = admin.column(found);
    let objects: Vec<&str> = rows
        .iter()
        .map(|row| row.split('|').next().unwrap())
        .collect();
    assert_eq!(objects, ["issuer \"open \"\"one\"\"\"", "issuer typed"]);
    assert!(
        rows.iter().all(|row| row.contains("|medium|-- ")),
        "{rows:?}"
    );
    admin.run("UPDATE _scope.jwt_issuer SET audiences = '{db}'");
    assert!(admin.column(found).is_empty());
}
