//! Clients' keys of one partition: a ring of chunks, oldest first, and a table that finds a key in it. A key takes
//! [`KEY_BYTES_MAX`] bytes at most, also while the table grows and after other keys have gone.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::engine::places::Holder;
use crate::engine::record::Hash16;
use crate::id::Time;

/// Bytes that a client's key takes in memory at most: with a table of four slots a key, just before it becomes smaller; the
/// test `a_key_takes_no_more_bytes_than_are_counted_for_it` measures it.
pub const KEY_BYTES_MAX: usize = 49;
/// Bytes that chunks with room take besides, all partitions together: two of each, with what lists them.
pub const KEYS_HEAD_BYTES: usize = 1024 * 1024;
/// Keys of a chunk.
const CHUNK_KEYS: u32 = 128;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;

/// A client's key. Packed, because padding would take an eighth of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(4))]
pub(super) struct ClientKey {
    pub(super) hash: Hash16,
    pub(super) at: Time,
    pub(super) holder: Holder,
}

impl ClientKey {
    /// Returns when it was used: no reference may point into what is packed.
    pub(super) fn at(self) -> Time {
        self.at
    }
}

const NO_KEY: ClientKey = ClientKey { hash: [0; 16], at: Time(0), holder: Holder::BEFORE_START };

type Chunk = [ClientKey; CHUNK_KEYS as usize];

/// Keys are numbered one after the other, and the numbers begin again after the last `u32`.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Box<Chunk>>,
    /// Number of the oldest key.
    first: u32,
    len: u32,
    table: Table,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns when the key of this hash was used.
    pub(super) fn get(&self, hash: &Hash16) -> Option<Time> {
        self.table
            .find(hash, |number| self.key(number).hash)
            .map(|slot| self.key(self.table.numbers[slot]).at())
    }

    pub(super) fn oldest(&self) -> Option<ClientKey> {
        (self.len > 0).then(|| self.key(self.first))
    }

    /// Adds the newest key.
    pub(super) fn push_newest(&mut self, key: ClientKey) {
        let number = self.first.wrapping_add(self.len);
        if self.chunks.len() == self.chunk_of(number) {
            self.chunks.push_back(Box::new([NO_KEY; CHUNK_KEYS as usize]));
        }
        self.len += 1;
        self.put(number, key);
    }

    /// Adds the oldest key.
    pub(super) fn push_oldest(&mut self, key: ClientKey) {
        if self.first.is_multiple_of(CHUNK_KEYS) {
            self.chunks.push_front(Box::new([NO_KEY; CHUNK_KEYS as usize]));
        }
        self.first = self.first.wrapping_sub(1);
        self.len += 1;
        self.put(self.first, key);
    }

    pub(super) fn pop_newest(&mut self) -> Option<ClientKey> {
        let number = self.first.wrapping_add(self.len.checked_sub(1)?);
        let key = self.take(number);
        self.len -= 1;
        if number.is_multiple_of(CHUNK_KEYS) || self.len == 0 {
            self.chunks.truncate(self.chunk_of(number));
        }
        self.rest();
        Some(key)
    }

    pub(super) fn pop_oldest(&mut self) -> Option<ClientKey> {
        let number = self.first;
        self.len.checked_sub(1)?;
        let key = self.take(number);
        self.len -= 1;
        self.first = self.first.wrapping_add(1);
        if self.first.is_multiple_of(CHUNK_KEYS) {
            self.chunks.pop_front();
        }
        self.rest();
        Some(key)
    }

    /// Returns all keys, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = ClientKey> + '_ {
        (0..self.len).map(|at| self.key(self.first.wrapping_add(at)))
    }

    /// Returns how many bytes all of it takes, those of `Ring` aside.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<Chunk>()
            + self.chunks.capacity() * size_of::<usize>()
            + self.table.bytes()
    }

    /// A ring keeps no room for what it held: an empty one none, another one no more than four slots a key.
    fn rest(&mut self) {
        if self.len == 0 {
            *self = Self { first: self.first, ..Self::default() };
            self.first -= self.first % CHUNK_KEYS;
        } else if self.table.is_sparse(self.len()) {
            self.rebuild(self.table.slots_after_shrinking());
            self.chunks.shrink_to_fit();
        }
    }

    /// Makes a table of so many slots. The old one goes first, so that there are never two.
    fn rebuild(&mut self, slots: usize) {
        self.table = Table::default();
        let mut table = Table::with_slots(slots);
        let (first, len) = (self.first, self.len);
        for number in (0..len).map(|at| first.wrapping_add(at)) {
            table.insert(&self.key(number).hash, number);
        }
        self.table = table;
    }

    fn chunk_of(&self, number: u32) -> usize {
        let begin = self.first - self.first % CHUNK_KEYS;
        (number.wrapping_sub(begin) / CHUNK_KEYS) as usize
    }

    fn key(&self, number: u32) -> ClientKey {
        self.chunks[self.chunk_of(number)][(number % CHUNK_KEYS) as usize]
    }

    fn put(&mut self, number: u32, key: ClientKey) {
        let chunk = self.chunk_of(number);
        self.chunks[chunk][(number % CHUNK_KEYS) as usize] = key;
        if self.table.is_full(self.len()) {
            self.rebuild(self.table.slots_after_growth());
        } else {
            self.table.insert(&key.hash, number);
        }
    }

    /// Takes a number out of the table.
    fn take(&mut self, number: u32) -> ClientKey {
        let key = self.key(number);
        let (chunks, begin) = (&self.chunks, self.first - self.first % CHUNK_KEYS);
        let hash = |number: u32| {
            chunks[(number.wrapping_sub(begin) / CHUNK_KEYS) as usize][(number % CHUNK_KEYS) as usize].hash
        };
        self.table.remove(number, hash);
        key
    }
}

