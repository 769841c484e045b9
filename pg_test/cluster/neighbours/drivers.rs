//! Real drivers behind an authenticator: what they set up once stays, and the statements that they prepare by themselves run for one token
//! after the other.

use super::*;

fn assert_works(driver: &str) {
    let gate = Gate::new(&format!("driver_{driver}"));
    let login = format!("driver_{driver}_api");
    gate.f.admin().rows(&format!(
        "SELECT scope.create_authenticator('{login}', '{{{}}}')",
        gate.reader
    ));
    let token = gate.token(json!({}));
    let arguments = [gate.f.name.as_str(), &login, &token, &gate.reader];
    assert_driver_works("neighbours/drivers.py", driver, gate.f.server, &arguments);
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
