//! The server over real sockets, against clients that behave badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use knhk::api::listen::Listener;
use knhk::api::server::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, Options, Server, TIMES, Times};
use knhk::api::{Error, Limits};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::api::LIMITS;
use crate::api::fake::{Fake, case_id};

/// Longest wait for anything here; reaching it is a failure, not a pause.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most open files of the child that runs out of them.
const FEW_DESCRIPTORS: usize = 40;
/// Set for a test that runs again in a process of its own.
const CHILD: &str = "KNHK_TEST_HTTP_CHILD";

pub(crate) struct Running {
    server: Arc<Server>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn options() -> Options {
    Options { http_workers: 4, connections_max: 10_000, times: TIMES, limits: LIMITS }
}

pub(crate) fn start(fake: Arc<Fake>, options: Options) -> Running {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let Listener::Tcp(socket) = &listener else { panic!("a TCP listener") };
    let address = socket.local_addr().unwrap();
    let server = start_on(vec![listener], fake, options);
    Running { server, address }
}

fn start_on(listeners: Vec<Listener>, fake: Arc<Fake>, options: Options) -> Arc<Server> {
    let server = Server::start(listeners, crate::api::gate(), &options, fake).unwrap();
    Arc::new(server)
}

impl Running {
    fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// Waits until so many clients are connected.
    fn until_connected(&self, count: usize) {
        wait_for(|| self.server.connections() == count, "connections");
    }

    pub(crate) fn stop(self) {
        self.server.stop();
    }
}

fn wait_for(is_so: impl Fn() -> bool, what: &str) {
    let pause = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(pause);
        waited += pause;
    }
}

struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Sends bytes; whether the server still takes them shows in its answer.
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn answer(&mut self) -> Option<Answer> {
        read_answer(&mut self.reader)
    }

    fn get(&mut self, path: &str) -> u16 {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.answer().expect("an answer").status
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// Reads one answer; `None` when the connection ends before one.
fn read_answer(reader: &mut impl BufRead) -> Option<Answer> {
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[start..] == "\r\n" {
            break;
        }
    }
    let status = head.split(' ').nth(1)?.parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    if status >= 400 {
        assert!(head.contains("application/problem+json"), "{head}");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status);
    }
    Some(Answer { status, head, body })
}

/// Holds whoever passes until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
    is_reached: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        self.is_reached.store(true, Ordering::SeqCst);
        let guard = self.is_open.lock().unwrap();
        drop(self.changed.wait_timeout_while(guard, PATIENCE, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// A service whose answer to `GET /cases/{id}` waits for the gate.
fn gated() -> (Arc<Fake>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let mut fake = Fake::new();
    let inside = Arc::clone(&gate);
    fake.before_case = Box::new(move || inside.pass());
    (Arc::new(fake), gate)
}

#[test]
fn one_connection_carries_many_requests() {
    let running = start(Arc::new(Fake::new()), options());
    let mut client = running.connect();
    assert_eq!(client.get("/health"), 200);
    assert_eq!(client.get("/nowhere"), 404);
    client.send("HEAD /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        client.reader.read_line(&mut head).unwrap();
    }
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("Content-Length: 0\r\n"), "{head}");
    let body = r#"{"reason":"over"}"#;
    let path = format!("/cases/{}/cancel", case_id());
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.answer().unwrap().status, 200);
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let last = client.answer().unwrap();
    assert!(last.head.contains("Connection: close\r\n"), "{}", last.head);
    assert!(client.is_closed());
    running.stop();
}

