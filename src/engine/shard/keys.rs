//! The keys that a shard remembers: hashes only, each with when and where it was used.

use std::collections::{BTreeMap, VecDeque};

use foldhash::HashMap;

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
    Client(Time),
    Service(Partition, KeyRow),
}

/// A client's key that came to its end.
pub(super) type Expired = (Partition, Time, Hash16);

/// All keys of a shard.
#[derive(Debug, Default)]
pub(super) struct Keys {
    clients: HashMap<Hash16, Time>,
    /// Clients' keys of each partition, oldest first, so that their end costs what ends.
    client_order: BTreeMap<Partition, VecDeque<(Time, Hash16)>>,
    services: HashMap<Hash16, (Partition, KeyRow)>,
    /// The service's own, oldest first.
    service_order: VecDeque<(Time, Hash16)>,
}

impl Keys {
    pub(super) fn get(&self, hash: &Hash16) -> Option<KeyUse> {
        let client = self.clients.get(hash).map(|at| KeyUse::Client(*at));
        client.or_else(|| self.services.get(hash).map(|(partition, row)| KeyUse::Service(*partition, *row)))
    }

    /// Returns how many keys of clients there are.
    pub(super) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Returns when the oldest key of a client in a partition was used.
    pub(super) fn oldest_client(&self, partition: Partition) -> Option<Time> {
        self.client_order.get(&partition)?.front().map(|oldest| oldest.0)
    }

    /// Remembers a client's key. Those of a partition come in order of time.
    pub(super) fn put_client(&mut self, partition: Partition, at: Time, hash: Hash16) {
        self.clients.insert(hash, at);
        self.client_order.entry(partition).or_default().push_back((at, hash));
    }

    /// Remembers a key that the service made. They come in order of time.
    pub(super) fn put_service(&mut self, partition: Partition, hash: Hash16, row: KeyRow) {
        self.make_room(row.at);
        self.service_order.push_back((row.at, hash));
        self.services.insert(hash, (partition, row));
    }

    /// Forgets a use that did not become durable; the newest first.
    pub(super) fn take_back(&mut self, partition: Partition, hash: &Hash16) {
        if self.clients.remove(hash).is_some() {
            let order = self.client_order.get_mut(&partition).and_then(VecDeque::pop_back);
            assert!(
                order.is_some_and(|newest| newest.1 == *hash),
                "invariant: the newest is taken back first"
            );
        } else if self.services.remove(hash).is_some()
            && self.service_order.back().is_some_and(|newest| newest.1 == *hash)
        {
            self.service_order.pop_back();
        }
    }

    /// Forgets clients' keys that were used before `before`, and returns them, by partition and then oldest first.
    pub(super) fn expire(&mut self, before: Time) -> Vec<Expired> {
        let mut expired = Vec::new();
        for (partition, order) in &mut self.client_order {
            while order.front().is_some_and(|oldest| oldest.0 < before)
                && let Some((at, hash)) = order.pop_front()
            {
                self.clients.remove(&hash);
                expired.push((*partition, at, hash));
            }
        }
        expired
    }

    /// Remembers again what [`Keys::expire`] forgot, in reverse: whose end did not become durable.
    pub(super) fn put_back(&mut self, expired: Vec<Expired>) {
        for (partition, at, hash) in expired.into_iter().rev() {
            self.clients.insert(hash, at);
            self.client_order.entry(partition).or_default().push_front((at, hash));
        }
    }

    /// Forgets keys that the service made and whose time is over.
    pub(super) fn expire_service(&mut self, now: Time) {
        while self.service_order.front().is_some_and(|(at, _)| at.plus_us(SERVICE_KEY_US) < now) {
            self.forget_oldest_service();
        }
        if self.services.is_empty() {
            // An idle service keeps no room for what it had under load.
            self.services.shrink_to_fit();
            self.service_order.shrink_to_fit();
        }
    }

    fn make_room(&mut self, now: Time) {
        while self.service_order.len() >= SERVICE_KEYS_MAX
            || self.service_order.front().is_some_and(|(at, _)| at.plus_us(SERVICE_KEY_US) < now)
        {
            self.forget_oldest_service();
        }
    }

    fn forget_oldest_service(&mut self) {
        if let Some((_, oldest)) = self.service_order.pop_front() {
            self.services.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Act;
    use crate::id::CaseId;

    const HERE: Partition = Partition(1);
    const THERE: Partition = Partition(2);

    fn row(at: u64) -> KeyRow {
        let at = Time(at);
        KeyRow { n: 1, case: CaseId(64), spec: None, request: [0; 16], act: Act::Case, at }
    }

    fn hash(number: u64) -> Hash16 {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        hash
    }

    #[test]
    fn an_expired_key_is_used_anew_and_both_are_taken_back() {
        let mut keys = Keys::default();
        keys.put_client(HERE, Time(5), hash(1));
        let expired = keys.expire(Time(6));
        assert_eq!(keys.client_count(), 0);
        keys.put_client(HERE, Time(9), hash(1));
        // The journal failed: in reverse, the new use goes and the old one is back.
        keys.take_back(HERE, &hash(1));
        keys.put_back(expired);
        assert_eq!((keys.client_count(), keys.get(&hash(1))), (1, Some(KeyUse::Client(Time(5)))));
    }

    #[test]
    fn keys_come_to_their_end_in_order_and_what_was_put_back_does_again() {
        let mut keys = Keys::default();
        for number in 0..6 {
            keys.put_client(if number % 2 == 0 { HERE } else { THERE }, Time(number), hash(number));
        }
        let expected: Vec<_> = [(HERE, 0), (HERE, 2), (THERE, 1), (THERE, 3)]
            .into_iter()
            .map(|(partition, number)| (partition, Time(number), hash(number)))
            .collect();
        let expired = keys.expire(Time(4));
        assert_eq!(expired, expected);
        assert_eq!((keys.get(&hash(3)), keys.get(&hash(4))), (None, Some(KeyUse::Client(Time(4)))));
        keys.put_back(expired);
        assert_eq!((keys.client_count(), keys.expire(Time(4))), (6, expected));
        assert_eq!(keys.client_count(), 2);
    }

    #[test]
    fn the_services_own_keys_are_bounded_in_number_and_time_and_the_oldest_goes_first() {
        let mut keys = Keys::default();
        for number in 0..=SERVICE_KEYS_MAX as u64 {
            keys.put_service(HERE, hash(number), row(number));
        }
        assert_eq!((keys.get(&hash(0)), keys.service_order.len()), (None, SERVICE_KEYS_MAX));
        assert_eq!(keys.get(&hash(1)), Some(KeyUse::Service(HERE, row(1))));
        keys.take_back(HERE, &hash(SERVICE_KEYS_MAX as u64));
        assert_eq!(
            (keys.services.len(), keys.service_order.len()),
            (SERVICE_KEYS_MAX - 1, SERVICE_KEYS_MAX - 1)
        );
        let late = SERVICE_KEY_US + SERVICE_KEYS_MAX as u64 + 1;
        keys.put_service(HERE, hash(late), row(late));
        assert_eq!((keys.services.len(), keys.service_order.len()), (1, 1));
        keys.expire_service(Time(late + SERVICE_KEY_US));
        assert_eq!((keys.services.len(), keys.service_order.len()), (1, 1));
        keys.expire_service(Time(late + SERVICE_KEY_US + 1));
        assert_eq!((keys.services.capacity(), keys.service_order.capacity()), (0, 0));
    }
}
