//! A private server: made from a template, stopped and removed when dropped.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use postgres::config::Config;

use super::guard::ROOT;
use super::session::{Refusal, Session};
use super::token::SECRET;
use super::tools::{bindir, children, command_in, give_away, make_dir, output, signal};
use super::{literal, wait_until};

/// TCP proves passwords; the socket trusts everyone, so tests can be anyone, and so that what refuses a login there is the extension.
const HBA: &str =
    "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

static TEMPLATES: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());

/// A new cluster, made by these programs, to copy.
fn template(programs: &Path) -> PathBuf {
    let mut templates = TEMPLATES.lock().unwrap_or_else(|e| e.into_inner());
    if let Some((_, data)) = templates.iter().find(|(of, _)| of == programs) {
        return data.clone();
    }
    let folder = ROOT.join(format!("template{}", templates.len()));
    make_dir(&folder);
    let data = folder.join("data");
    let initdb = programs.join("initdb");
    // On by default since 18, and a cluster is upgraded only to one that has the same.
    let options = output(command_in(&initdb, &folder).arg("--help"));
    let no_checksums = options
        .contains("--no-data-checksums")
        .then_some("--no-data-checksums");
    output(
        command_in(&initdb, &folder)
            .args(no_checksums)
            .args([
                "--no-sync",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data),
    );
    templates.push((programs.to_owned(), data.clone()));
    data
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

pub struct Options {
    preload: bool,
    durable: bool,
    conf: String,
    hba: String,
    programs: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            preload: true,
            durable: false,
            conf: String::new(),
            hba: HBA.to_owned(),
            programs: bindir().to_owned(),
        }
    }
}

impl Options {
    /// A server that knows nothing of the extension.
    pub fn without_preload() -> Self {
        Options {
            preload: false,
            ..Self::default()
        }
    }

    /// Keeps fsync on, for tests that crash the server.
    pub fn durable() -> Self {
        Options {
            durable: true,
            ..Self::default()
        }
    }

    /// Other rules of authentication than password by TCP and trust by socket.
    pub fn hba(mut self, rules: &str) -> Self {
        self.hba = rules.to_owned();
        self
    }

    /// A server of another version: the folder of its programs.
    pub fn programs(mut self, folder: &Path) -> Self {
        self.programs = folder.to_owned();
        self
    }

    /// Adds a line to postgresql.conf.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.conf += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        self
    }
}

pub struct Server {
    dir: PathBuf,
    port: u16,
    programs: PathBuf,
    postmaster: Mutex<Option<Child>>,
}

impl Server {
    /// Initialises and starts a server, and returns when it answers.
    pub fn start(options: Options) -> Server {
        let server = Server::make(options);
        server.up();
        server
    }

    /// A new server with the cluster of this one, which stops: what pg_upgrade makes of it.
    pub fn upgrade(&self, options: Options) -> Server {
        self.forget_stamps(&options.programs);
        self.down("INT");
        let new = Server::make(options);
        let done = new
            .program("pg_upgrade")
            .arg("--old-bindir")
            .arg(&self.programs)
            .arg("--new-bindir")
            .arg(&new.programs)
            .arg("--old-datadir")
            .arg(self.data())
            .arg("--new-datadir")
            .arg(new.data())
            .arg("--socketdir")
            .arg(&new.dir)
            .arg(format!("--old-port={}", self.port))
            .arg(format!("--new-port={}", new.port))
            .arg("--username=postgres")
            .output()
            .expect("pg_upgrade");
        assert!(
            done.status.success(),
            "{}{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
            logs(&new.data().join("pg_upgrade_output.d"))
        );
        new.up();
        new
    }

