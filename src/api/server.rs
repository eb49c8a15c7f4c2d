//! The thin adaptor between sockets and [`respond`]: it moves bytes and counts, nothing else.
//!
//! `tiny_http` serves all connections in one thread: it reads one whole request of a connection at a time within the limits
//! below, hands those that came together to [`Asker::ask`], and writes each answer when it comes. No client is
//! waited for there: one that is slow, silent or does not read holds nothing but its own connection. What that thread does
//! ask for is near: the kernel, who has come; whether /etc/passwd, /etc/group or the file of tokens have changed, and if so
//! what they say.
//!
//! Those who may not use the port have together one of [`tiny_http::STRANGERS_PART`] parts of the connections, of the bytes
//! of heads and of the requests answered at a time, and so take nothing from those who may.

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::{Duration, Instant};

use tiny_http::Standing;
use tiny_http::head::{HEADERS_MAX, Head};

use super::asking::{Asker, Asking, Held};
use super::audit;
use super::gate::{Admitted, Gate, Peer};
use super::listen::Listener;
use super::unread::{self, Within};
use super::{Error, Limits, Request, Response, refuse, refuse_on, respond_late, safety};
use crate::engine::service::{Caller, Service};
use crate::engine::threads::give_own_memory_back;
use crate::telemetry::metrics::labels::{Queue, Route, Status};

/// How long a client may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Longest pause between two pieces of a request.
    pub read_pause: Duration,
    /// Longest wait for a client to take a piece of an answer.
    pub write_pause: Duration,
    /// Longest time for a client to take a whole answer, whose room it holds.
    pub answer: Duration,
    /// Longest time between two requests of a connection.
    pub idle: Duration,
    /// Longest time for request line and headers.
    pub head: Duration,
    /// Longest time for a whole body.
    pub body: Duration,
}

/// The times of the service; only tests have others.
pub const TIMES: Times = Times {
    read_pause: Duration::from_secs(5),
    write_pause: Duration::from_secs(10),
    answer: Duration::from_secs(120),
    idle: Duration::from_secs(75),
    head: Duration::from_secs(10),
    body: Duration::from_secs(30),
};

/// Most bytes of request line and headers together.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
pub const HEADER_COUNT_MAX: usize = HEADERS_MAX;
/// Connections of the service.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Requests that are answered at a time; more wait their turn. A shard takes more than that.
const AT_ONCE_MAX: usize = 1_024;
/// Longest time that a stop waits for answers on their way out.
pub(super) const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Pause between two looks at whether they are out.
const STOP_PAUSE: Duration = Duration::from_millis(5);

/// How the server is to work.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most threads for requests that wait for something else than their shard: reads, registrations, batches.
    pub http_workers: usize,
    /// Most connections.
    pub connections_max: usize,
    /// How long clients may take.
    pub times: Times,
    /// Bounds on single requests.
    pub limits: Limits,
}

/// A running server.
pub struct Server {
    inner: tiny_http::Server,
    load: Arc<tiny_http::Load>,
    listeners: Vec<Listener>,
    asker: Arc<Asker>,
}

