//! The server over real sockets: the rules of CHANGES.md that need no service. tests/it/http.rs and tests/it/conformance of
//! KNHK have those that do.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::{Answering, Listener, Load, Mark, Options, Refusal, Request, Response, Server, Standing, LINGERING_MAX};

/// Longest wait for anything here; reaching it is a failure, not a pause.
const PATIENCE: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Answers that wait until they are let go.
#[derive(Default)]
struct Gate {
    is_open: bool,
    /// How many requests each call brought.
    rounds: Vec<usize>,
    waiting: usize,
    waiting_max: usize,
    wakers: Vec<Waker>,
}

struct Passing {
    gate: Arc<Mutex<Gate>>,
    path: String,
}

impl Future for Passing {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let mut gate = self.gate.lock().unwrap();
        if !gate.is_open {
            gate.wakers.push(context.waker().clone());
            return Poll::Pending;
        }
        gate.waiting -= 1;
        Poll::Ready(Response::new(200, Vec::new(), self.path.clone().into_bytes()))
    }
}

struct Running {
    server: Option<Server>,
    address: SocketAddr,
    gate: Arc<Mutex<Gate>>,
    load: Arc<Load>,
}

/// Returns options that bound nothing that a test does not bound itself, and answer nothing.
pub(crate) fn options() -> Options {
    Options {
        read_timeout: PATIENCE,
        write_timeout: PATIENCE,
        heads_bytes_max: 64 * 1024 * 1024,
        answer_time: PATIENCE,
        idle_time: PATIENCE,
        head_time: PATIENCE,
        body_time: PATIENCE,
        head_bytes_max: 1_000,
        body_bytes_max: 1_000,
        bodies_bytes_max: 1_000,
        connections_max: 1_000,
        at_once_max: 1_000,
        meet: Arc::new(|_| (Arc::new(()), Standing::Known)),
        admit: Arc::new(|arriving| Ok((Arc::clone(arriving.connection), Standing::Stranger))),
        answer: Arc::new(|_| Vec::new()),
        at_rest: || {},
        load: Arc::new(Load::default()),
        refusal: Arc::new(|refusal| Response::new(499, Vec::new(), format!("{refusal:?}").into_bytes())),
    }
}

impl Running {
    fn start(is_open: bool, change: impl FnOnce(&mut Options)) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Running::start_on(listener.into(), address, is_open, change)
    }

    fn start_on(
        listener: Listener,
        address: SocketAddr,
        is_open: bool,
        change: impl FnOnce(&mut Options),
    ) -> Running {
        let gate = Arc::new(Mutex::new(Gate { is_open, ..Gate::default() }));
        let inside = Arc::clone(&gate);
        let answer = move |requests: Vec<Request>| {
            let mut gate = inside.lock().unwrap();
            gate.rounds.push(requests.len());
            gate.waiting += requests.len();
            gate.waiting_max = gate.waiting_max.max(gate.waiting);
            let passing = |request: Request| Passing { gate: Arc::clone(&inside), path: request.head.path };
            requests
                .into_iter()
                .map(|request| Answering { coming: Box::pin(passing(request)), is_soon: false })
                .collect()
        };
        let mut options = Options { answer: Arc::new(answer), ..options() };
        let load = Arc::clone(&options.load);
        change(&mut options);
        let server = Server::from_listeners(vec![listener], options).unwrap();
        Running { server: Some(server), address, gate, load }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    }

    fn open(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.is_open = true;
        gate.wakers.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.take();
    }
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let pause = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "{what}");
        std::thread::sleep(pause);
        waited += pause;
    }
}

