//! Requests to the service over its Unix socket: one connection each, bounded in bytes and time. When nothing listens
//! there, or nothing answers, [`Local`] may answer in its place.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::Value;

use super::error::Error;
use super::http::{self, ANSWER_BYTES_MAX, Answer, Progress};
use super::local::{self, Local};
use super::problem::Problem;
use crate::config::Config;
use crate::engine::clock::{deadline_in_us, until};

/// Items asked for at a time: the most that the service gives.
const PAGE_ITEMS: u64 = 1_000;
/// Pages after which a list is given up: more than any store holds.
const PAGE_COUNT_MAX: usize = 10_000_000;

/// One request.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// Path and query, encoded.
    pub(super) path: String,
    pub(super) accept: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// `Idempotency-Key`.
    pub(super) key: Option<&'a str>,
}

impl Request<'_> {
    /// Tells whether it changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Returns the types that are understood: refusals have one of their own.
    pub(super) fn accepted(&self) -> String {
        format!("{}, application/problem+json", self.accept)
    }

    /// Returns the key as it is sent: whatever could end the line early does not go into it; the service refuses
    /// what is left.
    pub(super) fn key_sent(&self) -> Option<String> {
        let clean =
            |key: &str| key.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
        self.key.map(clean)
    }
}

/// The service as a command sees it.
#[derive(Debug)]
pub(super) struct Client {
    config: Config,
    local: RefCell<Local>,
}

impl Client {
    pub(super) fn new(config: Config) -> Self {
        Self { config, local: RefCell::default() }
    }

    /// Gets a JSON document.
    pub(super) fn get(&self, path: String) -> Result<Value, Error> {
        let request = Request { method: "GET", path, accept: "application/json", ..Request::default() };
        document(&self.send(&request)?)
    }

    /// Gets the service's own word on how it is, also when that is a refusal. The store cannot say it in its place.
    pub(super) fn health(&self) -> Result<Value, Error> {
        let request = Request {
            method: "GET",
            path: "/health".to_owned(),
            accept: "application/json",
            ..Request::default()
        };
        document(&self.ask(&request)?)
    }

    /// Gets a document of another type.
    pub(super) fn get_as(&self, path: String, accept: &'static str) -> Result<Vec<u8>, Error> {
        Ok(self.send(&Request { method: "GET", path, accept, ..Request::default() })?.body)
    }

    /// Posts JSON and returns the JSON that is answered.
    pub(super) fn post(&self, path: String, body: &Value, key: Option<&str>) -> Result<Value, Error> {
        self.post_as(path, "application/json", body.to_string().into_bytes(), key)
    }

    /// Posts bytes of another type and returns the JSON that is answered.
    pub(super) fn post_as(
        &self,
        path: String,
        content_type: &'static str,
        body: Vec<u8>,
        key: Option<&str>,
    ) -> Result<Value, Error> {
        let accept = "application/json";
        document(&self.send(&Request { method: "POST", path, accept, content_type, body, key })?)
    }

    /// Posts to the running service, and never to the store in its place; returns the JSON that is answered.
    pub(super) fn post_to_service(&self, path: String) -> Result<Value, Error> {
        let body = b"{}".to_vec();
        let content_type = "application/json";
        let request = Request { method: "POST", path, accept: content_type, content_type, body, key: None };
        document(&accepted(self.ask(&request)?)?)
    }

    /// Returns how many cases that damage concerns a list of a store that cannot be opened lacks.
    pub(super) fn unlisted_count(&self) -> usize {
        self.local.borrow().unlisted_count()
    }

    /// Gets a list page by page and hands each page on, until `limit` items or the end. Returns the token of
    /// the page after, if there is one.
    pub(super) fn pages(
        &self,
        path: &str,
        filters: &[(&str, Option<String>)],
        paging: &Paging,
        mut page: impl FnMut(&[Value]) -> Result<(), Error>,
    ) -> Result<Option<String>, Error> {
        let mut after = paging.after.clone();
        let mut left = paging.limit.unwrap_or(u64::MAX);
        for _ in 0..PAGE_COUNT_MAX {
            let mut query = filters.to_vec();
            query.push(("limit", Some(left.min(PAGE_ITEMS).to_string())));
            query.push(("after", after.clone()));
            let document = self.get(format!("{path}{}", query_of(&query)))?;
            let Some(items) = document.get("items").and_then(Value::as_array) else {
                return Err(Error::Answer { what: "a list has no items".to_owned() });
            };
            page(items)?;
            left = left.saturating_sub(items.len() as u64);
            let next = document.get("next").and_then(Value::as_str).map(str::to_owned);
            if next.is_none() || left == 0 {
                return Ok(next);
            }
            if next == after {
                break;
            }
            after = next;
        }
        Err(Error::Answer { what: "a list does not end".to_owned() })
    }

    /// Sends a request and returns the answer; a refusal is an error.
    fn send(&self, request: &Request<'_>) -> Result<Answer, Error> {
        accepted(self.exchange(request)?)
    }

    /// Asks the service, and once it was not to be had, the store: one command never mixes the two, unless it has
    /// read and then changes something.
    fn exchange(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let mut local = self.local.borrow_mut();
        if let Some(answer) = local.answer(&self.config, request) {
            return answer;
        }
        let error = match self.ask(request) {
            Err(error) if local::may_replace(&error, request) => error,
            answer => return answer,
        };
        if local.open(&self.config, request)? {
            local.answer(&self.config, request).unwrap_or(Err(error))
        } else {
            Err(error)
        }
    }

