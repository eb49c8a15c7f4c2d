//! What one journal entry says: the events of one command, or one fact about a partition, and the key it was
//! asked under. The key lies in the entry of its effect, so that both are durable or neither is.

use serde::{Deserialize, Serialize};

use crate::case::encode::append;
use crate::case::event::End;
use crate::id::{SpecNumber, Time};
use crate::net::Numbering;
use crate::store::{ArchiveId, Before, CaseHistory};

/// First byte of every record; another format has another.
const FORMAT: u8 = 1;
/// Room for everything in a record of a case besides its facts; more only moves it.
const RECORD_HEAD_BYTES: usize = 64;

/// Half of a BLAKE3 hash: enough to tell keys apart, short enough to keep them all in memory.
pub type Hash16 = [u8; 16];

/// One journal entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// When it happened, by the shard's clock, which never goes back. The frame that makes it durable is younger.
    pub at: Time,
    /// The key it was asked under.
    pub key: Option<KeyFact>,
    /// What happened.
    #[serde(borrow)]
    pub body: Body<'a>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body<'a> {
    /// Events of one case, in the encoding of `case`.
    Case(#[serde(borrow, serialize_with = "whole")] &'a [u8]),
    /// A specification was registered.
    Registered(Box<Registration>),
    /// Keys that were used before this are forgotten in this partition.
    KeysExpired {
        /// Exclusive.
        before: Time,
    },
    /// The case has left the live store: an archive file holds all that happened in it before.
    Archived(Box<Archived>),
    /// The case is what this says, and nothing that happened in it before counts.
    Restored(Box<Restored>),
}

/// What is known of a case whose history lies in an archive: enough to find it there and to list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// The archive file.
    pub archive: u64,
    /// What the case ran.
    pub spec: SpecNumber,
    /// How it ended.
    pub how: End,
    /// When it was created.
    pub created: Time,
    /// When it last changed.
    pub changed: Time,
    /// The client's own name for it.
    pub business_key: Option<String>,
    /// How many events it had.
    pub event_count: u32,
}

impl Archived {
    /// Returns which archive file has it.
    pub fn id(&self) -> ArchiveId {
        ArchiveId(self.archive)
    }
}

/// A case as it was somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// What it runs, in this store.
    pub spec: SpecNumber,
    /// Where it comes from, for people.
    pub from: String,
    /// All that happened in it, packed as [`CaseHistory`] is.
    pub packed: Vec<u8>,
}

impl Restored {
    /// Returns what happened in the case.
    ///
    /// # Errors
    /// It cannot be read; says why.
    pub fn history(&self) -> Result<CaseHistory, String> {
        CaseHistory::unpack(&self.packed)
    }
}

/// Tells what an entry says of those of its case before it, by a look at its first bytes: whoever asks does so of each
/// entry of a store, and most say nothing.
pub fn before(payload: &[u8]) -> Before {
    let kind =
        payload.split_first().filter(|(format, _)| **format == FORMAT).and_then(|(_, rest)| body_of(rest));
    match kind {
        // The number of the file is the first field.
        Some((ARCHIVED, mut rest)) => {
            varint(&mut rest).map_or(Before::Needed, |archive| Before::Archived(ArchiveId(archive)))
        }
        Some((RESTORED, _)) => Before::Within,
        _ => Before::Needed,
    }
}

/// Number of [`Body::Archived`] among the bodies.
const ARCHIVED: u64 = 3;
/// Number of [`Body::Restored`].
const RESTORED: u64 = 4;

/// Returns the number of a record's body, and what follows it.
fn body_of(mut rest: &[u8]) -> Option<(u64, &[u8])> {
    /// Number of [`Act::Item`], the only one with a field.
    const ITEM: u64 = 2;
    varint(&mut rest)?;
    if varint(&mut rest)? == 1 {
        rest = rest.get(2 * size_of::<Hash16>()..)?;
        if varint(&mut rest)? == ITEM {
            varint(&mut rest)?;
        }
        varint(&mut rest)?;
    }
    Some((varint(&mut rest)?, rest))
}

