//! The service's memory part by part, as `config show` prints it.

use serde_json::{Value as Json, json};

use crate::cli::table::{self, Side};
use crate::config::{By, Memory, mebibytes};
use crate::engine::memory::Bound;

/// Returns the table: every part, their sum, and what there is.
pub(super) fn table(memory: &Memory) -> String {
    let row = |name: &str, bytes, by: String| vec![name.to_owned(), mebibytes(bytes), by];
    let mut rows: Vec<_> =
        memory.parts.iter().map(|part| row(part.name, part.bytes, part.by.words().to_owned())).collect();
    rows.push(row("together", memory.sum_bytes(), String::new()));
    match &memory.bound {
        Some(bound) => rows.push(row("there is", bound.bytes, bound.words())),
        None => rows.push(vec!["there is".to_owned(), "unknown".to_owned()]),
    }
    let columns = [("MEMORY", Side::Left), ("AT MOST", Side::Right), ("SET BY", Side::Left)];
    table::render(&columns, &rows, true)
}

/// Returns the same as a document, in bytes.
pub(super) fn document(memory: &Memory) -> Json {
    let parts: Vec<_> = memory
        .parts
        .iter()
        .map(|part| {
            let key = match part.by {
                By::Key(key) => Some(key),
                By::Share | By::Fixed => None,
            };
            json!({ "name": part.name, "bytes_max": part.bytes, "set_by": part.by.words(), "key": key })
        })
        .collect();
    json!({
        "parts": parts,
        "sum_bytes": memory.sum_bytes(),
        "limit_bytes": memory.bound.as_ref().map(|bound| bound.bytes),
        "limit_by": memory.bound.as_ref().map(Bound::words),
    })
}