impl Server {
    /// Starts to answer what comes in on the listeners.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub fn start(
        listeners: Vec<Listener>,
        gate: Gate,
        options: &Options,
        service: Arc<dyn Service>,
    ) -> Result<Self, Error> {
        let server = Self::start_early(listeners, gate, options)?;
        server.serve(service);
        Ok(server)
    }

    /// Starts to answer before there is a service: that it is starting, until [`Server::serve`] is called.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub fn start_early(listeners: Vec<Listener>, gate: Gate, options: &Options) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Start { message: error.to_string() };
        let handles: Result<Vec<_>, _> =
            listeners.iter().map(|listener| listener.try_clone().map(into_tiny)).collect();
        let asker = Arc::new(Asker::new(options.limits, options.http_workers));
        let load = Arc::new(tiny_http::Load::default());
        let early = Arc::clone(&asker);
        let state =
            State { asker, gate, limits: options.limits, times: options.times, load: Arc::clone(&load) };
        let state = Arc::new(state);
        let (meeting, admitting, refusing) = (Arc::clone(&state), Arc::clone(&state), Arc::clone(&state));
        let tiny_options = tiny_http::Options {
            read_timeout: options.times.read_pause,
            write_timeout: options.times.write_pause,
            answer_time: options.times.answer,
            idle_time: options.times.idle,
            head_time: options.times.head,
            body_time: options.times.body,
            head_bytes_max: HEAD_BYTES_MAX,
            body_bytes_max: options.limits.body_bytes_max,
            bodies_bytes_max: options.limits.bodies_bytes_max,
            heads_bytes_max: options.limits.heads_bytes_max,
            connections_max: options.connections_max,
            at_once_max: AT_ONCE_MAX,
            at_rest: give_own_memory_back,
            load: Arc::clone(&load),
            meet: Arc::new(move |ends| {
                let peer = meeting.meet(ends);
                (Arc::new(peer), standing(peer.is_allowed()))
            }),
            admit: Arc::new(move |arriving| admitting.admit(arriving)),
            answer: Arc::new(move |incoming| state.answer(incoming)),
            refusal: Arc::new(move |refusal| refusing.refuse(refusal)),
        };
        let inner =
            tiny_http::Server::from_listeners(handles.map_err(failed)?, tiny_options).map_err(failed)?;
        Ok(Self { inner, load, listeners, asker: early })
    }

    /// Asks this service from now on.
    pub fn serve(&self, service: Arc<dyn Service>) {
        self.asker.serve(service);
    }

    /// Returns how often a client could not be let in.
    pub fn accept_failures(&self) -> usize {
        self.load.accept_failures()
    }

    /// Returns how many clients are connected.
    pub fn connections(&self) -> usize {
        self.load.connections()
    }

    /// Stops listening, lets connections end after what they have begun, and waits until those answers are out or [`STOP_TIME_MAX`] has passed.
    pub fn stop(&self) {
        self.inner.close();
        for listener in &self.listeners {
            listener.shut();
        }
        let mut waited = Duration::ZERO;
        while self.load.answering() > 0 && waited < STOP_TIME_MAX {
            std::thread::sleep(STOP_PAUSE);
            waited += STOP_PAUSE;
        }
    }
}

fn into_tiny(listener: Listener) -> tiny_http::Listener {
    match listener {
        Listener::Tcp(listener) => listener.into(),
        Listener::Unix(listener, _) => listener.into(),
    }
}

fn request_of(incoming: tiny_http::Request) -> (Request, Held) {
    let tiny_http::Request { head, body, mark, held, .. } = incoming;
    let Head { method, path, query, mut headers, .. } = head;
    // The token was checked with the head; the service does not need it.
    headers.retain(|(name, _)| name != "authorization");
    let caller = mark.downcast_ref::<Admitted>().map_or_else(Caller::default, |who| who.caller);
    (Request { method, path, query, headers, body, caller }, Held::Local(held))
}

fn tiny_of(mut response: Response) -> tiny_http::Response {
    let length = response.headers.iter().position(|(name, _)| *name == "content-length");
    let length = length.and_then(|at| response.headers.remove(at).1.parse().ok());
    let length = length.unwrap_or(response.body.len());
    response.headers.extend(safety::headers(response.route).map(|(name, value)| (name, value.to_owned())));
    tiny_http::Response::new(response.status, response.headers, response.body)
        .with_length(length)
        .holding(Box::new(response.room))
}

fn standing(is_known: bool) -> Standing {
    if is_known { Standing::Known } else { Standing::Stranger }
}

/// What all connections ask.
struct State {
    asker: Arc<Asker>,
    gate: Gate,
    limits: Limits,
    times: Times,
    load: Arc<tiny_http::Load>,
}

/// An answer that comes and is counted then.
struct Counted {
    asking: Asking,
    received: Instant,
    line: Option<audit::Line>,
    state: Arc<State>,
}

