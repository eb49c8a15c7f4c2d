//! One request of the remote side: who asks, whether they may, the body within its limits, the answer.
//!
//! The token is looked at before a byte of the body is read, and where none is needed no body is read, so that strangers
//! hold no bytes of bodies. The body is read before the request takes a place among those that are answered at a time, so
//! that one that comes slowly keeps no other waiting.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::time::Instant;

use super::connections::Seat;
use super::heads::{self, Lingering};
use super::network::Network;
use super::pace::Pace;
use super::refusal_log::{self, RefusalLog};
use super::{Access, Known, Stranger, Times, bearer, needed};
use crate::api::asking::{self, Asker, Asking};
use crate::api::audit::{self, Lane};
use crate::api::shares::{Lack, Share, Shares};
use crate::api::unread::{Within, paused};
use crate::api::{Error, Limits, Request, Response, refuse_on, route, safety};
use crate::engine::clock::Clock;
use crate::engine::room::Room;
use crate::engine::service::{Caller, Service};
use crate::telemetry::metrics::labels::{Label, Remote as Refused, Route, Status};

/// How often an answer that has not come is looked at for having run out of time.
const LOOK_TIME: Duration = Duration::from_millis(20);

/// What all connections share.
pub(super) struct State {
    pub(super) asker: Arc<Asker>,
    pub(super) service: Arc<dyn Service>,
    pub(super) known: Known,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    pub(super) times: Times,
    /// Places among the requests that are answered.
    pub(super) requests: Arc<Shares>,
    /// Bytes of all bodies that are read, and of those whose requests are being answered.
    pub(super) bodies_bytes: Arc<Shares>,
    /// Bytes of all heads, from their first byte until the answer is written.
    pub(super) heads_bytes: Arc<heads::Room>,
    pub(super) audit: Arc<Lane>,
    pub(super) refusal_log: RefusalLog,
    pub(super) lingering: Lingering,
}

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    /// The connection's place; a request that goes on without its connection does not keep it.
    pub(super) seat: Weak<Seat>,
    pub(super) pace: Arc<Pace>,
}

impl Client {
    /// The client has shown a good token. Returns whether its connection has a place of that token's holder.
    fn prove(&self, access: &Access) -> bool {
        let has_place = self.seat.upgrade().is_some_and(|seat| seat.prove(access.caller()));
        self.pace.know(has_place.then(|| access.caller()));
        has_place
    }

    /// The client has asked for something without a good token. Returns whether its connection has a stranger's place.
    fn doubt(&self) -> bool {
        self.pace.know(None);
        self.seat.upgrade().is_some_and(|seat| seat.doubt())
    }
}

/// Answers a request of a connection.
pub(super) async fn answer(
    state: Arc<State>,
    client: Client,
    incoming: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let pace = Arc::clone(&client.pace);
    pace.begin();
    let began = Instant::now();
    // In a task of its own, because hyper drops what it waits for when the client goes: what was begun is still counted
    // among the requests answered at a time, and told of in the log.
    let task = tokio::spawn(async move { state.serve(&client, incoming, began).await });
    let response = task.await.unwrap_or_else(|_| refuse_on(Route::Other, Error::NoAnswer));
    pace.end();
    Ok(of_response(response))
}