/// Reads as many answers as have their body end in `last`.
fn read_until(stream: &mut TcpStream, last: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.ends_with(last) {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    text
}

fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn no_connection_takes_a_thread() {
    let running = Running::start(false, |_| {});
    let all = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let clients: Vec<_> = (0..200).map(|_| running.send(GET)).collect();
    until("all are asked", || running.gate.lock().unwrap().waiting == clients.len());
    // Other tests have a thread each, and a server; none has two hundred.
    assert!(all() < 150, "{} threads", all());
    running.open();
    for mut client in clients {
        read_until(&mut client, "/");
    }
}

#[test]
fn no_more_are_answered_at_a_time_than_may_be_and_the_others_wait() {
    let running = Running::start(false, |options| options.at_once_max = 3);
    let clients: Vec<_> = (0..10).map(|_| running.send(GET)).collect();
    until("all are read", || running.load.answering() == clients.len());
    assert_eq!(running.gate.lock().unwrap().waiting, 3);
    running.open();
    for mut client in clients {
        read_until(&mut client, "/");
    }
    assert_eq!(running.gate.lock().unwrap().waiting_max, 3);
}

/// Returns a client whose connection is reset when it is dropped: it never reads what the server sends beforehand.
fn send_and_never_read(running: &Running, body: &str) -> TcpStream {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    running.send(&(head + body))
}

#[test]
fn a_reset_while_an_answer_is_waited_for_gives_its_place_back() {
    let running = Running::start(false, |options| options.at_once_max = 1);
    for count in 1..=3 {
        let client = send_and_never_read(&running, "x");
        until("it is asked", || running.gate.lock().unwrap().rounds.len() == count);
        drop(client);
        until("it is gone", || running.load.connections() == 0);
    }
    running.open();
    read_until(&mut running.send(GET), "/");
}

#[test]
fn a_client_that_is_gone_when_it_is_to_go_on_is_not_answered() {
    let end = UnixAddress::from_abstract_name(format!("tiny_http-tests-{}", std::process::id())).unwrap();
    let listener = UnixListener::bind_addr(&end).unwrap();
    let (go_on, held) = mpsc::channel();
    let held = Mutex::new(held);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = Running::start_on(listener.into(), nowhere, true, |options| {
        options.meet = Arc::new(move |_| {
            held.lock().unwrap().recv().unwrap();
            (Arc::new(()), Standing::Known)
        });
    });
    let mut gone = UnixStream::connect_addr(&end).unwrap();
    gone.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx").unwrap();
    drop(gone);
    let mut later = UnixStream::connect_addr(&end).unwrap();
    later.set_read_timeout(Some(PATIENCE)).unwrap();
    later.write_all(GET.as_bytes()).unwrap();
    for _ in 0..2 {
        go_on.send(()).unwrap();
    }
    later.read_exact(&mut [0]).unwrap();
    assert_eq!(running.gate.lock().unwrap().rounds, [1], "the one that is still there");
}

#[test]
fn requests_that_came_together_are_handed_out_together() {
    let (go_on, held) = mpsc::channel();
    let held = Mutex::new(Some(held));
    let running = Running::start(true, |options| {
        let answer = Arc::clone(&options.answer);
        options.answer = Arc::new(move |requests| {
            let answers = answer(requests);
            // The first call keeps the server's thread until others have sent theirs.
            if let Some(held) = held.lock().unwrap().take() {
                held.recv().unwrap();
            }
            answers
        });
    });
    let mut clients: Vec<_> = (0..6).map(|_| running.connect()).collect();
    until("all are accepted", || running.load.connections() == 6);
    clients[0].write_all(GET.as_bytes()).unwrap();
    until("the first is asked", || !running.gate.lock().unwrap().rounds.is_empty());
    for client in &mut clients[1..] {
        client.write_all(GET.as_bytes()).unwrap();
    }
    go_on.send(()).unwrap();
    for client in &mut clients {
        read_until(client, "/");
    }
    assert_eq!(running.gate.lock().unwrap().rounds, [1, 5]);
}

#[test]
fn a_connection_has_one_request_asked_at_a_time_in_order() {
    let running = Running::start(false, |_| {});
    let three = ["/a", "/b", "/c"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).concat();
    let mut client = running.send(&three);
    until("the first is asked", || running.gate.lock().unwrap().waiting == 1);
    running.open();
    let text = read_until(&mut client, "/c");
    let order: Vec<_> = text.split("\r\n\r\n").skip(1).map(|after| &after[..2]).collect();
    assert_eq!(order, ["/a", "/b", "/c"]);
    let gate = running.gate.lock().unwrap();
    assert_eq!((gate.waiting_max, &gate.rounds[..]), (1, &[1, 1, 1][..]));
}

#[test]
fn limits_on_head_body_and_connections_are_answered_with_their_reason() {
    let running = Running::start(true, |options| options.connections_max = 2);
    let refused = |bytes: &str, why: Refusal| {
        let text = read_all(running.send(bytes));
        assert!(text.starts_with("HTTP/1.1 499 ") && text.ends_with(&format!("{why:?}")), "{text}");
        assert!(text.contains("Connection: close\r\n"), "{text}");
        until("it is gone", || running.load.connections() == 0);
    };
    refused("GET\r\n", Refusal::RequestLine);
    refused(&format!("GET / HTTP/1.1\r\nA: {}\r\n", "a".repeat(1_000)), Refusal::HeadTooLarge);
    refused("GET / HTTP/1.1\r\n\r\n", Refusal::Host);
    refused("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", Refusal::Twice("host"));
    // Memory for as many bytes is never set aside.
    refused("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999\r\n\r\n", Refusal::BodyTooLarge);
    let kept = [running.send(GET), running.send(GET)];
    until("both are there", || running.load.connections() == 2);
    let text = read_all(running.connect());
    assert!(text.ends_with("Busy"), "{text}");
    drop(kept);
}

#[test]
fn bodies_are_bounded_together() {
    let running = Running::start(true, |_| {});
    let half = |bytes: usize| format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(bytes));
    let mut first = running.send(&half(999));
    until("it is read", || running.load.connections() == 1);
    // Its last byte is still to come, so that it cannot be answered; what it holds is held as long.
    let other = half(500);
    let text = read_all(running.send(&other));
    assert!(text.ends_with("Busy"), "{text}");
    first.write_all(b"x").unwrap();
    read_until(&mut first, "/");
    let mut third = running.send(&half(1_000));
    read_until(&mut third, "/");
}

