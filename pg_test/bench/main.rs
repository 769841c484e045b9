//! `make bench`: what the extension costs, against what people use instead, in one server, run in turns.
//!
//! `ONLY` picks rows by a part of their name. The table also goes to `bench.md` and `bench.json` in the target folder. The exit
//! status is 1 when a row misses its target or cannot be measured. With `CURVES` set it draws the curves instead.

// A benchmark that cannot set its scene has nothing to report but that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The servers and sessions of the cluster tests. The folder is named on a module around the file, because a file that is named
/// itself would look for its submodules beside it instead of in its folder.
#[allow(dead_code, unused_imports)]
#[path = "../cluster"]
mod cluster {
    pub mod harness;
}

mod access;
mod audit;
mod credentials;
mod curves;
mod lock;
mod measure;
mod report;
mod rows;
mod scene;
mod tokens;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::var_os("CURVES").is_some() {
        curves::draw();
        return ExitCode::SUCCESS;
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    let chosen: Vec<&rows::Row> = rows::ALL
        .iter()
        .filter(|row| row.name.contains(&only))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = rows::ALL.iter().map(|row| row.name).collect();
        eprintln!(
            "no row has {only:?} in its name; there are: {}",
            names.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let scene = scene::Scene::set();
    let mut report = report::Report::new(&scene);
    for row in chosen {
        eprintln!("    measuring {}", row.name);
        // A row that fails must not take the others with it: its panic has said why.
        let measured = std::panic::catch_unwind(AssertUnwindSafe(|| (row.measure)(&scene)));
        report.add(
            row,
            measured.unwrap_or_else(|_| Err("it failed, see above".into())),
        );
    }
    if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
