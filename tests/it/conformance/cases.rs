//! What is sent, and what comes of it: a rule, a case that keeps it, and its neighbours that do not.

use knhk::api::server::{HEAD_BYTES_MAX, HEADER_COUNT_MAX};

use super::Ends::{self, Closed, GoesOn};
use super::Got;
use crate::api::LIMITS;
use crate::api::fake::case_id;

/// What the client does when it has sent all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits for the answer.
    Wait,
    /// It says that it sends no more.
    HalfClose,
}

/// One case.
pub(super) struct Case {
    pub(super) rule: &'static str,
    pub(super) name: String,
    /// `@A@` is where a token is shown.
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
    pub(super) answers: Vec<Got>,
    pub(super) ends: Ends,
}

const OK: Got = (200, "");
/// Not HTTP as it is read here.
const UNREAD: Got = (400, "KN0525");
const TWICE: Got = (400, "KN0366");
const HOST: Got = (400, "KN0367");
const BROKEN: Got = (400, "KN0524");
const LARGE: Got = (413, "KN0502");
const HEAD_LARGE: Got = (431, "KN0526");
const METHOD: Got = (405, "KN0501");
const KEY: Got = (400, "KN0513");
const HOST_LINE: &str = "Host: localhost\r\n@A@";
const BODY: &str = r#"{"reason":"over"}"#;

struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, rule: &'static str, name: &str, bytes: impl AsRef<[u8]>, answers: &[Got], ends: Ends) {
        self.0.push(Case {
            rule,
            name: format!("{rule}: {name}"),
            bytes: bytes.as_ref().to_vec(),
            then: Then::Wait,
            answers: answers.to_vec(),
            ends,
        });
    }

    fn taken(&mut self, rule: &'static str, name: &str, bytes: impl AsRef<[u8]>) {
        self.add(rule, name, bytes, &[OK], GoesOn);
    }

    fn refused(&mut self, rule: &'static str, name: &str, bytes: impl AsRef<[u8]>, answer: Got) {
        self.add(rule, name, bytes, &[answer], Closed);
    }
}

/// Returns a request with these lines beside `Host`, each with its end.
fn get(line: &str, more: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("{line}\r\n{HOST_LINE}").as_bytes(), more.as_ref(), b"\r\n"].concat()
}

fn health(more: impl AsRef<[u8]>) -> Vec<u8> {
    get("GET /health HTTP/1.1", more)
}

/// Returns a request with a body, whose headers say all about it.
fn post(more: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = get(&format!("POST /cases/{}/cancel HTTP/1.1", case_id()), more);
    [&head[..], body.as_ref()].concat()
}

/// The same with the length of the body.
fn sized(more: &str) -> Vec<u8> {
    post(format!("{more}Content-Length: {}\r\n", BODY.len()), BODY)
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

pub(super) fn all() -> Vec<Case> {
    let mut table = Table(Vec::new());
    request_lines(&mut table);
    targets(&mut table);
    hosts(&mut table);
    lines(&mut table);
    headers(&mut table);
    lengths(&mut table);
    chunks(&mut table);
    bodies(&mut table);
    connections(&mut table);
    table.0
}

fn request_lines(table: &mut Table) {
    let rule = "request line";
    table.taken(rule, "plain", health(""));
    for line in [
        "GET",
        "GET /health",
        "GET /health HTTP/1.1 x",
        "GET  /health HTTP/1.1",
        "GET /health  HTTP/1.1",
        "GET\t/health\tHTTP/1.1",
        " GET /health HTTP/1.1",
        "GET /health HTTP/1.1 ",
        "GET /hea\0lth HTTP/1.1",
    ] {
        table.refused(rule, &format!("{line:?}"), get(line, ""), UNREAD);
    }
    // What is no HTTP is refused by its first byte, and nothing more is waited for.
    table.refused(rule, "a handshake of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", UNREAD);
    let rule = "version";
    table.taken(rule, "1.1", health(""));
    table.add(rule, "1.0", get("GET /health HTTP/1.0", ""), &[OK], Closed);
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1", "HTTP/1.10", "http/1.1", "HTTPS/1.1", "ICY"]
    {
        table.refused(rule, version, get(&format!("GET /health {version}"), ""), UNREAD);
    }
    table.refused(rule, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UNREAD);
    let rule = "method";
    table.taken(rule, "HEAD", get("HEAD /health HTTP/1.1", ""));
    for method in ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "FOO", "M-SEARCH", "get", &"A".repeat(300)] {
        let method = format!("{method} /cases HTTP/1.1");
        table.add(rule, &method, get(&method, ""), &[METHOD], GoesOn);
    }
    for method in ["G\u{e4}T", "G!T", "G_T", "", "CONNECT", "G(T"] {
        table.refused(rule, &format!("{method:?}"), get(&format!("{method} /health HTTP/1.1"), ""), UNREAD);
    }
}

