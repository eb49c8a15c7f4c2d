use std::io::Write;

use crate::common::{HTTPVersion, Header, StatusCode};

/// An answer, whole in memory. `Content-Length`, `Date` and `Connection` are added when it is printed.
pub struct Response {
    status_code: StatusCode,
    headers: Vec<Header>,
    body: Vec<u8>,
    body_len: usize,
}

impl Response {
    /// Returns an answer with this status and body.
    pub fn new(status_code: StatusCode, headers: Vec<Header>, body: Vec<u8>) -> Response {
        let body_len = body.len();
        Response { status_code, headers, body, body_len }
    }

    /// Sets the length that is said, for an answer to `HEAD`.
    pub fn with_length(mut self, body_len: usize) -> Response {
        self.body_len = body_len;
        self
    }

    /// Writes the answer as it is sent.
    pub(crate) fn print(
        &self,
        out: &mut Vec<u8>,
        version: &HTTPVersion,
        is_head: bool,
        close: bool,
        date: &str,
    ) {
        const INVARIANT: &str = "a vector takes every write";
        out.reserve(256 + self.body.len());
        let reason = self.status_code.default_reason_phrase();
        write!(out, "HTTP/{}.{} {} {reason}\r\nDate: ", version.0, version.1, self.status_code.0)
            .expect(INVARIANT);
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"\r\n");
        for header in &self.headers {
            out.extend_from_slice(header.field.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(header.value.as_bytes());
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
