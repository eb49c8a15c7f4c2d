//! The real binary in an empty environment with a configuration of its own: stdout, stderr and status.

#![expect(clippy::disallowed_methods, reason = "a test may start the thread of its fake service")]

mod cases;
pub(crate) mod configure;
mod local;
mod pages;
mod real;
mod usage;
mod work;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use expect_test::Expect;
use tempfile::TempDir;

/// A folder with a configuration, where commands run.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let places = format!(
            "socket = \"{path}/knhk.sock\"\nstate_dir = \"{path}/state\"\ncache_dir = \"{path}/cache\"\n"
        );
        fs::write(folder.path().join("knhk.toml"), places + more).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knhk"));
        command.args(arguments).env_clear().env("KNHK_CONFIG", self.path("knhk.toml"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command and returns what it printed and how it ended, without the folder's name.
    fn run(&self, arguments: &[&str]) -> String {
        self.text(&self.command(arguments).output().unwrap())
    }

    fn text(&self, output: &Output) -> String {
        let part = |bytes: &[u8], prefix: &str| {
            String::from_utf8_lossy(bytes)
                .lines()
                .fold(String::new(), |text, line| text + prefix + line + "\n")
        };
        let status = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        let text = part(&output.stdout, "") + &part(&output.stderr, "! ") + &format!("= {status}\n");
        text.replace(&self.folder.path().display().to_string(), "HOME")
    }

    fn check(&self, arguments: &[&str], expected: &Expect) {
        expected.assert_eq(&self.run(arguments));
    }
}

/// What the fake service answers: status, content type, body.
type Canned = (u16, &'static str, String);

/// A service with canned answers that keeps what was asked.
struct Fake {
    count: usize,
    asked: mpsc::Receiver<String>,
}

impl Fake {
    /// Listens at the socket of `home` for `count` requests.
    fn start(home: &Home, count: usize, answer: impl Fn(&str) -> Canned + Send + 'static) -> Self {
        let listener = UnixListener::bind(home.path("knhk.sock")).unwrap();
        let (tell, asked) = mpsc::channel();
        thread::spawn(move || {
            for number in 0..count {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let request = read_request(&mut stream);
                let canned = answer(&request);
                // Every other answer comes in chunks, as a real server may choose.
                write_answer(&mut stream, &canned, number % 2 == 1);
                tell.send(request).unwrap();
            }
        });
        Self { count, asked }
    }

    fn asked(&self) -> String {
        let wait = Duration::from_secs(30);
        let next = || self.asked.recv_timeout(wait).expect("as many requests as the test says");
        (0..self.count).fold(String::new(), |all, _| all + &next() + "\n")
    }
}

/// Returns `METHOD path [key] body`.
fn read_request(stream: &mut UnixStream) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "a request broke off: {text:?}");
            continue;
        };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        if body.len() >= header("Content-Length: ").parse().unwrap_or(0) {
            assert_eq!(header("Connection: "), "close");
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            let parts = [line, header("Idempotency-Key: "), header("Content-Type: "), body];
            return parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        }
    }
}

fn write_answer(stream: &mut UnixStream, (status, content_type, body): &Canned, in_chunks: bool) {
    let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\n");
    let answer = if in_chunks {
        let chunks = body
            .as_bytes()
            .chunks(7)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.collect::<String>())
    } else {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    stream.write_all(answer.as_bytes()).unwrap();
}

const JSON: &str = "application/json";

fn problem(status: u16, body: &str) -> Canned {
    (status, "application/problem+json", body.to_owned())
}

const CASE: &str = r#"{"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,
"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},
"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},
"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],
"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}"#;
