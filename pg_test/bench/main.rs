//! `make bench`: what the extension costs, against what people use instead, in one server, run in turns; then how cost grows.
//!
//! The table goes to the screen, to `bench.md` and `bench.json` in the target folder, and to docs/benchmark.md; the curves go to
//! docs/curves.md and docs/curves.svg. With `ONLY` it measures the rows that have this in their name, and leaves the documents as
//! they are; with `CURVES` it draws the curves alone. The exit status is 1 when a row misses its target, or something cannot be
//! measured.

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
mod door;
mod lock;
mod measure;
mod report;
mod rows;
mod scene;
mod tokens;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
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
    // As it was before the measurements loaded the machine themselves.
    let about = report::about(&scene);
    let curves_alone = std::env::var_os("CURVES").is_some();
    let mut good = true;
    if !curves_alone {
        good = rows(&scene, &about, &chosen, only.is_empty());
    }
    if curves_alone {
        good = curves::draw(&scene, &about);
    } else if only.is_empty() {
        // A server of their own: the rows have left much behind in theirs.
        drop(scene);
        good &= curves::draw(&scene::Scene::set(), &about);
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether every target was met.
fn rows(scene: &scene::Scene, about: &report::About, chosen: &[&rows::Row], whole: bool) -> bool {
    let mut report = report::Report::new(about);
    for row in chosen {
        eprintln!("    measuring {}", row.name);
        // A row that fails must not take the others with it: its panic has said why.
        let measured = std::panic::catch_unwind(AssertUnwindSafe(|| (row.measure)(scene)));
        report.add(
            row,
            measured.unwrap_or_else(|_| Err("it failed, see above".into())),
        );
    }
    report.finish(whole)
}
