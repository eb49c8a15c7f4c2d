//! The way in from other machines: TLS, tokens, and limits around the same [`respond`](super::respond).
//!
//! All of it runs in one thread, `remote`, on a tokio runtime of its own: whatever comes from outside takes one core at
//! most, and neither a hot one nor the thread of the local side. HTTP/1.1 only: many streams on one connection would be a
//! second set of limits to get right, and what it is good for, many small requests, `POST /batch` does better.
//! Start at [`Remote::bind`]; `handle` has the way of a request, `scope` what each route takes.

mod handle;
mod heads;
mod pace;
mod scope;
mod tls;
mod tokens;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub(in crate::api) use scope::needed;
pub use scope::{Scope, scopes};
pub use tls::{CERTIFICATE, Certificate, KEY};
pub(in crate::api) use tokens::{Access, Known, Stranger, bearer};
pub use tokens::{Folder, NAME_LEN_MAX, SECRET_LEN_MAX, SECRET_LEN_MIN, SECRETS, TOKEN_COUNT_MAX, Token};

use super::asking::Asker;
use super::server::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, STOP_TIME_MAX};
use super::{Error, Limits, Listener};
use crate::engine::clock::Clock;
use crate::engine::service::Service;
use crate::engine::threads::Threads;
use crate::telemetry::metrics::labels::Remote as Refused;
use crate::telemetry::words;
use handle::State;
use heads::{Heads, Lingering, Verdict};
use pace::{Pace, Paced};
use tls::Tls;

/// How long a client may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Longest time for the handshake of TLS.
    pub handshake: Duration,
    /// Longest rest of a connection that has not shown a token yet: strangers cannot keep the others out for long.
    pub first: Duration,
    /// Longest rest of one that has.
    pub idle: Duration,
    /// Longest time for request line and headers.
    pub head: Duration,
    /// Longest pause between two pieces of a body.
    pub read_pause: Duration,
    /// Longest time for a whole body.
    pub body: Duration,
    /// Longest wait for a client to take a piece of an answer.
    pub write_pause: Duration,
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
};

/// Pause before the next try when a connection cannot be accepted: mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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
    /// Most connections; more are closed at once.
    pub connections_max: usize,
    /// Most requests that are answered at a time; more are refused with 503.
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
    tls: Option<Tls>,
    known: Known,
}

/// The running remote side.
pub struct Remote {
    options: Options,
    address: SocketAddr,
    fingerprint: Option<String>,
    acceptor: Arc<Mutex<Option<TlsAcceptor>>>,
    open: Arc<AtomicUsize>,
    stopping: watch::Sender<bool>,
    threads: Threads,
}

impl Remote {
    /// Takes the port, and reads certificate and tokens.
    ///
    /// # Errors
    /// The port is not to be had, or a file is missing or wrong.
    pub fn bind(options: Options) -> Result<Bound, Error> {
        let known = Known::open(&Folder::at(&options.folder), options.secrets_dir.as_deref())?;
        let tls = load_tls(&options)?;
        let Listener::Tcp(listener) = Listener::tcp(options.address)? else {
            unreachable!("invariant: a TCP listener is one");
        };
        Ok(Bound { options, listener, tls, known })
    }

    /// Returns the address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns SHA-256 of the certificate; `None` without TLS.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Returns how many clients are connected.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Reads the certificate anew, for connections from now on.
    ///
    /// # Errors
    /// It cannot be used; the one before stays.
    pub fn reload(&mut self) -> Result<(), Error> {
        let tls = load_tls(&self.options)?;
        self.fingerprint = tls.as_ref().map(|tls| tls.fingerprint.clone());
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = tls.map(acceptor_of);
        Ok(())
    }

    /// Stops listening, lets what has begun come to its end for at most [`STOP_TIME_MAX`], and ends the thread. Returns
    /// its name if it ended by a fault.
    pub fn stop(self) -> Vec<String> {
        // Nobody listens any more when the thread has ended already.
        let _ = self.stopping.send(true);
        self.threads.join()
    }
}