impl Future for Counted {
    type Output = tiny_http::Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = task::ready!(Pin::new(&mut self.asking).poll(context));
        let elapsed_us = u64::try_from(self.received.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.state.count(&response, elapsed_us);
        if let Some(line) = self.line.take() {
            line.end(response.status);
        }
        Poll::Ready(tiny_of(response))
    }
}

impl State {
    fn answer(self: &Arc<Self>, incoming: Vec<tiny_http::Request>) -> Vec<tiny_http::Answering> {
        let mut begun = Vec::with_capacity(incoming.len());
        let mut requests = Vec::with_capacity(incoming.len());
        for request in incoming {
            let (received, line) = (request.received, self.line(&request));
            if line.is_ok() {
                requests.push(request_of(request));
            }
            begun.push((received, line));
        }
        let mut asked = self.asker.ask(requests).into_iter();
        let answering = |(received, line): (Instant, Result<Option<audit::Line>, (Route, Error)>)| match line
        {
            Ok(line) => {
                let asking = asked.next().expect("invariant: each request that is asked has its answer");
                let is_soon = asking.is_soon();
                let coming = Box::pin(Counted { asking, received, line, state: Arc::clone(self) });
                tiny_http::Answering { coming, is_soon }
            }
            Err((route, error)) => {
                let response = refuse_on(route, error);
                self.count(&response, 0);
                tiny_http::Answering { coming: Box::pin(ready(tiny_of(response))), is_soon: false }
            }
        };
        begun.into_iter().map(answering).collect()
    }

    /// Takes room for the line of the audit trail about a request, if it leaves one.
    fn line(&self, request: &tiny_http::Request) -> Result<Option<audit::Line>, (Route, Error)> {
        let Some(admitted) = request.mark.downcast_ref::<Admitted>() else { return Ok(None) };
        self.gate.line(admitted, &request.head.method, &request.head.path)
    }

    fn meet(&self, ends: tiny_http::Ends<'_>) -> Peer {
        match ends {
            tiny_http::Ends::Tcp { ours, theirs } => self.gate.meet_port(ours, theirs),
            tiny_http::Ends::Unix(socket) => Gate::meet_socket(socket),
        }
    }

    /// Returns who asks, or the answer that refuses the request.
    fn admit(
        &self,
        arriving: &tiny_http::Arriving<'_>,
    ) -> Result<(tiny_http::Mark, Standing), tiny_http::Response> {
        let peer = arriving.connection.downcast_ref().copied().unwrap_or(Peer::NOBODY);
        let Head { method, path, headers, length, .. } = arriving.head;
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match self.gate.admit(peer, method, path, headers, *length) {
            Ok(admitted) => {
                let is_known = peer.is_allowed() || admitted.token.is_some();
                Ok((Arc::new(admitted), standing(is_known)))
            }
            Err((route, error)) => {
                let response = refuse_on(route, error);
                self.count(&response, 0);
                Err(tiny_of(response))
            }
        }
    }

    fn count(&self, response: &Response, elapsed_us: u64) {
        // Figures are the service's; before there is one nobody can ask for them.
        let Some(service) = self.asker.service() else { return };
        let metrics = service.metrics();
        metrics.http_request_us.of((response.route, Status::of(response.status))).observe(elapsed_us);
        metrics.http_connections.set(self.load.connections() as u64);
        metrics.queue_depth.of(Queue::Http).set(self.load.answering() as u64);
    }

    fn refuse(&self, refusal: tiny_http::Refusal) -> tiny_http::Response {
        let response = match refusal {
            tiny_http::Refusal::Closing => respond_late(),
            _ => refuse(self.error(refusal)),
        };
        self.count(&response, 0);
        tiny_of(response)
    }

    fn error(&self, refusal: tiny_http::Refusal) -> Error {
        let Times { head, body, read_pause, .. } = self.times;
        unread::error(refusal, &self.limits, Within { head, body, pause: Some(read_pause) })
    }
}
