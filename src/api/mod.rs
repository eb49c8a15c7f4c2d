//! HTTP: decode, call the engine, encode. No workflow rule lives here.
//!
//! Start at [`respond`], a pure function from request to response; `server` is the thin adaptor that
//! carries requests from sockets to it, by `asking` without waiting where it can, and [`remote`] the one for other
//! machines. Routes are the closed set [`Route`], told apart in `route`.

mod answer;
mod archives;
mod asking;
pub mod audit;
mod batch;
mod body;
mod cases;
mod data;
mod error;
pub mod gate;
mod header;
mod items;
pub mod listen;
mod nearest;
mod picture;
mod problem;
mod query;
pub mod remote;
mod route;
mod safety;
pub mod server;
mod service_routes;
mod shares;
mod show;
mod traced;
mod unread;
mod workers;
mod workflows;

use std::fmt::Write as _;

pub use error::Error;
pub use gate::Gate;
pub use listen::Listener;
pub use query::duration_us;
pub use server::Server;

use crate::engine::room::Room;
use crate::engine::service::{Answer, Caller, Maintenance, Once, Operation, Refusal, Service};
use crate::telemetry::metrics::labels::{Label, Route};
use crate::telemetry::traces::Context;
use answer::Answered;
use problem::Problem;

/// Longest path with its query, in bytes.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// Longest value of a header that this interface reads, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Longest idempotency key or business key, in characters.
pub const KEY_LEN_MAX: usize = 255;
/// Deepest nesting of a JSON body: case data may nest 100 deep, its envelope adds some.
pub const JSON_DEPTH_MAX: usize = 110;
/// Longest reason for a cancel, fail or skip, in bytes.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
/// Items of a page when the client does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 100;
/// What /health says while the state is being opened.
const STARTING: &str = "starting";
/// What /health says once a signal to stop was received.
const STOPPING: &str = "stopping";
/// Seconds after which a client may ask again when the service is busy, where no better time is known.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Bounds that the configuration may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Most lines of one batch.
    pub batch_lines_max: usize,
    /// Most bytes of all bodies that one side holds at a time.
    pub bodies_bytes_max: usize,
    /// Most bytes of all heads that one side holds at a time.
    pub heads_bytes_max: usize,
}

/// A request as it came, headers by lower-case name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// Path as sent, still percent-encoded, without the query.
    pub path: String,
    /// Query as sent, without the question mark; empty when there is none.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Who asks.
    pub caller: Caller,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers in order, names in lower case; the length is the server's to add.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty in an answer to HEAD.
    pub body: Vec<u8>,
    /// Which route it came from.
    pub route: Route,
    /// Room that the body takes until it is sent.
    pub room: Room,
}

impl Response {
    /// Holds the room that the body takes. Without room the answer becomes a refusal; a command took its room before it was
    /// begun.
    fn held_in(mut self, room: Room) -> Self {
        if let Err(full) = room.made(self.body.len()) {
            let refusal = full.refusal(&room);
            return Problem::from(refusal).into_response(self.route);
        }
        self.room = room;
        self
    }
}

/// What a request turns out to ask, before the service hears of it.
enum Asks {
    /// Nothing: it is wrong.
    Wrong(Problem),
    /// One operation.
    Operation(Operation, Once),
    /// Something else, perhaps about what has this id.
    Other(String),
}

/// Answers a request. Never panics; blocks only where the service does.
pub fn respond(service: &dyn Service, request: &Request, limits: &Limits) -> Response {
    let (route, asks) = read(request, limits);
    let traced = traced::begin(service, request, route);
    let trace = traced.as_ref().map(|traced| traced.context);
    let mut response = match asks {
        Asks::Wrong(problem) => finish(&request.method, route, Err(problem)),
        Asks::Operation(operation, once) => {
            let room = service.answers().room(request.caller);
            let once = Once { trace, room: room.clone(), ..once };
            let answer = match begin(&room) {
                Ok(()) => service.operate(vec![(operation, once)]).pop(),
                Err(refusal) => Some(Err(refusal)),
            };
            finish(&request.method, route, operated(answer, &room)).held_in(room)
        }
        Asks::Other(id) => serve(service, request, limits, (route, trace), &id),
    };
    if let Some(traced) = traced {
        traced.end(service, &mut response);
    }
    response
}

