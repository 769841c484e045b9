//! Real drivers behind an authenticator: what they set up once stays, and the statements that they prepare by themselves run for one token
//! after the other.

use std::process::Command;

use super::*;

fn assert_works(driver: &str) {
    let Some(packages) = std::env::var_os("SCOPE_ROLES_PYTHON_DRIVERS") else {
        return skip("there are no Python drivers here (SCOPE_ROLES_PYTHON_DRIVERS)");
    };
    let gate = Gate::new(&format!("driver_{driver}"));
    let login = format!("driver_{driver}_api");
    gate.f.admin().rows(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{}}}')",
        gate.reader
    ));
    let socket = gate.f.server.socket();
    let folder = socket.parent().expect("a folder");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/pg_test/cluster/neighbours/drivers.py"
    );
    let done = Command::new("python3")
        .env("PYTHONPATH", packages)
        .args(["-B", script, driver])
        .arg(folder)
        .args([
            &gate.f.admin().text("SHOW port"),
            &gate.f.name,
            &login,
            &gate.token(json!({})),
            &gate.reader,
        ])
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{driver}:\n{said}");
    assert_eq!(done.stdout, b"fine\n", "{driver}:\n{said}");
}

#[test]
fn psycopg_is_set_up_once() {
    assert_works("psycopg");
}

#[test]
fn pg8000_is_set_up_once() {
    assert_works("pg8000");
}

#[test]
fn asyncpg_and_its_pool_are_set_up_once() {
    assert_works("asyncpg");
}