fn load_tls(options: &Options) -> Result<Option<Tls>, Error> {
    match &options.security {
        Security::Plain => Ok(None),
        Security::Tls(source) => {
            let names = tls::own_names(options.address.ip());
            tls::load(source, &Folder::at(&options.folder), &names).map(Some)
        }
    }
}

fn acceptor_of(tls: Tls) -> TlsAcceptor {
    TlsAcceptor::from(tls.config)
}

impl Bound {
    /// Starts to answer.
    ///
    /// # Errors
    /// The system has no room for the thread or what it needs.
    pub fn start(self, service: Arc<dyn Service>, clock: Arc<dyn Clock>) -> Result<Remote, Error> {
        let failed = |error: std::io::Error| Error::Start { message: error.to_string() };
        let Self { options, listener, tls, known } = self;
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let fingerprint = tls.as_ref().map(|tls| tls.fingerprint.clone());
        let acceptor = Arc::new(Mutex::new(tls.map(acceptor_of)));
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
            requests_max: options.requests_max,
            requests: AtomicUsize::new(0),
            bodies_bytes: AtomicUsize::new(0),
            strangers: Mutex::default(),
            lingering: Lingering::default(),
        });
        let (stopping, stop) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let listening = Listening {
            state,
            acceptor: Arc::clone(&acceptor),
            open: Arc::clone(&open),
            connections_max: options.connections_max,
            stop,
        };
        // The thread keeps to the cores of the one that makes it.
        let mut threads = Threads::default();
        threads.spawn("remote", move || runtime.block_on(listening.run(listener))).map_err(failed)?;
        Ok(Remote { options, address, fingerprint, acceptor, open, stopping, threads })
    }

    /// Returns the address that is listened on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

/// What accepts connections.
struct Listening {
    state: Arc<State>,
    acceptor: Arc<Mutex<Option<TlsAcceptor>>>,
    open: Arc<AtomicUsize>,
    connections_max: usize,
    stop: watch::Receiver<bool>,
}

/// A connection that is counted.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listening {
    async fn run(mut self, listener: TcpListener) {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => self.accept(listener).await,
            Err(error) => tracing::error!("{}: {error}", words::REMOTE_DEAF),
        }
        let mut waited = Duration::ZERO;
        while self.open.load(Ordering::Relaxed) > 0 && waited < STOP_TIME_MAX {
            tokio::time::sleep(STOP_PAUSE).await;
            waited += STOP_PAUSE;
        }
    }

    async fn accept(&mut self, listener: tokio::net::TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
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
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        if self.open.load(Ordering::Relaxed) >= self.connections_max {
            self.state.service.metrics().remote_refused.of(Refused::Connections).increment();
            return;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&self.open));
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Answers are small and written whole.
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let _open = open;
            match acceptor {
                None => serve(stream, peer, state, stop).await,
                Some(acceptor) => {
                    let shaken = tokio::time::timeout(state.times.handshake, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        serve(stream, peer, state, stop).await;
                    }
                }
            }
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn serve<S>(stream: S, peer: SocketAddr, state: Arc<State>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = Arc::new(Pace::default());
    let verdict = Arc::new(Verdict::default());
    let paced = Paced::new(stream, Arc::clone(&pace), state.times);
    let mut heads = Heads::new(paced, Arc::clone(&verdict), state.limits.body_bytes_max);
    let service = service_fn(|request| {
        let (state, pace, verdict) = (Arc::clone(&state), Arc::clone(&pace), Arc::clone(&verdict));
        async move {
            match verdict.error(&state.limits, state.within()) {
                Some(error) => Ok(state.unread(error)),
                None => handle::answer(state, pace, peer, request).await,
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
            // Who sends no more still waits for the answer.
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
