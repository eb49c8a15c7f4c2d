//! A body in chunks (RFC 9112, 7.1), taken apart as its bytes come.

use crate::body::Piece;
use crate::head::is_field;
use crate::Refusal;

/// Longest line of a chunk's size with its extensions, and of a trailer, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of extensions of one body; they are read and dropped.
const EXTENSION_BYTES_MAX: usize = 8 * 1024;
/// Most trailers; they are read and dropped.
const TRAILERS_MAX: usize = 32;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Bytes that sizes, line ends, extensions and trailers may have together, beyond as many as the largest body has.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// What the next byte belongs to.
#[derive(Debug)]
enum Stage {
    Size,
    Data(usize),
    /// The line end after a chunk's data.
    End,
    Trailer,
    Done,
}

/// Takes chunks apart.
#[derive(Debug)]
pub(crate) struct Chunks {
    stage: Stage,
    line: Vec<u8>,
    /// Bytes of data that may still come.
    data_left: usize,
    /// Bytes that may still come around them.
    frame_left: usize,
    extensions_left: usize,
    trailers: usize,
    trailers_left: usize,
}

impl Chunks {
    /// Returns chunks with at most so many bytes of data.
    pub(crate) fn new(data_max: usize) -> Chunks {
        Chunks {
            stage: Stage::Size,
            line: Vec::new(),
            data_left: data_max,
            frame_left: data_max.saturating_add(FRAME_BYTES_MAX),
            extensions_left: EXTENSION_BYTES_MAX,
            trailers: 0,
            trailers_left: TRAILER_BYTES_MAX,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(crate) fn kept(&self) -> usize {
        self.line.len()
    }

    /// Takes a piece of `bytes`, which are not empty: a line of the frame around the data, or data.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        if let Stage::Data(left) = &mut self.stage {
            let data = bytes.len().min(*left);
            *left -= data;
            if *left == 0 {
                self.stage = Stage::End;
            }
            return Ok(Piece { taken: data, data });
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let line_left = LINE_BYTES_MAX - self.line.len();
        if taken > line_left.min(self.frame_left) {
            return Err(if line_left <= self.frame_left { Refusal::BodyBroken } else { Refusal::ChunksTooSmall });
        }
        self.frame_left -= taken;
        self.line.extend_from_slice(&bytes[..taken]);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.line_is(line.strip_suffix(b"\r\n").ok_or(Refusal::BodyBroken)?)?;
            // Its memory is used again.
            self.line = line;
            self.line.clear();
        }
        Ok(Piece { taken, data: 0 })
    }

    fn line_is(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.stage = match self.stage {
            Stage::Size => self.size_is(line)?,
            Stage::End if line.is_empty() => Stage::Size,
            Stage::Trailer if line.is_empty() => Stage::Done,
            Stage::Trailer if self.trailers < TRAILERS_MAX && is_field(line) => {
                self.trailers += 1;
                self.trailers_left = self.trailers_left.checked_sub(line.len()).ok_or(Refusal::BodyBroken)?;
                Stage::Trailer
            }
            _ => return Err(Refusal::BodyBroken),
        };
        Ok(())
    }

