//! The way in from other machines: TLS, tokens, and limits around the same [`respond`](super::respond).
//!
//! All of it runs in one thread, `remote`, on a tokio runtime of its own: whatever comes from outside takes one core at
//! most, and neither a hot one nor the thread of the local side. HTTP/1.1 only: many streams on one connection would be a
//! second set of limits to get right, and what it is good for, many small requests, `POST /batch` does better.
//! Start at [`Remote::bind`]; `handle` has the way of a request, `scope` what each route takes.

mod connections;
mod handle;
mod heads;
mod network;
mod pace;
mod refusal_log;
mod scope;
mod tls;
mod tokens;
mod uses;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use connections::STRANGERS_PART;
pub use network::Network;
pub(in crate::api) use scope::needed;
pub use scope::{Scope, scopes};
pub use tls::{CERTIFICATE, Certificate, InUse, KEY, Tls};
pub(in crate::api) use tokens::{Access, Known, Stranger, bearer};
pub use tokens::{Folder, NAME_LEN_MAX, SECRET_LEN_MAX, SECRET_LEN_MIN, SECRETS, TOKEN_COUNT_MAX, Token};
pub use uses::{Day, Days};

use super::asking::Asker;
use super::audit::Lane;
use super::server::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, STOP_TIME_MAX};
use super::shares::Shares;
use super::{Error, Limits, Listener};
use crate::engine::clock::Clock;
use crate::engine::service::Service;
use crate::engine::threads::Threads;
use crate::telemetry::metrics::labels::Remote as Refused;
use crate::telemetry::words;
use connections::{Bounds, Connections, Room, Seat};
use handle::{Client, State};
use heads::{Heads, Lingering, Verdict};
use pace::Paced;
use refusal_log::RefusalLog;

/// How long a client may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Longest time for the handshake of TLS.
    pub handshake: Duration,
    /// Longest time from the accept, the handshake included, to the first good token, whatever comes in between; then the
    /// connection is closed. What is being answered by then is still answered.
    pub first: Duration,
    /// Longest rest of a connection that has shown one.
    pub idle: Duration,
    /// Longest time for request line and headers.
    pub head: Duration,
    /// Longest pause between two pieces of a body.
    pub read_pause: Duration,
    /// Longest time for a whole body.
    pub body: Duration,
    /// Longest wait for a client to take a piece of an answer.
    pub write_pause: Duration,
    /// Longest time for a client to take a whole answer, whose room it holds.
    pub answer: Duration,
}

/// The times of the service; only tests have others.
pub const TIMES: Times = Times {
    handshake: Duration::from_secs(10),
    first: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    head: Duration::from_secs(10),
    read_pause: Duration::from_secs(5),
    body: Duration::from_secs(30),
    write_pause: Duration::from_secs(10),
    answer: Duration::from_secs(120),
};

/// Pause before the next try when a connection cannot be accepted: mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two looks at whether lines of the log wait.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Pause between two looks at whether all connections have ended.
const STOP_PAUSE: Duration = Duration::from_millis(5);

/// How connections are kept from being read and changed on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// By TLS 1.2 or 1.3.
    Tls(Certificate),
    /// Not at all: inside the network of a container only.
    Plain,
}

/// How the remote side is to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to listen.
    pub address: SocketAddr,
    /// What protects connections.
    pub security: Security,
    /// Folder of tokens, and of a certificate of our own.
    pub folder: PathBuf,
    /// Folder of tokens that the administrator makes; see [`SECRETS`].
    pub secrets_dir: Option<PathBuf>,
    /// Most connections. One of [`STRANGERS_PART`] places is for those that have not shown a token; when there are more,
    /// the oldest of these is closed.
    pub connections_max: usize,
    /// Most connections without a token of one address, of IPv6 one /64; more are closed at once.
    pub address_connections_max: usize,
    /// Addresses for which that does not hold, nor a share of the bytes of heads: many clients come by one of these.
    pub proxies: Vec<Network>,
    /// Most requests that are answered at a time, shared by token; more are refused with 503.
    pub requests_max: usize,
    /// Most threads for requests that wait for something else than their shard.
    pub http_workers: usize,
    /// How long clients may take.
    pub times: Times,
    /// Bounds on single requests.
    pub limits: Limits,
}

