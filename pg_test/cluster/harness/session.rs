//! One connection, with the assertions that the tests speak in.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex};

use postgres::config::Config;
use postgres::error::{DbError, Error};
use postgres::types::ToSql;
use postgres::{Client, NoTls, SimpleQueryMessage};

use super::literal;

pub type Rows = Vec<Vec<Option<String>>>;

/// How a statement travels: the server handles the two in different code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Simple,
    Extended,
}

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    /// Everything else that the server sent with it, for tests of what must not be sent.
    pub rest: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal {
            code,
            message,
            detail,
            hint,
            ..
        } = self;
        write!(f, "[{code}] {message} / DETAIL: {detail} / HINT: {hint}")
    }
}

impl From<&DbError> for Refusal {
    fn from(e: &DbError) -> Self {
        Refusal {
            code: e.code().code().to_owned(),
            message: e.message().to_owned(),
            detail: e.detail().unwrap_or_default().to_owned(),
            hint: e.hint().unwrap_or_default().to_owned(),
            rest: format!("{e:?}"),
        }
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        match e.as_db_error() {
            Some(e) => e.into(),
            // Not the server's words, so it has no SQLSTATE.
            None => Refusal {
                code: String::new(),
                message: format!("{e:?}"),
                detail: String::new(),
                hint: String::new(),
                rest: String::new(),
            },
        }
    }
}

/// What `scope.create_readonly_role` returned.
#[derive(Clone, Debug)]
pub struct Credential {
    pub role: String,
    pub password: String,
    pub valid_until: String,
    pub uri: String,
}

impl Credential {
    /// Connects as the person does who was handed the row.
    #[track_caller]
    pub fn connect(&self) -> Session {
        self.try_connect()
            .unwrap_or_else(|e| panic!("{} cannot connect: {e}", self.role))
    }

    pub fn try_connect(&self) -> Result<Session, Refusal> {
        let mut config: Config = self
            .uri
            .parse()
            .unwrap_or_else(|e| panic!("not a connection URI: {}: {e}", self.uri));
        if config.get_password().is_none() {
            config.password(&self.password);
        }
        Session::open(&config)
    }
}

pub struct Session {
    pub client: Client,
    notices: Arc<Mutex<Vec<Refusal>>>,
}

impl Session {
    pub fn open(config: &Config) -> Result<Session, Refusal> {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let mut config = config.clone();
        config.notice_callback(move |notice| {
            sink.lock().expect("notices").push(Refusal::from(&notice))
        });
        Ok(Session {
            client: config.connect(NoTls)?,
            notices,
        })
    }

