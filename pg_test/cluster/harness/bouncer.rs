//! The real PgBouncer in transaction mode, with one server connection for each login and database unless more are asked for.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postgres::config::Config;

use super::session::{Refusal, Session};
use super::tools::{command_in, make_dir};
use super::{Server, Wire, wait_until};

const PORT: u16 = 6432;

/// Ends PgBouncer when our end of the pipe closes, however that comes about.
const WATCH: &str = r#"
    trap '' INT TERM HUP
    "$@" & pid=$!
    while read -r _; do :; done
    kill -KILL "$pid"
"#;

pub struct Bouncer {
    dir: PathBuf,
    shell: Child,
}

impl Bouncer {
    /// In front of a server, for these logins. None where there is no PgBouncer.
    pub fn start(server: &Server, name: &str, logins: &[&str]) -> Option<Bouncer> {
        Bouncer::pooling(server, name, logins, 1)
    }

    /// The same with more server connections for each.
    pub fn pooling(
        server: &Server,
        name: &str,
        logins: &[&str],
        connections: u32,
    ) -> Option<Bouncer> {
        let users: Vec<(&str, &str)> = logins.iter().map(|&login| (login, "")).collect();
        let mode = format!("pool_mode = transaction\ndefault_pool_size = {connections}");
        Bouncer::with(server, name, &users, &mode)
    }

    /// The same with passwords, and settings as lines.
    pub fn with(
        server: &Server,
        name: &str,
        users: &[(&str, &str)],
        settings: &str,
    ) -> Option<Bouncer> {
        let program = PathBuf::from(std::env::var_os("SCOPE_ROLES_PGBOUNCER")?);
        let socket = server.socket();
        let (folder, file) = (socket.parent()?, socket.file_name()?.to_str()?);
        let dir = folder.join(name);
        make_dir(&dir);
        let users: String = users
            .iter()
            .map(|(login, password)| format!("\"{login}\" \"{password}\"\n"))
            .collect();
        let ini = format!(
            "[databases]\n* = host={folder} port={port}\n\
             [pgbouncer]\nunix_socket_dir = {dir}\nlisten_port = {PORT}\nauth_type = trust\nauth_file = {dir}/users\n\
             {settings}\nlogfile = {dir}/log\n",
            folder = folder.display(),
            port = file.rsplit('.').next()?,
            dir = dir.display(),
        );
        std::fs::write(dir.join("users"), users).expect("users");
        std::fs::write(dir.join("ini"), ini).expect("ini");
        let shell = command_in(Path::new("sh"), &dir)
            .args(["-c", WATCH, "watcher"])
            .arg(&program)
            .args(["--quiet", "ini"])
            .env("LD_LIBRARY_PATH", libraries(&program))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell to watch PgBouncer");
        let bouncer = Bouncer { dir, shell };
        wait_until("PgBouncer listens", 30, || {
            std::os::unix::net::UnixStream::connect(bouncer.socket()).is_ok()
        });
        Some(bouncer)
    }

    /// What the program says that it is. Only the benchmark has use for it.
    #[allow(dead_code)]
    pub fn version() -> Option<String> {
        let program = PathBuf::from(std::env::var_os("SCOPE_ROLES_PGBOUNCER")?);
        let done = Command::new(&program)
            .arg("--version")
            .env("LD_LIBRARY_PATH", libraries(&program))
            .output()
            .ok()?;
        // Its libraries have lines of their own.
        let said = String::from_utf8(done.stdout).ok()?;
        Some(said.lines().next()?.to_owned())
    }

    #[track_caller]
    pub fn login(&self, role: &str, db: &str) -> Session {
        self.try_login(role, db)
            .unwrap_or_else(|e| panic!("{role} cannot log in to {db}: {e}"))
    }

    pub fn try_login(&self, role: &str, db: &str) -> Result<Session, Refusal> {
        let mut config = Config::new();
        config.host_path(&self.dir).port(PORT).user(role).dbname(db);
        Session::open(&config)
    }

    #[track_caller]
    pub fn wire(&self, role: &str, db: &str) -> Wire {
        Wire::try_open_at(&self.socket(), role, db, &[])
            .unwrap_or_else(|answers| panic!("{role} cannot log in to {db}: {answers:?}"))
    }

    /// A client program of the server that talks to PgBouncer. Only the benchmark has use for it.
    #[allow(dead_code)]
    pub fn client(&self, server: &Server, name: &str, role: &str) -> Command {
        let mut command = server.client(name);
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", role);
        command
    }

    /// A place for files that those programs read.
    #[allow(dead_code)]
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{PORT}"))
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            eprintln!("--- PgBouncer's log\n{log}");
        }
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Its libraries lie beside it when it was unpacked and not installed: /…/usr/sbin/pgbouncer and /…/usr/lib/x86_64-linux-gnu.
fn libraries(program: &Path) -> PathBuf {
    let beside = program
        .parent()
        .and_then(Path::parent)
        .map(|usr| usr.join("lib"));
    let folders = beside.and_then(|lib| std::fs::read_dir(lib).ok());
    let found = folders.and_then(|mut folders| {
        folders.find_map(|folder| {
            let path = folder.ok()?.path();
            path.to_str()?.ends_with("-linux-gnu").then_some(path)
        })
    });
    found.unwrap_or_default()
}
