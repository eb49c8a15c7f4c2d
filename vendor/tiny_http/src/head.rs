//! The one reading of request lines and headers, for every server of the service.
//!
//! Pure: bytes go in, in pieces of any size, and a [`Head`] or a [`Refusal`] comes out. `httparse` takes a head apart; what
//! it would let pass and another reader could take for something else is refused here (RFC 9112). Whether a head is taken
//! or refused, and why, does not depend on the pieces it came in: the first byte that makes it wrong decides.

use std::mem::MaybeUninit;

use crate::target::{self, Host};
use crate::Refusal;

/// Empty lines that may stand before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 4;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Headers that mean something only once. With two, different readers could use different ones.
const SINGLE: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "content-type", "idempotency-key", "origin", "expect"];

/// The versions of HTTP that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// The path as sent, without the query; of an absolute form, the part after its host.
    pub path: String,
    /// The query as sent, without the question mark; empty when there is none.
    pub query: String,
    pub version: Version,
    /// In order, names in lower case. `host` has the host of an absolute form, if that was sent (RFC 9112, 3.2.2).
    pub headers: Vec<(String, String)>,
    pub length: Length,
    /// Whether the connection ends with the answer.
    pub is_last: bool,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes; `usize::MAX` also stands for more.
    Bytes(usize),
    Chunks,
}

/// A head of which a part has come.
#[derive(Debug)]
pub struct Reader {
    /// Bytes that it may still have.
    left: usize,
    empty_lines: usize,
    /// What came of it, when it did not come in one piece.
    held: Vec<u8>,
    /// Where the line begins that is not whole yet.
    line_at: usize,
    lines: usize,
}

impl Reader {
    /// Returns the reader of a head of at most so many bytes.
    pub fn new(bytes_max: usize) -> Reader {
        Reader { left: bytes_max, empty_lines: 0, held: Vec::new(), line_at: 0, lines: 0 }
    }

    /// Takes bytes to the end of the head, or all; returns how many, and the head when it is whole.
    ///
    /// # Errors
    /// The head is refused, whatever follows.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), Refusal> {
        if self.held.is_empty() && self.empty_lines == 0 {
            // Nearly all heads come in one piece. A refusal is left to the way by lines, which finds the first reason.
            if let Ok(Some((length, head))) = parse(bytes, self.left) {
                return Ok((length, Some(head)));
            }
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            // What can begin no request, such as a handshake of TLS, has no line end to be waited for.
            if self.held.is_empty() && !(is_of_method(rest[0]) || rest[0] == b'\r') {
                return Err(Refusal::RequestLine);
            }
            let end = rest.iter().position(|&byte| byte == b'\n');
            let piece = &rest[..end.map_or(rest.len(), |end| end + 1)];
            if piece.len() > self.left {
                return Err(Refusal::HeadTooLarge);
            }
            self.left -= piece.len();
            taken += piece.len();
            self.held.extend_from_slice(piece);
            if end.is_some() && self.line_is()? {
                let whole = parse(&self.held, self.held.len())?;
                let head = whole.filter(|(length, _)| *length == self.held.len());
                return head.map_or(Err(Refusal::Header), |(_, head)| Ok((taken, Some(head))));
            }
        }
        Ok((taken, None))
    }

    /// Returns how many bytes it keeps: no more than a head may have.
    pub fn kept(&self) -> usize {
        self.held.len()
    }

    /// Looks at the line that has just become whole; returns whether the head ends with it.
    fn line_is(&mut self) -> Result<bool, Refusal> {
        let wrong = if self.lines == 0 { Refusal::RequestLine } else { Refusal::Header };
        let line = self.held[self.line_at..].strip_suffix(b"\r\n").ok_or(wrong)?;
        match self.lines {
            0 if line.is_empty() && self.empty_lines < EMPTY_LINES_MAX => {
                self.empty_lines += 1;
                self.held.clear();
                return Ok(false);
            }
            0 => is_request_line(line)?,
            _ if line.is_empty() => return Ok(true),
            lines if lines > HEADERS_MAX => return Err(Refusal::HeadTooLarge),
            _ if !is_field(line) => return Err(Refusal::Header),
            _ => {}
        }
        self.lines += 1;
        self.line_at = self.held.len();
        Ok(false)
    }
}

fn is_of_method(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn is_method(text: &[u8]) -> bool {
    // It asks for a tunnel, and its target is another host.
    !text.is_empty() && text.iter().copied().all(is_of_method) && text != b"CONNECT"
}

/// Looks at a request line by itself, so that a wrong one is refused before its headers come.
fn is_request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    let is_known = version == b"HTTP/1.1" || version == b"HTTP/1.0";
    if !is_known {
        return Err(if version.starts_with(b"HTTP/") { Refusal::Version } else { Refusal::RequestLine });
    }
    if !is_method(method) || target::Target::of(target).is_none() {
        return Err(Refusal::RequestLine);
    }
    Ok(())
}

