//! Bytes of an HTTP/1.1 answer to status, type and body. Pure.

/// Largest answer that a command takes; a list of the longest page has a few megabytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Largest head of an answer.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// An answer of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Content type without parameters, in lower case.
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// How far an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More bytes may follow; a connection that ends here has broken off.
    Partial,
    /// The answer is whole when the connection ends here.
    UntilEnd(Answer),
    /// The answer is whole.
    Whole(Answer),
}

/// Reads as much of an answer as `bytes` hold; `Err` says what is wrong.
pub(super) fn read(bytes: &[u8]) -> Result<Progress, String> {
    let Some(head_len) = find(bytes, b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(format!("its head is longer than {HEAD_BYTES_MAX} bytes"));
        }
        return Ok(Progress::Partial);
    };
    if head_len > HEAD_BYTES_MAX {
        return Err(format!("its head is longer than {HEAD_BYTES_MAX} bytes"));
    }
    let head = std::str::from_utf8(&bytes[..head_len]).map_err(|_| "its head is not text".to_owned())?;
    let body = &bytes[head_len + 4..];
    let mut lines = head.split("\r\n");
    let status = status(lines.next().unwrap_or_default())?;
    if (100..200).contains(&status) {
        // An interim answer; the real one follows.
        return read(body);
    }
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let content_type = header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    let answer =
        |body: Vec<u8>| Answer { status, content_type: content_type.trim().to_ascii_lowercase(), body };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(chunks(body)?.map_or(Progress::Partial, |body| Progress::Whole(answer(body))));
    }
    match header("content-length") {
        Some(length) => {
            let length: usize = length.parse().map_err(|_| format!("its length is {length:?}"))?;
            Ok(match body.get(..length) {
                Some(body) => Progress::Whole(answer(body.to_vec())),
                None => Progress::Partial,
            })
        }
        None => Ok(Progress::UntilEnd(answer(body.to_vec()))),
    }
}

/// Reads `HTTP/1.1 200 OK`.
fn status(line: &str) -> Result<u16, String> {
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse().ok()).filter(|status| (100..600).contains(status));
    match status {
        Some(status) if version.starts_with("HTTP/1.") => Ok(status),
        _ => Err("it is not HTTP".to_owned()),
    }
}

/// Returns the chunks of a body put together; `None` when the last one is not there yet.
fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    const WRONG: &str = "a chunk of it has no length";
    let mut body = Vec::new();
    loop {
        let Some(line_len) = find(bytes, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[..line_len]).map_err(|_| WRONG.to_owned())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| WRONG.to_owned())?;
        bytes = &bytes[line_len + 2..];
        if size == 0 {
            // Trailers, if any, end with an empty line.
            let ended = bytes.starts_with(b"\r\n") || find(bytes, b"\r\n\r\n").is_some();
            return Ok(ended.then_some(body));
        }
        let (Some(chunk), Some(end)) = (bytes.get(..size), bytes.get(size..size.saturating_add(2))) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(WRONG.to_owned());
        }
        body.extend_from_slice(chunk);
        bytes = &bytes[size + 2..];
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::any;
    use proptest::{collection, proptest};

    fn whole(body: &str) -> Progress {
        Progress::Whole(Answer { status: 201, content_type: "application/json".into(), body: body.into() })
    }

    #[test]
    fn lengths_chunks_and_ends_are_understood_at_every_cut() {
        for (text, expected) in [
            (
                "HTTP/1.1 201 Created\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 4\r\n\r\n{\"\"}",
                "{\"\"}",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 201 \r\ncontent-type:application/json\r\ncontent-length:0\r\n\r\n",
                "",
            ),
            (
                "HTTP/1.1 201 x\r\ncontent-type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
                "abc0123456789",
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(whole(expected)));
            for cut in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..cut]), Ok(Progress::Partial), "{cut} of {text:?}");
            }
        }
        let until_end = Answer { status: 204, content_type: String::new(), body: b"x".to_vec() };
        assert_eq!(read(b"HTTP/1.1 204 No\r\n\r\nx"), Ok(Progress::UntilEnd(until_end)));
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for wrong in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 999 x\r\n\r\n",
            "HTTP/1.1 200 x\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        let fits = "x".repeat(HEAD_BYTES_MAX);
        assert_eq!(read(fits.as_bytes()), Ok(Progress::Partial));
        assert!(read(format!("{fits}y").as_bytes()).is_err());
        let large = "ffffffffffffffff";
        let text = format!("HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n{large}\r\nabc");
        assert_eq!(read(text.as_bytes()), Ok(Progress::Partial));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(head in "[ -~\r\n]{0,40}", bytes in collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes);
            let _ = read(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", head.as_bytes(), &bytes].concat());
            let _ = read(&[b"HTTP/1.1 200 ", head.as_bytes(), b"\r\n\r\n", &bytes].concat());
        }
    }
}
