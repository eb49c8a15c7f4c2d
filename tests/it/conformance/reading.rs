//! The reading itself, with any bytes in any pieces: one result, and the same as hyper's where it is accepted.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use proptest::prelude::*;
use tiny_http::Refusal;
use tiny_http::head::{Head, Version};
use tiny_http::reading::{Read as Step, Reading};

/// Limits as small as they can be for the cases here, so that they are met.
const HEAD_BYTES_MAX: usize = 600;
const BODY_BYTES_MAX: usize = 100;

/// One request as it was read: its bytes, its head, and its body, if that is whole.
#[derive(Debug, PartialEq)]
struct Taken {
    bytes: Vec<u8>,
    head: Head,
    body: Option<Vec<u8>>,
}

/// Everything that was read from bytes: requests, and why no more are.
#[derive(Debug, PartialEq)]
struct Outcome {
    taken: Vec<Taken>,
    refusal: Option<Refusal>,
    is_in_head: bool,
}

/// Reads bytes in pieces that end where `cuts` says, and wherever else a reader stops.
fn read(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let mut reading = Reading::new(HEAD_BYTES_MAX, BODY_BYTES_MAX);
    let mut taken: Vec<Taken> = Vec::new();
    let mut refusal = None;
    let (mut at, mut begun) = (0, 0);
    'pieces: for end in ends {
        while at < end {
            let step = reading.take(&bytes[at..end]);
            assert!(reading.kept() <= HEAD_BYTES_MAX.max(4096), "{} bytes are kept", reading.kept());
            match step {
                Err(why) => {
                    refusal = Some(why);
                    break 'pieces;
                }
                Ok(Step::More(count)) => at += count,
                Ok(Step::Head(count, head)) => {
                    at += count;
                    let body = (!reading.is_in_body()).then(Vec::new);
                    taken.push(Taken { bytes: bytes[begun..at].to_vec(), head: *head, body });
                    begun = at;
                }
                Ok(Step::Body(piece)) => {
                    let of = taken.last_mut().expect("a body follows a head");
                    of.bytes.extend_from_slice(&bytes[at..at + piece.taken]);
                    let so_far = of.body.get_or_insert_default();
                    so_far.extend_from_slice(&bytes[at + piece.taken - piece.data..at + piece.taken]);
                    at += piece.taken;
                    begun = at;
                }
            }
        }
    }
    if reading.is_in_body() || refusal.is_some() {
        // How much of a body has come does not depend on the pieces, but that is not asked here.
        if let Some(last) = taken.last_mut().filter(|_| reading.is_in_body()) {
            last.body = None;
            last.bytes.clear();
        }
    }
    Outcome { taken, refusal, is_in_head: reading.is_in_head() && refusal.is_none() }
}

/// Bytes as a connection that takes all that is written.
struct Wire(io::Cursor<Vec<u8>>);

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let at = usize::try_from(self.0.position()).unwrap();
        let count = into.remaining().min(self.0.get_ref().len() - at);
        into.put_slice(&self.0.get_ref()[at..at + count]);
        self.0.set_position((at + count) as u64);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper reads: method, path, query, headers, body.
type Theirs = (String, String, String, Vec<(String, String)>, Vec<u8>);

/// Returns what hyper reads in bytes: all requests, a body that it cannot read as none.
fn hyper_reads(bytes: &[u8]) -> Vec<Theirs> {
    let seen: Arc<Mutex<Vec<Theirs>>> = Arc::default();
    let inside = Arc::clone(&seen);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let seen = Arc::clone(&inside);
        async move {
            let (parts, body) = request.into_parts();
            let headers = parts.headers.iter().map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8(value.as_bytes().to_vec()).expect("only ASCII is accepted"),
                )
            });
            let headers = headers.collect();
            let body =
                body.collect().await.map_or_else(|_| b"unread".to_vec(), |body| body.to_bytes().to_vec());
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let path = parts.uri.path().to_owned();
            seen.lock().unwrap().push((parts.method.to_string(), path, query, headers, body));
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .serve_connection(Wire(io::Cursor::new(bytes.to_vec())), service);
    let _ = runtime.block_on(connection);
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// Sorted, because hyper keeps those of one name together.
fn sorted(headers: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers.into_iter().collect();
    headers.sort();
    headers
}

/// Checks that hyper reads a request as it was read here, as it came and as it is printed.
fn check_hyper(taken: &Taken) {
    let Some(body) = &taken.body else { return };
    let head = &taken.head;
    let shown = || String::from_utf8_lossy(&taken.bytes).into_owned();
    let theirs = hyper_reads(&taken.bytes);
    assert_eq!(theirs.len(), 1, "hyper reads {theirs:?} in {:?}", shown());
    let (method, path, query, headers, their_body) = &theirs[0];
    assert_eq!((method, path, query), (&head.method, &head.path, &head.query), "{:?}", shown());
    assert_eq!(their_body, body, "{:?}", shown());
    // That of an absolute form takes the place of `Host`.
    let without_host =
        |headers: &[(String, String)]| sorted(headers.iter().filter(|(name, _)| name != "host").cloned());
    assert_eq!(without_host(headers), without_host(&head.headers), "{:?}", shown());

    let mut printed = Vec::new();
    head.print(&mut printed);
    let begin = taken.bytes.len() - raw_body_bytes(taken);
    printed.extend_from_slice(&taken.bytes[begin..]);
    let theirs = hyper_reads(&printed);
    assert_eq!(theirs.len(), 1, "hyper reads {theirs:?} in {:?}", String::from_utf8_lossy(&printed));
    let (method, path, query, headers, their_body) = &theirs[0];
    assert_eq!((method, path, query), (&head.method, &head.path, &head.query));
    assert_eq!(their_body, body);
    let own = |headers: &[(String, String)]| {
        let kept = headers.iter().filter(|(name, _)| name != "connection" && name != "content-length");
        sorted(kept.cloned())
    };
    assert_eq!(own(headers), own(&head.headers));
}