/// Returns whether a line is a name of a header, a colon, and a value of visible ASCII characters, spaces and tabs.
pub(crate) fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_text = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    !name.is_empty() && name.iter().copied().all(is_token) && value.iter().copied().all(is_text)
}

/// Reads a head that begins with the first byte; `None` when it is not whole, or `httparse` takes it for something else.
fn parse(bytes: &[u8], length_max: usize) -> Result<Option<(usize, Head)>, Refusal> {
    // It would skip empty lines, which are counted here.
    if !bytes.first().copied().map_or(false, is_of_method) {
        return Ok(None);
    }
    let mut space = [MaybeUninit::uninit(); HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut space) else {
        return Ok(None);
    };
    if length > length_max || !is_strict(&bytes[..length]) {
        return Ok(None);
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    understand(method, target, version, request.headers).map(|head| Some((length, head)))
}

/// Returns whether all bytes are ASCII and each line ends in CR LF. `httparse` takes a bare LF, too.
fn is_strict(head: &[u8]) -> bool {
    let pairs = head.iter().zip(&head[1..]);
    // Without a way out, so that many bytes are looked at together.
    pairs.fold(true, |good, (&before, &byte)| good & (byte < 0x80) & ((byte != b'\n') | (before == b'\r')))
}

/// The headers that decide how a request is read.
#[derive(Default)]
struct Deciding<'a> {
    host: Option<&'a str>,
    content_length: Option<&'a str>,
    transfer_encoding: Option<&'a str>,
    expect: Option<&'a str>,
    is_last: bool,
}

/// Returns what a head says whose form is right.
fn understand(
    method: &str,
    target: &str,
    version: Version,
    fields: &[httparse::Header<'_>],
) -> Result<Head, Refusal> {
    if !is_method(method.as_bytes()) {
        return Err(Refusal::RequestLine);
    }
    let target = target::Target::of(target.as_bytes()).ok_or(Refusal::RequestLine)?;
    let mut headers = Vec::with_capacity(fields.len() + 1);
    let mut deciding = Deciding { is_last: version == Version::Http10, ..Deciding::default() };
    let mut seen = 0_u8;
    for field in fields {
        let value = std::str::from_utf8(field.value).map_err(|_| Refusal::Header)?;
        let value = value.trim_matches([' ', '\t']);
        let name = field.name.to_ascii_lowercase();
        if let Some(at) = SINGLE.iter().position(|single| *single == name) {
            if seen & 1 << at != 0 {
                return Err(Refusal::Twice(SINGLE[at]));
            }
            seen |= 1 << at;
        }
        deciding.hears(&name, value);
        headers.push((name, value.to_owned()));
    }
    let host = deciding.host.map(Host::of);
    if host == Some(None) || (host.is_none() && version == Version::Http11) {
        return Err(Refusal::Host);
    }
    if let Some(authority) = target.authority {
        match headers.iter_mut().find(|(name, _)| name == "host") {
            Some((_, value)) => *value = authority.to_owned(),
            None => headers.push(("host".to_owned(), authority.to_owned())),
        }
    }
    Ok(Head {
        method: method.to_owned(),
        path: target.path.to_owned(),
        query: target.query.to_owned(),
        version,
        headers,
        length: deciding.length(version)?,
        is_last: deciding.is_last,
        expects_continue: deciding.expects_continue(version)?,
    })
}

impl<'a> Deciding<'a> {
    fn hears(&mut self, name: &str, value: &'a str) {
        match name {
            "host" => self.host = Some(value),
            "content-length" => self.content_length = Some(value),
            "transfer-encoding" => self.transfer_encoding = Some(value),
            "expect" => self.expect = Some(value),
            "connection" => {
                let mut options = value.split(',').map(|option| option.trim_matches([' ', '\t']));
                // Only HTTP/1 is spoken; a client that asks to upgrade is answered and disconnected.
                self.is_last |= options
                    .any(|option| option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("upgrade"));
            }
            _ => {}
        }
    }

    /// Returns how long the body is; headers that contradict each other are refused (RFC 9112, 6.3).
    fn length(&self, version: Version) -> Result<Length, Refusal> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(Length::Bytes(0)),
            (Some(text), None) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                // Digits that are too many for the number are too many for every limit, too.
                Ok(Length::Bytes(text.parse().unwrap_or(usize::MAX)))
            }
            (None, Some(coding)) if version == Version::Http11 && coding.eq_ignore_ascii_case("chunked") => {
                Ok(Length::Chunks)
            }
            _ => Err(Refusal::Length),
        }
    }

    fn expects_continue(&self, version: Version) -> Result<bool, Refusal> {
        match self.expect {
            None => Ok(false),
            // Clients of HTTP/1.0 do not wait for it (RFC 9110, 10.1.1).
            Some(expect) if expect.eq_ignore_ascii_case("100-continue") => Ok(version == Version::Http11),
            Some(_) => Err(Refusal::Expectation),
        }
    }
}

