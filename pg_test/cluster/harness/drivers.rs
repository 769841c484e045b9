//! Drivers of other languages, each in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

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

/// Runs a program that says "fine" or fails. Any other line of its output is a question, whose answer it reads.
pub fn assert_fine(program: &mut Command, answer: impl Fn(&str) -> String) {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program:?}: {e}"));
    let mut input = child.stdin.take().expect("its input");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut is_fine = false;
    for line in output.lines().map(|line| line.expect("a line")) {
        is_fine = line == "fine";
        if !is_fine {
            writeln!(input, "{}", answer(&line)).expect("an answer");
        }
    }
    let done = child.wait_with_output().expect("its end");
    assert!(
        is_fine && done.status.success(),
        "{program:?}:\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