/// Takes room for a short answer to a command that is to be begun.
///
/// # Errors
/// There is none: the command is not to be begun.
fn begin(room: &Room) -> Result<(), Refusal> {
    match room.take_lines(1) {
        Ok(1) => Ok(()),
        Ok(_) | Err(_) => Err(Refusal::not_begun()),
    }
}

/// Answers a request that comes before there is a service: that the process lives, and to all else that it is starting.
pub fn respond_early(request: &Request, limits: &Limits) -> Response {
    let (route, answered) = match read(request, limits) {
        (route, Asks::Wrong(problem)) => (route, Err(problem)),
        (Route::HealthLive, _) => (Route::HealthLive, service_routes::live(request)),
        (route, _) => (route, Err(Problem::failing_for(STARTING))),
    };
    finish(&request.method, route, answered)
}

/// Returns the answer to a request that comes when the service takes no more.
pub fn respond_late() -> Response {
    Problem::failing_for(STOPPING).into_response(Route::Other)
}

/// Returns the answer to a request that could not be read whole, so that `respond` never saw it.
pub fn refuse(error: Error) -> Response {
    refuse_on(Route::Other, error)
}

fn refuse_on(route: Route, error: Error) -> Response {
    Problem::from(error).into_response(route)
}

fn check(request: &Request, limits: &Limits) -> Result<(), Problem> {
    let path_bytes = request.path.len() + request.query.len();
    if path_bytes > PATH_BYTES_MAX {
        return Err(Error::PathTooLong { bytes: path_bytes, limit: PATH_BYTES_MAX }.into());
    }
    for (name, value) in &request.headers {
        if value.len() > HEADER_BYTES_MAX {
            let name = name.chars().take(40).collect();
            return Err(Error::HeaderTooLong { name, bytes: value.len(), limit: HEADER_BYTES_MAX }.into());
        }
    }
    if request.body.len() > limits.body_bytes_max {
        return Err(Error::BodyTooLarge { limit: limits.body_bytes_max }.into());
    }
    let encodings = request.headers.iter().filter(|(name, _)| name == "content-encoding");
    check_encoding(encodings.map(|(_, value)| value.as_str()))?;
    check_origin(request)
}

/// Refuses bodies that are compressed: a few kilobytes can become gigabytes.
fn check_encoding<'a>(mut encodings: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    match encodings.find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        Some(encoding) => Err(Error::ContentEncoding { encoding: query::shorten(encoding) }),
        None => Ok(()),
    }
}

/// Refuses changes that a page of another site asks a user's browser for: the user may use the service, and the browser
/// is the user's, but the page is not. Reading is safe, because a browser does not show such a page the answer, unless
/// the page's own name leads here, which [`gate`] refuses.
fn check_origin(request: &Request) -> Result<(), Problem> {
    let Some(origin) = header::find(request, "origin").filter(|_| request.method == "POST") else {
        return Ok(());
    };
    let host = header::find(request, "host").unwrap_or_default();
    let site = origin.split_once("://").map_or("", |(_, site)| site);
    if site.is_empty() || !site.eq_ignore_ascii_case(host) {
        return Err(Error::Origin { origin: query::shorten(origin) }.into());
    }
    Ok(())
}

/// Reads what a request asks.
fn read(request: &Request, limits: &Limits) -> (Route, Asks) {
    let found = check(request, limits).and_then(|()| route::find(&request.method, &request.path));
    match found {
        Err(problem) => (Route::Other, Asks::Wrong(problem)),
        Ok(route::Found { route, id }) => (route, asks(request, route, id).unwrap_or_else(Asks::Wrong)),
    }
}

fn asks(request: &Request, route: Route, id: String) -> Result<Asks, Problem> {
    let operation = match route {
        Route::CaseCreate => cases::create(request)?,
        Route::CaseCancel
        | Route::CaseSuspend
        | Route::CaseResume
        | Route::CaseRetry
        | Route::CaseExecute => cases::act(request, route, &id)?,
        Route::ItemStart | Route::ItemComplete | Route::ItemFail | Route::ItemSkip => {
            items::act(request, route, &id)?
        }
        _ => return Ok(Asks::Other(id)),
    };
    Ok(Asks::Operation(operation, once(request)?))
}

/// Returns what the client gets for one operation; `None` is that the service gave no answer.
fn operated(answer: Option<Result<Answer, Refusal>>, room: &Room) -> Result<Answered, Problem> {
    Ok(cases::answer(&answer.ok_or(Error::NoAnswer)??, room))
}

