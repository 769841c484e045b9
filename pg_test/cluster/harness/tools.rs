//! The server's programs, run as somebody whom PostgreSQL accepts.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// PostgreSQL refuses to run as root, so root's servers belong to this user.
const SERVER_USER: &str = "postgres";

static BINDIR: LazyLock<PathBuf> = LazyLock::new(|| folder("--bindir"));
static LIBDIR: LazyLock<PathBuf> = LazyLock::new(|| folder("--pkglibdir"));

fn folder(which: &str) -> PathBuf {
    let pg_config = std::env::var_os("SCOPE_ROLES_PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    PathBuf::from(output(Command::new(pg_config).arg(which)))
}

static IS_ROOT: LazyLock<bool> =
    LazyLock::new(|| std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0));

/// Has the server this library? Not every build comes with PostgreSQL's own extensions, let alone those of others.
pub fn has_library(name: &str) -> bool {
    LIBDIR.join(format!("{name}.so")).exists()
}

/// Where the server's programs are.
pub fn bindir() -> &'static Path {
    &BINDIR
}

/// A server program in `dir`, with none of the caller's `PG…` environment.
pub fn program(name: &str, dir: &Path) -> Command {
    command_in(&BINDIR.join(name), dir)
}

/// The programs of a server of an older major version that has the extension too; `None`, and said so, without one.
pub fn older_bindir() -> Option<PathBuf> {
    let Some(pg_config) = std::env::var_os("SCOPE_ROLES_OLDER_PG_CONFIG") else {
        skip("SCOPE_ROLES_OLDER_PG_CONFIG names no server of an older version");
        return None;
    };
    let ask = |which: &str| PathBuf::from(output(Command::new(&pg_config).arg(which)));
    if !ask("--pkglibdir").join("scope_roles.so").exists() {
        skip("the server of an older version has no scope_roles");
        return None;
    }
    Some(ask("--bindir"))
}

/// Any program, run like one of the server's.
pub fn command_in(path: &Path, dir: &Path) -> Command {
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

/// A key and a certificate for TLS in a new folder of the server's user; `None`, and said so, where the server or this machine can't.
pub fn certificate(dir: &str) -> Option<PathBuf> {
    let pg_config = std::env::var_os("SCOPE_ROLES_PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    let options = output(Command::new(pg_config).arg("--configure"));
    if !options.contains("ssl") {
        skip("this server is built without TLS");
        return None;
    }
    let folder = super::guard::ROOT.join(dir);
    make_dir(&folder);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        skip("there is no openssl to make a certificate with");
        return None;
    }
    for file in ["server.key", "server.crt"] {
        give_away(&folder.join(file));
    }
    Some(folder)
}

/// Says that a test was not run, and why, past the capture of the test's output.
pub fn skip(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
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
