//! What npm gives to tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::{ROOT, make_dir, skip};

/// Once: `npm ci` takes away what another test runs.
static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(install);

/// A folder with our scripts for node, and the packages that they use in `node_modules`. `None`, and said so, where node and npm can't be had.
pub fn npm() -> Option<&'static Path> {
    let folder = FOLDER.as_deref();
    if folder.is_none() {
        skip("npm does not give its packages here");
    }
    folder
}

fn install() -> Option<PathBuf> {
    let folder = ROOT.join("npm");
    make_dir(&folder);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("pg_test/npm");
    for file in std::fs::read_dir(source).expect("our scripts").flatten() {
        std::fs::copy(file.path(), folder.join(file.file_name())).expect("a copy");
    }
    let installed = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--cache",
        ])
        .arg(folder.join("cache"))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output();
    installed
        .is_ok_and(|done| done.status.success())
        .then_some(folder)
}
