//! A client of HTTP/1.1 that costs little: buffers are used again, and of an answer only status and length are read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::Outcome;

/// Most bytes taken from a connection at a time.
const READ_BYTES: usize = 256 << 10;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 4096;

/// A whole answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// One connection, one request at a time.
pub(crate) struct Client {
    stream: TcpStream,
    head: Vec<u8>,
    buffer: Vec<u8>,
    /// Status and bytes of the body that are still to come, once the head is whole.
    awaited: Option<(u16, usize)>,
}

impl Client {
    /// Connects.
    pub(crate) fn new(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            head: Vec::with_capacity(HEAD_BYTES_MAX),
            buffer: vec![0; READ_BYTES],
            awaited: None,
        })
    }

    /// Returns the connection, for epoll.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request that is whole already.
    pub(crate) fn send(&mut self, request: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Reads once; returns the status when the answer is whole. `body` gets what comes of the body.
    fn read(&mut self, body: &mut dyn FnMut(&[u8])) -> Outcome<Option<u16>> {
        let length = self.stream.read(&mut self.buffer)?;
        if length == 0 {
            return Err("the service closed the connection".into());
        }
        let mut fresh = &self.buffer[..length];
        if self.awaited.is_none() {
            let known = self.head.len();
            self.head.extend_from_slice(&fresh[..fresh.len().min(HEAD_BYTES_MAX)]);
            let from = known.saturating_sub(3);
            let Some(end) = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
                return if self.head.len() > HEAD_BYTES_MAX {
                    Err("too long a head".into())
                } else {
                    Ok(None)
                };
            };
            let end = from + end + 4;
            self.awaited = Some(read_head(&self.head[..end])?);
            fresh = &fresh[end - known..];
        }
        let Some((status, left)) = &mut self.awaited else { return Ok(None) };
        *left = left.checked_sub(fresh.len()).ok_or("more bytes than the answer has")?;
        body(fresh);
        if *left > 0 {
            return Ok(None);
        }
        let status = *status;
        self.awaited = None;
        self.head.clear();
        Ok(Some(status))
    }

    /// Reads once; returns the status when the answer is whole, without its body.
    pub(crate) fn progress(&mut self) -> Outcome<Option<u16>> {
        self.read(&mut |_| {})
    }

    /// Waits for the answer; returns its status.
    pub(crate) fn status(&mut self) -> Outcome<u16> {
        loop {
            if let Some(status) = self.progress()? {
                return Ok(status);
            }
        }
    }

    /// Waits for the answer.
    pub(crate) fn answer(&mut self) -> Outcome<Answer> {
        let mut body = Vec::new();
        loop {
            if let Some(status) = self.read(&mut |bytes| body.extend_from_slice(bytes))? {
                return Ok(Answer { status, body });
            }
        }
    }

    /// Asks for a path.
    pub(crate) fn get(&mut self, path: &str) -> Outcome<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// Posts a body.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Outcome<Answer> {
        let mut request = Vec::new();
        write_post(&mut request, path, body);
        self.send(&request)?;
        self.answer()
    }
}

/// Writes a request with a body.
pub(crate) fn write_post(out: &mut Vec<u8>, path: &str, body: &[u8]) {
    out.clear();
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: ");
    out.extend_from_slice(body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Returns status and length of an answer.
fn read_head(head: &[u8]) -> Outcome<(u16, usize)> {
    let head = std::str::from_utf8(head)?;
    let status = head.get(9..12).ok_or("no status")?.parse()?;
    let mut lines = head.split("\r\n");
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok((status, length.ok_or("no Content-Length")??))
}
