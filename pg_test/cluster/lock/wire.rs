//! The fast-path function call, which no driver offers any more and every server still answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::STAGE;
use crate::jwt::switch;

/// A connection that speaks the protocol by hand.
struct Wire(UnixStream);

impl Wire {
    fn open() -> Wire {
        let gate = &STAGE.gate;
        let stream = UnixStream::connect(gate.f.server.socket()).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        let mut wire = Wire(stream);
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", &gate.auth, "database", &gate.f.name, ""] {
            body.extend(text.as_bytes());
            body.push(0);
        }
        wire.send(None, &body);
        let answer = wire.until_ready();
        assert!(!answer.iter().any(|(kind, _)| *kind == b'E'), "{answer:?}");
        wire
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        self.0.write_all(&message).expect("send");
    }

    /// The messages up to ReadyForQuery.
    fn until_ready(&mut self) -> Vec<(u8, String)> {
        let mut answers = Vec::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("an answer");
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).expect("an answer");
            if head[0] == b'Z' {
                return answers;
            }
            answers.push((head[0], String::from_utf8_lossy(&body).replace('\0', "|")));
        }
    }

    fn query(&mut self, sql: &str) -> Vec<(u8, String)> {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes());
        self.until_ready()
    }

    /// One value of the first row.
    fn text(&mut self, sql: &str) -> String {
        let answers = self.query(sql);
        let (_, row) = answers
            .iter()
            .find(|(kind, _)| *kind == b'D')
            .unwrap_or_else(|| panic!("{sql}: {answers:?}"));
        // A count of columns in two bytes and a length in four come first.
        row.trim_start_matches(|c: char| !c.is_ascii_graphic() || c == '|')
            .to_owned()
    }

    /// Calls a function of text, text and boolean by its OID; every argument in text form.
    fn call(&mut self, function: u32, arguments: &[Option<&str>]) -> Vec<(u8, String)> {
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
}

fn oid_of(function: &str) -> u32 {
    STAGE
        .gate
        .f
        .admin()
        .text(&format!("SELECT '{function}'::regprocedure::oid"))
        .parse()
        .expect("an OID")
}

#[test]
fn fast_path_call_of_set_config() {
    let set_config = oid_of("pg_catalog.set_config(text,text,boolean)");
    let mut wire = Wire::open();
    // It works while nothing is locked, so the refusals below mean something.
    wire.query("BEGIN");
    assert!(
        wire.call(
            set_config,
            &[Some("role"), Some(&STAGE.gate.writer), Some("t")]
        )
        .iter()
        .any(|(kind, _)| *kind == b'V')
    );
    assert_eq!(
        wire.text("SELECT 'as ' || current_user"),
        format!("as {}", STAGE.gate.writer)
    );
    wire.query("ROLLBACK");
    for (name, value) in [
        ("role", Some("none")),
        ("role", None),
        ("ROLE", Some(STAGE.gate.auth.as_str())),
        ("session_authorization", None),
        ("request.jwt.claims", Some("{}")),
        ("request.jwt.claims", None),
    ] {
        wire.query(&format!("BEGIN; {}; SAVEPOINT s", switch(&STAGE.token)));
        // set_config is not strict, so a null reaches it.
        let answers = wire.call(set_config, &[Some(name), value, Some("t")]);
        assert!(
            answers
                .iter()
                .any(|(kind, body)| *kind == b'E' && body.contains("C42501")),
            "{name} {value:?}: {answers:?}"
        );
        wire.query("ROLLBACK TO s");
        assert_eq!(
            wire.text("SELECT 'as ' || current_user"),
            format!("as {}", STAGE.gate.reader)
        );
        wire.query("ROLLBACK");
        assert_eq!(
            wire.text("SELECT 'as ' || current_user"),
            format!("as {}", STAGE.gate.auth)
        );
    }
}

#[test]
fn fast_path_call_of_a_function_with_a_role_clause() {
    let gate = &STAGE.gate;
    gate.f.login(&gate.auth).run(&format!(
        "CREATE OR REPLACE FUNCTION public.wire_escape() RETURNS text LANGUAGE plpgsql SET role = '{}' AS $$ BEGIN RETURN current_user; END $$",
        gate.auth
    ));
    let function = oid_of("public.wire_escape()");
    let mut wire = Wire::open();
    wire.query(&format!("BEGIN; {}; SAVEPOINT s", switch(&STAGE.token)));
    let answers = wire.call(function, &[]);
    assert!(
        answers
            .iter()
            .any(|(kind, body)| *kind == b'E' && body.contains("C42501")),
        "{answers:?}"
    );
    wire.query("ROLLBACK TO s");
    assert_eq!(
        wire.text("SELECT 'as ' || current_user"),
        format!("as {}", gate.reader)
    );
}