#[test]
fn requests_that_cannot_be_read_are_refused_and_the_connection_ends() {
    let running = start(Arc::new(Fake::new()), options());
    let large = LIMITS.body_bytes_max + 1;
    for (bytes, status) in [
        ("\r\n\r\n\r\n\r\n\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET /health\r\n\r\n", 400),
        ("GET /health HTTP/1.1 x\r\n\r\n", 400),
        ("GET /health HTTP/2.0\r\n\r\n", 400),
        ("GET /health HTTP/1.1\n\n", 400),
        ("GET ftp://x/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("G\u{e4}T /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /health\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\n", 400),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nA: \u{e4}\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: something\r\n\r\n", 417),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (
            "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", 400),
        (&format!("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {large}\r\n\r\n"), 413),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n", 413),
        ("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
        (
            "POST /batch HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n",
            413,
        ),
        (
            &format!(
                "POST /batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{large:x}\r\n{}\r\n",
                "x".repeat(large)
            ),
            413,
        ),
    ] {
        let mut client = running.connect();
        client.send(bytes);
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {bytes:?}"));
        assert_eq!(answer.status, status, "{bytes:?}");
        assert!(client.is_closed(), "{bytes:?}");
    }
    assert_eq!(running.connect().get("/health"), 200);
    running.stop();
}

#[test]
fn a_body_is_as_long_as_it_says() {
    let running = start(Arc::new(Fake::new()), options());
    let path = format!("/cases/{}/cancel", case_id());
    let body = r#"{"reason":"over"}"#;

    let mut longer = running.connect();
    longer.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body} and more\r\n\r\n",
        body.len()
    ));
    assert_eq!(longer.answer().unwrap().status, 200);
    assert_eq!(longer.answer().unwrap().status, 400, "what is too much is the next request");

    let mut shorter = running.connect();
    shorter.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len() + 1
    ));
    shorter.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(shorter.answer().unwrap().status, 400);

    let mut chunked = running.connect();
    let (first, second) = body.split_at(5);
    chunked.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        second.len()
    ));
    assert_eq!(chunked.answer().unwrap().status, 200);
    assert_eq!(chunked.get("/health"), 200);

    let mut waiting = running.connect();
    let length = body.len();
    waiting.send(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(waiting.answer().unwrap().status, 100);
    waiting.send(body);
    assert_eq!(waiting.answer().unwrap().status, 200);
    running.stop();
}

#[test]
fn requests_may_come_in_pieces_of_any_size() {
    let running = start(Arc::new(Fake::new()), options());
    let cancel = format!("POST /cases/{} HTTP/1.1\r\nHost: localhost\r\n", case_id());
    let cancel = cancel.replace(" HTTP", "/cancel HTTP");
    let body = r#"{"reason":"over"}"#;
    let bytes = [
        "\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        format!("{cancel}Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("{cancel}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nA: b\r\n\r\n", body.len()),
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    ]
    .concat();
    for each in [1, 2, 3, 7, 19, 50, bytes.len()] {
        let mut client = running.connect();
        client.stream.set_nodelay(true).unwrap();
        for piece in bytes.as_bytes().chunks(each) {
            client.send(piece);
        }
        let answered: Vec<_> = (0..4).map(|_| client.answer().expect("an answer").status).collect();
        assert_eq!(answered, [200, 200, 200, 404], "in pieces of {each}");
    }
    running.stop();
}

#[test]
fn heads_have_limits() {
    let running = start(Arc::new(Fake::new()), options());
    let status = |bytes: &str| {
        let mut client = running.connect();
        client.send(bytes);
        client.answer().expect("an answer").status
    };
    let headers =
        |count: usize| format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(count));
    // Host is one of them.
    assert_eq!(status(&headers(HEADER_COUNT_MAX - 1)), 200);
    assert_eq!(status(&headers(HEADER_COUNT_MAX)), 431);
    let start = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    let head = |bytes: usize| {
        let each = 8_000;
        let mut out = start.to_owned();
        while out.len() + each + 10 < bytes {
            out.extend(["A: ", &"b".repeat(each - 5), "\r\n"]);
        }
        let left = bytes - out.len() - "A: \r\n\r\n".len();
        out + &format!("A: {}\r\n\r\n", "b".repeat(left))
    };
    assert_eq!(head(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    assert_eq!(status(&head(HEAD_BYTES_MAX)), 200);
    assert_eq!(status(&head(HEAD_BYTES_MAX + 1)), 431);
    assert_eq!(status(&format!("{start}A: {}", "b".repeat(1024 * 1024))), 431, "a line without an end");
    running.stop();
}

#[test]
fn slow_clients_are_let_go() {
    let short = Duration::from_millis(60);
    let times = Times { read_pause: short, head: short * 2, body: short * 2, ..TIMES };
    let running = start(Arc::new(Fake::new()), Options { times, ..options() });
    let mut head = running.connect();
    head.send("GET /health HTTP/1.1\r\nHost: localhost\r\nA");
    assert_eq!(head.answer().unwrap().status, 408);
    let mut body = running.connect();
    body.send("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc");
    assert_eq!(body.answer().unwrap().status, 408);
    running.stop();
}

#[test]
fn silent_clients_are_let_go_without_a_word() {
    let short = Duration::from_millis(60);
    let times = Times { read_pause: short, idle: short, ..TIMES };
    let running = start(Arc::new(Fake::new()), Options { times, ..options() });
    let mut silent = running.connect();
    assert_eq!(silent.answer(), None);
    assert!(silent.is_closed());
    running.until_connected(0);
    running.stop();
}

#[test]
fn thousands_of_idle_connections_are_in_nobodys_way() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(soft.max(65_536)), hard).unwrap();
    // Both ends of every connection are in this process.
    let count = 2_000;
    assert!(hard > 2 * count + 500, "this machine allows {hard} files, too few for this test");
    let running = start(Arc::new(Fake::new()), options());
    let idle: Vec<_> = (0..count).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    running.until_connected(idle.len());
    let mut client = running.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/health"), 200);
    }
    drop(idle);
    running.until_connected(1);
    assert_eq!(client.get("/health"), 200);
    running.stop();
}

