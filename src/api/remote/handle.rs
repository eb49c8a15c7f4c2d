//! One request of the remote side: who asks, whether they may, the body within its limits, the answer.
//!
//! The token is looked at before a byte of the body is read, so that strangers hold no memory and no place among the
//! requests that are answered at a time.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::heads::{self, Lingering};
use super::pace::Pace;
use super::{Access, Known, Stranger, Times, bearer, needed};
use crate::api::asking::{Asker, Asking};
use crate::api::server::BODIES_MAX;
use crate::api::unread::{Within, slow};
use crate::api::{Error, Limits, Request, Response, refuse_on, route};
use crate::engine::clock::Clock;
use crate::engine::service::{Caller, Service};
use crate::telemetry::metrics::labels::{Label, Remote as Refused, Route, Status};
use crate::telemetry::words;

/// How often an answer that has not come is looked at for having run out of time.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// Shortest time between two lines about requests without a good token; what comes between is counted. Strangers could
/// crowd all other lines out otherwise.
const STRANGER_LINE_US: u64 = 1_000_000;

/// What all connections share.
pub(super) struct State {
    pub(super) asker: Arc<Asker>,
    pub(super) service: Arc<dyn Service>,
    pub(super) known: Known,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) times: Times,
    pub(super) requests_max: usize,
    pub(super) requests: AtomicUsize,
    pub(super) bodies_bytes: AtomicUsize,
    pub(super) strangers: Mutex<Strangers>,
    pub(super) lingering: Lingering,
}

/// When a stranger was last told of, and how many came since.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    told_us: Option<u64>,
    untold: u64,
}

/// Answers a request of a connection.
pub(super) async fn answer(
    state: Arc<State>,
    pace: Arc<Pace>,
    peer: SocketAddr,
    incoming: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    pace.begin();
    let began = Instant::now();
    // In a task of its own, because hyper drops what it waits for when the client goes: what was begun is still counted
    // among the requests answered at a time, and told of in the log.
    let (of_task, of_pace) = (Arc::clone(&state), Arc::clone(&pace));
    let task = tokio::spawn(async move { of_task.serve(&of_pace, peer, incoming, began).await });
    let response = task.await.unwrap_or_else(|_| refuse_on(Route::Other, Error::NoAnswer));
    pace.end();
    Ok(of_response(response))
}

