//! One connection: read a request, have it answered, write the answer, read the next.

use std::io::{BufRead, BufReader, Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ascii::AsciiString;
use chunked_transfer::Decoder;

use crate::common::{HTTPVersion, Header, Method};
use crate::connection::Connection;
use crate::request::{Body, Request};
use crate::{Refusal, State};

/// Bytes read at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// Most bytes that are read after a refusal, so that the client gets to see it.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Longest time for that.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Empty lines that may stand before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 4;
/// Bytes that chunk sizes and extensions may add to a body of the largest size, beyond that size again.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Why no request came.
enum Ended {
    /// The client left, or was silent for too long.
    Quietly,
    /// What came is refused.
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Ended {
        Ended::Refused(refusal)
    }
}

/// Serves a connection to its end.
pub(crate) fn serve(socket: &Connection, state: &Arc<State>) {
    let mut reader = Reader { source: BufReader::with_capacity(PIECE_BYTES, socket), deadline: Instant::now() };
    loop {
        let mut request = match read(&mut reader, socket, state) {
            Ok(read) => read,
            Err(Ended::Quietly) => return,
            Err(Ended::Refused(refusal)) => return refuse(socket, state, refusal, &mut reader),
        };
        state.answering.fetch_add(1, SeqCst);
        let answered = Answered(state);
        if state.closing.load(SeqCst) {
            return refuse(socket, state, Refusal::Closing, &mut reader);
        }
        let place = state.at_once.take();
        let response = (state.options.answer)(&mut request);
        drop(place);
        let close = request.close || state.closing.load(SeqCst);
        let mut bytes = Vec::new();
        response.print(&mut bytes, &request.http_version, request.method == Method::Head, close);
        let mut writer = socket;
        let written = writer.write_all(&bytes);
        drop(answered);
        if written.is_err() || close {
            let _ = socket.shutdown(Shutdown::Write);
            return;
        }
    }
}

/// Counts a request until its answer is written.
struct Answered<'a>(&'a State);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, SeqCst);
    }
}

/// Writes a refusal and reads on for a little while: closing with unread bytes would take it from the client.
fn refuse(socket: &Connection, state: &State, refusal: Refusal, reader: &mut Reader<'_>) {
    let mut out = Vec::new();
    (state.options.refusal)(refusal).print(&mut out, &HTTPVersion(1, 1), false, true);
    let mut writer = socket;
    if writer.write_all(&out).is_err() || socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let _ = socket.set_limits(LINGER_TIME, LINGER_TIME);
    reader.deadline = Instant::now() + LINGER_TIME;
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = LINGER_BYTES_MAX;
    while let Ok(length @ 1..=usize::MAX) = reader.read(&mut piece) {
        left = left.saturating_sub(length);
        if left == 0 {
            return;
        }
    }
}

/// A reader with an end in time.
struct Reader<'a> {
    source: BufReader<&'a Connection>,
    deadline: Instant,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        loop {
            if Instant::now() >= self.deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.source.read(buf) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                other => return other,
            }
        }
    }
}

impl Reader<'_> {
    /// Waits for the first byte of the next request.
    fn wait(&mut self, state: &State) -> Result<(), Ended> {
        let end = Instant::now() + state.options.idle_time;
        loop {
            match self.source.fill_buf() {
                Ok([]) => return Err(Ended::Quietly),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end || state.closing.load(SeqCst) {
                        return Err(Ended::Quietly);
                    }
                }
                Err(_) => return Err(Ended::Quietly),
            }
        }
    }

    /// Reads a line without its end, taking its bytes from what the head may still have.
    fn line(&mut self, left: &mut usize, wrong: Refusal) -> Result<String, Ended> {
        let mut line = Vec::new();
        loop {
            if Instant::now() >= self.deadline {
                return Err(Refusal::HeadSlow.into());
            }
            let buffer = match self.source.fill_buf() {
                Ok([]) => return Err(Ended::Quietly),
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Refusal::HeadSlow.into());
                }
                Err(_) => return Err(Ended::Quietly),
            };
            let (taken, is_end) = match buffer.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), false),
            };
            if taken > *left {
                return Err(Refusal::HeadTooLarge.into());
            }
            *left -= taken;
            line.extend_from_slice(&buffer[..taken]);
            self.source.consume(taken);
            if is_end {
                break;
            }
        }
        let text = line.strip_suffix(b"\r\n").ok_or(wrong)?;
        let text = AsciiString::from_ascii(text).map_err(|_| wrong)?;
        if text.as_str().bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(wrong.into());
        }
        Ok(text.into())
    }
}

/// What the head says.
struct Head {
    method: Method,
    path: String,
    version: HTTPVersion,
    headers: Vec<Header>,
}

/// How long the body is.
enum Length {
    Bytes(usize),
    Chunks,
}