/// Answers whatever is no single operation.
fn serve(
    service: &dyn Service,
    request: &Request,
    limits: &Limits,
    (route, trace): (Route, Option<Context>),
    id: &str,
) -> Response {
    let room = &service.answers().room(request.caller);
    // A batch takes room for each of its lines.
    if request.method == "POST"
        && route != Route::Batch
        && let Err(refusal) = begin(room)
    {
        return finish(&request.method, route, Err(refusal.into())).held_in(room.clone());
    }
    let answered = match route {
        Route::Health => service_routes::health(service, request),
        Route::HealthLive => service_routes::live(request),
        Route::Metrics => service_routes::metrics(service, request),
        Route::OpenApi => service_routes::openapi(request),
        Route::WorkflowRegister => workflows::register(service, request, trace),
        Route::WorkflowList => workflows::list(service, request, room),
        Route::WorkflowGet => workflows::get(service, request, id),
        Route::WorkflowSvg => workflows::picture(service, request, id),
        Route::CaseList => cases::list(service, request, room),
        Route::CaseGet => cases::get(service, request, id, room),
        Route::CaseSvg => cases::picture(service, request, id, room),
        Route::CaseHistory => cases::history(service, request, id, room),
        Route::ItemList => items::list(service, request, room),
        Route::ItemGet => items::get(service, request, id, room),
        Route::ServiceReload => service_routes::reload(service, request),
        Route::StateSnapshot => service_routes::maintain(service, request, Maintenance::Snapshot),
        Route::StateTrim => service_routes::maintain(service, request, Maintenance::Trim),
        Route::StateUpgrade => service_routes::maintain(service, request, Maintenance::Upgrade),
        Route::Archive => archives::archive(service, request),
        Route::CaseRestore => archives::restore(service, request, id, room),
        Route::Batch => batch::run(service, request, limits, (trace, room)),
        // Those that are one operation are read as such.
        Route::CaseCreate
        | Route::CaseCancel
        | Route::CaseSuspend
        | Route::CaseResume
        | Route::CaseRetry
        | Route::CaseExecute
        | Route::ItemStart
        | Route::ItemComplete
        | Route::ItemFail
        | Route::ItemSkip
        | Route::Console
        | Route::Other => Err(Error::NoRoute { path: request.path.clone() }.into()),
    };
    finish(&request.method, route, answered).held_in(room.clone())
}

fn finish(method: &str, route: Route, answered: Result<Answered, Problem>) -> Response {
    let mut response = match answered {
        Ok(answered) => answered.into_response(route),
        Err(problem) => problem.into_response(route),
    };
    if method == "HEAD" {
        response.headers.push(("content-length", response.body.len().to_string()));
        response.body.clear();
    }
    response
}

/// Returns how the client wants a POST carried out: its key, and what the key stands for.
fn once(request: &Request) -> Result<Once, Error> {
    let key = header::find(request, "idempotency-key").map(|key| header::key("Idempotency-Key", key));
    Ok(Once {
        key: key.transpose()?,
        request: fingerprint(&request.method, &request.path, &request.query, &request.body),
        trace: None,
        caller: request.caller,
        room: Room::default(),
    })
}

/// Shorter bodies are copied to be hashed.
const SHORT_BODY_BYTES: usize = 1_024;

/// Hashes what makes two requests the same. The parts before the body hold no line feed.
fn fingerprint(method: &str, path: &str, query: &str, body: &[u8]) -> [u8; 32] {
    let head = [method, "\n", path, "?", query, "\n"].concat().into_bytes();
    if body.len() <= SHORT_BODY_BYTES {
        // In one piece: hashing what is short costs more to begin and to end than to do.
        return *blake3::hash(&[&head, body].concat()).as_bytes();
    }
    *blake3::Hasher::new().update(&head).update(body).finalize().as_bytes()
}

/// Returns text as one part of a path: what is not a letter, digit, `-`, `_`, `~`, `@` or dot is escaped, and so
/// are dots that would mean something: of `.svg` at the end, and of a part made of nothing else.
fn encode_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let picture_dot = text.strip_suffix(".svg").map(str::len);
    let only_dots = text.bytes().all(|byte| byte == b'.');
    for (at, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b'.' => !only_dots && Some(at) != picture_dot,
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'@'),
        };
        if plain {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("invariant: a string takes every write");
        }
    }
    out
}

/// Returns every route that can be asked for, as `METHOD /path`.
pub fn routes() -> impl Iterator<Item = &'static str> {
    route::served().map(Label::value)
}