fn of_response(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut out = hyper::Response::new(Full::new(Bytes::from(response.body)));
    *out.status_mut() =
        hyper::StatusCode::from_u16(response.status).expect("invariant: a status of the table");
    for (name, value) in response.headers {
        // Values hold what clients sent in some refusals; hyper takes none that could end a line.
        if let Ok(value) = HeaderValue::from_str(&value) {
            out.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    out
}

impl State {
    pub(super) fn within(&self) -> Within {
        Within { head: self.times.head, body: self.times.body }
    }

    /// Returns the answer to a request that could not be read.
    pub(super) fn unread(&self, error: Error) -> hyper::Response<Full<Bytes>> {
        of_response(self.counted(refuse_on(Route::Other, error), Instant::now()))
    }

    async fn serve(
        self: &Arc<Self>,
        pace: &Pace,
        peer: SocketAddr,
        incoming: hyper::Request<Incoming>,
        began: Instant,
    ) -> Response {
        let (parts, body) = incoming.into_parts();
        let method = parts.method.as_str();
        let route = route::find(method, parts.uri.path()).map_or(Route::Other, |found| found.route);
        let has_body = !body.is_end_stream();
        // A body that is not read ends its connection.
        let refused = |error| {
            let mut response = refuse_on(route, error);
            response.headers.extend(has_body.then(|| ("connection", "close".to_owned())));
            self.counted(response, began)
        };
        let access = match self.admit(route, &parts.headers, peer) {
            Ok(access) => access,
            Err(error) => return refused(error),
        };
        if access.is_some() {
            pace.know();
        }
        let (held, body) = match self.read(body).await {
            Ok(read) => read,
            // The service never heard of it, so there is nothing to tell of, least of all a line for each under load.
            Err(error) => return refused(error),
        };
        let request = Request {
            method: method.to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: headers_of(&parts.headers),
            body,
            // What needs no token has no share of anything.
            caller: access.as_ref().map_or(Caller::Address(peer.ip()), Access::caller),
        };
        let response = match self.asker.ask(vec![request]).pop() {
            Some(asking) => when_answered(asking).await,
            None => refuse_on(route, Error::NoAnswer),
        };
        drop(held);
        if let Some(access) = access.filter(|_| method != "GET" && method != "HEAD") {
            tell(&access, route, &response, peer);
        }
        self.counted(response, began)
    }

    /// Tells whose request this is, if it needs somebody's.
    fn admit(&self, route: Route, headers: &HeaderMap, peer: SocketAddr) -> Result<Option<Access>, Error> {
        let Some(scope) = needed(route) else { return Ok(None) };
        let refused = |why| self.service.metrics().remote_refused.of(why).increment();
        let stranger = |why: &'static str, name: &str, error| {
            refused(Refused::Token);
            self.tell_of_stranger(why, name, route, peer);
            Err(error)
        };
        let shown = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let Some(token) = bearer(shown) else {
            return stranger("no token", "", Error::NoBearer);
        };
        match self.known.find(token, self.clock.now()) {
            Err(Stranger::Unknown) => stranger("unknown token", "", Error::UnknownToken),
            Err(Stranger::Expired(name)) => stranger("expired token", &name, Error::ExpiredToken),
            Ok(access) if access.scope < scope => {
                refused(Refused::Scope);
                tracing::warn!(
                    token = %access.name,
                    route = route.value(),
                    peer = %peer.ip(),
                    "{}: its scope is {}, it takes {}",
                    words::REMOTE_REFUSED,
                    access.scope.word(),
                    scope.word()
                );
                Err(Error::Scope { has: access.scope.word(), needs: scope.word() })
            }
            Ok(access) => Ok(Some(access)),
        }
    }

    fn tell_of_stranger(&self, why: &'static str, name: &str, route: Route, peer: SocketAddr) {
        let now_us = self.clock.monotonic_us();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.told_us.is_some_and(|told_us| now_us.saturating_sub(told_us) < STRANGER_LINE_US) {
            strangers.untold += 1;
            return;
        }
        strangers.told_us = Some(now_us);
        let untold = std::mem::take(&mut strangers.untold);
        drop(strangers);
        let route = route.value();
        tracing::warn!(token = name, route, peer = %peer.ip(), untold, "{}: {why}", words::REMOTE_REFUSED);
    }

    /// Takes a place among the requests that are answered, and reads the body.
    async fn read(self: &Arc<Self>, body: Incoming) -> Result<(Held, Vec<u8>), Error> {
        let busy = |error| {
            self.service.metrics().remote_refused.of(Refused::Busy).increment();
            error
        };
        let mut held = Held::of(self).map_err(busy)?;
        if body.is_end_stream() {
            return Ok((held, Vec::new()));
        }
        let limit = self.limits.body_bytes_max;
        let announced = body.size_hint().exact().map(usize::try_from);
        let bytes = match announced {
            Some(Ok(bytes)) if bytes <= limit => bytes,
            Some(_) => return Err(Error::BodyTooLarge { limit }),
            None => limit,
        };
        held.hold(bytes).map_err(busy)?;
        let all = tokio::time::timeout(self.times.body, self.body(body, limit)).await;
        let body = all.unwrap_or(Err(slow(self.times.body)))?;
        Ok((held, body))
    }

    async fn body(&self, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let next = tokio::time::timeout(self.times.read_pause, body.frame()).await;
            let frame = match next {
                Err(_) => return Err(slow(self.times.body)),
                Ok(None) => return Ok(bytes),
                Ok(Some(frame)) => {
                    frame.map_err(|error| heads::body_error(&error, &self.limits, self.within()))?
                }
            };
            // Trailers are let go.
            if let Ok(data) = frame.into_data() {
                if data.len() > limit - bytes.len() {
                    return Err(Error::BodyTooLarge { limit });
                }
                bytes.extend_from_slice(&data);
            }
        }
    }

    fn counted(&self, response: Response, began: Instant) -> Response {
        let elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let metrics = self.service.metrics();
        metrics.http_request_us.of((response.route, Status::of(response.status))).observe(elapsed_us);
        response
    }
}

/// A place among the requests that are answered, and among the bodies that are held.
struct Held {
    state: Arc<State>,
    bytes: usize,
}

impl Held {
    fn of(state: &Arc<State>) -> Result<Self, Error> {
        take(&state.requests, 1, state.requests_max)?;
        Ok(Self { state: Arc::clone(state), bytes: 0 })
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let limit = self.state.limits.body_bytes_max.saturating_mul(BODIES_MAX);
        take(&self.state.bodies_bytes, bytes, limit)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.requests.fetch_sub(1, Ordering::Relaxed);
        self.state.bodies_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Takes a part of something bounded.
fn take(of: &AtomicUsize, amount: usize, limit: usize) -> Result<(), Error> {
    let fits = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= limit);
    let taken = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
    taken.map(drop).map_err(|_| Error::TooManyAtOnce)
}

/// Returns the headers as `respond` reads them; what is not text it would not understand.
fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().filter(|(name, _)| **name != AUTHORIZATION);
    let texts =
        shown.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    texts.collect()
}

/// Waits for an answer, which has to be looked at now and then: it may run out of time.
async fn when_answered(mut asking: Asking) -> Response {
    let mut look = tokio::time::interval_at(Instant::now() + LOOK_TIME, LOOK_TIME);
    poll_fn(|context| match Pin::new(&mut asking).poll(context) {
        Poll::Ready(response) => Poll::Ready(response),
        Poll::Pending => {
            while look.poll_tick(context).is_ready() {}
            Poll::Pending
        }
    })
    .await
}

/// Writes the line of the log about a change: who, what, what came of it, from where.
fn tell(access: &Access, route: Route, response: &Response, peer: SocketAddr) {
    tracing::info!(
        token = %access.name,
        route = route.value(),
        status = response.status,
        peer = %peer.ip(),
        "{}",
        words::REMOTE_CHANGE
    );
}