fn read(
    reader: &mut Reader<'_>,
    socket: &Connection,
    state: &Arc<State>,
) -> Result<Request, Ended> {
    reader.wait(state)?;
    let received = Instant::now();
    reader.deadline = received + state.options.head_time;
    let head = read_head(reader, state)?;
    let length = length_of(&head)?;
    if matches!(length, Length::Bytes(bytes) if bytes > state.options.body_bytes_max) {
        return Err(Refusal::BodyTooLarge.into());
    }
    if let Some(expect) = find(&head, "Expect") {
        if !expect.eq_ignore_ascii_case("100-continue") {
            return Err(Refusal::Expectation.into());
        }
        let mut writer = socket;
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| Ended::Quietly)?;
    }
    reader.deadline = Instant::now() + state.options.body_time;
    let body = read_body(reader, state, length)?;
    let close = head.version <= (1, 0)
        || find(&head, "Connection").map_or(false, |value| {
            let value = value.to_ascii_lowercase();
            value.contains("close") || value.contains("upgrade")
        });
    let Head { method, path, version: http_version, headers } = head;
    Ok(Request { method, path, http_version, headers, body, received, close })
}

fn read_head(reader: &mut Reader<'_>, state: &State) -> Result<Head, Ended> {
    let mut left = state.options.head_bytes_max;
    let mut line = reader.line(&mut left, Refusal::RequestLine)?;
    for _ in 0..EMPTY_LINES_MAX {
        if !line.is_empty() {
            break;
        }
        line = reader.line(&mut left, Refusal::RequestLine)?;
    }
    let (method, path, version) = parse_request_line(&line)?;
    let mut headers = Vec::new();
    loop {
        let line = reader.line(&mut left, Refusal::Header)?;
        if line.is_empty() {
            return Ok(Head { method, path, version, headers });
        }
        if headers.len() == state.options.headers_max {
            return Err(Refusal::HeadTooLarge.into());
        }
        headers.push(line.parse().map_err(|()| Refusal::Header)?);
    }
}

/// Parses the request line of the request.
/// eg. GET / HTTP/1.1
fn parse_request_line(line: &str) -> Result<(Method, String, HTTPVersion), Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(path), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    let version = match version {
        "HTTP/1.0" => HTTPVersion(1, 0),
        "HTTP/1.1" => HTTPVersion(1, 1),
        other if other.starts_with("HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    let is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let method = method.parse().map_err(|()| Refusal::RequestLine)?;
    // `http://host/path` is the form for proxies, `*` that of OPTIONS.
    if !is_token || !path.starts_with('/') {
        return Err(Refusal::RequestLine);
    }
    Ok((method, path.to_owned(), version))
}

fn find<'a>(head: &'a Head, name: &'static str) -> Option<&'a str> {
    head.headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

/// Returns how long the body is; headers that contradict each other are refused (RFC 9112, 6.3).
fn length_of(head: &Head) -> Result<Length, Refusal> {
    let mut lengths = head.headers.iter().filter(|header| header.field.equiv("Content-Length"));
    let mut codings = head.headers.iter().filter(|header| header.field.equiv("Transfer-Encoding"));
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, None, None, None) => Ok(Length::Bytes(0)),
        (Some(length), None, None, None) => {
            let text = length.value.as_str();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::Header);
            }
            // Digits that are too many for the number are too many for the limit, too.
            Ok(Length::Bytes(text.parse().unwrap_or(usize::MAX)))
        }
        (None, None, Some(coding), None) if coding.value.as_str().eq_ignore_ascii_case("chunked") => {
            Ok(Length::Chunks)
        }
        _ => Err(Refusal::Header),
    }
}

fn read_body(reader: &mut Reader<'_>, state: &Arc<State>, length: Length) -> Result<Body, Ended> {
    let mut body = Body::new(state);
    match length {
        Length::Bytes(0) => Ok(body),
        Length::Bytes(bytes) => {
            copy(&mut reader.take(bytes as u64), &mut body, bytes)?;
            if body.len() < bytes {
                return Err(Refusal::BodyBroken.into());
            }
            Ok(body)
        }
        Length::Chunks => {
            let most = state.options.body_bytes_max;
            let raw = most.saturating_mul(2).saturating_add(CHUNK_BYTES_MAX);
            copy(&mut Decoder::new(reader.take(raw as u64)), &mut body, most)?;
            Ok(body)
        }
    }
}

/// Copies to the end of `source`, at most `most` bytes.
fn copy(source: &mut dyn Read, body: &mut Body, most: usize) -> Result<(), Ended> {
    let mut piece = vec![0; PIECE_BYTES.min(most + 1)];
    loop {
        let length = match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(broken(&error).into()),
        };
        if body.len() + length > most {
            return Err(Refusal::BodyTooLarge.into());
        }
        if !body.push(&piece[..length]) {
            return Err(Refusal::Busy.into());
        }
    }
}

fn broken(error: &IoError) -> Refusal {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Refusal::BodySlow,
        _ => Refusal::BodyBroken,
    }
}
