//! The bytes of a source as text, and places in it as lines and columns.

use super::codes;
use super::mistake::{Mistake, Position, quoted};

/// Largest source that is read, in bytes.
pub const SOURCE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes between two places whose line and column are remembered: a place costs at most this many steps.
const ANCHOR_BYTES: usize = 1024;
/// Bytes at the start in which an XML declaration must end.
const DECLARATION_BYTES_MAX: usize = 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A source that is UTF-8 text.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: &'a str,
    /// Bytes before `text` in the file: the byte order mark, if any.
    before: usize,
    /// Line and column of every [`ANCHOR_BYTES`]th byte.
    anchors: Vec<(u32, u32)>,
}

impl<'a> Source<'a> {
    /// Takes bytes as text.
    ///
    /// # Errors
    /// The one mistake that prevents it: size or encoding.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Mistake> {
        if bytes.len() > SOURCE_BYTES_MAX {
            return Err(Mistake::error(
                codes::SOURCE_TOO_LARGE,
                Position::default(),
                format!("the file has {} bytes, more than {SOURCE_BYTES_MAX}", bytes.len()),
                "split the specification, or leave out its layout",
            ));
        }
        let start = Position { line: 1, column: 1, offset: 0 };
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(encoding(start, "the file is UTF-16, not UTF-8".to_owned()));
        }
        let before = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let rest = &bytes[before..];
        let (text, broken) = match std::str::from_utf8(rest) {
            Ok(text) => (text, false),
            Err(error) => {
                let valid = &rest[..error.valid_up_to()];
                (std::str::from_utf8(valid).expect("invariant: valid up to here"), true)
            }
        };
        let source = Self { text, before, anchors: anchors(text.as_bytes()) };
        if let Some((offset, name)) = declared_encoding(text)
            && !name.eq_ignore_ascii_case("utf-8")
            && !name.eq_ignore_ascii_case("utf8")
        {
            return Err(encoding(source.at(offset), format!("the file says that it is {}", quoted(name))));
        }
        if broken {
            return Err(encoding(source.at(text.len()), "here begin bytes that are not UTF-8".to_owned()));
        }
        Ok(source)
    }

    /// Returns the text, without byte order mark.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the position of a byte of the text. At most [`ANCHOR_BYTES`] steps.
    pub(super) fn at(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let anchor = offset / ANCHOR_BYTES;
        let (mut line, mut column) = self.anchors[anchor];
        for &byte in &self.text.as_bytes()[anchor * ANCHOR_BYTES..offset] {
            step(byte, &mut line, &mut column);
        }
        Position { line, column, offset: number(offset + self.before) }
    }

    /// Returns the byte where a line and column of the text stand; the end of the text if there is no such place.
    pub(super) fn offset_of(&self, line: u32, column: u32) -> usize {
        let (mut line_here, mut column_here) = (1, 1);
        for (offset, byte) in self.text.bytes().enumerate() {
            if byte & 0xc0 != 0x80 && (line_here, column_here) >= (line, column) {
                return offset;
            }
            step(byte, &mut line_here, &mut column_here);
        }
        self.text.len()
    }
}

fn encoding(at: Position, message: String) -> Mistake {
    Mistake::error(
        codes::ENCODING,
        at,
        message,
        "save the file as UTF-8, with encoding=\"UTF-8\" or no encoding given",
    )
}

fn number(offset: usize) -> u32 {
    u32::try_from(offset).expect("invariant: a source is smaller than 4 GiB")
}

/// Moves a line and column over one byte; bytes within a character do not count.
fn step(byte: u8, line: &mut u32, column: &mut u32) {
    if byte == b'\n' {
        *line += 1;
        *column = 1;
    } else if byte & 0xc0 != 0x80 {
        *column += 1;
    }
}

fn anchors(bytes: &[u8]) -> Vec<(u32, u32)> {
    let mut anchors = Vec::with_capacity(bytes.len() / ANCHOR_BYTES + 1);
    let (mut line, mut column) = (1, 1);
    anchors.push((line, column));
    for chunk in bytes.chunks_exact(ANCHOR_BYTES) {
        for &byte in chunk {
            step(byte, &mut line, &mut column);
        }
        anchors.push((line, column));
    }
    anchors
}

/// Returns the encoding that an XML declaration names, and where.
fn declared_encoding(text: &str) -> Option<(usize, &str)> {
    if !text.starts_with("<?xml") {
        return None;
    }
    let mut end = text.len().min(DECLARATION_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let declaration = &text[..text[..end].find("?>")?];
    let after = declaration.find("encoding")? + "encoding".len();
    let value = declaration[after..].trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|letter| matches!(letter, '"' | '\''))?;
    let value = &value[1..];
    let start = declaration.len() - value.len();
    Some((start, &value[..value.find(quote)?]))
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn positions_count_characters_lines_and_the_byte_order_mark() {
        let mut text = "\u{feff}äb\r\ncd".to_owned();
        text.push_str(&"é".repeat(5_000));
        let source = Source::decode(text.as_bytes()).unwrap();
        let at = |offset| {
            let at = source.at(offset);
            (at.line, at.column, at.offset)
        };
        assert_eq!(at(0), (1, 1, 3));
        assert_eq!(at(2), (1, 2, 5));
        assert_eq!(at(5), (2, 1, 8));
        assert_eq!(at(7 + 2 * 4_000), (2, 4_003, 10 + 8_000));
        assert_eq!(source.offset_of(2, 4_003), 7 + 2 * 4_000);
        assert_eq!(at(usize::MAX), (2, 5_003, 10_010));
    }
}
