//! How many bytes the queues of an engine may hold. Counts are bounded besides: a byte says nothing of a thousand empty
//! requests, and a count nothing of one large request.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::request::{Asked, Move, Request};
use super::unpacking::UNPACKED_BYTES_TOGETHER_MAX;
use crate::case::command::Command;

const MIB: usize = 1 << 20;

/// Bytes that each queue may hold, all shards together. What reaches its limit is answered Busy, or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Requests that are not answered: in inboxes, parked, at work, staged.
    pub requests_bytes_max: usize,
    /// What shards staged and is not durable, and the cases that it changed.
    pub undurable_bytes_max: usize,
    /// Durable frames that the follower has to fold, and the cases that they change.
    pub lag_bytes_max: usize,
    /// Rows that changed since the last checkpoint; at a quarter of it one is made.
    pub changed_bytes_max: usize,
    /// Histories that requests have unpacked, all together. One that alone takes more is refused for good.
    pub unpacked_bytes_max: usize,
    /// Compiled specifications; those that are stored already are loaded whatever they take.
    pub specifications_bytes_max: usize,
}

impl Queues {
    /// What is enough for the fastest machines: more brings nothing. Smaller ones have less.
    pub const AMPLE: Self = Self {
        requests_bytes_max: 256 * MIB,
        undurable_bytes_max: 256 * MIB,
        lag_bytes_max: 256 * MIB,
        changed_bytes_max: 1_024 * MIB,
        unpacked_bytes_max: UNPACKED_BYTES_TOGETHER_MAX,
        specifications_bytes_max: 256 * MIB,
    };

    /// Returns the bytes of changed rows at which a checkpoint is made.
    pub fn checkpoint_bytes(&self) -> usize {
        self.changed_bytes_max / 4
    }
}

/// What the follower has before it, in bytes.
#[derive(Debug, Default)]
pub struct Lag {
    bytes: AtomicUsize,
}

impl Lag {
    /// Counts what is handed to the follower.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts what it has folded.
    pub fn folded(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "invariant: nothing is folded that was not handed on");
    }

    /// Returns the bytes of frames that are not folded, and of the cases that they change.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

/// Bytes of a request besides what it carries: its ticket, its place in queues, and what its client's thread keeps.
const REQUEST_BYTES: usize = 512;

impl Request {
    /// Returns how many bytes of memory it takes, about.
    pub fn bytes(&self) -> usize {
        let carried = match &self.act {
            Asked::Create { data, business_key, .. } => {
                data.len_bytes() + business_key.as_ref().map_or(0, |key| key.0.len())
            }
            Asked::Case(_, command) | Asked::Item(_, _, command) => command_bytes(command),
            // Source, tree and nets: each about as long as the other.
            Asked::Register(new) => 3 * (new.registration.source.len() + new.registration.tree.len()),
            Asked::Move(_, moves) => match &**moves {
                Move::Leave(..) => 0,
                // Packed, and as the rows that it becomes.
                Move::Come(coming) => 2 * coming.fact.packed.len(),
            },
        };
        REQUEST_BYTES + carried
    }
}

/// Returns how many bytes a command carries.
pub(super) fn command_bytes(command: &Command) -> usize {
    match command {
        Command::Create { business_key, data, .. } => {
            data.len_bytes() + business_key.as_ref().map_or(0, String::len)
        }
        Command::Complete(_, data) => data.len_bytes(),
        Command::Fail(_, reason) | Command::Skip(_, reason) | Command::Cancel(reason) => reason.len(),
        Command::Start(_) | Command::Suspend | Command::Resume | Command::Retry | Command::Execute => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_was_handed_on_and_not_folded() {
        let lag = Lag::default();
        lag.add(7);
        lag.add(5);
        lag.folded(7);
        assert_eq!(lag.bytes(), 5);
    }
}