    /// Asks the running service and nobody in its place; returns whatever it answers.
    pub(super) fn ask_service(&self, path: &str, accept: &'static str) -> Result<Answer, Error> {
        self.ask(&Request { method: "GET", path: path.to_owned(), accept, ..Request::default() })
    }

    /// Returns the number of the running service's process; `None` where the system does not tell, as across containers.
    pub(super) fn service_pid(&self) -> Result<Option<u32>, Error> {
        let stream = self.connect()?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials);
        Ok(peer.ok().and_then(|peer| u32::try_from(peer.pid()).ok()).filter(|pid| *pid > 0))
    }

    fn ask(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let deadline = deadline_in_us(self.config.client_timeout_ms.saturating_mul(1_000));
        let mut stream = self.connect()?;
        let sent = write_until(&mut stream, &bytes_of(request), deadline);
        // A service that refuses a body early answers before it has read it all: the answer counts.
        let answer = self.read_answer(&mut stream, deadline);
        match (sent, answer) {
            (Err(error), Err(Error::BrokenOff)) if is_timeout(&error) => Err(self.timed_out()),
            (_, answer) => answer,
        }
    }

    fn connect(&self) -> Result<UnixStream, Error> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::PermissionDenied => {
                Error::NotAllowed { socket: self.config.socket.clone(), source: error }
            }
            // The service's queue of connections stayed full.
            ErrorKind::WouldBlock => self.timed_out(),
            _ => Error::NoService { socket: self.config.socket.clone(), source: error },
        };
        let open = || -> nix::Result<UnixStream> {
            let file = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            let limit_ms = i64::try_from(self.config.client_timeout_ms).unwrap_or(i64::MAX / 1_000_000);
            let limit = TimeVal::milliseconds(limit_ms);
            // Connecting waits while the queue is full, by the time limit for sending (unix(7)).
            setsockopt(&file, sockopt::SendTimeout, &limit)?;
            connect(std::os::fd::AsRawFd::as_raw_fd(&file), &UnixAddr::new(&self.config.socket)?)?;
            Ok(UnixStream::from(file))
        };
        open().map_err(|error| failed(io::Error::from(error)))
    }

    fn read_answer(&self, stream: &mut UnixStream, deadline: Instant) -> Result<Answer, Error> {
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 << 10];
        loop {
            let count = match read_until(stream, &mut part, deadline) {
                Ok(count) => count,
                Err(error) if is_timeout(&error) => return Err(self.timed_out()),
                // A reset after a refused body may still leave the answer in what was read.
                Err(_) => 0,
            };
            bytes.extend_from_slice(&part[..count]);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::AnswerTooLarge { limit_bytes: ANSWER_BYTES_MAX });
            }
            // Bodies in chunks end with an empty one; looking again at every part would be quadratic.
            if count > 0
                && bytes.len() > http::HEAD_BYTES_MAX
                && !bytes.ends_with(b"\r\n")
                && count == part.len()
            {
                continue;
            }
            match http::read(&bytes).map_err(|what| Error::Answer { what })? {
                Progress::Whole(answer) => return Ok(answer),
                Progress::UntilEnd(answer) if count == 0 => return Ok(answer),
                _ if count == 0 => return Err(Error::BrokenOff),
                _ => {}
            }
        }
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut { limit_ms: self.config.client_timeout_ms }
    }
}

/// Returns an answer that is no refusal.
fn accepted(answer: Answer) -> Result<Answer, Error> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    Err(Error::Service(Box::new(Problem::of(answer.status, &answer.body))))
}

/// How much of a list is wanted.
#[derive(Debug, Default)]
pub(super) struct Paging {
    pub(super) limit: Option<u64>,
    pub(super) after: Option<String>,
}

fn document(answer: &Answer) -> Result<Value, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|fault| Error::Answer { what: format!("it is not JSON: {fault}") })
}

fn bytes_of(request: &Request<'_>) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {}\r\n",
        request.method,
        request.path,
        request.accepted()
    );
    if request.method == "POST" {
        let (content_type, length) = (request.content_type, request.body.len());
        write!(head, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n").expect(NEVER_FAILS);
    }
    if let Some(key) = request.key_sent() {
        write!(head, "Idempotency-Key: {key}\r\n").expect(NEVER_FAILS);
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

const NEVER_FAILS: &str = "invariant: writing to a string does not fail";

fn write_until(stream: &mut UnixStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_until(stream: &mut UnixStream, part: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(part) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = until(deadline);
    // The system takes a zero for "no limit".
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_millis(1))) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Returns `?a=b&c=d` of the parameters that are given, encoded; nothing when none is.
pub(super) fn query_of(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
    given.fold(String::new(), |query, (name, value)| {
        let before = if query.is_empty() { '?' } else { '&' };
        format!("{query}{before}{name}={}", encode(value))
    })
}

/// Percent-encodes all but letters, digits and `-_~`. Dots are encoded too: `.svg` at the end of a path asks for
/// a picture, and `..` means the folder above to some servers.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect(NEVER_FAILS);
        }
        encoded
    })
}
