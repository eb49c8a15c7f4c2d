//! The keys that a shard remembers: hashes only, each with when and where it was used. [`ring`](super::ring) has how
//! clients' keys lie in memory, [`places`](crate::engine::places) who may have how many.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;

use super::ring::{ClientKey, KEY_BYTES_MAX, KEYS_HEAD_BYTES, Ring};
use crate::engine::places::{Holder, Place, Places};
use crate::engine::record::Hash16;
use crate::engine::tables::KeyRow;
use crate::id::{PARTITION_COUNT, Partition, Time};

/// Keys that the service made are kept so long.
pub const SERVICE_KEY_US: u64 = 600_000_000;
/// Most of the service's own keys that a shard remembers; the oldest goes first.
pub const SERVICE_KEYS_MAX: usize = 65_536;
/// Most clients' keys that come to their end in one turn, those of one instant aside; the others have a later turn.
pub const EXPIRED_KEYS_MAX: usize = 65_536;
/// Bytes that a shard's keys take at most besides those of [`KEY_BYTES_MAX`] each: the service's own, and clients' that
/// come to their end. The test `a_shards_own_keys_take_no_more_bytes_than_are_counted_for_them` measures it.
pub const SHARD_KEYS_BYTES_MAX: usize = 28 * 1024 * 1024;

/// Returns how many bytes all keys take in memory at most: as many of clients as may be, and those of the service's own of
/// so many shards.
pub fn keys_bytes_max(keys_max: usize, shards: usize) -> usize {
    let clients = keys_max.saturating_mul(KEY_BYTES_MAX).saturating_add(KEYS_HEAD_BYTES);
    clients.saturating_add(shards.saturating_mul(SHARD_KEYS_BYTES_MAX))
}

/// A key's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    Client(Time),
    Service(Partition, KeyRow),
}

/// A client's key that came to its end. Its place is given back when that is durable.
pub(super) type Expired = (Partition, ClientKey);

/// All keys of a shard.
#[derive(Debug)]
pub struct Keys {
    shard: usize,
    places: Arc<Places>,
    /// By partition, each oldest first, so that their end costs what ends.
    clients: Vec<Ring>,
    client_count: usize,
    /// Whether another key may be the oldest.
    is_oldest_new: bool,
    services: HashMap<Hash16, (Partition, KeyRow)>,
    /// The service's own, oldest first.
    service_order: VecDeque<(Time, Hash16)>,
    planted: Option<PlantedBug>,
}

/// A mistake that is made on purpose, to see that the simulator finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Places of keys that came to their end are not given back.
    KeepPlaceOfExpired,
    /// The key of a command without effect is remembered in memory.
    KeepKeyWithoutEffect,
    /// An expression that took long stays under way when the job that waited for it is gone.
    KeepEvaluationOfNobody,
    /// A case that leaves memory though it has something to do by itself does not come back for it.
    ForgetWhatIsPutOff,
}

impl Keys {
    /// Returns the keys of a shard, none yet.
    pub fn new(places: Arc<Places>, shard: usize) -> Self {
        Self {
            shard,
            places,
            clients: (0..PARTITION_COUNT).map(|_| Ring::default()).collect(),
            client_count: 0,
            is_oldest_new: false,
            services: HashMap::default(),
            service_order: VecDeque::new(),
            planted: None,
        }
    }

    /// Remembers a client's key that was stored before the start. Those of a partition come in order of time.
    pub fn load_client(&mut self, partition: Partition, at: Time, hash: Hash16) {
        self.places.take_before_start();
        self.put_client(partition, at, hash, Holder::BEFORE_START);
    }

    pub(super) fn plant(&mut self, bug: PlantedBug) {
        self.planted = Some(bug);
    }

    pub(super) fn planted(&self) -> Option<PlantedBug> {
        self.planted
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    pub(super) fn get(&self, partition: Partition, hash: &Hash16) -> Option<KeyUse> {
        let client = self.clients[partition.index()].get(hash).map(KeyUse::Client);
        client.or_else(|| self.services.get(hash).map(|(partition, row)| KeyUse::Service(*partition, *row)))
    }

    /// Returns how many keys of clients there are.
    pub(super) fn client_count(&self) -> usize {
        self.client_count
    }

    /// Returns when the oldest key of a client in a partition was used.
    pub(super) fn oldest_client(&self, partition: Partition) -> Option<Time> {
        self.clients[partition.index()].oldest().map(ClientKey::at)
    }

    /// Returns clients' keys, by partition and oldest first, with who has their places. For checks.
    pub(super) fn clients(&self) -> impl Iterator<Item = (Partition, Hash16, Holder)> + '_ {
        let of = |(partition, ring): (Partition, _)| {
            Ring::iter(ring).map(move |key| (partition, { key.hash }, { key.holder }))
        };
        Partition::all().zip(&self.clients).flat_map(of)
    }

