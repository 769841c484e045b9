//! Python drivers, each in a process of its own.

use std::path::Path;
use std::process::Command;

use super::{Server, skip};

/// Runs a script of the tests with one of the Python drivers, which says "fine" or fails.
pub fn assert_driver_works(script: &str, driver: &str, server: &Server, arguments: &[&str]) {
    let Some(packages) = std::env::var_os("SCOPE_ROLES_PYTHON_DRIVERS") else {
        return skip("there are no Python drivers here (SCOPE_ROLES_PYTHON_DRIVERS)");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("pg_test/cluster")
        .join(script);
    let socket = server.socket();
    let done = Command::new("python3")
        .env("PYTHONPATH", packages)
        .arg("-B")
        .arg(script)
        .arg(driver)
        .arg(socket.parent().expect("a folder"))
        .arg(server.port().to_string())
        .args(arguments)
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{driver}:\n{said}");
    assert_eq!(done.stdout, b"fine\n", "{driver}:\n{said}");
}