/// Finds numbers by hash: slots in a ring, the first free one from where the hash says. A tag in each says of most other
/// keys that they are not it, without a look at them.
#[derive(Debug, Default)]
struct Table {
    /// 0 is free.
    tags: Box<[u8]>,
    numbers: Box<[u32]>,
    random: RandomState,
}

impl Table {
    fn with_slots(slots: usize) -> Self {
        let (tags, numbers) = (vec![0; slots].into(), vec![0; slots].into());
        Self { tags, numbers, random: RandomState::default() }
    }

    /// Returns whether so many keys are more than three quarters of the slots.
    fn is_full(&self, keys: usize) -> bool {
        keys * 4 > self.tags.len() * 3
    }

    /// Returns whether so many keys are less than a quarter of the slots.
    fn is_sparse(&self, keys: usize) -> bool {
        self.tags.len() > SLOTS_MIN && keys * 4 < self.tags.len()
    }

    fn slots_after_shrinking(&self) -> usize {
        (self.tags.len() / 2).max(SLOTS_MIN)
    }

    fn slots_after_growth(&self) -> usize {
        (self.tags.len() * 2).max(SLOTS_MIN)
    }

    /// Returns the slot where the search for a hash begins, and its tag. Clients choose keys, so nobody but this process
    /// knows which hashes meet.
    fn home(&self, hash: &Hash16) -> (usize, u8) {
        let mixed = self.random.hash_one(hash);
        let [.., top] = mixed.to_le_bytes();
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let slot = mixed as usize & (self.tags.len() - 1);
        (slot, top | 1)
    }

    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.tags.len() - 1)
    }

    fn find(&self, hash: &Hash16, hash_of: impl Fn(u32) -> Hash16) -> Option<usize> {
        if self.tags.is_empty() {
            return None;
        }
        let (mut slot, tag) = self.home(hash);
        while self.tags[slot] != 0 {
            if self.tags[slot] == tag && hash_of(self.numbers[slot]) == *hash {
                return Some(slot);
            }
            slot = self.next(slot);
        }
        None
    }

    fn insert(&mut self, hash: &Hash16, number: u32) {
        let (mut slot, tag) = self.home(hash);
        while self.tags[slot] != 0 {
            slot = self.next(slot);
        }
        (self.tags[slot], self.numbers[slot]) = (tag, number);
    }

    /// Removes a number, and moves those behind it that would no longer be found.
    fn remove(&mut self, number: u32, hash_of: impl Fn(u32) -> Hash16) {
        let (mut slot, _) = self.home(&hash_of(number));
        while self.tags[slot] == 0 || self.numbers[slot] != number {
            assert!(self.tags[slot] != 0, "invariant: every key is in the table");
            slot = self.next(slot);
        }
        let (mut gap, mut next) = (slot, self.next(slot));
        let mask = self.tags.len() - 1;
        while self.tags[next] != 0 {
            let (home, _) = self.home(&hash_of(self.numbers[next]));
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(gap) & mask {
                (self.tags[gap], self.numbers[gap]) = (self.tags[next], self.numbers[next]);
                gap = next;
            }
            next = self.next(next);
        }
        self.tags[gap] = 0;
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.tags.len() + size_of_val(&*self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn key(number: u64) -> ClientKey {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        ClientKey { hash, at: Time(number), holder: Holder::BEFORE_START }
    }

    #[test]
    fn a_key_takes_no_more_bytes_than_are_counted_for_it() {
        assert_eq!(size_of::<ClientKey>(), 28);
        let mut ring = Ring::default();
        let mut worst = 0;
        let mut look = |ring: &Ring| {
            let (bytes, keys) = (ring.bytes(), ring.len());
            let head = KEYS_HEAD_BYTES / crate::id::PARTITION_COUNT;
            assert!(bytes <= keys * KEY_BYTES_MAX + head, "{bytes} bytes of {keys} keys");
            if keys > 10_000 {
                worst = worst.max(bytes.div_ceil(keys));
            }
        };
        for number in 0..400_000_u64 {
            ring.push_newest(key(number));
            look(&ring);
        }
        while ring.pop_oldest().is_some() {
            look(&ring);
        }
        // A bound with nothing to do with what is would hold as well.
        assert_eq!(worst, KEY_BYTES_MAX);
        assert_eq!(ring.bytes(), 0);
    }

    /// Drives a ring and a plain list the same way, from one seed, around the end of the numbers.
    #[test]
    fn a_ring_is_a_list_that_finds_its_keys() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut ring = Ring { first: u32::MAX - 300, ..Ring::default() };
        ring.first -= ring.first % CHUNK_KEYS;
        let mut list: VecDeque<ClientKey> = VecDeque::new();
        for number in 0..60_000_u64 {
            // It grows, shrinks to nothing, and grows again.
            let adds = if number / 6_000 % 2 == 0 { 12 } else { 8 };
            match next(20) {
                less if less < adds && less % 6 != 0 => {
                    ring.push_newest(key(number));
                    list.push_back(key(number));
                }
                less if less < adds => {
                    ring.push_oldest(key(number));
                    list.push_front(key(number));
                }
                more if more % 3 == 0 => assert_eq!(ring.pop_newest(), list.pop_back()),
                _ => assert_eq!(ring.pop_oldest(), list.pop_front()),
            }
            assert_eq!((ring.len(), ring.oldest()), (list.len(), list.front().copied()));
            let asked = next(number + 1);
            let known = list.iter().find(|known| known.at() == Time(asked));
            assert_eq!(ring.get(&key(asked).hash), known.map(|known| known.at()));
            if number % 1_000 == 0 {
                assert!(ring.iter().eq(list.iter().copied()));
                assert!(list.iter().all(|known| ring.get(&{ known.hash }) == Some(known.at())));
            }
        }
    }
}