    /// Remembers a client's key in the place that was taken for it. Those of a partition come in order of time.
    pub(super) fn keep_client(&mut self, partition: Partition, at: Time, hash: Hash16, place: Place) {
        self.put_client(partition, at, hash, place.keep());
    }

    fn put_client(&mut self, partition: Partition, at: Time, hash: Hash16, holder: Holder) {
        let ring = &mut self.clients[partition.index()];
        self.is_oldest_new |= ring.len() == 0;
        ring.push_newest(ClientKey { hash, at, holder });
        self.client_count += 1;
    }

    /// Remembers a key that the service made. They come in order of time.
    pub(super) fn put_service(&mut self, partition: Partition, hash: Hash16, row: KeyRow) {
        self.make_room(row.at);
        self.service_order.push_back((row.at, hash));
        self.services.insert(hash, (partition, row));
    }

    /// Forgets a use that did not become durable; the newest first.
    pub(super) fn take_back(&mut self, partition: Partition, hash: &Hash16) {
        let ring = &mut self.clients[partition.index()];
        if ring.get(hash).is_some() {
            let newest = ring.pop_newest().filter(|newest| newest.hash == *hash);
            let newest = newest.expect("invariant: the newest is taken back first");
            self.client_count -= 1;
            self.is_oldest_new |= ring.len() == 0;
            self.places.give_back(std::iter::once(newest.holder));
        } else if self.services.remove(hash).is_some()
            && self.service_order.back().is_some_and(|newest| newest.1 == *hash)
        {
            self.service_order.pop_back();
        }
    }

    /// Forgets clients' keys of a partition that were used before `before`, oldest first: about `count_max`, and then all
    /// that were used at the same instant. Returns them, and before when all were used that are gone.
    pub(super) fn expire(
        &mut self,
        partition: Partition,
        before: Time,
        count_max: usize,
    ) -> (Vec<Expired>, Time) {
        let ring = &mut self.clients[partition.index()];
        let mut expired: Vec<Expired> = Vec::new();
        let mut end = before;
        while let Some(oldest) = ring.oldest().filter(|oldest| oldest.at() < before) {
            if expired.len() >= count_max && expired.last().is_some_and(|last| last.1.at() < oldest.at()) {
                end = oldest.at();
                break;
            }
            ring.pop_oldest();
            expired.push((partition, oldest));
        }
        self.client_count -= expired.len();
        self.is_oldest_new |= !expired.is_empty();
        (expired, end)
    }

    /// Gives the places of keys back whose end is durable.
    pub(super) fn forget(&self, expired: &[Expired]) {
        if self.planted != Some(PlantedBug::KeepPlaceOfExpired) && !expired.is_empty() {
            self.places.give_back(expired.iter().map(|(_, key)| key.holder));
        }
    }

    /// Remembers again what [`Keys::expire`] forgot, in reverse: whose end did not become durable.
    pub(super) fn put_back(&mut self, expired: Vec<Expired>) {
        self.client_count += expired.len();
        self.is_oldest_new |= !expired.is_empty();
        for (partition, key) in expired.into_iter().rev() {
            self.clients[partition.index()].push_oldest(key);
        }
    }