    /// 15.20, and every minor release of its time, keeps a stamp among the options of each column. pg_dump of an earlier minor
    /// release hands it on as an option, which no server takes: no cluster can then be upgraded to that one, with the library or
    /// without. A cluster that an earlier release has made has no stamps, and is what remains to test.
    fn forget_stamps(&self, new: &Path) {
        const STAMP: &[u8] = b"pg_attver";
        let program = std::fs::read(new.join("postgres")).unwrap_or_default();
        if program.windows(STAMP.len()).any(|bytes| bytes == STAMP) {
            return;
        }
        let databases = "SELECT datname FROM pg_database WHERE datallowconn";
        for database in self.admin("postgres").column(databases) {
            self.admin(&database).run(
                "SET allow_system_table_mods = on;
                 UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%}'",
            );
        }
    }

    /// A server that is not started yet.
    fn make(options: Options) -> Server {
        let server = Server::place(&options.programs);
        output(
            Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .arg(template(&server.programs))
                .arg(server.data()),
        );
        let mut conf = String::from(
            "listen_addresses = '127.0.0.1'\npassword_encryption = 'scram-sha-256'\nmax_connections = 120\nshared_buffers = '32MB'\n\
             autovacuum_naptime = '5min'\nlog_line_prefix = '%m [%p] %q%u@%d %e '\nwal_level = 'replica'\nmax_prepared_transactions = 8\nmax_wal_size = '256MB'\n",
        );
        if !options.durable {
            conf += "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n";
        }
        if options.preload {
            conf += &format!(
                "shared_preload_libraries = 'scope_roles'\nscope_roles.jwt_secret = '{SECRET}'\nscope_roles.connection_host = '127.0.0.1'\n"
            );
        }
        server.configure(&(conf + &options.conf));
        std::fs::write(server.data().join("pg_hba.conf"), &options.hba).expect("pg_hba.conf");
        server
    }

    /// A streaming standby of this server, with the same settings and then its own.
    pub fn standby(&self, options: Options) -> Server {
        let standby = Server::place(&self.programs);
        output(
            standby
                .program("pg_basebackup")
                .args([
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "--wal-method=stream",
                    "--username=postgres",
                ])
                .arg(format!("--host={}", self.dir.display()))
                .arg(format!("--port={}", self.port))
                .arg(format!("--pgdata={}", standby.data().display())),
        );
        standby.configure(&options.conf);
        standby.up();
        standby
    }

    /// Waits until this standby has all that the primary has committed.
    pub fn has_replayed(&self, primary: &Server) {
        let sent = primary
            .admin("postgres")
            .text("SELECT pg_current_wal_flush_lsn()");
        let mut standby = self.admin("postgres");
        wait_until("the standby has replayed", 30, || {
            standby.holds(&format!("pg_last_wal_replay_lsn() >= {}", literal(&sent)))
        });
    }

    /// Returns when it takes writes.
    pub fn promote(&self) {
        output(
            self.program("pg_ctl")
                .args(["promote", "--pgdata"])
                .arg(self.data()),
        );
    }

    /// Stops in good order and starts again.
    pub fn restart(&self) {
        self.down("INT");
        self.up();
    }

    /// Stops in good order, so that another program may have the data folder.
    pub fn stop(&self) {
        self.down("INT");
    }

    /// What `postgres --single` makes of statements, one a line, on the stopped server's data. `before` runs it: a debugger, say.
    pub fn single_user(
        &self,
        before: &[&str],
        database: &str,
        settings: &[&str],
        statements: &str,
    ) -> Output {
        let postgres = self.programs.join("postgres");
        let mut command = match before {
            [] => command_in(&postgres, &self.dir),
            [outer, arguments @ ..] => {
                let mut command = command_in(Path::new(outer), &self.dir);
                command.args(arguments).arg(postgres);
                command
            }
        };
        command.args(["--single", "-D"]).arg(self.data());
        for setting in settings {
            command.args(["-c", setting]);
        }
        let mut child = command
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres --single");
        let mut input = child.stdin.take().expect("its input");
        let statements = statements.to_owned();
        // It answers while it reads: one who only writes would wait for ever.
        let writer = std::thread::spawn(move || input.write_all(statements.as_bytes()));
        let output = child.wait_with_output().expect("postgres --single");
        let _ = writer.join();
        output
    }

    /// A client program that talks to this server as the superuser.
    pub fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres");
        command
    }

    /// Ends the postmaster as a power cut would: no shutdown, no checkpoint. Returns when its other processes have noticed.
    pub fn crash(&self) {
        let children = children(&self.pid());
        self.down("KILL");
        wait_until("the server's processes have ended", 30, || {
            !children
                .iter()
                .any(|pid| Path::new("/proc").join(pid).exists())
        });
    }

    /// Kills one of the server's processes, for which the postmaster starts all of them anew. Returns when sessions are let in
    /// again; `false` when there is no such process, or it has ended by itself before.
    pub fn kill(&self, pid: impl AsRef<OsStr>) -> bool {
        // Until the postmaster has noticed, sessions come in that it will end. One that is here already tells when it has.
        let mut witness = self.admin("postgres");
        let process = Path::new("/proc").join(pid.as_ref());
        if !signal("KILL", pid) {
            return false;
        }
        let mut gone = None;
        let mut noticed = false;
        wait_until("the server has noticed the crash", 30, || {
            noticed = witness.attempt("SELECT 1").is_err();
            if !process.exists() {
                gone = gone.or_else(|| Some(Instant::now()));
            }
            // One that was on its way out takes the signal, too, and the postmaster sees nothing but its end.
            noticed || gone.is_some_and(|at| at.elapsed() > Duration::from_secs(5))
        });
        if !noticed {
            return false;
        }
        wait_until("the server has recovered", 60, || {
            self.try_login("postgres", "postgres").is_ok()
        });
        true
    }

    /// Stops without a checkpoint: the next start recovers.
    pub fn stop_immediately(&self) {
        self.down("QUIT");
    }

    /// Starts again after [`Server::crash`] or another stop.
    pub fn recover(&self) {
        self.up();
    }

    /// The postmaster's process.
    pub fn pid(&self) -> String {
        let postmaster = self.postmaster.lock().expect("postmaster");
        let child = postmaster.as_ref().expect("a running server");
        child.id().to_string()
    }

    /// Adds lines to postgresql.conf, for the next start.
    pub fn reconfigure(&self, lines: &str) {
        self.configure(lines);
    }

    /// Changes a setting for the whole server. New sessions have it when this returns, open ones at their next command.
    pub fn alter_system(&self, name: &str, value: &str) {
        self.admin("postgres").run(&format!(
            "ALTER SYSTEM SET {name} = '{}'",
            value.replace('\'', "''")
        ));
        self.reload();
    }

    /// Has the configuration read again. New sessions have it when this returns, open ones at their next command.
    pub fn reload(&self) {
        let mut admin = self.admin("postgres");
        let before = literal(&admin.text("SELECT clock_timestamp()"));
        admin.run("SELECT pg_reload_conf()");
        wait_until("the server reads its configuration", 10, || {
            self.admin("postgres")
                .holds(&format!("pg_conf_load_time() > {before}"))
        });
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default())
            .into_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// A session of the superuser, through the socket.
    pub fn admin(&self, db: &str) -> Session {
        self.login("postgres", db)
    }

    /// A session of anyone, through the socket, which asks for no password.
    #[track_caller]
    pub fn login(&self, role: &str, db: &str) -> Session {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            match self.try_login(role, db) {
                Ok(session) => return session,
                // It recovers from a crash that a test has made.
                Err(refusal) if refusal.code == "57P03" && Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(refusal) => panic!("{role} cannot log in to {db}: {refusal}"),
            }
        }
    }

    pub fn try_login(&self, role: &str, db: &str) -> Result<Session, Refusal> {
        Session::open(self.by_socket().user(role).dbname(db))
    }

    pub fn try_login_with_options(
        &self,
        role: &str,
        db: &str,
        options: &str,
    ) -> Result<Session, Refusal> {
        Session::open(self.by_socket().user(role).dbname(db).options(options))
    }

    /// A session through the socket, with a token where a password goes.
    pub fn try_token(&self, role: &str, token: &str, db: &str) -> Result<Session, Refusal> {
        Session::open(self.by_socket().user(role).password(token).dbname(db))
    }

    /// A session over TCP, which asks for the password.
    pub fn try_password(&self, role: &str, password: &str, db: &str) -> Result<Session, Refusal> {
        self.try_tcp("127.0.0.1", role, password, db)
    }

    /// The same to another address.
    pub fn try_tcp(
        &self,
        host: &str,
        role: &str,
        password: &str,
        db: &str,
    ) -> Result<Session, Refusal> {
        let mut config = Config::new();
        config
            .host(host)
            .port(self.port)
            .user(role)
            .password(password)
            .dbname(db);
        Session::open(&config)
    }

    /// What psql says to one statement over TCP with TLS, or else why not.
    pub fn try_tls(
        &self,
        role: &str,
        password: &str,
        db: &str,
        sql: &str,
    ) -> Result<String, String> {
        let target = format!(
            "host=127.0.0.1 port={} user={role} password={password} dbname={db} sslmode=require",
            self.port
        );
        let done = self
            .program("psql")
            .args(["-XAtq", "-c", sql, &target])
            .output()
            .expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if done.status.success() {
            Ok(text(&done.stdout))
        } else {
            Err(text(&done.stderr))
        }
    }

    /// The server's major version and more, as `server_version_num` says it.
    pub fn version(&self) -> u32 {
        self.admin("postgres")
            .text("SHOW server_version_num")
            .parse()
            .expect("a version number")
    }

    pub fn by_socket(&self) -> Config {
        let mut config = Config::new();
        config.host_path(&self.dir).port(self.port);
        config
    }

    fn program(&self, name: &str) -> Command {
        command_in(&self.programs.join(name), &self.dir)
    }

    fn place(programs: &Path) -> Server {
        let dir = ROOT.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        make_dir(&dir);
        Server {
            dir,
            port: free_port(),
            programs: programs.to_owned(),
            postmaster: Mutex::new(None),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn configure(&self, lines: &str) {
        let own = format!(
            "port = {}\nunix_socket_directories = '{}'\n{lines}",
            self.port,
            self.dir.display()
        );
        let mut conf = OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .expect("postgresql.conf");
        conf.write_all(own.as_bytes()).expect("postgresql.conf");
    }

    fn up(&self) {
        let log = open_log(&self.dir.join("log"));
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("postgres");
        let mut postmaster = self.postmaster.lock().expect("postmaster");
        let child = postmaster.insert(child);
        let start = Instant::now();
        loop {
            match self.try_login("postgres", "postgres") {
                Ok(_) => return,
                Err(refusal) if start.elapsed() > Duration::from_secs(60) => {
                    panic!("the server does not answer: {refusal}\n{}", self.log_tail());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if let Ok(Some(status)) = child.try_wait() {
                panic!(
                    "the server stopped ({status}) instead of starting\n{}",
                    self.log_tail()
                );
            }
        }
    }

    fn down(&self, how: &str) {
        let Ok(mut postmaster) = self.postmaster.lock() else {
            return;
        };
        let Some(mut child) = postmaster.take() else {
            return;
        };
        signal(how, child.id().to_string());
        let start = Instant::now();
        while let Ok(None) = child.try_wait() {
            if start.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log\n{}", self.log_tail());
        }
        self.down("QUIT");
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The ends of all files below a folder.
fn logs(folder: &Path) -> String {
    let mut found = String::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = path.path();
        if path.is_dir() {
            found += &logs(&path);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            found += &format!("--- {}\n{end}\n", path.display());
        }
    }
    found
}

fn open_log(path: &Path) -> File {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("log");
    give_away(path);
    log
}

/// A port below the range that the kernel gives to outgoing connections, so that none of those can take it before the server does.
fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new((std::process::id() % 499) as u16 * 20));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