#[test]
fn a_request_that_waits_goes_with_its_client() {
    let mark = Arc::new(());
    let meeting = Arc::clone(&mark);
    let running = Running::start(false, |options| {
        options.at_once_max = 1;
        options.meet = Arc::new(move |_| (Arc::clone(&meeting) as Mark, Standing::Known));
    });
    let mut first = running.send(GET);
    until("it is asked", || running.gate.lock().unwrap().waiting == 1);
    let before = Arc::strong_count(&mark);
    for _ in 0..10 {
        let client = send_and_never_read(&running, "x");
        until("its request waits", || running.load.answering() == 2);
        assert_eq!(Arc::strong_count(&mark), before + 2, "its connection has a mark, and its request");
        drop(client);
        until("it is gone", || running.load.connections() == 1);
    }
    until("nothing is kept of them", || Arc::strong_count(&mark) == before);
    running.open();
    read_until(&mut first, "/");
    read_until(&mut running.send(GET), "/");
    assert_eq!(running.gate.lock().unwrap().rounds, [1, 1]);
}

/// Returns a server that keeps every request, and answers none.
fn start_keeping(change: impl FnOnce(&mut Options)) -> (Running, Arc<Mutex<Vec<Request>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&kept);
    let running = Running::start(false, |options| {
        options.answer = Arc::new(move |requests| {
            let answers = requests
                .iter()
                .map(|_| Answering { coming: Box::pin(std::future::pending()), is_soon: false })
                .collect();
            keeping.lock().unwrap().extend(requests);
            answers
        });
        change(options);
    });
    (running, kept)
}

#[test]
fn what_is_kept_of_a_request_is_counted_also_when_its_client_has_gone() {
    let post = |header: usize, body: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nX: {}\r\nContent-Length: {body}\r\n\r\n", "x".repeat(header));
        head + &"x".repeat(body)
    };
    // Two of them are too much: by their bodies, and by their heads.
    for (first, second) in [(post(1, 900), post(1, 200)), (post(800, 1), post(800, 1))] {
        let (running, kept) = start_keeping(|options| options.heads_bytes_max = 2_400);
        let length = || kept.lock().unwrap().len();
        let client = running.send(&first.replace("Host: x", "Host: x\r\nExpect: 100-continue"));
        until("it is kept", || length() == 1);
        drop(client);
        until("it is gone", || running.load.connections() == 0);
        let text = read_all(running.send(&second));
        assert!(text.ends_with("Busy"), "{text}");
        kept.lock().unwrap().clear();
        let _other = running.send(&second);
        until("there is room again", || length() == 1);
    }
}

/// Has connections met as strangers' while the switch says so; one that asks for `/known` is known from then on.
fn with_strangers(options: &mut Options) -> Arc<AtomicBool> {
    let are_strangers = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&are_strangers);
    options.meet = Arc::new(move |_| {
        let standing = if switch.load(SeqCst) { Standing::Stranger } else { Standing::Known };
        (Arc::new(()), standing)
    });
    options.admit = Arc::new(|arriving| {
        let standing = if arriving.head.path == "/known" { Standing::Known } else { Standing::Stranger };
        Ok((Arc::clone(arriving.connection), standing))
    });
    are_strangers
}

