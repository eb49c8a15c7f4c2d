//! Request line and headers, line by line as their bytes come.

use std::mem;

use ascii::AsciiStr;

use crate::common::{HTTPVersion, Header, Method};
use crate::{Options, Refusal};

/// Empty lines that may stand before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// What the head says.
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) version: HTTPVersion,
    pub(crate) headers: Vec<Header>,
}

/// How long the body is.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Bytes(usize),
    Chunks,
}

/// A head of which a part has come.
pub(crate) struct Reader {
    /// Bytes that it may still have.
    left: usize,
    empty_lines: usize,
    line: Vec<u8>,
    head: Option<Head>,
}

impl Reader {
    pub(crate) fn new(options: &Options) -> Reader {
        Reader { left: options.head_bytes_max, empty_lines: 0, line: Vec::new(), head: None }
    }

    /// Takes bytes to the end of the head, or all; returns how many, and the head when it is whole.
    pub(crate) fn take(&mut self, bytes: &[u8], options: &Options) -> Result<(usize, Option<Head>), Refusal> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let end = rest.iter().position(|&byte| byte == b'\n');
            let piece = &rest[..end.map_or(rest.len(), |end| end + 1)];
            if piece.len() > self.left {
                return Err(Refusal::HeadTooLarge);
            }
            self.left -= piece.len();
            taken += piece.len();
            if end.is_none() {
                self.line.extend_from_slice(piece);
            } else if self.line.is_empty() {
                if self.line_is(piece, options)? {
                    return Ok((taken, self.head.take()));
                }
            } else {
                let mut line = mem::take(&mut self.line);
                line.extend_from_slice(piece);
                if self.line_is(&line, options)? {
                    return Ok((taken, self.head.take()));
                }
            }
        }
        Ok((taken, None))
    }

    /// Reads a whole line; tells whether the head ends with it.
    fn line_is(&mut self, line: &[u8], options: &Options) -> Result<bool, Refusal> {
        let wrong = if self.head.is_none() { Refusal::RequestLine } else { Refusal::Header };
        let text = line.strip_suffix(b"\r\n").ok_or(wrong)?;
        let text = AsciiStr::from_ascii(text).map_err(|_| wrong)?.as_str();
        if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(wrong);
        }
        match &mut self.head {
            None if text.is_empty() && self.empty_lines < EMPTY_LINES_MAX => self.empty_lines += 1,
            None => self.head = Some(parse_request_line(text)?),
            Some(_) if text.is_empty() => return Ok(true),
            Some(head) if head.headers.len() == options.headers_max => return Err(Refusal::HeadTooLarge),
            Some(head) => head.headers.push(text.parse().map_err(|()| wrong)?),
        }
        Ok(false)
    }
}

/// Parses the request line of the request.
/// eg. GET / HTTP/1.1
fn parse_request_line(line: &str) -> Result<Head, Refusal> {
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
    Ok(Head { method, path: path.to_owned(), version, headers: Vec::new() })
}

impl Head {
    /// Returns the value of the first header of this name.
    pub(crate) fn find(&self, name: &'static str) -> Option<&str> {
        self.headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    }

    /// Tells whether the connection ends with the answer.
    pub(crate) fn asks_for_the_end(&self) -> bool {
        self.version <= (1, 0)
            || self.find("Connection").map_or(false, |value| {
                let value = value.to_ascii_lowercase();
                value.contains("close") || value.contains("upgrade")
            })
    }

    /// Returns how long the body is; headers that contradict each other are refused (RFC 9112, 6.3).
    pub(crate) fn length(&self) -> Result<Length, Refusal> {
        let mut lengths = self.headers.iter().filter(|header| header.field.equiv("Content-Length"));
        let mut codings = self.headers.iter().filter(|header| header.field.equiv("Transfer-Encoding"));
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
}
