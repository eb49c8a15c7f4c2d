//! Text to the XML library's tree, within limits; its errors as ours.

use roxmltree::{Document, Error, ParsingOptions};

use super::super::codes;
use super::super::source::Source;
use super::scan::{Found, scan};
use crate::error::Code;

/// Most nodes of a source: elements, texts, comments and instructions.
pub const NODE_COUNT_MAX: u32 = 600_000;

/// Why a text did not become a tree.
#[derive(Debug)]
pub(in crate::spec) struct Fault {
    pub(in crate::spec) code: Code,
    pub(in crate::spec) message: String,
    pub(super) place: Place,
}

/// Where a fault stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Offset(usize),
    LineColumn(u32, u32),
    End,
}

impl Place {
    pub(super) fn offset(self, source: &Source<'_>) -> usize {
        match self {
            Self::Offset(offset) => offset,
            Self::LineColumn(line, column) => source.offset_of(line, column),
            Self::End => source.text().len(),
        }
    }
}

/// Builds the library's tree of `text`.
///
/// # Errors
/// The first fault: a limit, a document type or what is not well-formed.
pub(in crate::spec) fn parse(text: &str) -> Result<Document<'_>, Fault> {
    if let Some((offset, found)) = scan(text) {
        let (code, message) = match found {
            Found::DocumentType => {
                (codes::DOCUMENT_TYPE, "document type declarations are not allowed".to_owned())
            }
            Found::TooMuch(what, max) => (codes::TOO_COMPLEX, format!("there are more than {max} {what}")),
        };
        return Err(Fault { code, message, place: Place::Offset(offset) });
    }
    let options = ParsingOptions { nodes_limit: NODE_COUNT_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| fault(&error))
}

fn fault(error: &Error) -> Fault {
    let place = match error {
        Error::UnclosedRootNode
        | Error::UnexpectedEndOfStream
        | Error::NodesLimitReached
        | Error::NoRootNode => Place::End,
        _ => Place::LineColumn(error.pos().row, error.pos().col),
    };
    let (code, message) = match error {
        Error::DtdDetected => (codes::DOCUMENT_TYPE, "document type declarations are not allowed".to_owned()),
        Error::NodesLimitReached => {
            (codes::TOO_COMPLEX, format!("there are more than {NODE_COUNT_MAX} elements, texts and comments"))
        }
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => {
            (codes::NOT_WELL_FORMED, "not well-formed: the text ends within an element".to_owned())
        }
        Error::NoRootNode => (codes::NOT_WELL_FORMED, "not well-formed: there is no element".to_owned()),
        _ => {
            let message = error.to_string().replace(&format!(" at {}", error.pos()), "");
            (codes::NOT_WELL_FORMED, format!("not well-formed: {}", shortened(&message)))
        }
    };
    Fault { code, message, place }
}

/// Returns a message of the library, which may repeat names of any length, within a line.
fn shortened(message: &str) -> String {
    const MESSAGE_CHARS_MAX: usize = 200;
    let message = message.replace(|letter: char| letter.is_control(), " ");
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::{NODE_COUNT_MAX, parse};
    use crate::spec::codes;

    #[test]
    fn nodes_are_held_at_their_limit() {
        // The document and its element are nodes, too.
        let with = |comments: u32| format!("<a>{}</a>", "<!---->".repeat(comments as usize));
        assert!(parse(&with(NODE_COUNT_MAX - 2)).is_ok());
        assert_eq!(
            parse(&with(NODE_COUNT_MAX - 1)).map_err(|fault| fault.code).err(),
            Some(codes::TOO_COMPLEX)
        );
    }
}
