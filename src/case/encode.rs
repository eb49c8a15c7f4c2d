//! Facts and rows as bytes: a byte that names the format, then postcard.
//!
//! The facts of one command are one payload. A later format takes another first byte, so that all of them can
//! be read side by side; the order of an enum's variants and of a struct's fields is part of a format.

use postcard::ser_flavors::Flavor;
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

/// The payload of the facts of one command in the making: each is encoded once, when it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload {
    count: usize,
    facts: Vec<u8>,
}

/// Room for the facts of most commands; more only moves them.
const FACTS_BYTES: usize = 128;

impl Payload {
    /// Returns one that has room for some facts.
    pub fn with_room() -> Self {
        Self { count: 0, facts: Vec::with_capacity(FACTS_BYTES) }
    }

    /// Adds a fact.
    pub fn push(&mut self, event: &Event) {
        self.count += 1;
        self.facts = append(event, std::mem::take(&mut self.facts));
    }

    /// Returns how many bytes the facts take.
    pub fn facts_len(&self) -> usize {
        self.facts.len()
    }

    /// Returns the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A count takes ten bytes at the most.
        let mut bytes = Vec::with_capacity(1 + 10 + self.facts.len());
        bytes.push(FORMAT);
        let mut bytes = append(&self.count, bytes);
        bytes.extend_from_slice(&self.facts);
        bytes
    }
}

/// Returns the payload of the facts of one command.
pub fn events_to_bytes(events: &[Event]) -> Vec<u8> {
    let mut payload = Payload::default();
    for event in events {
        payload.push(event);
    }
    payload.to_bytes()
}

/// Reads a payload of facts.
///
/// # Errors
/// The bytes are not what was written, or a newer program wrote them.
pub fn events_from_bytes(bytes: &[u8]) -> Result<Vec<Event>, Error> {
    from_bytes(bytes, "events")
}

/// Returns how many facts a payload holds, as it says itself, without reading them; never more than it has bytes.
///
/// # Errors
/// The bytes are not what was written, or a newer program wrote them.
pub fn event_count(bytes: &[u8]) -> Result<usize, Error> {
    const WHAT: &str = "events";
    let (format, body) = bytes.split_first().ok_or(Error::Bytes { what: WHAT, at: 0 })?;
    if *format != FORMAT {
        return Err(Error::Format { what: WHAT, format: *format });
    }
    let (count, rest) =
        postcard::take_from_bytes::<u64>(body).map_err(|_| Error::Bytes { what: WHAT, at: 1 })?;
    // Each takes a byte at least.
    usize::try_from(count).ok().filter(|count| *count <= rest.len()).ok_or(Error::Bytes { what: WHAT, at: 1 })
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
    append(value, vec![FORMAT])
}

/// Returns bytes with the stored form of a value behind them.
///
/// # Panics
/// If the value is of a type that has no stored form; none of ours is.
pub fn append(value: &impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    postcard::serialize_with_flavor(value, Appended(bytes)).expect("invariant: the value has a stored form")
}

/// What postcard's own way of appending does, a slice at a time.
struct Appended(Vec<u8>);

impl Flavor for Appended {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
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