    /// Says when the oldest key was used, if that may have changed.
    pub(super) fn note_oldest(&mut self) {
        if std::mem::take(&mut self.is_oldest_new) {
            let oldest = self.clients.iter().filter_map(Ring::oldest).map(ClientKey::at).min();
            self.places.note_oldest(self.shard, oldest);
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
    use crate::engine::service::Caller;
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

    fn keys(limit: usize) -> Keys {
        Keys::new(Places::new(limit, 1), 0)
    }

    impl Keys {
        fn keep(&mut self, partition: Partition, at: u64, hash: Hash16, caller: Caller) {
            let place = self.places.take(caller).expect("there is room");
            self.keep_client(partition, Time(at), hash, place);
        }

        /// Forgets about so many keys of all partitions that were used before.
        fn expire_all(&mut self, before: u64, count_max: usize) -> Vec<Expired> {
            let expire = |partition| self.expire(partition, Time(before), count_max).0;
            Partition::all().flat_map(expire).collect()
        }
    }

    fn told(expired: &[Expired]) -> Vec<(Partition, u64)> {
        expired.iter().map(|(partition, key)| (*partition, key.at().0)).collect()
    }

    #[test]
    fn an_expired_key_is_used_anew_and_both_are_taken_back() {
        let mut keys = keys(100);
        keys.keep(HERE, 5, hash(1), Caller::Token(1));
        let expired = keys.expire_all(6, 9);
        assert_eq!((keys.client_count(), keys.places.taken()), (0, (1, 0)));
        keys.keep(HERE, 9, hash(1), Caller::Token(2));
        assert_eq!(keys.places.taken(), (2, 0));
        // The journal failed: in reverse, the new use goes and the old one is back.
        keys.take_back(HERE, &hash(1));
        keys.put_back(expired);
        assert_eq!((keys.client_count(), keys.get(HERE, &hash(1))), (1, Some(KeyUse::Client(Time(5)))));
        let expired = keys.expire_all(6, 9);
        keys.forget(&expired);
        assert_eq!((keys.places.taken(), keys.places.shares()), ((0, 0), Vec::new()));
    }

    #[test]
    fn keys_come_to_their_end_in_order_and_what_was_put_back_does_again() {
        let mut keys = keys(100);
        for number in 0..6 {
            keys.keep(if number % 2 == 0 { HERE } else { THERE }, number, hash(number), Caller::Local);
        }
        let expected = [(HERE, 0), (HERE, 2), (THERE, 1), (THERE, 3)];
        let expired = keys.expire_all(4, 9);
        assert_eq!(told(&expired), expected);
        assert_eq!(
            (keys.get(THERE, &hash(3)), keys.get(HERE, &hash(4))),
            (None, Some(KeyUse::Client(Time(4))))
        );
        keys.put_back(expired);
        assert_eq!((keys.client_count(), told(&keys.expire_all(4, 9))), (6, expected.to_vec()));
        assert_eq!(keys.client_count(), 2);
    }

    #[test]
    fn keys_come_to_their_end_in_slices_and_those_of_one_instant_together() {
        let mut keys = keys(100);
        for (number, at) in [1, 1, 2, 2, 2, 3, 9].into_iter().enumerate() {
            keys.keep(HERE, at, hash(number as u64), Caller::Local);
        }
        let mut slice = |count_max| {
            let (expired, before) = keys.expire(HERE, Time(5), count_max);
            (expired.len(), before)
        };
        assert_eq!(slice(1), (2, Time(2)));
        assert_eq!(slice(3), (3, Time(3)));
        assert_eq!(slice(9), (1, Time(5)));
        assert_eq!((slice(9), keys.client_count()), ((0, Time(5)), 1));
    }

    #[test]
    fn the_oldest_key_of_all_is_noted() {
        let mut keys = keys(4);
        let full = |keys: &mut Keys| {
            keys.note_oldest();
            keys.places.take(Caller::Local).expect_err("the share is used up").oldest
        };
        for (number, at) in [(1, 7), (2, 5), (3, 6)] {
            keys.keep(if number == 1 { HERE } else { THERE }, at, hash(number), Caller::Local);
        }
        assert_eq!(full(&mut keys), Some(Time(5)));
        let expired = keys.expire_all(6, 9);
        assert_eq!(full(&mut keys), Some(Time(6)));
        keys.put_back(expired);
        assert_eq!(full(&mut keys), Some(Time(5)));
    }

    #[test]
    fn a_shards_own_keys_take_no_more_bytes_than_are_counted_for_them() {
        let mut keys = keys(1);
        let mut worst = 0;
        let mut before = 0;
        for number in 0..2 * SERVICE_KEYS_MAX as u64 {
            keys.put_service(HERE, hash(number), row(number));
            // A slot more for each seven, to the next power of two, and a byte of each says whether it is free.
            let slots = (keys.services.capacity() * 8 / 7).next_power_of_two();
            let bytes = slots * (size_of::<(Hash16, (Partition, KeyRow))>() + 1)
                + keys.service_order.capacity() * size_of::<(Time, Hash16)>();
            // While it grows, what was there before is there too.
            worst = worst.max(if bytes == before { bytes } else { bytes + before });
            before = bytes;
        }
        // A vector that grows has twice as much room, and what was there before.
        worst += 3 * EXPIRED_KEYS_MAX * size_of::<Expired>();
        assert!(worst <= SHARD_KEYS_BYTES_MAX && worst * 2 > SHARD_KEYS_BYTES_MAX, "{worst}");
    }

    #[test]
    fn the_services_own_keys_are_bounded_in_number_and_time_and_the_oldest_goes_first() {
        let mut keys = keys(1);
        for number in 0..=SERVICE_KEYS_MAX as u64 {
            keys.put_service(HERE, hash(number), row(number));
        }
        assert_eq!((keys.get(HERE, &hash(0)), keys.service_order.len()), (None, SERVICE_KEYS_MAX));
        assert_eq!(keys.get(HERE, &hash(1)), Some(KeyUse::Service(HERE, row(1))));
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
