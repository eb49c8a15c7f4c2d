//! A body in chunks (RFC 9112, 7.1), taken apart as its bytes come.

/// Longest line of a chunk's size with its extensions, and of a trailer.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most trailers; they are read and dropped.
const TRAILERS_MAX: usize = 32;

/// What the next byte belongs to.
enum Stage {
    Size,
    Data(usize),
    /// The line end after a chunk's data.
    End,
    Trailer,
    Done,
}

/// Takes chunks apart.
pub(crate) struct Chunks {
    stage: Stage,
    line: Vec<u8>,
    trailers: usize,
}

/// The bytes are no chunks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// A piece of what came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// How many bytes it took.
    pub(crate) taken: usize,
    /// How many of them, the last ones, are the body's.
    pub(crate) data: usize,
}

impl Chunks {
    pub(crate) fn new() -> Chunks {
        Chunks { stage: Stage::Size, line: Vec::new(), trailers: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Takes a piece of `bytes`, which are not empty: a line of the frame around the data, or data.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Piece, Broken> {
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
        if self.line.len() + taken > LINE_BYTES_MAX {
            return Err(Broken);
        }
        self.line.extend_from_slice(&bytes[..taken]);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.line_is(line.strip_suffix(b"\r\n").ok_or(Broken)?)?;
        }
        Ok(Piece { taken, data: 0 })
    }

    fn line_is(&mut self, line: &[u8]) -> Result<(), Broken> {
        self.stage = match self.stage {
            Stage::Size => match size(line)? {
                0 => Stage::Trailer,
                size => Stage::Data(size),
            },
            Stage::End if line.is_empty() => Stage::Size,
            Stage::Trailer if line.is_empty() => Stage::Done,
            Stage::Trailer if self.trailers < TRAILERS_MAX => {
                self.trailers += 1;
                Stage::Trailer
            }
            _ => return Err(Broken),
        };
        Ok(())
    }
}

/// Reads the line of a chunk's size; what follows a semicolon means nothing here.
fn size(line: &[u8]) -> Result<usize, Broken> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).map_err(|_| Broken)?.trim_end_matches([' ', '\t']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Broken);
    }
    usize::from_str_radix(text, 16).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the body when it is whole, having been given pieces of so many bytes.
    fn body(raw: &[u8], each: usize) -> Result<Option<Vec<u8>>, Broken> {
        let mut chunks = Chunks::new();
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

    #[test]
    fn chunks_come_in_pieces_of_any_size() {
        let raw = b"5;x=y\r\nhello\r\n00b \r\n, wide\r\nwor\r\n2\r\nld\r\n0\r\nA: b\r\n\r\n";
        for each in 1..=raw.len() {
            assert_eq!(body(raw, each).unwrap().unwrap(), b"hello, wide\r\nworld", "{each}");
            assert_eq!(body(&raw[..raw.len() - 1], each), Ok(None), "{each}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_told() {
        let long = [b"1;".to_vec(), vec![b'x'; LINE_BYTES_MAX]].concat();
        let trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(TRAILERS_MAX + 1)].concat();
        for raw in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"1\n",
            b"2\r\nabc\r\n",
            b"2\r\nab\n",
            b"11111111111111111\r\n",
            &long,
            &trailers,
        ] {
            for each in [1, 3, raw.len()] {
                assert_eq!(body(raw, each), Err(Broken), "{:?}", String::from_utf8_lossy(raw));
            }
        }
    }
}