fn targets(table: &mut Table) {
    let rule = "target";
    for target in [
        "/health?",
        "http://localhost/health",
        "HTTPS://localhost:8443/health",
        "http://[::1]:80/health",
        "/cases?workflow=a|b{c}^`\\",
        "/cases?workflow=a?b/c",
    ] {
        table.taken(rule, target, get(&format!("GET {target} HTTP/1.1"), ""));
    }
    for target in [
        "*",
        "health",
        "localhost:80",
        "/health#x",
        "/health?#x",
        "/h\u{e4}alth",
        "/<health>",
        "/`health",
        "/health?\"",
        "/health?<",
        "ftp://localhost/health",
        "http:/health",
        "http:///health",
        "http://a@localhost/health",
        "http://local host/health",
        "http://localhost:x/health",
        "http://localhost#x",
    ] {
        table.refused(rule, target, get(&format!("GET {target} HTTP/1.1"), ""), UNREAD);
    }
    let nowhere = (404, "KN0500");
    for target in
        ["/nowhere", "//health", "/./health", "/x/../health", "/%68ealth", "/health/", "http://localhost"]
    {
        table.add(rule, target, get(&format!("GET {target} HTTP/1.1"), ""), &[nowhere], GoesOn);
    }
    let long = format!("GET /{} HTTP/1.1", "a".repeat(9_000));
    table.add(rule, "longer than its limit", get(&long, ""), &[(414, "KN0515")], GoesOn);
}

fn hosts(table: &mut Table) {
    let rule = "Host";
    let with = |line: &str, lines: &str| format!("GET {line}\r\n@A@{lines}\r\n");
    table.taken(rule, "a name", with("/health HTTP/1.1", "Host: localhost\r\n"));
    table.taken(rule, "a name and a port", with("/health HTTP/1.1", "host:\tlocalhost:1 \r\n"));
    table.taken(rule, "an address of IPv6", with("/health HTTP/1.1", "HOST: [::1]:8080\r\n"));
    table.add(rule, "none in HTTP/1.0", with("/health HTTP/1.0", ""), &[OK], Closed);
    table.refused(rule, "none", with("/health HTTP/1.1", ""), HOST);
    table.refused(rule, "none beside an absolute form", with("http://localhost/health HTTP/1.1", ""), HOST);
    table.refused(rule, "two", with("/health HTTP/1.1", "Host: localhost\r\nHost: localhost\r\n"), TWICE);
    table.refused(rule, "two in HTTP/1.0", with("/health HTTP/1.0", "Host: localhost\r\nHost: x\r\n"), TWICE);
    for host in [
        "a b", "a/b", "a:b", "a@b", "::1", "[::1", "[::1]x", "a:1:2", "a:65536", "a:+1", "a,b/", ":1", "a?b",
        "a#",
    ] {
        table.refused(rule, host, with("/health HTTP/1.1", &format!("Host: {host}\r\n")), HOST);
    }
    // A page of another site is known by its host, and that of an absolute form is the one that counts.
    let rule = "host of an absolute form";
    let from = |target: &str, host: &str| {
        format!(
            "POST {target}/cases/{}/cancel HTTP/1.1\r\n@A@Host: {host}\r\nOrigin: http://localhost\r\nContent-Length: {}\r\n\r\n{BODY}",
            case_id(),
            BODY.len()
        )
    };
    table.taken(rule, "the page's own", from("http://localhost", "127.0.0.1"));
    let origin = (403, "KN0528");
    table.add(rule, "another's", from("http://127.0.0.1", "localhost"), &[origin], GoesOn);
    let rule = "origin";
    for own in ["http://localhost", "https://localhost", "HTTP://localhost"] {
        table.taken(rule, own, sized(&format!("Origin: {own}\r\n")));
    }
    for other in
        ["https://evil.example", "null", "", "localhost", "file://", "http://localhost:1", "http://127.0.0.1"]
    {
        let name = format!("{other:?}");
        table.add(rule, &name, sized(&format!("Origin: {other}\r\n")), &[origin], GoesOn);
    }
    table.taken(rule, "of another site, to read", health("Origin: https://evil.example\r\n"));
}

