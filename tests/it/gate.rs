//! Who may use the local port: under which names it may be asked, and by which users.

mod hosts;
mod safety;
mod tokens;
mod users;

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use knhk::api::audit::Lane;
use knhk::api::gate::{Allow, Hosts, Options};
use knhk::api::server::{self, Server, TIMES};
use knhk::api::{Gate, Limits, Listener};
use knhk::engine::clock::SystemClock;
use knhk::engine::service::Caller;
use nix::unistd::{Uid, geteuid, setfsuid};
use tempfile::TempDir;

use crate::api::LIMITS;
use crate::api::fake::{Fake, case_id};
use crate::support::http::{Answer, read_answer};
use crate::support::wait;

/// Longest wait for anything here; reaching it is a failure, not a pause.
const PATIENCE: Duration = Duration::from_secs(30);
/// Routes that everyone may ask for.
const OPEN: [&str; 3] = ["GET /health", "GET /health/live", "GET /metrics"];
/// Connections of a server.
const CONNECTIONS_MAX: usize = 100;
/// A user that no file of the system names.
const STRANGER: u32 = 54_321;

/// A server in front of canned answers.
struct Running {
    server: Server,
    address: SocketAddr,
    fake: Arc<Fake>,
    /// Of tokens.
    folder: TempDir,
}

impl Running {
    fn start(allow: Allow, hosts: &str, address: &str) -> Self {
        let Ok(Listener::Tcp(listener)) = Listener::tcp(address.parse().unwrap()) else {
            panic!("{address}")
        };
        Self::start_on(listener, allow, hosts, crate::api::lane())
    }

    fn start_on(listener: TcpListener, allow: Allow, hosts: &str, lane: Arc<Lane>) -> Self {
        let address = listener.local_addr().unwrap();
        let fake = Arc::new(Fake::new());
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            allow,
            hosts: Hosts::of_list(hosts),
            folder: folder.path().to_owned(),
            secrets_dir: None,
        };
        let gate = Gate::open(options, Arc::new(SystemClock::new()), lane).unwrap();
        let listeners = vec![Listener::Tcp(listener)];
        let server = Server::start(listeners, gate, &server_options(), Arc::clone(&fake) as _).unwrap();
        Self { server, address, fake, folder }
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

fn server_options() -> server::Options {
    // A body that is too large has another answer.
    let limits = Limits { body_bytes_max: 2 << 20, ..LIMITS };
    server::Options { http_workers: 2, connections_max: CONNECTIONS_MAX, times: TIMES, limits }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns the bytes of a request up to the end of its head; `length` is that of a body.
fn head(route: &str, host: Option<&str>, length: usize) -> String {
    let route = route.replace("{id}", &case_id().to_string());
    let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
    format!("{route} HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n")
}

/// Asks once and reads the answer.
fn ask(mut stream: TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut BufReader::new(stream), request.starts_with("HEAD")).unwrap()
}

/// Sends a head and all of a body of 2 MiB, and only then looks for the answer.
fn ask_with_large_body(mut stream: TcpStream, route: &str, lines: &str) -> Answer {
    const BODY_BYTES: usize = 2 << 20;
    let request = head(route, Some("localhost"), BODY_BYTES).replacen("\r\n", &format!("\r\n{lines}"), 1);
    stream.write_all(request.as_bytes()).unwrap();
    // It may be refused and closed before all of it is sent.
    let _ = stream.write_all(&vec![b' '; BODY_BYTES]);
    let mut reader = BufReader::new(stream);
    let answer = read_answer(&mut reader, false).unwrap();
    assert!(matches!(reader.read(&mut [0]), Ok(0)), "after the answer comes the end, and no reset");
    answer
}

/// Asks over the Unix socket.
fn ask_unix(socket: &Path, request: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut BufReader::new(stream), false).unwrap()
}

/// Returns a connection of another user; `None`, and says so, where the tests may not be one.
fn connect_as(user: u32, address: SocketAddr) -> Option<TcpStream> {
    if !geteuid().is_root() {
        wait::absent("only root can ask as another user");
        return None;
    }
    // A socket belongs to the user that its thread has at that moment.
    std::thread::scope(|scope| {
        let connected = scope.spawn(|| {
            setfsuid(Uid::from_raw(user));
            connect(address)
        });
        connected.join().ok()
    })
}

fn us() -> Caller {
    Caller::User(geteuid().as_raw())
}
