//! One fact of one partition, as the journal keeps it, and the chain that joins the facts of one subject.

use std::fmt;
use std::sync::OnceLock;

use crate::id::{PARTITION_COUNT, Partition, Time};

/// Position of the last entry of each partition, by [`Partition::index`]; 0 before the first.
pub type Positions = [u64; PARTITION_COUNT];

/// Bytes of an entry besides its payload: subject, previous position and hash, payload length.
pub(super) const ENTRY_HEAD_BYTES: usize = 8 + 8 + 16 + 4;
/// Bytes that are hashed besides the payload: partition, position, subject, previous position and hash.
const HASHED_HEAD_BYTES: usize = 2 + 8 + 8 + 8 + 16;

/// Identity of one store, made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the chain of a subject stands: its last entry, or nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Position of that entry in its partition; 0 before the first.
    pub n: u64,
    /// Its hash.
    pub hash: [u8; 16],
}

/// One fact in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The partition that it belongs to.
    pub partition: Partition,
    /// Its position there, counted from 1 without gaps.
    pub n: u64,
    /// Whose chain it continues: a case's id, or 0 for none.
    pub subject: u64,
    /// The entry before in that chain.
    pub previous: Link,
    /// What it says; the store does not look inside.
    pub payload: Vec<u8>,
    /// Its hash, once somebody asked for it.
    known: KnownHash,
}

/// The hash of an entry that was worked out from what the entry has in memory; none by default, as of one that was just
/// made or read. It says nothing that the rest does not say, so that any two are equal.
#[derive(Debug, Clone, Default)]
struct KnownHash(OnceLock<[u8; 16]>);

impl PartialEq for KnownHash {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for KnownHash {}

impl Entry {
    /// Returns an entry of which nobody has asked for the hash.
    pub fn new(partition: Partition, n: u64, subject: u64, previous: Link, payload: Vec<u8>) -> Self {
        Self { partition, n, subject, previous, payload, known: KnownHash::default() }
    }

    /// Returns the hash that the next entry of the chain carries: the first half of BLAKE3 over everything here. It is
    /// worked out once.
    pub fn hash(&self) -> [u8; 16] {
        let hash = *self.known.0.get_or_init(|| self.hash_anew());
        debug_assert_eq!(hash, self.hash_anew(), "invariant: an entry is not changed once its hash is known");
        hash
    }

    fn hash_anew(&self) -> [u8; 16] {
        // In one piece: hashing what is short costs more to begin and to end than to do.
        let mut whole = Vec::with_capacity(HASHED_HEAD_BYTES + self.payload.len());
        whole.extend_from_slice(&self.partition.0.to_le_bytes());
        whole.extend_from_slice(&self.n.to_le_bytes());
        whole.extend_from_slice(&self.subject.to_le_bytes());
        whole.extend_from_slice(&self.previous.n.to_le_bytes());
        whole.extend_from_slice(&self.previous.hash);
        whole.extend_from_slice(&self.payload);
        let mut out = [0; 16];
        out.copy_from_slice(&blake3::hash(&whole).as_bytes()[..16]);
        out
    }

    /// Returns how many bytes the entry has in a frame.
    pub fn stored_bytes(&self) -> usize {
        ENTRY_HEAD_BYTES + self.payload.len()
    }

    /// Returns the link that the next entry of the chain carries.
    pub fn link(&self) -> Link {
        Link { n: self.n, hash: self.hash() }
    }
}

/// What one append made durable, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the journal, counted from 1 without gaps.
    pub seq: u64,
    /// Hash of the frame before; zeros before the first.
    pub before: [u8; 32],
    /// Its own hash, which the next frame carries.
    pub hash: [u8; 32],
    /// The clock when it was appended, never earlier than that of the frame before.
    pub time: Time,
    /// Its entries, in the order in which they were given.
    pub entries: Vec<Entry>,
}