#[test]
fn too_many_connections_are_told_so() {
    let running = start(Arc::new(Fake::new()), Options { connections_max: 3, ..options() });
    let mut kept: Vec<_> = (0..3).map(|_| running.connect()).collect();
    running.until_connected(3);
    let answer = running.connect().answer().unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", answer.head);
    kept.pop();
    running.until_connected(2);
    assert_eq!(running.connect().get("/health"), 200);
    running.stop();
}

#[test]
fn pipelined_requests_wait_for_a_slow_first_one_and_nobody_else_does() {
    let (fake, gate) = gated();
    let running = start(fake, Options { http_workers: 2, ..options() });
    let mut pipelined = running.connect();
    let later = 200;
    let mut bytes = format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", case_id());
    bytes += &"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(later);
    pipelined.send(bytes);
    wait_for(|| gate.is_reached.load(Ordering::SeqCst), "the first request");
    let mut other = running.connect();
    for _ in 0..20 {
        assert_eq!(other.get("/health"), 200);
    }
    gate.open();
    assert!(pipelined.answer().unwrap().body.starts_with(b"{\"id\""));
    for _ in 0..later {
        assert_eq!(pipelined.answer().unwrap().body, br#"{"status":"live"}"#);
    }
    running.stop();
}

#[test]
fn the_service_says_how_it_is_when_all_threads_wait() {
    let (fake, gate) = gated();
    let running = start(fake, Options { http_workers: 1, ..options() });
    let get = format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", case_id());
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut client = running.connect();
            client.send(&get);
            client
        })
        .collect();
    wait_for(|| gate.is_reached.load(Ordering::SeqCst), "the first request");
    let mut other = running.connect();
    assert_eq!((other.get("/health"), other.get("/health/live")), (200, 200));
    gate.open();
    for client in &mut waiting {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    running.stop();
}