fn lines(table: &mut Table) {
    let rule = "line ends";
    table.taken(rule, "CR LF", health("A: b\r\n"));
    table.taken(rule, "four empty lines before", [b"\r\n".repeat(4), health("")].concat());
    table.refused(rule, "five empty lines before", [b"\r\n".repeat(5), health("")].concat(), UNREAD);
    table.refused(rule, "an LF before", [b"\n".to_vec(), health("")].concat(), UNREAD);
    let bare = String::from_utf8(health("")).unwrap().replace("\r\n", "\n");
    table.refused(rule, "LF only", bare, UNREAD);
    table.refused(
        rule,
        "LF after the request line",
        "GET /health HTTP/1.1\nHost: localhost\r\n@A@\r\n",
        UNREAD,
    );
    table.refused(rule, "LF after a header", health("A: b\n"), UNREAD);
    table.refused(rule, "LF at the end", format!("GET /health HTTP/1.1\r\n{HOST_LINE}\n"), UNREAD);
    table.refused(rule, "CR in a value", health("A: b\rc\r\n"), UNREAD);
    table.refused(rule, "CR CR LF", health("A: b\r\r\n"), UNREAD);
    table.refused(rule, "folded", health("A: b\r\n c\r\n"), UNREAD);
    table.refused(rule, "folded by a tab", health("A: b\r\n\tc\r\n"), UNREAD);
    table.refused(
        rule,
        "folded before the first header",
        "GET /health HTTP/1.1\r\n Host: localhost\r\n@A@\r\n",
        UNREAD,
    );
}