/// Takes a number off the front, as postcard writes it.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A key and what it was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFact {
    /// Hash of the key and of what it names.
    pub key: Hash16,
    /// Hash of the request.
    pub request: Hash16,
    /// What kind of answer the request had.
    pub act: Act,
    /// Who made the key.
    pub maker: Maker,
}

/// Who made a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maker {
    /// The client; kept for `idempotency_hours`.
    Client,
    /// The service, for a client that gave none; kept for ten minutes, in memory and journal only.
    Service,
}

/// What kind of answer a request had: how to make the same one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A new case.
    Create,
    /// A case.
    Case,
    /// A work item, by its number, and the state of its case.
    Item(u32),
    /// A specification.
    Register,
}

/// A registered specification, as stored: folding and starting need no reader of its language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its number in this store.
    pub number: SpecNumber,
    /// Its id.
    pub uri: String,
    /// Its version, from 1.
    pub version: u32,
    /// BLAKE3 of the source.
    pub hash: [u8; 32],
    /// Warnings, as said at registration.
    pub warnings: Vec<String>,
    /// Numbers of places, tasks and variables; never computed again.
    pub numbering: Numbering,
    /// The tree as JSON.
    pub tree: String,
    /// The text as it was sent.
    pub source: Vec<u8>,
}

impl Record<'_> {
    /// Returns the stored form.
    pub fn encode(&self) -> Vec<u8> {
        let facts = if let Body::Case(facts) = self.body { facts.len() } else { 0 };
        let mut bytes = Vec::with_capacity(RECORD_HEAD_BYTES + facts);
        bytes.push(FORMAT);
        append(self, bytes)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// It is of another format or damaged; says which.
    pub fn decode(bytes: &[u8]) -> Result<Record<'_>, String> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| format!("record: {error}")),
            Some((other, _)) => Err(format!("record of format {other}, this release reads {FORMAT}")),
            None => Err("record of no bytes".to_owned()),
        }
    }
}

/// Writes bytes in one piece; what serde makes of a slice writes the same, byte by byte.
fn whole<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Returns the first half of the BLAKE3 hash of `parts`, each with its length before it.
pub fn hash16(parts: &[&[u8]]) -> Hash16 {
    // In one piece: hashing what is short costs more to begin and to end than to do.
    let mut whole = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
        whole.extend_from_slice(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(&whole).as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_the_first_bytes_tells_what_decoding_tells() {
        let keys = [Act::Create, Act::Case, Act::Item(70_000), Act::Register]
            .map(|act| Some(KeyFact { key: [0xff; 16], request: [3; 16], act, maker: Maker::Service }));
        let archived = Archived {
            archive: u64::MAX,
            spec: SpecNumber(1),
            how: End::Cancelled,
            created: Time(1),
            changed: Time(2),
            business_key: None,
            event_count: 3,
        };
        let restored = Restored { spec: SpecNumber(1), from: "there".to_owned(), packed: vec![3; 9] };
        let bodies = [
            (Body::Case(&[3, 3, 3]), Before::Needed),
            (Body::KeysExpired { before: Time(3) }, Before::Needed),
            (Body::Archived(Box::new(archived)), Before::Archived(ArchiveId(u64::MAX))),
            (Body::Restored(Box::new(restored)), Before::Within),
        ];
        for at in [0, 127, 128, u64::MAX].map(Time) {
            for key in keys.into_iter().chain([None]) {
                for (body, expected) in bodies.clone() {
                    let bytes = Record { at, key, body }.encode();
                    assert_eq!(before(&bytes), expected);
                    for end in 0..bytes.len() {
                        // Cut short, it is nothing that makes others dispensable, or the same.
                        let told = before(&bytes[..end]);
                        assert!(told == Before::Needed || told == expected);
                    }
                }
            }
        }
    }
}