#[test]
fn a_body_is_counted_while_a_thread_is_waited_for_also_when_its_client_has_gone() {
    const BODY_BYTES: usize = 40_000;
    let (fake, gate) = gated();
    let limits = Limits { bodies_bytes_max: BODY_BYTES * 3 / 2, ..LIMITS };
    let running = start(fake, Options { http_workers: 1, limits, ..options() });
    let mut slow = running.connect();
    slow.send(format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", case_id()));
    wait_for(|| gate.is_reached.load(Ordering::SeqCst), "a request that waits");
    let batch = |more: &str| {
        format!("POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n{more}\r\n")
            + &" ".repeat(BODY_BYTES)
    };
    let mut gone = running.connect();
    // What it does not read resets the connection when it goes.
    gone.send(batch("Expect: 100-continue\r\n"));
    // What came before has been read when this is answered.
    assert_eq!(running.connect().get("/health/live"), 200);
    drop(gone);
    running.until_connected(1);
    let mut late = running.connect();
    late.send(batch(""));
    assert_eq!(late.answer().map(|answer| answer.status), Some(503), "the thread still has the other");
    gate.open();
    assert_eq!(slow.answer().map(|answer| answer.status), Some(200));
    let has_room = || {
        let mut again = running.connect();
        again.send(batch(""));
        again.answer().is_some_and(|answer| answer.status != 503)
    };
    wait_for(has_room, "room for a body");
    running.stop();
}

#[test]
fn clients_that_never_read_hold_nothing() {
    let short = Duration::from_millis(100);
    an_answer_that_is_not_taken_ends_with(Times { write_pause: short, ..TIMES });
    // However small the pauses between the pieces that it takes are.
    an_answer_that_is_not_taken_ends_with(Times {
        write_pause: Duration::from_secs(3_600),
        answer: short,
        ..TIMES
    });
}

fn an_answer_that_is_not_taken_ends_with(times: Times) {
    let mut fake = Fake::with_large_answers();
    fake.note = "n".repeat(8 * 1024 * 1024);
    let answers = Arc::clone(&fake.answers);
    let running = start(Arc::new(fake), Options { http_workers: 1, times, ..options() });
    let get = format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", case_id());
    let deaf: Vec<_> = (0..3)
        .map(|_| {
            let mut client = running.connect();
            client.send(&get);
            client
        })
        .collect();
    let mut other = running.connect();
    for _ in 0..5 {
        assert_eq!(other.get("/health"), 200);
    }
    running.until_connected(1);
    assert_eq!(answers.budget().taken_bytes(), 0, "their answers take no room");
    drop(deaf);
    running.stop();
}

#[test]
fn a_stop_lets_what_has_begun_come_to_its_end() {
    let (fake, gate) = gated();
    let running = start(fake, options());
    let mut client = running.connect();
    client.send(format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", case_id()));
    wait_for(|| gate.is_reached.load(Ordering::SeqCst), "the request");
    let server = Arc::clone(&running.server);
    let stopping = std::thread::Builder::new().spawn(move || server.stop()).unwrap();
    wait_for(|| TcpStream::connect(running.address).is_err(), "the end of listening");
    gate.open();
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("Connection: close"));
    stopping.join().unwrap();
}

#[test]
fn a_port_that_is_taken_names_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Listener::tcp(taken.local_addr().unwrap()).unwrap_err();
    let Error::AddressInUse { holder, .. } = &error else { panic!("{error}") };
    assert!(holder.ends_with(&format!("(process {})", std::process::id())), "{holder}");
    assert_eq!(error.kind().outside().exit, 74);
}

#[test]
fn a_socket_file_is_replaced_when_it_is_stale_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("knhk.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err(), "a stale socket");
    let listener = Listener::unix(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let error = Listener::unix(&path).unwrap_err();
    assert!(matches!(error, Error::SocketInUse { .. }), "{error}");
    let server = start_on(vec![listener], Arc::new(Fake::new()), options());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut BufReader::new(stream)).unwrap().status, 200);
    server.stop();
    assert!(!path.exists(), "a stop removes it");
    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::unix(&path).is_err(), "a file is not replaced");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn running_out_of_file_descriptors_passes() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "http::a_server_with_few_descriptors", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .find_map(|line| line.unwrap().split_once("ADDRESS ").map(|(_, address)| address.to_owned()))
        .expect("the child says where it listens")
        .parse()
        .unwrap();
    let connect = || Client::new(TcpStream::connect(address).unwrap());
    for round in 0..3 {
        // Odd and even numbers, so that the last descriptor is met in every way.
        let mut clients: Vec<_> = (0..90 + round).map(|_| connect()).collect();
        for client in &mut clients {
            client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        assert_eq!(clients[0].answer().expect("an answer").status, 200);
        clients[0].send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let figures = String::from_utf8(clients[0].answer().expect("figures").body).unwrap();
        let connected = figures.lines().find_map(|line| line.strip_prefix("knhk_http_connections "));
        let connected: usize = connected.expect("the figure").parse().unwrap();
        assert!(connected < FEW_DESCRIPTORS, "{connected} connections, so that the others wait");
        clients[0].send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // The first are served, the others when the first have gone.
        for (number, mut client) in clients.into_iter().enumerate() {
            let answer =
                client.answer().unwrap_or_else(|| panic!("client {number} of round {round}: no answer"));
            assert_eq!(answer.status, 200);
        }
    }
    assert_eq!(connect().get("/health"), 200);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// Runs as a child of the test above, so that the limit is not that of all tests; otherwise it does nothing.
#[test]
fn a_server_with_few_descriptors() {
    if !std::env::vars_os().any(|(name, _)| name == CHILD) {
        return;
    }
    let running = start(Arc::new(Fake::new()), options());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, FEW_DESCRIPTORS as u64, hard).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nADDRESS {}", running.address).unwrap();
    out.flush().unwrap();
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    running.stop();
}