fn headers(table: &mut Table) {
    let rule = "headers";
    table.taken(rule, "every character of a token", health("!#$%&'*+-.^_`|~09azAZ: b\r\n"));
    table.taken(rule, "no value", health("A:\r\n"));
    table.taken(rule, "spaces and tabs", health("A: \t b\tc \t\r\n"));
    for line in [
        &b"no colon"[..],
        b": b",
        b"A : b",
        b"A\t: b",
        b"A B: c",
        b"A(: b",
        b"A\xe4: b",
        b"A: \xe4",
        b"A: \xc3\xa4",
        b"A: \0",
        b"A: \x7f",
        b"A: \x0b",
    ] {
        let name = String::from_utf8_lossy(line).escape_debug().to_string();
        let name = if line == b"A: \xc3\xa4" { "UTF-8".to_owned() } else { name };
        table.refused(rule, &name, health([line, b"\r\n"].concat()), UNREAD);
    }
    let rule = "size of the head";
    // Two are there already on one side, one on the other.
    table.taken(rule, "98 headers more", health("A: b\r\n".repeat(HEADER_COUNT_MAX - 2)));
    table.refused(rule, "100 headers more", health("A: b\r\n".repeat(HEADER_COUNT_MAX)), HEAD_LARGE);
    let long = |count: usize| format!("A: {}\r\n", "a".repeat(8_000 - 5)).repeat(count);
    table.taken(rule, "64,000 bytes", health(long(8)));
    table.refused(rule, "72,000 bytes", health(long(9)), HEAD_LARGE);
    table.refused(rule, "no end", health("A: ".to_owned() + &"a".repeat(HEAD_BYTES_MAX * 4)), HEAD_LARGE);
    let value = |bytes: usize| health(format!("A: {}\r\n", "a".repeat(bytes)));
    table.taken(rule, "a value of 8 KiB", value(8_192));
    table.add(rule, "a longer value", value(8_193), &[(431, "KN0514")], GoesOn);
    let rule = "once";
    table.taken(rule, "others may stand twice", health("Accept: */*\r\nAccept: */*\r\nX: 1\r\nX: 1\r\n"));
    for line in [
        "Content-Type: application/json\r\n",
        "Idempotency-Key: a\r\n",
        "Origin: http://localhost\r\n",
        "Expect: 100-continue\r\n",
        "Content-Length: 17\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        table.refused(rule, line.trim_end(), post(line.repeat(2), BODY), TWICE);
    }
    table.taken(rule, "one key", sized("Idempotency-Key: a\r\n"));
    table.refused(
        rule,
        "two keys, in other letters",
        sized("Idempotency-Key: a\r\nidempotency-key: b\r\n"),
        TWICE,
    );
    let rule = "idempotency key";
    table.taken(rule, "255 characters", sized(&format!("Idempotency-Key: {}\r\n", "k".repeat(255))));
    table.add(rule, "256", sized(&format!("Idempotency-Key: {}\r\n", "k".repeat(256))), &[KEY], GoesOn);
    table.add(rule, "a space", sized("Idempotency-Key: a b\r\n"), &[KEY], GoesOn);
    table.add(rule, "empty", sized("Idempotency-Key: \r\n"), &[KEY], GoesOn);
    table.refused(
        rule,
        "beyond ASCII",
        post([&b"Idempotency-Key: k\xe9y\r\nContent-Length: 17\r\n"[..]].concat(), BODY),
        UNREAD,
    );
    table.refused(rule, "UTF-8", sized("Idempotency-Key: k\u{e9}y\r\n"), UNREAD);
    let rule = "Accept";
    table.taken(rule, "any", health("Accept: */*\r\n"));
    let svg = get(&format!("GET /cases/{}.svg HTTP/1.1", case_id()), "Accept: text/x-nothing\r\n");
    table.add(rule, "one that there is not", svg, &[(406, "KN0512")], GoesOn);
}

fn lengths(table: &mut Table) {
    let rule = "length";
    table.taken(rule, "said", sized(""));
    table.taken(rule, "with zeros before", post("Content-Length: 00017\r\n", BODY));
    table.taken(rule, "with spaces around", post("Content-Length: \t17 \r\n", BODY));
    table.taken(rule, "none", health("Content-Length: 0\r\n"));
    for length in ["-1", "+17", "0x11", "17, 17", "17,", "abc", "", "1e1", "17.0", "1 7"] {
        table.refused(
            rule,
            &format!("{length:?}"),
            post(format!("Content-Length: {length}\r\n"), BODY),
            UNREAD,
        );
    }
    table.refused(rule, "two that differ", post("Content-Length: 17\r\nContent-Length: 3\r\n", BODY), TWICE);
    let rule = "length and chunks";
    table.taken(rule, "chunks", chunked(format!("11\r\n{BODY}\r\n0\r\n\r\n")));
    table.taken(
        rule,
        "in other letters",
        post("transfer-encoding: Chunked\r\n", format!("11\r\n{BODY}\r\n0\r\n\r\n")),
    );
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    table.refused(rule, "both", post(both, "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"), UNREAD);
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n";
    table.refused(rule, "both, the other way", post(both, "0\r\n\r\n"), UNREAD);
    for coding in ["gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;q=1", ""] {
        let more = format!("Transfer-Encoding: {coding}\r\n");
        table.refused(rule, &format!("{coding:?}"), post(more, "0\r\n\r\n"), UNREAD);
    }
    table.refused(rule, "a control before", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), UNREAD);
    table.refused(
        rule,
        "a space before the colon",
        post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        UNREAD,
    );
    let old = get(&format!("POST /cases/{}/cancel HTTP/1.0", case_id()), "Transfer-Encoding: chunked\r\n");
    table.refused(rule, "chunks in HTTP/1.0", [old, b"0\r\n\r\n".to_vec()].concat(), UNREAD);
    let rule = "size of the body";
    let most = LIMITS.body_bytes_max;
    let spaces = |bytes: usize| format!("{BODY}{}", " ".repeat(bytes - BODY.len()));
    table.taken(rule, "the largest", post(format!("Content-Length: {most}\r\n"), spaces(most)));
    table.taken(
        rule,
        "the largest, in chunks",
        chunked(format!("{most:x}\r\n{}\r\n0\r\n\r\n", spaces(most))),
    );
    for length in [&(most + 1).to_string(), "18446744073709551615", "99999999999999999999999"] {
        table.refused(
            rule,
            &format!("{length} bytes"),
            post(format!("Content-Length: {length}\r\n"), ""),
            LARGE,
        );
    }
    let waits = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", most + 1);
    table.refused(rule, "one that is waited for", post(waits, ""), LARGE);
    table.refused(rule, "one chunk more", chunked(format!("{most:x}\r\n{}\r\n1\r\n", spaces(most))), LARGE);
    table.refused(rule, "a chunk that says so", chunked(format!("{:x}\r\n", most + 1)), LARGE);
    table.refused(rule, "a chunk of 64 bits", chunked("ffffffffffffffff\r\n"), LARGE);
}