/// A port that is had, with everything read that connections on it will need.
pub struct Bound {
    options: Options,
    listener: TcpListener,
    in_use: Arc<InUse>,
    known: Known,
}

/// The running remote side.
pub struct Remote {
    address: SocketAddr,
    in_use: Arc<InUse>,
    connections: Arc<Connections>,
    stopping: watch::Sender<bool>,
    threads: Threads,
}

impl Remote {
    /// Takes the port, and reads certificate and tokens.
    ///
    /// # Errors
    /// The port is unavailable, or a file is missing or wrong.
    pub fn bind(options: Options) -> Result<Bound, Error> {
        let known = Known::open(&Folder::at(&options.folder), options.secrets_dir.as_deref())?;
        let in_use =
            InUse::load(options.security.clone(), Folder::at(&options.folder), options.address.ip())?;
        let Listener::Tcp(listener) = Listener::tcp(options.address)? else {
            unreachable!("invariant: a TCP listener is one");
        };
        Ok(Bound { options, listener, in_use: Arc::new(in_use), known })
    }

    /// Returns the address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the security of new connections.
    pub fn in_use(&self) -> &Arc<InUse> {
        &self.in_use
    }

    /// Returns how many clients are connected.
    pub fn connections(&self) -> usize {
        self.connections.open()
    }

    /// Stops listening, lets what has begun come to its end for at most [`STOP_TIME_MAX`], and ends the thread. Returns
    /// its name if it ended by a fault.
    pub fn stop(self) -> Vec<String> {
        // Nobody listens any more when the thread has ended already.
        let _ = self.stopping.send(true);
        self.threads.join()
    }
}

impl Bound {
    /// Starts to answer.
    ///
    /// # Errors
    /// The system has no room for the thread or what it needs.
    pub fn start(
        self,
        service: Arc<dyn Service>,
        clock: Arc<dyn Clock>,
        audit: Arc<Lane>,
    ) -> Result<Remote, Error> {
        let failed = |error: std::io::Error| Error::Start { message: error.to_string() };
        let Self { options, listener, in_use, known } = self;
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        if known.count() == 0 {
            tracing::warn!("{}", words::NO_TOKEN);
        }
        let asker = Asker::new(options.limits, options.http_workers);
        asker.serve(Arc::clone(&service));
        let state = Arc::new(State {
            asker: Arc::new(asker),
            service,
            known,
            clock,
            limits: options.limits,
            times: options.times,
            requests: Shares::new(options.requests_max),
            bodies_bytes: Shares::new(options.limits.bodies_bytes_max),
            heads_bytes: heads::Room::new(options.limits.heads_bytes_max, options.proxies.clone()),
            audit,
            refusal_log: RefusalLog::default(),
            lingering: Lingering::new(options.connections_max),
        });
        let (stopping, stop) = watch::channel(false);
        let connections = Connections::new(Bounds {
            connections_max: options.connections_max,
            address_max: options.address_connections_max,
            proxies: options.proxies.clone(),
        });
        let listening =
            Listening { state, in_use: Arc::clone(&in_use), connections: Arc::clone(&connections), stop };
        // The thread keeps to the cores of the one that makes it.
        let mut threads = Threads::default();
        threads.spawn("remote", move || runtime.block_on(listening.run(listener))).map_err(failed)?;
        Ok(Remote { address, in_use, connections, stopping, threads })
    }

