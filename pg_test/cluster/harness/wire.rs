//! A connection that speaks the protocol by hand: for messages that no driver sends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::Server;

pub struct Wire(UnixStream);

/// A message's type and its body, with `|` for NUL.
pub type Answer = (u8, String);

impl Wire {
    /// Logs in through the socket, which asks for no password.
    #[track_caller]
    pub fn open(server: &Server, user: &str, db: &str) -> Wire {
        match Wire::try_open(server, user, db, &[]) {
            Ok(wire) => wire,
            Err(answers) => panic!("{user} cannot log in: {answers:?}"),
        }
    }

    /// The same with more start-up parameters; the answers when it is refused.
    pub fn try_open(
        server: &Server,
        user: &str,
        db: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Wire, Vec<Answer>> {
        Wire::try_open_at(&server.socket(), user, db, parameters)
    }

    /// The same to anything that listens on a socket.
    pub fn try_open_at(
        socket: &Path,
        user: &str,
        db: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Wire, Vec<Answer>> {
        Wire::start(socket, user, db, parameters).opened()
    }

    /// Sends the password without having been asked.
    pub fn try_password(
        server: &Server,
        user: &str,
        db: &str,
        password: &str,
    ) -> Result<Wire, Vec<Answer>> {
        let mut wire = Wire::start(&server.socket(), user, db, &[]);
        wire.send(Some(b'p'), format!("{password}\0").as_bytes());
        wire.opened()
    }

    fn start(socket: &Path, user: &str, db: &str, parameters: &[(&str, &str)]) -> Wire {
        let stream = UnixStream::connect(socket).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        let mut wire = Wire(stream);
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", db)].iter().chain(parameters) {
            for text in [name, value] {
                body.extend(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        wire.send(None, &body);
        wire
    }

    fn opened(mut self) -> Result<Wire, Vec<Answer>> {
        let answers = self.until_ready();
        if answers.iter().any(|(kind, _)| *kind == b'E') {
            return Err(answers);
        }
        Ok(self)
    }

    pub fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        self.0.write_all(&message).expect("send");
    }

    /// The messages up to ReadyForQuery, or to the end of the connection.
    pub fn until_ready(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let mut head = [0; 5];
            if let Err(end) = self.0.read_exact(&mut head) {
                assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "{answers:?}");
                return answers;
            }
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).expect("an answer");
            if head[0] == b'Z' {
                return answers;
            }
            answers.push((head[0], String::from_utf8_lossy(&body).replace('\0', "|")));
        }
    }

    pub fn query(&mut self, sql: &str) -> Vec<Answer> {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes());
        self.until_ready()
    }

    /// One value of the first row.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let answers = self.query(sql);
        let (_, row) = answers
            .iter()
            .find(|(kind, _)| *kind == b'D')
            .unwrap_or_else(|| panic!("{sql}: {answers:?}"));
        // A count of columns in two bytes and a length in four come first.
        row.trim_start_matches(|c: char| !c.is_ascii_graphic() || c == '|')
            .to_owned()
    }

    /// The fast-path call of a function by its OID; every argument in text form.
    pub fn call(&mut self, function: u32, arguments: &[Option<&str>]) -> Vec<Answer> {
        let mut body = function.to_be_bytes().to_vec();
        body.extend([0, 0]);
        body.extend((arguments.len() as i16).to_be_bytes());
        for argument in arguments {
            match argument {
                Some(text) => {
                    body.extend((text.len() as i32).to_be_bytes());
                    body.extend(text.as_bytes());
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        body.extend([0, 0]);
        self.send(Some(b'F'), &body);
        self.until_ready()
    }

    /// Sends Parse and Bind of a portal of that name, without parameters and without a Sync.
    pub fn bind(&mut self, portal: &str, sql: &str) {
        self.send(Some(b'P'), format!("{portal}\0{sql}\0\0\0").as_bytes());
        self.send(
            Some(b'B'),
            format!("{portal}\0{portal}\0\0\0\0\0\0\0").as_bytes(),
        );
    }

    /// Sends Execute of a portal, for so many rows; 0: all.
    pub fn execute(&mut self, portal: &str, rows: i32) {
        let mut body = format!("{portal}\0").into_bytes();
        body.extend(rows.to_be_bytes());
        self.send(Some(b'E'), &body);
    }

    pub fn sync(&mut self) -> Vec<Answer> {
        self.send(Some(b'S'), &[]);
        self.until_ready()
    }
}

/// Is there an error of this SQLSTATE among the answers?
pub fn has_error(answers: &[Answer], sqlstate: &str) -> bool {
    answers
        .iter()
        .any(|(kind, body)| *kind == b'E' && body.contains(&format!("C{sqlstate}|")))
}