    /// Reads the line of a chunk's size; what follows a semicolon means nothing here.
    fn size_is(&mut self, line: &[u8]) -> Result<Stage, Refusal> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, rest) = line.split_at(digits);
        let after = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        let is_text = rest.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        if digits.is_empty() || !is_text || !matches!(after, None | Some(b';')) {
            return Err(Refusal::BodyBroken);
        }
        self.extensions_left = self.extensions_left.checked_sub(rest.len()).ok_or(Refusal::BodyBroken)?;
        let text = std::str::from_utf8(digits).map_err(|_| Refusal::BodyBroken)?;
        let size = usize::from_str_radix(text, 16).map_err(|_| Refusal::BodyBroken)?;
        self.data_left = self.data_left.checked_sub(size).ok_or(Refusal::BodyTooLarge)?;
        Ok(if size == 0 { Stage::Trailer } else { Stage::Data(size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA_MAX: usize = 1_000_000;

    /// Returns the body when it is whole, having been given pieces of so many bytes.
    fn body(raw: &[u8], each: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let mut chunks = Chunks::new(DATA_MAX);
        let mut body = Vec::new();
        for mut piece in raw.chunks(each) {
            while !piece.is_empty() && !chunks.is_done() {
                let Piece { taken, data } = chunks.take(piece)?;
                body.extend_from_slice(&piece[taken - data..taken]);
                piece = &piece[taken..];
            }
        }
        Ok(if chunks.is_done() { Some(body) } else { None })
    }

    /// Checks what comes of chunks, in pieces of several sizes.
    fn check(raw: &[u8], expected: Result<Option<Vec<u8>>, Refusal>) {
        for each in [1, 3, 4096, raw.len()] {
            assert_eq!(body(raw, each), expected, "{:?}", String::from_utf8_lossy(&raw[..raw.len().min(80)]));
        }
    }

    #[test]
    fn chunks_come_in_pieces_of_any_size() {
        let raw = b"5;x=y\r\nhello\r\n00b \r\n, wide\r\nwor\r\n2\r\nld\r\n0\r\nA: b\r\n\r\n";
        for each in 1..=raw.len() {
            assert_eq!(body(raw, each).unwrap().unwrap(), b"hello, wide\r\nworld", "{each}");
            assert_eq!(body(&raw[..raw.len() - 1], each), Ok(None), "{each}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for raw in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 1\r\n",
            b"1,x\r\n",
            b"1;\x00\r\n",
            b"1;a\rb\r\n",
            b"1;\xff\r\n",
            b"1\n",
            b"2\r\nabc\r\n",
            b"2\r\nab\n",
            b"11111111111111111\r\n",
            b"0\r\nno colon\r\n",
            b"0\r\nA : b\r\n",
            b"0\r\n folded\r\n",
            b"0\r\nA: \xff\r\n",
            b"0\r\nA: a\rb\r\n",
            b"0\r\nA: b\n",
        ] {
            check(raw, Err(Refusal::BodyBroken));
        }
    }

    #[test]
    fn data_has_a_limit_which_the_size_alone_is_refused_by() {
        let all = [format!("{DATA_MAX:x}\r\n").into_bytes(), vec![b'x'; DATA_MAX], b"\r\n".to_vec()].concat();
        check(&[&all[..], b"0\r\n\r\n"].concat(), Ok(Some(vec![b'x'; DATA_MAX])));
        check(&[&all[..], b"1\r\n"].concat(), Err(Refusal::BodyTooLarge));
        check(format!("{:x}\r\n", DATA_MAX + 1).as_bytes(), Err(Refusal::BodyTooLarge));
        check(b"ffffffffffffffff\r\n", Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn lines_extensions_and_trailers_have_limits() {
        let size = |length: usize| [b"1;".to_vec(), vec![b'x'; length - 4], b"\r\nx\r\n".to_vec()].concat();
        let end = b"0\r\n\r\n".to_vec();
        check(&[size(LINE_BYTES_MAX), end.clone()].concat(), Ok(Some(b"x".to_vec())));
        check(&[size(LINE_BYTES_MAX + 1), end.clone()].concat(), Err(Refusal::BodyBroken));
        // A line's extensions are what it has beyond its digit and its end.
        let half = size(EXTENSION_BYTES_MAX / 4 + 3).repeat(4);
        check(&[half.clone(), end.clone()].concat(), Ok(Some(b"xxxx".to_vec())));
        check(&[half, b"0;\r\n\r\n".to_vec()].concat(), Err(Refusal::BodyBroken));
        let trailers = |count: usize, each: &[u8]| [b"0\r\n".to_vec(), each.repeat(count), b"\r\n".to_vec()].concat();
        check(&trailers(TRAILERS_MAX, b"A: b\r\n"), Ok(Some(Vec::new())));
        check(&trailers(TRAILERS_MAX + 1, b"A: b\r\n"), Err(Refusal::BodyBroken));
        let long = [b"A: ".to_vec(), vec![b'b'; TRAILER_BYTES_MAX / 4 - 3], b"\r\n".to_vec()].concat();
        check(&trailers(4, &long), Ok(Some(Vec::new())));
        check(&trailers(5, &long), Err(Refusal::BodyBroken));
    }

    #[test]
    fn what_is_around_the_data_has_a_limit() {
        // Five bytes around each byte of data.
        let fits = (DATA_MAX + FRAME_BYTES_MAX - 5) / 5;
        let ones = |count: usize| [b"1\r\nx\r\n".repeat(count), b"0\r\n\r\n".to_vec()].concat();
        check(&ones(fits), Ok(Some(vec![b'x'; fits])));
        check(&ones(fits + 1), Err(Refusal::ChunksTooSmall));
    }
}