impl Head {
    /// Returns the value of the first header of this name, which is in lower case.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the host that the request is for; `None` only for HTTP/1.0 without one.
    pub fn host(&self) -> Option<Host<'_>> {
        self.find("host").and_then(Host::of)
    }

    /// Writes the head as one that every reader takes for the same: in origin form, and with each thing said once.
    /// A reader that comes after this one gets these bytes, and not those of the client.
    pub fn print(&self, out: &mut Vec<u8>) {
        let version = if self.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let question = if self.query.is_empty() { "" } else { "?" };
        for part in [&self.method, " ", &self.path, question, &self.query, " ", version, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let told = |name: &str| !matches!(name, "connection" | "content-length");
        for (name, value) in self.headers.iter().filter(|(name, _)| told(name)) {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        match self.length {
            Length::Bytes(0) | Length::Chunks => {}
            Length::Bytes(bytes) => {
                out.extend_from_slice(format!("content-length: {}\r\n", bytes.min(isize::MAX as usize)).as_bytes());
            }
        }
        if self.is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 500;

    /// Reads a head in pieces of several sizes, and returns what came of all of them.
    fn read(text: &str) -> Result<Option<Head>, Refusal> {
        let in_pieces = |each: usize| {
            let mut reader = Reader::new(MAX);
            for piece in text.as_bytes().chunks(each) {
                let (taken, head) = reader.take(piece)?;
                if head.is_some() {
                    return Ok(head);
                }
                assert_eq!(taken, piece.len());
                assert!(reader.kept() <= MAX);
            }
            Ok(None)
        };
        let whole = in_pieces(text.len());
        for each in [1, 2, 7] {
            assert_eq!(in_pieces(each), whole, "in pieces of {each}: {text:?}");
        }
        whole
    }

    #[test]
    fn a_head_is_read_whole_with_names_in_lower_case() {
        let head = read("POST /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nAccept:  b \r\nContent-Length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!((&head.method[..], &head.path[..], &head.query[..]), ("POST", "/a/b", "c=d"));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.length, Length::Bytes(3));
        assert_eq!((head.find("accept"), head.find("x")), (Some("b"), None));
        assert_eq!(head.host().unwrap().port, Some(1));
        assert!(!head.is_last && !head.expects_continue);
        assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    }

    #[test]
    fn each_rule_refuses_by_its_reason() {
        let host = "Host: x\r\n";
        for (lines, why) in [
            ("A: b\n", Refusal::Header),
            ("A: b\rc\r\n", Refusal::Header),
            ("A: \u{e4}\r\n", Refusal::Header),
            ("A : b\r\n", Refusal::Header),
            ("A: b\r\n c\r\n", Refusal::Header),
            (": b\r\n", Refusal::Header),
            ("Idempotency-Key: a\r\nidempotency-key: a\r\n", Refusal::Twice("idempotency-key")),
            ("Host: x\r\n", Refusal::Twice("host")),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Refusal::Length),
            ("Content-Length: +1\r\n", Refusal::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", Refusal::Length),
            ("Expect: x\r\n", Refusal::Expectation),
        ] {
            assert_eq!(read(&format!("GET / HTTP/1.1\r\n{host}{lines}\r\n")), Err(why), "{lines:?}");
        }
        for (text, why) in [
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
            ("GET http://x/ HTTP/1.1\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Length),
            ("GET / HTTP/1.2\r\n", Refusal::Version),
            ("CONNECT /x HTTP/1.1\r\n", Refusal::RequestLine),
            ("GET / HTTP/1.1\n", Refusal::RequestLine),
            ("\n", Refusal::RequestLine),
            ("\x16\x03", Refusal::RequestLine),
        ] {
            assert_eq!(read(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn what_decides_is_taken_from_every_line() {
        let is_last = |lines: &str| read(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")).unwrap().unwrap().is_last;
        assert!(is_last("Connection: a\r\nConnection: b , CLOSE\r\n"));
        assert!(is_last("Connection: Upgrade\r\n"));
        assert!(!is_last("Connection: closed\r\n"));
        let waits = |version: &str| {
            let text = format!("GET / {version}\r\nHost: x\r\nExpect: 100-Continue\r\n\r\n");
            read(&text).unwrap().unwrap().expects_continue
        };
        assert!(waits("HTTP/1.1") && !waits("HTTP/1.0"));
        let length = |text: &str| {
            read(&format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {text}\r\n\r\n")).unwrap().unwrap().length
        };
        assert_eq!(length("007"), Length::Bytes(7));
        assert_eq!(length("99999999999999999999999"), Length::Bytes(usize::MAX));
        let absolute = read("GET http://y:2/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
        assert_eq!(absolute.host().unwrap().name, "y");
    }
}