/// A body with the room that it takes until it is sent.
struct Held(Vec<u8>, #[expect(dead_code, reason = "held, and given back when this is dropped")] Room);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn of_response(response: Response) -> hyper::Response<Full<Bytes>> {
    let body = Bytes::from_owner(Held(response.body, response.room));
    let mut out = hyper::Response::new(Full::new(body));
    *out.status_mut() =
        hyper::StatusCode::from_u16(response.status).expect("invariant: a status of the table");
    for (name, value) in safety::headers(response.route) {
        out.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
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
        // Headers have no limit on pauses, and that of bodies is looked at where they are read.
        Within { head: self.times.head, body: self.times.body, pause: None }
    }

    /// Returns the answer to a request that could not be read.
    pub(super) fn unread(&self, error: Error) -> hyper::Response<Full<Bytes>> {
        of_response(self.counted(refuse_on(Route::Other, error), Instant::now()))
    }

    async fn serve(
        self: &Arc<Self>,
        client: &Client,
        incoming: hyper::Request<Incoming>,
        began: Instant,
    ) -> Response {
        let (parts, body) = incoming.into_parts();
        let route =
            route::find(parts.method.as_str(), parts.uri.path()).map_or(Route::Other, |found| found.route);
        let has_body = !body.is_end_stream();
        let (answered, has_place) = match self.admit(route, &parts.headers, client) {
            Ok((access, has_place)) => (self.answered(client, route, access, &parts, body).await, has_place),
            Err((error, has_place)) => (Err(error), has_place),
        };
        // A body that is not read ends its connection.
        let is_read = answered.is_ok() && needed(route).is_some();
        let is_last = !has_place || (has_body && !is_read);
        let mut response = answered.unwrap_or_else(|error| refuse_on(route, error));
        response.headers.extend(is_last.then(|| ("connection", "close".to_owned())));
        self.counted(response, began)
    }

    fn counted(&self, response: Response, began: Instant) -> Response {
        let elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let metrics = self.service.metrics();
        metrics.http_request_us.of((response.route, Status::of(response.status))).observe(elapsed_us);
        response
    }

    /// Returns the answer; an error is why the body was not read.
    async fn answered(
        self: &Arc<Self>,
        client: &Client,
        route: Route,
        access: Option<Access>,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Response, Error> {
        let method = parts.method.as_str();
        let address = Caller::Address(Network::of(client.peer.ip()).first());
        let caller = access.as_ref().map_or(address, Access::caller);
        let (held, body) = match &access {
            Some(_) => self.read(body, caller).await?,
            // Nobody has shown a token for it.
            None => (None, Vec::new()),
        };
        // Not before the body is there: one that comes slowly keeps no request waiting.
        let place = match self.requests.take(caller, 1) {
            Ok(place) => place,
            Err(lack) => return Ok(refuse_on(route, self.busy(lack, "requests"))),
        };
        let line = match access.filter(|_| method != "GET" && method != "HEAD") {
            Some(access) => match self.line(access, route, client) {
                Ok(line) => Some(line),
                Err(error) => return Ok(refuse_on(route, error)),
            },
            None => None,
        };
        let request = Request {
            method: method.to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: headers_of(&parts.headers),
            body,
            caller,
        };
        let held = asking::Held::Remote(Box::new((place, held)));
        let response = match self.asker.ask(vec![(request, held)]).pop() {
            Some(asking) => when_answered(asking).await,
            None => refuse_on(route, Error::NoAnswer),
        };
        if let Some(line) = line {
            line.end(response.status);
        }
        Ok(response)
    }

    /// Returns whose request this is, if it needs a token's, or why it is refused; and whether its connection may stay.
    fn admit(
        &self,
        route: Route,
        headers: &HeaderMap,
        client: &Client,
    ) -> Result<(Option<Access>, bool), (Error, bool)> {
        let Some(scope) = needed(route) else { return Ok((None, true)) };
        let access = match self.identify(headers) {
            Ok(access) => access,
            Err((why, token, error)) => {
                let line = refusal_log::Line {
                    why: why.to_owned(),
                    token,
                    route: route.value(),
                    peer: client.peer.ip(),
                };
                self.refuse(Refused::Token, refusal_log::Kind::Stranger, line);
                return Err((error, client.doubt()));
            }
        };
        let has_place = client.prove(&access);
        if !has_place {
            let why = "this token has its share of the connections".to_owned();
            let line =
                refusal_log::Line { why, token: Arc::clone(&access.name), route: "", peer: client.peer.ip() };
            self.refuse(Refused::Connections, refusal_log::Kind::Connection, line);
        }
        if access.scope < scope {
            let why = format!("its scope is {}, it takes {}", access.scope.word(), scope.word());
            let error = Error::Scope { has: access.scope.word(), needs: scope.word() };
            let kind = refusal_log::Kind::Scope(access.number);
            let line =
                refusal_log::Line { why, token: access.name, route: route.value(), peer: client.peer.ip() };
            self.refuse(Refused::Scope, kind, line);
            return Err((error, has_place));
        }
        Ok((Some(access), has_place))
    }

    /// Returns whose token the headers show. On error: the reason, the token's name, and the client's error.
    fn identify(&self, headers: &HeaderMap) -> Result<Access, (&'static str, Arc<str>, Error)> {
        let shown = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let Some(token) = bearer(shown) else {
            return Err(("no token", "".into(), Error::NoBearer));
        };
        self.known.find(token, self.clock.now()).map_err(|stranger| match stranger {
            Stranger::Unknown => ("unknown token", "".into(), Error::UnknownToken),
            Stranger::Expired(name) => ("expired token", name, Error::ExpiredToken),
        })
    }

    /// Counts what is refused, and says so in the log.
    pub(super) fn refuse(&self, reason: Refused, kind: refusal_log::Kind, line: refusal_log::Line) {
        self.service.metrics().remote_refused.of(reason).increment();
        self.refusal_log.add(kind, line, self.clock.monotonic_us());
    }

    /// Returns the error for a used-up share, and counts it.
    fn busy(&self, lack: Lack, what: &'static str) -> Error {
        self.service.metrics().remote_refused.of(Refused::Busy).increment();
        match lack {
            Lack::All => Error::TooManyAtOnce,
            Lack::Share => Error::ShareUsed { what },
        }
    }

    /// Takes room for the line of the audit trail about a request that may change something.
    fn line(&self, access: Access, route: Route, client: &Client) -> Result<audit::Line, Error> {
        let now_us = self.clock.monotonic_us();
        self.audit.begin(access, route, client.peer.ip(), now_us).map_err(|_| {
            self.service.metrics().remote_refused.of(Refused::Audit).increment();
            Error::AuditFull
        })
    }

    /// Reads the body, which holds its share of the bytes of all bodies.
    async fn read(&self, body: Incoming, caller: Caller) -> Result<(Option<Share>, Vec<u8>), Error> {
        if body.is_end_stream() {
            return Ok((None, Vec::new()));
        }
        let limit = self.limits.body_bytes_max;
        let announced = body.size_hint().exact().map(usize::try_from);
        let bytes = match announced {
            Some(Ok(bytes)) if bytes <= limit => bytes,
            Some(_) => return Err(Error::BodyTooLarge { limit }),
            None => limit,
        };
        let held = self.bodies_bytes.take(caller, bytes);
        let held = held.map_err(|lack| self.busy(lack, "bytes of bodies"))?;
        let all = tokio::time::timeout(self.times.body, self.body(body, limit)).await;
        let body = all.unwrap_or_else(|_| Err(self.within().slow_body()))?;
        Ok((Some(held), body))
    }

    async fn body(&self, mut body: Incoming, limit: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let next = tokio::time::timeout(self.times.read_pause, body.frame()).await;
            let frame = match next {
                Err(_) => return Err(paused(self.times.read_pause)),
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
