//! The server's programs, run as somebody whom PostgreSQL accepts.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// PostgreSQL refuses to run as root, so root's servers belong to this user.
const SERVER_USER: &str = "postgres";

static BINDIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let pg_config = std::env::var_os("SCOPE_ROLES_PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    PathBuf::from(output(Command::new(pg_config).arg("--bindir")))
});

static IS_ROOT: LazyLock<bool> =
    LazyLock::new(|| std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0));

/// A server program in `dir`, with none of the caller's `PG…` environment.
pub fn program(name: &str, dir: &Path) -> Command {
    let path = BINDIR.join(name);
    let mut command = if *IS_ROOT {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                SERVER_USER,
                "--regid",
                SERVER_USER,
                "--init-groups",
                "--",
            ])
            .arg(path);
        command
    } else {
        Command::new(path)
    };
    let search = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", search)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// Makes an empty folder that the server's user can write.
pub fn make_dir(path: &Path) {
    std::fs::create_dir_all(path)
        .unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
    give_away(path);
}

pub fn give_away(path: &Path) {
    if *IS_ROOT {
        let id = |flag: &str| {
            output(Command::new("id").args([flag, SERVER_USER]))
                .parse()
                .ok()
        };
        std::os::unix::fs::chown(path, id("-u"), id("-g")).expect("chown");
    }
}

/// Runs a command that must succeed and returns what it printed.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} failed: {errors}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Sends a signal by its name to a process of ours. The shell's own `kill` is everywhere; the program is not.
pub fn signal(name: &str, pid: impl AsRef<OsStr>) -> bool {
    let script = r#"kill -"$0" "$1""#;
    let shell = Command::new("sh")
        .args(["-c", script, name])
        .arg(pid)
        .stderr(Stdio::null())
        .status();
    shell.is_ok_and(|status| status.success())
}

/// The processes that a process has started and that live.
pub fn children(pid: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |process: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name before it may hold anything but ends with the last parenthesis.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').nth(1) == Some(pid)
    };
    processes
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(is_child)
        .collect()
}