/// Returns how many bytes follow the head.
fn raw_body_bytes(taken: &Taken) -> usize {
    let mut reader = tiny_http::head::Reader::new(HEAD_BYTES_MAX);
    let (count, head) = reader.take(&taken.bytes).unwrap();
    assert_eq!(head.as_ref(), Some(&taken.head), "the same when it is read alone");
    taken.bytes.len() - count
}

fn check(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let whole = read(bytes, &[]);
    let each: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(read(bytes, &each), whole, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    assert_eq!(read(bytes, cuts), whole, "cut at {cuts:?}: {:?}", String::from_utf8_lossy(bytes));
    whole.taken.iter().for_each(check_hyper);
    whole
}

/// Parts of which requests are made, good ones and others.
const METHODS: &[&str] = &["GET", "POST", "HEAD", "get", "M-X", "CONNECT", "", "G T", "G!"];
const TARGETS: &[&str] = &[
    "/",
    "/a?b=c",
    "/a/b%20",
    "//a",
    "http://h/a?b",
    "HTTPS://[::1]:8",
    "*",
    "a",
    "/a#b",
    "/<",
    "/?\"",
    "/{|}",
    "http://a@b/",
    "/a b",
];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1", ""];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\r\n ", ""];
const LINES: &[&str] = &[
    "Host: h",
    "Host: h",
    "Host: [::1]:80",
    "host:x:1",
    "Host: a b",
    "Host: ",
    "Content-Length: 3",
    "Content-Length: 3",
    "content-length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +3",
    "Content-Length: 99999999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Expect: x",
    "Idempotency-Key: a",
    "X: \t y \t",
    "X:",
    "X",
    ": y",
    "X Y: z",
    "X: \u{e9}",
    "Upgrade: h2c",
    "A: 0123456789012345678901234567890123456789",
    "",
];
const BODIES: &[&str] = &[
    "abc",
    "abc",
    "",
    "ab",
    "abcd",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    "1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "x\r\n",
    "ffffffffffffffff\r\nabc",
    "65\r\n",
    "0\r\nT u\r\n\r\n",
    "3 ;\r\nabc\r\n00\r\n\r\n",
];

fn part(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(of)
}

fn request() -> impl Strategy<Value = String> {
    let lines = proptest::collection::vec((part(LINES), part(ENDS)), 0..6);
    let line = (part(METHODS), part(TARGETS), part(VERSIONS), part(ENDS));
    let messy = (line, lines, part(ENDS), part(BODIES)).prop_map(
        |((method, target, version, end), lines, last, body)| {
            let lines: String = lines.into_iter().flat_map(|(line, end)| [line, end]).collect();
            format!("{method} {target} {version}{end}{lines}{last}{body}")
        },
    );
    // Most of what is messy is refused by its first line, so that half of them begin well.
    let lines = proptest::collection::vec(part(LINES), 0..4);
    let tidy = (part(TARGETS), lines, part(BODIES)).prop_map(|(target, lines, body)| {
        let lines: String = lines.into_iter().flat_map(|line| [line, "\r\n"]).collect();
        format!("POST {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
    });
    let good = proptest::sample::select(vec![
        "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        "POST http://x/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "\r\n\r\n",
    ]);
    prop_oneof![2 => messy, 3 => tidy, 2 => good.prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_in_any_pieces_are_read_in_one_way(
        requests in proptest::collection::vec(request(), 1..4),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..2),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let mut bytes = requests.concat().into_bytes();
        for (at, byte) in flips {
            let at = at % bytes.len().max(1);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        check(&bytes, &cuts);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(any::<usize>(), 0..4)) {
        check(&bytes, &cuts);
    }
}

#[test]
fn the_limits_of_a_head_are_met_in_any_pieces() {
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nA: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    assert_eq!(check(head(HEAD_BYTES_MAX).as_bytes(), &[1]).taken.len(), 1);
    assert_eq!(check(head(HEAD_BYTES_MAX + 1).as_bytes(), &[1]).refusal, Some(Refusal::HeadTooLarge));
    let endless = check("G".repeat(HEAD_BYTES_MAX + 1).as_bytes(), &[1]);
    assert_eq!(endless.refusal, Some(Refusal::HeadTooLarge));
    let twice = [head(HEAD_BYTES_MAX), head(HEAD_BYTES_MAX)].concat();
    assert_eq!(check(twice.as_bytes(), &[7]).taken.len(), 2, "each has the whole limit");
}

#[test]
fn what_is_accepted_is_printed_in_one_form() {
    let text =
        "POST HTTP://x:1?q HTTP/1.0\r\nX:  a \t\r\nconnection: Keep-Alive\r\nContent-Length: 003\r\n\r\nabc";
    let outcome = check(text.as_bytes(), &[5, 20]);
    let head = &outcome.taken[0].head;
    assert_eq!((head.version, head.host().unwrap().port), (Version::Http10, Some(1)));
    let mut out = Vec::new();
    head.print(&mut out);
    let expected = "POST /?q HTTP/1.0\r\nx: a\r\nhost: x:1\r\ncontent-length: 3\r\nconnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
