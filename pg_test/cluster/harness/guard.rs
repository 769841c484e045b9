//! No server outlives the tests, however they end.
//!
//! Statics are never dropped, and a killed process drops nothing, so a small shell watches a pipe from us. When the pipe closes it
//! stops every server under our folder and removes the folder. A normal exit waits for it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use super::tools;

/// The signals of an interrupted terminal must not end the shell before it has done its work. A pid in a stale file may belong to
/// somebody else by now: a server of ours is one that works in our folder.
const WATCH: &str = r#"
    trap '' INT TERM HUP
    while read -r _; do :; done
    for file in "$1"/*/data/postmaster.pid; do
        read -r pid 2>/dev/null < "$file" || continue
        [ "$(readlink "/proc/$pid/cwd")" = "${file%/postmaster.pid}" ] && kill -QUIT "$pid"
    done
    tries=0
    while [ $tries -lt 200 ] && ls "$1"/*/data/postmaster.pid >/dev/null 2>&1; do
        sleep 0.05; tries=$((tries + 1))
    done
    rm -rf "$1"
"#;

static WATCHER: Mutex<Option<Child>> = Mutex::new(None);

/// The folder of this run. Its name is short because a socket's path has at most 107 bytes.
pub static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("sr-{}", std::process::id()));
    // A recycled pid may find what a lost machine left behind.
    let _ = std::fs::remove_dir_all(&root);
    tools::make_dir(&root);
    let watcher = Command::new("sh")
        .args(["-c", WATCH, "watcher"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell to watch the servers");
    *WATCHER.lock().expect("watcher") = Some(watcher);
    atexit(finish);
    root
});

unsafe extern "C" {
    safe fn atexit(callback: extern "C" fn()) -> std::ffi::c_int;
}

extern "C" fn finish() {
    if let Ok(mut watcher) = WATCHER.lock()
        && let Some(mut watcher) = watcher.take()
    {
        drop(watcher.stdin.take());
        let _ = watcher.wait();
    }
}