fn chunks(table: &mut Table) {
    let rule = "chunks";
    let ones: Vec<String> = BODY.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    let ones = ones.concat();
    table.taken(rule, "a byte each", chunked(format!("{ones}0\r\n\r\n")));
    let whole = |size: &str, end: &str| chunked(format!("{size}\r\n{BODY}\r\n0\r\n{end}\r\n"));
    table.taken(rule, "zeros before a size", whole("0000000000000000000011", ""));
    table.taken(rule, "a space after a size", whole("11 ", ""));
    table.taken(rule, "an extension", whole("11;a=\"b\" ; c", ""));
    table.taken(rule, "trailers", whole("11", "A: b\r\nC: d\r\n"));
    for size in [
        "zz",
        "-1",
        "+11",
        "0x11",
        "",
        " 11",
        "1 1",
        "11,a",
        "11111111111111111",
        "11;\x01",
        "11;a\rb",
        "11;\u{e4}",
    ] {
        table.refused(rule, &format!("{size:?}"), whole(size, ""), BROKEN);
    }
    table.refused(rule, "LF after a size", chunked(format!("11\n{BODY}\r\n0\r\n\r\n")), BROKEN);
    table.refused(rule, "LF after the data", chunked(format!("11\r\n{BODY}\n0\r\n\r\n")), BROKEN);
    table.refused(rule, "LF at the end", chunked(format!("11\r\n{BODY}\r\n0\r\n\n")), BROKEN);
    table.refused(rule, "longer than it says", chunked("2\r\nabc\r\n0\r\n\r\n"), BROKEN);
    for trailer in ["no colon", "A : b", " folded", "A: \x01", "A: \u{e4}", ": b"] {
        table.refused(rule, &format!("trailer {trailer:?}"), whole("11", &format!("{trailer}\r\n")), BROKEN);
    }
    let rule = "bytes around chunks";
    let extended = |bytes: usize| whole(&format!("11;{}", "x".repeat(bytes - 1)), "");
    table.taken(rule, "an extension of 4,000 bytes", extended(4_000));
    table.refused(rule, "an extension of 5,000 bytes", extended(5_000), BROKEN);
    let many = |count: usize| chunked(format!("1;{}\r\nx\r\n", "x".repeat(999)).repeat(count) + "0\r\n\r\n");
    table.refused(rule, "9,000 bytes of extensions", many(9), BROKEN);
    table.taken(rule, "32 trailers", whole("11", &"A: b\r\n".repeat(32)));
    table.refused(rule, "33 trailers", whole("11", &"A: b\r\n".repeat(33)), BROKEN);
    let long = format!("A: {}\r\n", "a".repeat(2_997));
    table.refused(rule, "9,000 bytes of trailers", whole("11", &long.repeat(3)), BROKEN);
    // Five bytes around each.
    let ones = |count: usize| chunked("1\r\n \r\n".repeat(count) + &format!("11\r\n{BODY}\r\n0\r\n\r\n"));
    table.taken(rule, "20,000 chunks of a byte", ones(20_000));
    table.refused(rule, "30,000 chunks of a byte", ones(30_000), (400, "KN0369"));
}