    /// Runs statements that must succeed.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        self.client
            .batch_execute(sql)
            .unwrap_or_else(|e| panic!("{sql}\n{}", Refusal::from(e)));
    }

    /// The rows of statements that must succeed.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Rows {
        self.attempt(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"))
    }

    /// The first column of the last row; an SQL null is the empty string.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        let row = rows.pop().unwrap_or_else(|| panic!("no row: {sql}"));
        row.into_iter().next().flatten().unwrap_or_default()
    }

    /// The first column of every row.
    #[track_caller]
    pub fn column(&mut self, sql: &str) -> Vec<String> {
        self.rows(sql)
            .into_iter()
            .map(|row| row.into_iter().next().flatten().unwrap_or_default())
            .collect()
    }

    #[track_caller]
    pub fn holds(&mut self, condition: &str) -> bool {
        self.text(&format!("SELECT ({condition})::text")) == "true"
    }

    #[track_caller]
    pub fn assert_that(&mut self, condition: &str) {
        assert!(self.holds(condition), "not so: {condition}");
    }

    /// Whatever statements return, of all of them.
    pub fn attempt(&mut self, sql: &str) -> Result<Rows, Refusal> {
        let messages = match self.client.simple_query(sql) {
            Ok(messages) => messages,
            Err(e) => return Err(self.settled(e)),
        };
        let row = |m: SimpleQueryMessage| match m {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The same for one statement in the extended protocol; columns that are not text show as their type.
    pub fn attempt_extended(&mut self, sql: &str, params: &[&str]) -> Result<Rows, Refusal> {
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as _).collect();
        let rows = match self.client.query(sql, &params) {
            Ok(rows) => rows,
            Err(e) => return Err(self.settled(e)),
        };
        let cell = |row: &postgres::Row, i: usize| match row.try_get::<_, Option<String>>(i) {
            Ok(text) => text,
            Err(_) => Some(row.columns()[i].type_().name().to_owned()),
        };
        Ok(rows
            .iter()
            .map(|row| (0..row.len()).map(|i| cell(row, i)).collect())
            .collect())
    }

    /// The client returns as soon as the error is there; the server still has to roll back, and to say so in its log. Nothing but
    /// "ready" comes back of an empty query, or the connection is over.
    fn settled(&mut self, e: Error) -> Refusal {
        let _ready = self.client.simple_query("");
        e.into()
    }

    /// The text that COPY … TO STDOUT sends.
    pub fn copy_out(&mut self, sql: &str) -> Result<String, Refusal> {
        let mut text = String::new();
        match self.client.copy_out(sql)?.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(e) => match e.into_inner().map(|e| e.downcast::<Error>()) {
                Some(Ok(e)) => Err((*e).into()),
                other => panic!("{sql}: {other:?}"),
            },
        }
    }

    pub fn attempt_by(&mut self, protocol: Protocol, sql: &str) -> Result<Rows, Refusal> {
        match protocol {
            Protocol::Simple => self.attempt(sql),
            Protocol::Extended => self.attempt_extended(sql, &[]),
        }
    }

    /// An error of any kind.
    #[track_caller]
    pub fn fails(&mut self, sql: &str) -> Refusal {
        match self.attempt(sql) {
            Ok(rows) => panic!("not refused: {sql}\nit returned {rows:?}"),
            Err(refusal) => refusal,
        }
    }

    /// PostgreSQL's own refusal, which need not explain itself.
    #[track_caller]
    pub fn denied(&mut self, sql: &str, sqlstate: &str) -> Refusal {
        let refusal = self.fails(sql);
        assert_eq!(refusal.code, sqlstate, "{sql}\n{refusal}");
        refusal
    }

    /// The extension's refusal: the SQLSTATE, and words that help.
    #[track_caller]
    pub fn refused(&mut self, sql: &str, sqlstate: &str) -> Refusal {
        let refusal = self.denied(sql, sqlstate);
        assert!(
            !refusal.detail.is_empty() && !refusal.hint.is_empty(),
            "without DETAIL or HINT: {sql}\n{refusal}"
        );
        refusal
    }

    /// The same, with the reason word that DETAIL begins with.
    #[track_caller]
    pub fn refused_with(&mut self, sql: &str, sqlstate: &str, reason: &str) -> Refusal {
        let refusal = self.refused(sql, sqlstate);
        assert!(
            refusal.detail.starts_with(&format!("{reason}: ")),
            "expected {reason}: {sql}\n{refusal}"
        );
        refusal
    }

    /// Issues a credential; `arguments` is SQL.
    #[track_caller]
    pub fn issue(&mut self, arguments: &str) -> Credential {
        self.handed(&format!("scope.create_readonly_role({arguments})"))
    }

    /// The one row of a function that hands out a login; a null is the empty string.
    #[track_caller]
    pub fn handed(&mut self, call: &str) -> Credential {
        let rows = self.rows(&format!(
            "SELECT role_name, password, valid_until, connection_uri FROM {call}"
        ));
        let [row] = rows.as_slice() else {
            panic!("one row expected, not {}", rows.len())
        };
        let field = |i: usize| row[i].clone().unwrap_or_default();
        Credential {
            role: field(0),
            password: field(1),
            valid_until: field(2),
            uri: field(3),
        }
    }

    /// The scope that a credential is a member of.
    #[track_caller]
    pub fn scope_of(&mut self, role: &str) -> String {
        let scopes = self.column(&format!(
            "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles c ON c.oid = m.member \
             WHERE c.rolname = {}",
            literal(role)
        ));
        assert_eq!(scopes.len(), 1, "{role} is in {scopes:?}");
        scopes[0].clone()
    }

    pub fn role_exists(&mut self, role: &str) -> bool {
        self.holds(&format!(
            "EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {})",
            literal(role)
        ))
    }

    /// What the server has said since this was last asked.
    pub fn notices(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut *self.notices.lock().expect("notices"))
    }
}
