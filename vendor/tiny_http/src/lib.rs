//! The HTTP server of KNHK, and the one reading of HTTP that all its servers share.
//!
//! `Server::from_listeners` serves all connections in one thread, by epoll: it reads whole requests within the limits of
//! [`Options`], hands those of a round together to [`Options::answer`], and writes each answer when it is there.
//! [`head`], [`body`] and [`reading`] decide what is a request; they are pure, and other servers call them too. README.md
//! says where this comes from, CHANGES.md what each difference to that is for.
#![forbid(unsafe_code)]
#![deny(rust_2018_idioms)]

use std::any::Any;
use std::future::Future;
use std::io::Result as IoResult;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use head::Head;
use mailbox::Mailbox;
use reactor::Reactor;
use strangers::Strangers;

pub use client::{lingering_max, LINGERING_MAX, LINGER_BYTES_MAX, LINGER_TIME};
pub use connection::Listener;
pub use request::{Held, Request};
pub use response::Response;
pub use strangers::{Standing, STRANGERS_PART};
pub use target::Host;

pub mod body;
mod chunks;
mod client;
mod connection;
mod date;
pub mod head;
mod heads;
mod mailbox;
mod reactor;
pub mod reading;
mod request;
mod response;
mod slots;
mod status;
mod strangers;
mod target;
#[cfg(test)]
mod tests;

/// An answer that comes. It is asked after when its waker was called, and at least every 20 ms; it never blocks.
pub type Coming = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What is known of an answer.
pub struct Answering {
    /// The answer.
    pub coming: Coming,
    /// Whether it comes within a millisecond or so if all is well, so that looking out for it is worth it.
    pub is_soon: bool,
}

/// The two ends of a new connection.
#[derive(Debug, Clone, Copy)]
pub enum Ends<'a> {
    /// A TCP connection.
    Tcp { ours: SocketAddr, theirs: SocketAddr },
    /// A connection to a socket file, which tells who is at its other end.
    Unix(BorrowedFd<'a>),
}

/// What the caller of this crate knows of a connection or of a request. It is handed on as it is.
pub type Mark = Arc<dyn Any + Send + Sync>;

/// A request whose head has come, and of whose body nothing was read.
pub struct Arriving<'a> {
    pub head: &'a Head,
    /// What [`Options::meet`] made of the connection.
    pub connection: &'a Mark,
}

/// Bounds on what clients may do.
#[derive(Clone)]
pub struct Options {
    /// Longest pause between two pieces of a request.
    pub read_timeout: Duration,
    /// Longest wait for the client to take a piece of an answer.
    pub write_timeout: Duration,
    /// Longest time for the client to take a whole answer.
    pub answer_time: Duration,
    /// Longest time between two requests of a connection.
    pub idle_time: Duration,
    /// Longest time from the first byte of a request to the end of its headers.
    pub head_time: Duration,
    /// Longest time for a whole body.
    pub body_time: Duration,
    /// Most bytes of request line and headers.
    pub head_bytes_max: usize,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
    /// Most bytes of all bodies that are held at a time.
    pub bodies_bytes_max: usize,
    /// Most bytes that all heads, and what came behind them, take at a time.
    pub heads_bytes_max: usize,
    /// Most connections.
    pub connections_max: usize,
    /// Most requests that are answered at a time; more wait.
    pub at_once_max: usize,
    /// Called once for each connection, when it was accepted. Strangers together have one of [`STRANGERS_PART`] parts of
    /// `connections_max`, `heads_bytes_max` and `at_once_max`. All wait for it: it may ask the kernel and read a small
    /// file of the system, and nothing else.
    pub meet: Arc<dyn Fn(Ends<'_>) -> (Mark, Standing) + Send + Sync>,
    /// Judges a request before a byte of its body is read. A mark goes with the request, an answer refuses it and ends the
    /// connection. A stranger that is known by its request stays known. All wait for it, as for `meet`.
    pub admit: Arc<dyn Fn(&Arriving<'_>) -> Result<(Mark, Standing), Response> + Send + Sync>,
    /// Begins to answer requests, one answer each; never blocks.
    pub answer: Arc<dyn Fn(Vec<Request>) -> Vec<Answering> + Send + Sync>,
    /// Called in the server's thread when it has had nothing to do for a second.
    pub at_rest: fn(),
    /// Where the load is told.
    pub load: Arc<Load>,
    /// Gives the answer to a request that cannot be read.
    pub refusal: Arc<dyn Fn(Refusal) -> Response + Send + Sync>,
}

/// How much the server has to do, told at any time.
#[derive(Debug, Default)]
pub struct Load {
    pub(crate) connections: AtomicUsize,
    pub(crate) answering: AtomicUsize,
    pub(crate) accept_failures: AtomicUsize,
    pub(crate) lingering: AtomicUsize,
}

impl Load {
    /// Returns how many clients are connected.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Returns how many requests were read and whose answer is not sent yet.
    pub fn answering(&self) -> usize {
        self.answering.load(SeqCst)
    }

    /// Returns how many connections are kept only for their clients to see the last answer.
    pub fn lingering(&self) -> usize {
        self.lingering.load(SeqCst)
    }

    /// Returns how often a connection could not be accepted.
    pub fn accept_failures(&self) -> usize {
        self.accept_failures.load(SeqCst)
    }
}

/// Why a request was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request line is malformed.
    RequestLine,
    /// A header is malformed.
    Header,
    /// This header means something only once.
    Twice(&'static str),
    /// There is no `Host`, or it is malformed.
    Host,
    /// The headers that say how long the body is are wrong, or contradict each other.
    Length,
    /// Request line and headers are larger than their limit, or too many.
    HeadTooLarge,
    /// They did not come in time.
    HeadSlow,
    /// The body is larger than its limit.
    BodyTooLarge,
    /// The body did not come in time.
    BodySlow,
    /// The body ended early or its chunks make no sense.
    BodyBroken,
    /// The sizes of chunks and what else is around the data take more bytes than their limit.
    ChunksTooSmall,
    /// An `Expect` that is not known.
    Expectation,
    /// Not HTTP 1.0 or 1.1.
    Version,
    /// Too many connections, bytes of heads or bodies, or requests of strangers.
    Busy,
    /// The server is being stopped.
    Closing,
}

/// What all connections share.
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) closing: AtomicBool,
    pub(crate) bodies_bytes: AtomicUsize,
    pub(crate) heads_bytes: AtomicUsize,
    pub(crate) strangers: Strangers,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl State {
    fn new(options: Options) -> IoResult<State> {
        Ok(State {
            options,
            closing: AtomicBool::new(false),
            bodies_bytes: AtomicUsize::new(0),
            heads_bytes: AtomicUsize::new(0),
            strangers: Strangers::default(),
            mailbox: Arc::new(Mailbox::new()?),
        })
    }
}

/// Listeners whose connections are served.
pub struct Server {
    state: Arc<State>,
}

impl Server {
    /// Starts to serve. Failing to accept a connection never ends that.
    pub fn from_listeners(listeners: Vec<Listener>, options: Options) -> IoResult<Server> {
        let state = Arc::new(State::new(options)?);
        let reactor = Reactor::new(listeners, Arc::clone(&state))?;
        thread::Builder::new().name("http".to_owned()).spawn(move || reactor.run())?;
        Ok(Server { state })
    }

    /// Accepts no more, and lets every connection end with its next answer.
    pub fn close(&self) {
        self.state.closing.store(true, SeqCst);
        self.state.mailbox.ring();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}
