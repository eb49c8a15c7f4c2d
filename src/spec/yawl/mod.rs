//! The reader of YAWL XML: all versions in circulation, from the betas to 4.0, in both namespaces.
//!
//! [`read`] looks at size and encoding, scans for limits, builds the library's tree, walks it once into ours and asks
//! the rules. No function here recurses. Start at `document.rs`; `walk.rs` has what every element's reader uses.

mod data;
mod document;
mod net;
mod parse;
mod scan;
mod task;
mod walk;

pub use parse::NODE_COUNT_MAX;
pub(super) use parse::parse;
pub use scan::{
    ATTRIBUTE_COUNT_MAX, ATTRIBUTES_PER_ELEMENT_MAX, ELEMENT_COUNT_MAX, NAMESPACE_COUNT_MAX, NESTING_MAX,
};
pub use walk::NAME_CHARS_MAX;

use super::mistake::Mistake;
use super::source::Source;
use super::{Reading, codes, rules};
use crate::error::Code;

/// What the rules find where an element or flow could not be read; they are asked again when that is mended.
const MAY_BE_CONSEQUENCES: [Code; 3] = [codes::NO_FLOW, codes::UNREACHABLE, codes::DEAD_END];

/// Reads a source that is YAWL XML.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let source = match Source::decode(bytes) {
        Ok(source) => source,
        Err(mistake) => return refused(mistake),
    };
    let document = match parse(source.text()) {
        Ok(document) => document,
        Err(fault) => {
            let at = source.at(fault.place.offset(&source));
            return refused(Mistake::error(fault.code, at, fault.message, hint(fault.code)));
        }
    };
    let document::Read { specification, mut mistakes, has_gaps } = document::read(&source, &document);
    if let Some(specification) = &specification {
        for mistake in rules::check(specification) {
            if !has_gaps || !MAY_BE_CONSEQUENCES.contains(&mistake.code) {
                mistakes.push(mistake);
            }
        }
    }
    let refused = mistakes.is_refused();
    Reading { specification: specification.filter(|_| !refused), mistakes: mistakes.into_shown() }
}

fn refused(mistake: Mistake) -> Reading {
    Reading { specification: None, mistakes: vec![mistake] }
}

fn hint(code: Code) -> &'static str {
    match code {
        codes::DOCUMENT_TYPE => "take the <!DOCTYPE ...> out: entities and external files are never read",
        codes::TOO_COMPLEX => "split the specification, or leave out its layout",
        _ => "mend the XML here; an XML editor shows the same place",
    }
}
