//! Facts and rows as bytes: a byte that names the format, then postcard.
//!
//! The facts of one command are one payload. A later format takes another first byte, so that all of them can
//! be read side by side; the order of an enum's variants and of a struct's fields is part of a format.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::command::Error;
use super::event::{Event, VariableNumber};
use super::row::{CaseRow, InstanceRow, ItemRow};
use crate::expr::Fragment;

/// The first byte of everything written today.
pub const FORMAT: u8 = 1;

/// Something that is stored under a key of its own.
pub trait Row: Serialize + DeserializeOwned {
    /// What it is, for errors.
    const WHAT: &'static str;
    /// Returns the bytes of memory that it takes besides its own size, about.
    fn heap_bytes(&self) -> usize;
}

fn data_bytes(data: &[(VariableNumber, Fragment)]) -> usize {
    data.iter().map(|value| size_of_val(value) + value.1.len_bytes()).sum()
}

impl Row for CaseRow {
    const WHAT: &'static str = "case";

    fn heap_bytes(&self) -> usize {
        let incidents: usize = self.incidents.iter().map(|open| size_of_val(open) + open.detail.len()).sum();
        self.business_key.as_ref().map_or(0, String::len) + incidents + data_bytes(&self.output)
    }
}

impl Row for InstanceRow {
    const WHAT: &'static str = "net instance";

    fn heap_bytes(&self) -> usize {
        data_bytes(&self.data) + size_of_val(self.tokens.as_slice())
    }
}

impl Row for ItemRow {
    const WHAT: &'static str = "work item";

    fn heap_bytes(&self) -> usize {
        self.data.as_ref().map_or(0, Fragment::len_bytes) + self.reason.as_ref().map_or(0, String::len)
    }
}

/// Returns the payload of the facts of one command.
pub fn events_to_bytes(events: &[Event]) -> Vec<u8> {
    to_bytes(&events)
}

/// Reads a payload of facts.
///
/// # Errors
/// The bytes are not what was written, or a newer program wrote them.
pub fn events_from_bytes(bytes: &[u8]) -> Result<Vec<Event>, Error> {
    from_bytes(bytes, "events")
}

/// Returns a row as it is stored.
pub fn row_to_bytes<R: Row>(row: &R) -> Vec<u8> {
    to_bytes(row)
}

/// Reads a stored row.
///
/// # Errors
/// The bytes are not what was written, or a newer program wrote them.
pub fn row_from_bytes<R: Row>(bytes: &[u8]) -> Result<R, Error> {
    from_bytes(bytes, R::WHAT)
}

/// Returns how many bytes a fact takes within a payload.
pub fn event_len(event: &Event) -> usize {
    postcard::experimental::serialized_size(event).expect("invariant: every fact can be encoded")
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT]).expect("invariant: facts and rows can be encoded")
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Error> {
    let (format, body) = bytes.split_first().ok_or(Error::Bytes { what, at: 0 })?;
    if *format != FORMAT {
        return Err(Error::Format { what, format: *format });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(Error::Bytes { what, at: bytes.len() - rest.len() }),
        Err(_) => Err(Error::Bytes { what, at: 1 }),
    }
}
