//! An identity provider on loopback that can be told to misbehave, with certificates of an authority of its own.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::guard::ROOT;
use super::tools::{give_away, make_dir, skip};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Who signs certificates; its own is `ca.crt`.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// `None`, and said so, on a machine without openssl.
    pub fn new() -> Option<Authority> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = ROOT.join(format!("authority{number}"));
        make_dir(&folder);
        let authority = Authority { folder };
        let made = authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=tests",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ]);
        if !made {
            skip("there is no openssl to make certificates with");
            return None;
        }
        give_away(&authority.certificate());
        Some(authority)
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The files of a certificate for these names (`DNS:localhost,IP:127.0.0.1`), and of its key.
    pub fn issue(&self, names: &str, days: &str) -> (PathBuf, PathBuf) {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |end: &str| format!("leaf{number}.{end}");
        std::fs::write(
            self.folder.join(file("ext")),
            format!("subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n"),
        )
        .expect("the extensions");
        assert!(self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=provider",
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
        ]));
        assert!(self.openssl(&[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-set_serial",
            // A file of serial numbers would be written by two at once.
            &(number + 1).to_string(),
            "-days",
            days,
            "-extfile",
            &file("ext"),
            "-out",
            &file("crt"),
        ]));
        (self.folder.join(file("crt")), self.folder.join(file("key")))
    }

    fn openssl(&self, arguments: &[&str]) -> bool {
        let made = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output();
        made.is_ok_and(|made| made.status.success())
    }
}

/// What a request gets.
#[derive(Clone)]
pub enum Reply {
    /// A status, more lines of the header, a body.
    Answer(u16, String, String),
    /// These bytes, whatever they are; then the connection ends.
    Raw(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Hang,
    /// A byte now and then, for ever.
    Trickle,
    /// A body without an end.
    Flood,
}

impl Reply {
    pub fn json(body: impl ToString) -> Reply {
        Reply::Answer(
            200,
            "Content-Type: application/json\r\n".into(),
            body.to_string(),
        )
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<Vec<(String, Reply)>>,
    requests: Mutex<VecDeque<String>>,
    connections: AtomicUsize,
    /// Connections are taken, and no handshake is made.
    is_mute: AtomicBool,
    has_ended: AtomicBool,
}

pub struct Provider {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Provider {
    /// By HTTPS with a certificate for 127.0.0.1 alone.
    pub fn start(authority: &Authority) -> Provider {
        let (certificate, key) = authority.issue("IP:127.0.0.1", "2");
        Provider::with(Some((&certificate, &key)))
    }

    /// By HTTPS with this certificate and key, or by HTTP.
    pub fn with(identity: Option<(&Path, &Path)>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let config = identity.map(|(certificate, key)| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(key).expect("a key");
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate and its key");
            Arc::new(config)
        });
        let shared = Arc::new(Shared::default());
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if state.has_ended.load(Ordering::Relaxed) {
                    return;
                }
                state.connections.fetch_add(1, Ordering::Relaxed);
                let (state, config) = (state.clone(), config.clone());
                std::thread::spawn(move || state.serve(stream, config));
            }
        });
        Provider { port, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// What requests for this path get from now on.
    pub fn reply(&self, path: &str, reply: Reply) {
        let mut replies = self.shared.replies.lock().expect("replies");
        replies.retain(|(known, _)| known != path);
        replies.push((path.to_owned(), reply));
    }

    /// Connections are taken from now on, or not, without a word.
    pub fn be_mute(&self, is_so: bool) {
        self.shared.is_mute.store(is_so, Ordering::Relaxed);
    }

    /// The requests so far, heads only; forgotten with this.
    pub fn requests(&self) -> Vec<String> {
        let mut requests = self.shared.requests.lock().expect("requests");
        requests.drain(..).collect()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, config: Option<Arc<ServerConfig>>) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        if self.is_mute.load(Ordering::Relaxed) {
            self.hang(stream);
            return;
        }
        match config {
            None => self.answer(stream),
            Some(config) => {
                let connection = ServerConnection::new(config).expect("a connection");
                self.answer(StreamOwned::new(connection, stream));
            }
        }
    }

    /// Until the client goes.
    fn hang(&self, mut stream: impl Read) {
        let mut byte = [0];
        while matches!(stream.read(&mut byte), Ok(1..)) {}
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1..) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests.lock().expect("requests").push_back(head);
        let reply = {
            let replies = self.replies.lock().expect("replies");
            let found = replies.iter().find(|(known, _)| *known == path);
            found.map(|(_, reply)| reply.clone())
        };
        match reply.unwrap_or(Reply::Answer(404, String::new(), String::new())) {
            Reply::Answer(status, more, body) => {
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} Words\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}"
                );
                let _ = stream.flush();
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                let _ = stream.flush();
            }
            Reply::Hang => self.hang(stream),
            Reply::Trickle => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{");
                while stream.write_all(b" ").and_then(|()| stream.flush()).is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Reply::Flood => {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[");
                let zeros = [b' '; 16_384];
                while stream.write_all(&zeros).is_ok() {}
            }
        }
    }
}
