//! The keys that a shard remembers: hashes only, each with when and where it was used.

use std::collections::{HashMap, VecDeque};

use crate::engine::record::Hash16;
use crate::engine::tables::KeyRow;
use crate::id::{Partition, Time};

/// Keys that the service made are kept so long.
pub const SERVICE_KEY_US: u64 = 600_000_000;
/// Most of the service's own keys that a shard remembers; the oldest goes first.
pub const SERVICE_KEYS_MAX: usize = 65_536;

/// A key's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    Client(Time, Partition),
    Service(Partition, KeyRow),
}

/// All keys of a shard.
#[derive(Debug, Default)]
pub(super) struct Keys {
    uses: HashMap<Hash16, KeyUse>,
    client_count: usize,
    /// The service's own, oldest first.
    service: VecDeque<(Time, Hash16)>,
}

impl Keys {
    pub(super) fn get(&self, hash: &Hash16) -> Option<KeyUse> {
        self.uses.get(hash).copied()
    }

    /// Returns how many keys of clients there are.
    pub(super) fn client_count(&self) -> usize {
        self.client_count
    }

    /// Remembers a use. The service's own come in order of time.
    pub(super) fn put(&mut self, hash: Hash16, used: KeyUse) {
        if let KeyUse::Service(_, row) = used {
            self.make_room(row.at);
            self.service.push_back((row.at, hash));
        }
        self.client_count += usize::from(is_client(&used));
        if let Some(before) = self.uses.insert(hash, used) {
            self.client_count -= usize::from(is_client(&before));
        }
    }

    /// Forgets a use that did not become durable; the newest first.
    pub(super) fn take_back(&mut self, hash: &Hash16) {
        if let Some(before) = self.uses.remove(hash) {
            self.client_count -= usize::from(is_client(&before));
        }
        if self.service.back().is_some_and(|newest| newest.1 == *hash) {
            self.service.pop_back();
        }
    }

    /// Forgets clients' keys that were used before `before`, and returns them.
    pub(super) fn expire(&mut self, before: Time) -> Vec<(Hash16, KeyUse)> {
        let is_expired =
            |_: &Hash16, used: &mut KeyUse| matches!(used, KeyUse::Client(at, _) if *at < before);
        let expired: Vec<_> = self.uses.extract_if(is_expired).collect();
        self.client_count -= expired.len();
        expired
    }

    fn make_room(&mut self, now: Time) {
        while self.service.len() >= SERVICE_KEYS_MAX
            || self.service.front().is_some_and(|(at, _)| at.plus_us(SERVICE_KEY_US) < now)
        {
            let Some((_, oldest)) = self.service.pop_front() else { break };
            // A client may have come to use it as its own.
            if matches!(self.uses.get(&oldest), Some(KeyUse::Service(..))) {
                self.uses.remove(&oldest);
            }
        }
    }
}

fn is_client(used: &KeyUse) -> bool {
    matches!(used, KeyUse::Client(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Act;
    use crate::id::CaseId;

    const HERE: Partition = Partition(1);

    fn client(at: u64) -> KeyUse {
        KeyUse::Client(Time(at), HERE)
    }

    fn service(at: u64) -> KeyUse {
        let at = Time(at);
        KeyUse::Service(
            HERE,
            KeyRow { n: 1, case: CaseId(64), spec: None, request: [0; 16], act: Act::Case, at },
        )
    }

    fn hash(number: u64) -> Hash16 {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        hash
    }

    #[test]
    fn the_count_stays_right_when_an_expired_key_is_used_anew_and_both_are_taken_back() {
        let mut keys = Keys::default();
        keys.put(hash(1), client(5));
        let expired = keys.expire(Time(6));
        assert_eq!(keys.client_count(), 0);
        keys.put(hash(1), client(9));
        // The journal failed: in reverse, the new use goes and the old one is back.
        keys.take_back(&hash(1));
        for (hash, used) in expired {
            keys.put(hash, used);
        }
        assert_eq!((keys.client_count(), keys.get(&hash(1))), (1, Some(client(5))));
    }

    #[test]
    fn the_services_own_keys_are_bounded_in_number_and_time_and_the_oldest_goes_first() {
        let mut keys = Keys::default();
        for number in 0..=SERVICE_KEYS_MAX as u64 {
            keys.put(hash(number), service(number));
        }
        assert_eq!((keys.get(&hash(0)), keys.service.len()), (None, SERVICE_KEYS_MAX));
        assert_eq!(keys.get(&hash(1)), Some(service(1)));
        keys.take_back(&hash(SERVICE_KEYS_MAX as u64));
        assert_eq!((keys.uses.len(), keys.service.len()), (SERVICE_KEYS_MAX - 1, SERVICE_KEYS_MAX - 1));
        let late = SERVICE_KEY_US + SERVICE_KEYS_MAX as u64 + 1;
        keys.put(hash(late), service(late));
        assert_eq!((keys.uses.len(), keys.service.len()), (1, 1));
    }
}