    /// Returns the address that is listened on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

/// What accepts connections.
struct Listening {
    state: Arc<State>,
    in_use: Arc<InUse>,
    connections: Arc<Connections>,
    stop: watch::Receiver<bool>,
}

impl Listening {
    async fn run(mut self, listener: TcpListener) {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => self.accept(listener).await,
            Err(error) => tracing::error!("{}: {error}", words::REMOTE_DEAF),
        }
        let mut waited = Duration::ZERO;
        while self.connections.open() > 0 && waited < STOP_TIME_MAX {
            tokio::time::sleep(STOP_PAUSE).await;
            waited += STOP_PAUSE;
        }
        self.state.refusal_log.flush(u64::MAX);
    }

    async fn accept(&mut self, listener: tokio::net::TcpListener) {
        let mut look = tokio::time::interval(LOOK_TIME);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = look.tick() => {
                    self.state.refusal_log.flush(self.state.clock.monotonic_us());
                    continue;
                }
                // Also when whoever could say so is gone.
                _ = self.stop.changed() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                // It was reset while it waited.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "{}", words::ACCEPT_FAILED);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            // Those that were evicted end in their own turn, before there are more.
            while self.connections.are_too_many() {
                tokio::task::yield_now().await;
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Some((seat, room)) = self.connections.take(peer.ip()) else {
            let limit = self.connections.address_max();
            let why = format!("its address has {limit} connections without a token");
            self.refuse(Refused::Address, why, peer);
            return;
        };
        if room == Room::Made {
            let why = "too many connections without a token, the oldest was closed".to_owned();
            self.refuse(Refused::Connections, why, peer);
        }
        let seat = Arc::new(seat);
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        let acceptor = self.in_use.acceptor();
        // Answers are small and written whole.
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = seat.called() => {}
                () = converse(stream, peer, acceptor, &seat, state, stop) => {}
            }
        });
    }

    fn refuse(&self, reason: Refused, why: String, peer: SocketAddr) {
        let line = refusal_log::Line { why, token: "".into(), route: "", peer: peer.ip() };
        self.state.refuse(reason, refusal_log::Kind::Connection, line);
    }
}

/// Shakes hands with a client and answers its requests.
async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    seat: &Arc<Seat>,
    state: Arc<State>,
    stop: watch::Receiver<bool>,
) {
    let end = Instant::now() + state.times.first;
    let client = Client { peer, seat: Arc::downgrade(seat), pace: Arc::default() };
    match acceptor {
        None => serve(stream, client, end, state, stop).await,
        Some(acceptor) => {
            let limit = state.times.handshake.min(state.times.first);
            if let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
                serve(stream, client, end, state, stop).await;
            }
        }
    }
}

/// Answers the requests of one connection until it ends; by `end` its client has to show a token.
async fn serve<S>(stream: S, client: Client, end: Instant, state: Arc<State>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let verdict = Arc::new(Verdict::default());
    let paced = Paced::new(stream, Arc::clone(&client.pace), state.times, end);
    let from = (client.peer.ip(), Arc::clone(&client.pace));
    let (bytes_max, all) = (state.limits.body_bytes_max, &state.heads_bytes);
    let mut heads = Heads::new(paced, Arc::clone(&verdict), bytes_max, all, from);
    let service = service_fn(|request| {
        let (state, client, verdict) = (Arc::clone(&state), client.clone(), Arc::clone(&verdict));
        async move {
            match verdict.error(&state.limits, state.within()) {
                Some(error) => Ok(state.unread(error)),
                None => handle::answer(state, client, request).await,
            }
        }
    });
    {
        let connection = http1::Builder::new()
            // A head that was read is written again, with a header of ours and perhaps a host.
            .max_header_size(HEAD_BYTES_MAX * 2)
            .max_headers(HEADER_COUNT_MAX + 2)
            .max_buf_size(HEAD_BYTES_MAX * 3)
            .header_read_timeout(None)
            // A client that has closed its sending side still gets its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(&mut heads), service);
        tokio::pin!(connection);
        let is_over = tokio::select! {
            // What is wrong with a connection is its client's business.
            _ = connection.as_mut() => true,
            _ = stop.changed() => false,
        };
        if !is_over {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    state.lingering.see_off(heads, stop).await;
}