#[test]
fn strangers_have_a_part_of_the_connections() {
    let mut switch = None;
    let running = Running::start(true, |options| {
        options.connections_max = 8;
        switch = Some(with_strangers(options));
    });
    let mut strangers = [running.send(GET), running.send(GET)];
    for stranger in &mut strangers {
        read_until(stranger, "/");
    }
    let text = read_all(running.connect());
    assert!(text.ends_with("Busy"), "{text}");
    switch.unwrap().store(false, SeqCst);
    let mut known: Vec<_> = (0..6).map(|_| running.send(GET)).collect();
    for client in &mut known {
        let text = read_until(client, "/");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[test]
fn a_stranger_that_becomes_known_gives_its_place_to_another() {
    let running = Running::start(true, |options| {
        options.connections_max = 4;
        options.heads_bytes_max = 4_000;
        with_strangers(options);
    });
    let mut known = Vec::new();
    for _ in 0..3 {
        let mut client = running.send("GET /known HTTP/1.1\r\nHost: x\r\n\r\n");
        read_until(&mut client, "/known");
        // More than all strangers may have, of which it is none.
        client.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(900)).as_bytes()).unwrap();
        known.push(client);
    }
    let stranger = running.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("all are there", || running.load.connections() == 4);
    for mut client in known {
        client.write_all(b"\r\n\r\n").unwrap();
        let text = read_until(&mut client, "/");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
    drop(stranger);
}

#[test]
fn strangers_have_a_part_of_the_bytes_of_heads() {
    let mut switch = None;
    let running = Running::start(true, |options| {
        options.heads_bytes_max = 4 * 2_000;
        switch = Some(with_strangers(options));
    });
    let half = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(900));
    let (sender, answers) = mpsc::channel();
    let clients: Vec<_> = (0..3).map(|_| running.send(&half)).collect();
    for client in &clients {
        let (client, sender) = (client.try_clone().unwrap(), sender.clone());
        std::thread::spawn(move || sender.send(read_all(client)));
    }
    let text = answers.recv_timeout(PATIENCE).expect("one of three is too much");
    assert!(text.ends_with("Busy"), "{text}");
    switch.unwrap().store(false, SeqCst);
    let mut known = running.send(&format!("{half}\r\n\r\n"));
    let text = read_until(&mut known, "/");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    for client in clients {
        let _ = client.shutdown(Shutdown::Both);
    }
}

#[test]
fn strangers_have_a_part_of_the_requests_that_are_answered_at_a_time() {
    let mut switch = None;
    let (running, kept) = start_keeping(|options| {
        options.at_once_max = 8;
        switch = Some(with_strangers(options));
    });
    let length = || kept.lock().unwrap().len();
    let reset = send_and_never_read(&running, "x");
    until("it is kept", || length() == 1);
    // It has its place for as long as its request is kept.
    drop(reset);
    let _second = running.send(GET);
    until("it is kept", || length() == 2);
    let text = read_all(running.send(GET));
    assert!(text.ends_with("Busy"), "{text}");
    switch.unwrap().store(false, SeqCst);
    let _known: Vec<_> = (0..6).map(|_| running.send(GET)).collect();
    until("those that are known are asked", || length() == 8);
}

#[test]
fn what_comes_behind_a_whole_request_is_counted_among_the_bytes_of_heads() {
    // A head takes 256 bytes for each of its headers besides its text.
    let running = Running::start(true, |options| options.heads_bytes_max = 2_000);
    let text = read_all(running.send(&format!("{GET}{}", "x".repeat(1_800))));
    assert!(text.ends_with("Busy"), "{text}");
    assert_eq!(running.gate.lock().unwrap().rounds, [0; 0], "it is not asked");
    let mut good = running.send(&GET.repeat(5));
    let text = read_until(&mut good, "/");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[test]
fn clients_that_are_seen_off_are_bounded_in_number() {
    let running = Running::start(true, |_| {});
    // They have their answer, and do not close.
    let clients: Vec<_> = (0..LINGERING_MAX + 20).map(|_| running.send("GET\r\n")).collect();
    for client in &clients {
        let mut client = client.try_clone().unwrap();
        let text = read_until(&mut client, "RequestLine");
        assert!(text.starts_with("HTTP/1.1 499 "), "{text}");
        // One that is turned away is counted for a moment.
        assert!(running.load.lingering() <= LINGERING_MAX + 1, "{} are seen off", running.load.lingering());
    }
    assert_eq!(running.load.answering(), 0, "none holds a place among requests");
    let mut good = running.send(GET);
    read_until(&mut good, "/");
    drop(clients);
    until("all are gone", || running.load.lingering() == 0);
}

#[test]
fn an_answer_to_head_has_no_body_even_when_it_is_a_refusal() {
    let running = Running::start(true, |_| {});
    let text = read_all(running.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert!(text.ends_with("\r\nContent-Length: 1\r\n\r\n"), "{text}");
    let text = read_all(running.send("HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"));
    assert!(text.ends_with("\r\nContent-Length: 12\r\n\r\n"), "{text}");
}
