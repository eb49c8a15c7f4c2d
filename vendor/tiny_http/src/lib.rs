//! tiny_http 0.12.0, cut to what KNHK needs and changed where a client could stop the process.
//!
//! `Server::from_listeners` accepts connections, a thread each. That thread reads one whole request at a time
//! within the limits of [`Options`], has it answered by [`Options::answer`], writes the answer and only then reads the
//! next. CHANGES.md lists the differences to the original.
#![forbid(unsafe_code)]
#![deny(rust_2018_idioms)]

use std::io::{Result as IoResult, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use connection::Connection;

pub use common::{HTTPVersion, Header, HeaderField, Method, StatusCode};
pub use connection::Listener;
pub use request::Request;
pub use response::Response;

mod client;
mod common;
mod connection;
mod request;
mod response;

/// How long to wait after a failed accept, such as one for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Stack of a connection's thread, which also answers; only what is used of it takes memory.
const CONNECTION_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Bounds on what clients may do.
#[derive(Clone)]
pub struct Options {
    /// Longest pause between two pieces of a request.
    pub read_timeout: Duration,
    /// Longest wait for the client to take a piece of an answer.
    pub write_timeout: Duration,
    /// Longest time between two requests of a connection.
    pub idle_time: Duration,
    /// Longest time from the first byte of a request to the end of its headers.
    pub head_time: Duration,
    /// Longest time for a whole body.
    pub body_time: Duration,
    /// Most bytes of request line and headers.
    pub head_bytes_max: usize,
    /// Most headers.
    pub headers_max: usize,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
    /// Most bytes of all bodies that are held at a time.
    pub bodies_bytes_max: usize,
    /// Most connections.
    pub connections_max: usize,
    /// Most requests that are answered at a time; more wait.
    pub at_once_max: usize,
    /// Answers a request, on its connection's thread.
    pub answer: Arc<dyn Fn(&mut Request) -> Response + Send + Sync>,
    /// Gives the answer to a request that cannot be read.
    pub refusal: Arc<dyn Fn(Refusal) -> Response + Send + Sync>,
}

/// Why a request was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request line is none.
    RequestLine,
    /// A header is none, or two contradict each other.
    Header,
    /// Request line and headers are larger than their limit.
    HeadTooLarge,
    /// They did not come in time.
    HeadSlow,
    /// The body is larger than its limit.
    BodyTooLarge,
    /// The body did not come in time.
    BodySlow,
    /// The body ended early or its chunks make no sense.
    BodyBroken,
    /// An `Expect` that is not known.
    Expectation,
    /// Not HTTP 1.0 or 1.1.
    Version,
    /// Too many connections or bytes of bodies.
    Busy,
    /// The server is being stopped.
    Closing,
}

/// What all connections share.
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) closing: AtomicBool,
    pub(crate) connections: AtomicUsize,
    pub(crate) bodies_bytes: AtomicUsize,
    pub(crate) answering: AtomicUsize,
    pub(crate) at_once: Places,
}

/// Places for requests that are being answered.
pub(crate) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of the places; free again when it is dropped.
pub(crate) struct Place<'a>(&'a Places);

impl Places {
    fn new(count: usize) -> Places {
        Places { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Waits for a place.
    pub(crate) fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// Listeners whose connections are served.
pub struct Server {
    state: Arc<State>,
}

impl Server {
    /// Starts to accept connections. Failing to accept one never ends that.
    pub fn from_listeners(listeners: Vec<Listener>, options: Options) -> IoResult<Server> {
        let state = Arc::new(State {
            at_once: Places::new(options.at_once_max),
            options,
            closing: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            bodies_bytes: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
        });
        for listener in listeners {
            let inside = Arc::clone(&state);
            thread::Builder::new().name("http-accept".to_owned()).spawn(move || accept(&listener, &inside))?;
        }
        Ok(Server { state })
    }

    /// Returns how many clients are connected.
    pub fn num_connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// Returns how many requests were read and are not answered yet.
    pub fn num_answering(&self) -> usize {
        self.state.answering.load(SeqCst)
    }

    /// Lets every connection end with its next answer, and the accept loop with the next error. The caller
    /// shuts its own handle of the listening socket down to bring that about.
    pub fn close(&self) {
        self.state.closing.store(true, SeqCst);
    }
}

/// Counts one connection for as long as it lives.
struct Counted(Arc<State>);

impl Counted {
    fn new(state: &Arc<State>) -> Counted {
        state.connections.fetch_add(1, SeqCst);
        Counted(Arc::clone(state))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, SeqCst);
    }
}

fn accept(listener: &Listener, state: &Arc<State>) {
    loop {
        let accepted = listener.accept();
        if state.closing.load(SeqCst) {
            return;
        }
        let socket = match accepted {
            Ok(socket) => socket,
            Err(_) => {
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if socket.set_limits(state.options.read_timeout, state.options.write_timeout).is_err() {
            continue;
        }
        if state.connections.load(SeqCst) >= state.options.connections_max {
            refuse(&socket, state, Refusal::Busy);
            continue;
        }
        let counted = Counted::new(state);
        let inside = Arc::clone(state);
        let builder = thread::Builder::new().name("http-client".to_owned()).stack_size(CONNECTION_STACK_BYTES);
        let spawned = builder.spawn(move || {
            let _counted = counted;
            client::serve(&socket, &inside);
        });
        if spawned.is_err() {
            // The connection went with the closure. Let others end before the next try.
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

/// Answers without having read a request. The socket is new, so that its buffer takes the whole answer.
fn refuse(socket: &Connection, state: &State, refusal: Refusal) {
    let mut out = Vec::new();
    (state.options.refusal)(refusal).print(&mut out, &HTTPVersion(1, 1), false, true);
    let mut socket = socket;
    let _ = socket.write_all(&out);
}
