//! A real OpenID provider.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Authority, npm};

/// `oidc-provider` of npm, with an access token for whoever is asked for.
pub struct Certified {
    port: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Certified {
    /// `None`, and said so, where node and what it needs cannot be had.
    pub fn start(authority: &Authority) -> Option<Certified> {
        let folder = npm()?;
        let (certificate, key) = authority.issue("IP:127.0.0.1", "2");
        let mut child = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .args([certificate, key])
            .env("NODE_NO_WARNINGS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let port = line(&mut output);
        Some(Certified {
            port,
            child,
            input,
            output,
        })
    }

    pub fn ask(&mut self, command: &str) -> String {
        let input = self.input.as_mut().expect("its input");
        writeln!(input, "{command}").expect("a command");
        line(&mut self.output)
    }

    pub fn iss(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

/// It warns on the same output.
fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(
            output.read_line(&mut line).expect("a line") > 0,
            "the provider has ended"
        );
        if !line.starts_with("oidc-provider ") {
            return line.trim().to_owned();
        }
    }
}
