//! An answer, and how it is written.

use std::any::Any;
use std::io::Write;

use crate::head::Version;
use crate::status::reason_phrase;

/// An answer, whole in memory. `Content-Length`, `Date` and `Connection` are added when it is printed.
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    body_len: usize,
    /// Dropped when the answer is out, or its client gone.
    pub(crate) held: Option<Box<dyn Any + Send>>,
}

impl Response {
    /// Returns an answer with this status and body. A header whose value holds anything but visible ASCII characters,
    /// spaces and tabs is left out: it could end its line.
    pub fn new(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response {
        let body_len = body.len();
        Response { status, headers, body, body_len, held: None }
    }

    /// Sets the length that is said, for an answer to `HEAD`.
    pub fn with_length(mut self, body_len: usize) -> Response {
        self.body_len = body_len;
        self
    }

    /// Keeps something until the answer is out, or its client gone: room that the body takes.
    pub fn holding(mut self, held: Box<dyn Any + Send>) -> Response {
        self.held = Some(held);
        self
    }

    /// Writes the answer as it is sent.
    pub(crate) fn print(&self, out: &mut Vec<u8>, version: Version, is_head: bool, close: bool, date: &str) {
        const INVARIANT: &str = "a vector takes every write";
        out.reserve(256 + self.body.len());
        let version = if version == Version::Http10 { "1.0" } else { "1.1" };
        write!(out, "HTTP/{version} {} {}\r\nDate: ", self.status, reason_phrase(self.status)).expect(INVARIANT);
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
                continue;
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        write!(out, "Content-Length: {}\r\n\r\n", self.body_len).expect(INVARIANT);
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(response: &Response, version: Version, is_head: bool, close: bool) -> String {
        let mut out = Vec::new();
        response.print(&mut out, version, is_head, close, "now");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_whether_the_connection_goes_on() {
        let response = Response::new(404, vec![("a", "b c".to_owned())], b"body".to_vec());
        let whole = "HTTP/1.1 404 Not Found\r\nDate: now\r\na: b c\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(printed(&response, Version::Http11, false, false), whole);
        let last = "HTTP/1.0 404 Not Found\r\nDate: now\r\na: b c\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(printed(&response.with_length(9), Version::Http10, true, true), last);
    }

    #[test]
    fn a_value_that_could_end_its_line_is_left_out() {
        for value in ["a\r\nSet-Cookie: b", "a\nb", "a\0", "\u{e4}", "\u{7f}"] {
            let response = Response::new(200, vec![("a", value.to_owned()), ("c", "d".to_owned())], Vec::new());
            let whole = "HTTP/1.1 200 OK\r\nDate: now\r\nc: d\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(printed(&response, Version::Http11, false, false), whole, "{value:?}");
        }
    }
}