fn bodies(table: &mut Table) {
    let rule = "Expect";
    let go_on = (100, "");
    let waits = format!("Expect: 100-Continue\r\nContent-Length: {}\r\n", BODY.len());
    table.add(rule, "100-continue", post(waits, BODY), &[go_on, OK], GoesOn);
    table.taken(rule, "without a body", health("Expect: 100-continue\r\n"));
    for other in ["200-ok", "", "100-continue, x"] {
        table.refused(rule, &format!("{other:?}"), sized(&format!("Expect: {other}\r\n")), (417, "KN0368"));
    }
    let rule = "end of the body";
    let half = post("Content-Length: 18\r\n", BODY);
    table.taken(rule, "it comes", sized(""));
    for (name, bytes) in
        [("too early", half), ("within a chunk", chunked("11\r\nab")), ("before a chunk", chunked(""))]
    {
        table.refused(rule, name, bytes, BROKEN);
        table.0.last_mut().unwrap().then = Then::HalfClose;
    }
    let rule = "body of a GET";
    table.taken(rule, "is read and dropped", [health("Content-Length: 5\r\n"), b"hello".to_vec()].concat());
    let chunks = health("Transfer-Encoding: chunked\r\n");
    table.taken(rule, "in chunks", [&chunks[..], b"5\r\nhello\r\n0\r\n\r\n"].concat());
    table.refused(rule, "broken", [&chunks[..], b"zz\r\n"].concat(), BROKEN);
    table.refused(rule, "too large", health("Content-Length: 99999999\r\n"), LARGE);
    let rule = "Content-Encoding";
    table.taken(rule, "identity", sized("Content-Encoding: identity\r\n"));
    let unread = (415, "KN0550");
    table.add(rule, "gzip", sized("Content-Encoding: gzip\r\n"), &[unread], GoesOn);
    table.add(
        rule,
        "the second",
        sized("Content-Encoding: identity\r\nContent-Encoding: br\r\n"),
        &[unread],
        GoesOn,
    );
    let rule = "Content-Type";
    table.taken(rule, "JSON", sized("Content-Type: application/json\r\n"));
    table.add(rule, "text", sized("Content-Type: text/plain\r\n"), &[(415, "KN0511")], GoesOn);
}

fn connections(table: &mut Table) {
    let rule = "connection";
    table.taken(rule, "goes on", health("Connection: keep-alive\r\n"));
    table.taken(rule, "another word", health("Connection: closed, x-close\r\n"));
    for value in ["close", "Close", "keep-alive, close", "x,close", "Upgrade, HTTP2-Settings\r\nUpgrade: h2c"]
    {
        table.add(rule, value, health(format!("Connection: {value}\r\n")), &[OK], Closed);
    }
    table.add(rule, "in the second line", health("Connection: x\r\nConnection: close\r\n"), &[OK], Closed);
    let kept = get("GET /health HTTP/1.0", "Connection: keep-alive\r\n");
    table.add(rule, "HTTP/1.0 that would go on", kept, &[OK], Closed);
    table.add(
        rule,
        "nothing after it",
        [health("Connection: close\r\n"), health("")].concat(),
        &[OK],
        Closed,
    );
    let three = [health(""), sized(""), health("")].concat();
    table.add(rule, "three at once", three, &[OK, OK, OK], GoesOn);
    table.add(
        rule,
        "the second is wrong",
        [sized(""), b"x\r\n\r\n".to_vec(), health("")].concat(),
        &[OK, UNREAD],
        Closed,
    );
    table.add(
        rule,
        "more than the body says",
        post("Content-Length: 17\r\n", format!("{BODY}\0")),
        &[OK, UNREAD],
        Closed,
    );
    let half = health("");
    table.add(rule, "who sends no more gets the answer", half, &[OK], Closed);
    table.0.last_mut().unwrap().then = Then::HalfClose;
}
