//! The members of a line that tell of the session and its connection.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::{Line, Value};
use crate::pg::compat::{Peer, Port};
use crate::pg::server;
use crate::pg::{connection, xact};

thread_local! {
    /// The members that stay the same as long as the process lives, and its id.
    static CONNECTION: RefCell<(i32, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    /// The names of the last line.
    static USERS: RefCell<Names<2>> = const { RefCell::new(Names::NONE) };
    static APPLICATION: RefCell<Names<1>> = const { RefCell::new(Names::NONE) };
}

/// Members whose values tend to be those of the line before: comparing them costs less than writing them anew.
struct Names<const N: usize> {
    values: [Option<Vec<u8>>; N],
    members: Vec<u8>,
}

impl<const N: usize> Names<N> {
    const NONE: Self = Self {
        values: [const { None }; N],
        members: Vec::new(),
    };

    fn write(&mut self, line: &mut Line, names: [(&str, Option<&[u8]>); N]) {
        let same = names
            .iter()
            .zip(&self.values)
            .all(|((_, name), known)| *name == known.as_deref());
        if !same || self.members.is_empty() {
            let mut part = Line::part();
            for (key, name) in names {
                part.name(key, name);
            }
            self.members = part.into_members();
            self.values = names.map(|(_, name)| name.map(<[u8]>::to_vec));
        }
        line.members(&self.members);
    }
}

/// `session_user` and `role`.
pub fn write_session(line: &mut Line) {
    connection::with_names(|user, role| {
        USERS.with_borrow_mut(|known| known.write(line, [("session_user", user), ("role", role)]));
    });
}

/// `client`, `port`, `database`, `pid`, `application_name` and `xid`.
pub fn write_connection(line: &mut Line) {
    CONNECTION.with_borrow_mut(|(known, members)| {
        let pid = server::pid();
        if *known != pid {
            let mut part = Line::part();
            let is_whole = write_place(&mut part);
            *members = part.into_members();
            if is_whole {
                *known = pid;
            }
        }
        line.members(members);
    });
    connection::with_application_name(|name| {
        APPLICATION.with_borrow_mut(|known| known.write(line, [("application_name", name)]));
    });
    let number = xact::number().map(|number| Value::Number(number.cast_signed()));
    line.field("xid", number.unwrap_or(Value::Null));
}

/// False when the database has no name yet.
fn write_place(line: &mut Line) -> bool {
    let mut is_whole = true;
    if let Some(port) = Port::current() {
        let client = match port.remote() {
            Peer::Tcp(address) => Some(address.to_canonical().to_string()),
            Peer::Socket(_) => Some("local".to_owned()),
            Peer::Unknown => None,
        };
        line.name("client", client.as_ref().map(String::as_bytes));
        let number = port.remote_port();
        let number = number.map(|number| Value::Number(number.into()));
        line.field("port", number.unwrap_or(Value::Null));
        line.name("database", port.database().filter(|name| !name.is_empty()));
    } else {
        let mut database = None;
        if server::database() != pg_sys::InvalidOid {
            is_whole = xact::is_going_on();
            database = is_whole.then(server::database_name);
        }
        line.name("client", None);
        line.field("port", Value::Null);
        line.name("database", database.as_ref().map(String::as_bytes));
    }
    line.field("pid", Value::Number(server::pid().into()));
    is_whole
}
